"""`python -m pipelines.nightly`: see --help."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from beam_bert.jobs.command_line import run_from_command_line
from beam_bert.settings.nightly import NightlyConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job from the command line; returns the exit code."""
    return run_from_command_line(
        "nightly", NightlyConfig, argv, module="beam_bert.jobs.nightly.run"
    )


if __name__ == "__main__":
    sys.exit(main())
