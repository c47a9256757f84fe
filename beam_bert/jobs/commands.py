"""The commands: name, settings, and the function that runs it; in one table.

Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel

from beam_bert.jobs.command_line import run_from_command_line
from beam_bert.settings.answer import AnswerConfig
from beam_bert.settings.answer_training import AnswerEvaluateConfig, AnswerFinetuneConfig
from beam_bert.settings.evaluation import EvaluateConfig
from beam_bert.settings.inference import BenchConfig, ClassifyConfig, SentimentConfig
from beam_bert.settings.nightly import NightlyConfig
from beam_bert.settings.training import FinetuneConfig, PretrainConfig


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
      settings: what it takes.
      module: where the function of its name is; imported once the flags are right.
      beam: whether it is a Beam pipeline, which takes Beam's flags too.
      tasks: settings and module of the other tasks that `--task` names.
    """

    settings: type[BaseModel]
    module: str = "beam_bert.jobs.run"
    beam: bool = True
    tasks: Mapping[str, tuple[type[BaseModel], str]] = field(default_factory=dict)


COMMANDS = {
    "classify": Command(ClassifyConfig),
    "sentiment": Command(SentimentConfig),
    "answer": Command(AnswerConfig),
    "finetune": Command(
        FinetuneConfig,
        "beam_bert.training.finetune",
        beam=False,
        tasks={"answer": (AnswerFinetuneConfig, "beam_bert.training.answering.finetune")},
    ),
    "pretrain": Command(PretrainConfig, "beam_bert.training.pretrain", beam=False),
    "evaluate": Command(
        EvaluateConfig,
        "beam_bert.evaluation.run",
        beam=False,
        tasks={"answer": (AnswerEvaluateConfig, "beam_bert.evaluation.answering.run")},
    ),
    "bench": Command(BenchConfig, "beam_bert.jobs.benchmark", beam=False),
    "nightly": Command(NightlyConfig, "beam_bert.jobs.nightly.run"),
}


def run_command(name: str, argv: Sequence[str] | None = None) -> int:
    """Run a command from the command line; returns the exit code."""
    command = COMMANDS[name]
    return run_from_command_line(
        name,
        command.settings,
        argv,
        module=command.module,
        beam=command.beam,
        tasks=command.tasks,
    )
