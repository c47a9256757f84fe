"""The commands: name, settings, and the function that runs it; in one table.

Nothing heavy is imported here, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel

from beam_bert.errors import ConfigError, printable
from beam_bert.jobs import quick_look
from beam_bert.jobs.command_line import (
    exit_code_of,
    importing,
    parse_config,
    settings_parser,
    task_of,
)
from beam_bert.settings.answer import AnswerConfig
from beam_bert.settings.answer_training import AnswerEvaluateConfig, AnswerFinetuneConfig
from beam_bert.settings.evaluation import EvaluateConfig
from beam_bert.settings.inference import BenchConfig, ClassifyConfig, JobConfig, SentimentConfig
from beam_bert.settings.nightly import NightlyConfig
from beam_bert.settings.training import FinetuneConfig, PretrainConfig
from beam_bert.software import __version__
from beam_bert.terminal import STOPPED, TERMINAL

_ABOUT = "Batch BERT: raw text in, Parquet out, no row lost or doubled."


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
      settings: what it takes.
      module: where the function of its name is; imported once the flags are right.
      beam: whether it is a Beam pipeline, which takes Beam's flags too.
      tasks: settings and module of the other tasks that `--task` names.
      is_inference: whether it answers texts, also those on the command line (`quick_look`).
    """

    settings: type[BaseModel]
    module: str = "beam_bert.jobs.run"
    beam: bool = True
    tasks: Mapping[str, tuple[type[BaseModel], str]] = field(default_factory=dict)
    is_inference: bool = False

    def of_task(self, task: object) -> tuple[type[BaseModel], str]:
        """Settings and module of the task that `--task` names."""
        return self.tasks.get(str(task), (self.settings, self.module))


@dataclass(frozen=True)
class Program:
    """A command with arguments of its own: `run(argv, prog)` in `module`, and what it is for."""

    module: str
    about: str
    stopped: str = STOPPED


COMMANDS = {
    "classify": Command(ClassifyConfig, is_inference=True),
    "sentiment": Command(SentimentConfig, is_inference=True),
    "answer": Command(AnswerConfig, is_inference=True),
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


PROGRAMS = {
    "models": Program(
        "beam_bert.jobs.models",
        "Look into a model store, and move its aliases.",
        "stopped; an alias has moved wholly or not at all",
    ),
    "init": Program("beam_bert.jobs.init", "Write a commented YAML file for what a folder holds."),
    "compact": Program(
        "beam_bert.jobs.compact", "Merge the small files of an output into fewer, larger ones."
    ),
    "check": Program("beam_bert.jobs.check", "Say what is here and what is missing, before a run."),
}


def main(argv: Sequence[str] | None = None) -> int:
    """`beam-bert COMMAND …` and `python -m beam_bert COMMAND …`; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    first = words[0] if words else "--help"
    if first in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if first in ("-V", "--version", "version"):
        print(f"beam-bert {__version__}")
        return 0
    if first == "completion":
        return _completion(words[1:])
    if first not in COMMANDS and first not in PROGRAMS:
        near = difflib.get_close_matches(first, [*COMMANDS, *PROGRAMS], n=1, cutoff=0.7)
        hint = f"did you mean {near[0]}?" if near else "see beam-bert --help"
        TERMINAL.error(f"no command {printable(first)}; {hint}")
        return 2
    return run_command(first, words[1:], f"beam-bert {first}")


def run_command(name: str, argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run a command from the command line; returns the exit code.

    Args:
      name: of `COMMANDS` or `PROGRAMS`.
      argv: its flags; None: those of this process.
      prog: how it was called, for messages.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an é in a path is no reason to end a run
            stream.reconfigure(errors="backslashreplace")
    flags = sys.argv[1:] if argv is None else argv
    prog = prog or f"python -m pipelines.{name}"
    if name in PROGRAMS:
        program = importlib.import_module(PROGRAMS[name].module)
        return exit_code_of(lambda: program.run(flags, prog), PROGRAMS[name].stopped)
    command = COMMANDS[name]
    if command.is_inference:
        texts: list[str] = []
        with contextlib.suppress(ConfigError):  # which the job's own parsing tells
            texts, others = quick_look.wanted(command.settings, flags, prog)
        if texts:
            return exit_code_of(lambda: quick_look.run(name, command.settings, texts, others, prog))
    return exit_code_of(lambda: _run(name, command, flags, prog))


def _run(name: str, command: Command, argv: Sequence[str], prog: str) -> None:
    settings, module = command.of_task(task_of(argv, prog) if command.tasks else "")
    config, beam_flags = parse_config(settings, argv, prog, beam=command.beam)
    if isinstance(config, JobConfig):
        from beam_bert.jobs.first_look import first_look  # which reads files: not for --help

        first_look(config)
    with importing():
        run = getattr(importlib.import_module(module), name)
    if not command.beam:
        run(config)
    else:
        importlib.import_module("beam_bert.jobs.runners").quiet_beam(beam_flags)
        run(config, beam_flags)


def _overview() -> str:
    lines = ["usage: beam-bert COMMAND [--FLAG VALUE …]", "", _ABOUT, "", "commands:"]
    abouts = {name: (each.settings.__doc__ or "").split("\n")[0] for name, each in COMMANDS.items()}
    abouts |= {name: program.about for name, program in PROGRAMS.items()}
    abouts["completion"] = "Print what completes commands and flags: bash, zsh, fish or tcsh."
    lines += [f"  {name:<12}{about}" for name, about in abouts.items()]
    lines += ["", "beam-bert COMMAND --help shows a command's flags; --version the version."]
    return "\n".join(lines)


def _completion(argv: Sequence[str]) -> int:
    """Print the completion script of a shell, from the parsers themselves."""
    import shtab  # only here

    if len(argv) != 1 or argv[0] not in shtab.SUPPORTED_SHELLS:
        TERMINAL.error(f"beam-bert completion takes one of {', '.join(shtab.SUPPORTED_SHELLS)}")
        return 2
    whole = argparse.ArgumentParser(prog="beam-bert", add_help=False)
    commands = whole.add_subparsers()
    for name, command in COMMANDS.items():
        parser = settings_parser(command.settings, f"beam-bert {name}", beam=command.beam)
        commands.add_parser(name, parents=[parser], add_help=False, help=parser.description)
    for name, program in PROGRAMS.items():
        commands.add_parser(name, help=program.about)
    print(shtab.complete(whole, shell=argv[0]))
    return 0
