"""`python -m pipelines.evaluate`: see --help."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from beam_bert.jobs.command_line import run_from_command_line
from beam_bert.settings.answer_training import AnswerEvaluateConfig
from beam_bert.settings.evaluation import EvaluateConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job from the command line; returns the exit code."""
    return run_from_command_line(
        "evaluate",
        EvaluateConfig,
        argv,
        module="beam_bert.evaluation.run",
        beam=False,
        tasks={"answer": (AnswerEvaluateConfig, "beam_bert.evaluation.answering.run")},
    )


if __name__ == "__main__":
    sys.exit(main())
