"""`python -m pipelines.answer`: see --help."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from beam_bert.jobs.command_line import run_from_command_line
from beam_bert.settings.answer import AnswerConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job from the command line; returns the exit code."""
    return run_from_command_line("answer", AnswerConfig, argv)


if __name__ == "__main__":
    sys.exit(main())
