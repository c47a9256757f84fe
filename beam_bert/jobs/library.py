"""The jobs as functions: what the command line can do, with the same names, from Python.

    import beam_bert

    manifest = beam_bert.sentiment(input="reviews.csv", output="out/")

Settings are keyword arguments named as the flags; one string will do for a list of one. Nothing is
printed unless `tell` says so; what goes wrong is raised.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from beam_bert.errors import ConfigError
from beam_bert.jobs.command_line import one_line_of
from beam_bert.jobs.commands import COMMANDS
from beam_bert.terminal import TERMINAL, Level

if TYPE_CHECKING:
    from beam_bert.jobs.nightly.run import Night
    from beam_bert.settings.answer import AnswerConfig
    from beam_bert.settings.inference import ClassifyConfig, SentimentConfig
    from beam_bert.settings.nightly import NightlyConfig
    from beam_bert.sinks.manifest import Manifest


def classify(
    config: ClassifyConfig | None = None,
    beam_flags: Sequence[str] = (),
    *,
    tell: Level = "silent",
    **settings: Any,
) -> Manifest | None:
    """Classify every document.

    Args:
      config: the settings; None: they are the keyword arguments.
      beam_flags: flags of Apache Beam, such as `["--runner=DataflowRunner"]`.
      tell: how much is printed: silent, quiet, normal, verbose.
      settings: as the flags of `beam-bert classify`.

    Returns:
      The manifest of the committed run; None where an incremental run had nothing to do, and
      after a dry run.

    Raises:
      UserError: something about the settings, input, model or output is wrong; nothing was done.
      RunFailed: the run did not finish, or too many rows were rejected; nothing was committed.
      CommittedUnread: all is committed, but the manifest could not be read back.
    """
    manifest: Manifest | None = _call("classify", config, settings, tell, beam_flags)
    return manifest


def sentiment(
    config: SentimentConfig | None = None,
    beam_flags: Sequence[str] = (),
    *,
    tell: Level = "silent",
    **settings: Any,
) -> Manifest | None:
    """Say how positive or negative every document is; as `classify`."""
    manifest: Manifest | None = _call("sentiment", config, settings, tell, beam_flags)
    return manifest


def answer(
    config: AnswerConfig | None = None,
    beam_flags: Sequence[str] = (),
    *,
    tell: Level = "silent",
    **settings: Any,
) -> Manifest | None:
    """Ask every document; as `classify`."""
    manifest: Manifest | None = _call("answer", config, settings, tell, beam_flags)
    return manifest


def nightly(
    config: NightlyConfig | None = None,
    beam_flags: Sequence[str] = (),
    *,
    tell: Level = "silent",
    **settings: Any,
) -> Night:
    """Refresh the model if that is due and helps, then classify what is new; as `classify`."""
    night: Night = _call("nightly", config, settings, tell, beam_flags)
    return night


def finetune(config: BaseModel | None = None, *, tell: Level = "silent", **settings: Any) -> Any:
    """Fine-tune an encoder; settings as the flags of `beam-bert finetune` (`task="answer"` too)."""
    return _call("finetune", config, settings, tell)


def pretrain(config: BaseModel | None = None, *, tell: Level = "silent", **settings: Any) -> Any:
    """Go on with an encoder's pre-training; settings as the flags of `beam-bert pretrain`."""
    return _call("pretrain", config, settings, tell)


def evaluate(config: BaseModel | None = None, *, tell: Level = "silent", **settings: Any) -> Any:
    """Measure a model; settings as the flags of `beam-bert evaluate` (`task="answer"` too)."""
    return _call("evaluate", config, settings, tell)


def _call(
    name: str,
    config: BaseModel | None,
    settings: dict[str, Any],
    tell: Level,
    beam_flags: Sequence[str] | None = None,
) -> Any:
    if config is not None and settings:
        raise ConfigError(f"beam_bert.{name} takes a config or keyword arguments, not both")
    command = COMMANDS[name]
    kind, module = command.of_task(getattr(config, "task", settings.get("task")))
    if config is None:
        try:
            config = kind.model_validate(settings)
        except ValidationError as error:
            raise ConfigError(one_line_of(error, kind, f"beam_bert.{name}")) from None
    run = getattr(importlib.import_module(module), name)
    with TERMINAL.at(tell):
        if beam_flags is None:
            return run(config)
        from beam_bert.jobs.runners import beam_notes_off

        with beam_notes_off():
            return run(config, beam_flags)
