"""`python -m pipelines.bench`: see --help."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from beam_bert.jobs.command_line import run_from_command_line
from beam_bert.settings.inference import BenchConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job from the command line; returns the exit code."""
    return run_from_command_line(
        "bench", BenchConfig, argv, module="beam_bert.jobs.benchmark", beam=False
    )


if __name__ == "__main__":
    sys.exit(main())
