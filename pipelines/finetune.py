"""`python -m pipelines.finetune`: see --help."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from beam_bert.jobs.command_line import run_from_command_line
from beam_bert.settings.answer_training import AnswerFinetuneConfig
from beam_bert.settings.training import FinetuneConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job from the command line; returns the exit code."""
    return run_from_command_line(
        "finetune",
        FinetuneConfig,
        argv,
        module="beam_bert.training.finetune",
        beam=False,
        tasks={"answer": (AnswerFinetuneConfig, "beam_bert.training.answering.finetune")},
    )


if __name__ == "__main__":
    sys.exit(main())
