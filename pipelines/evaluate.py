"""`python -m pipelines.evaluate`: see --help."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from beam_bert.cli import run_from_command_line
from beam_bert.training.answering.config import AnswerEvaluateConfig
from beam_bert.training.evaluation.config import EvaluateConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job from the command line; returns the exit code."""
    return run_from_command_line(
        "evaluate",
        EvaluateConfig,
        argv,
        module="beam_bert.training.evaluation.run",
        beam=False,
        tasks={"answer": (AnswerEvaluateConfig, "beam_bert.training.answering.evaluate")},
    )


if __name__ == "__main__":
    sys.exit(main())
