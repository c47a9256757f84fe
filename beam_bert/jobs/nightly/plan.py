"""What a night is due to do, found out without doing it: `beam-bert nightly --dry_run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from beam_bert.errors import NoFilesError, one_line
from beam_bert.jobs.nightly.gate import known_verdict
from beam_bert.jobs.run import run_job
from beam_bert.models import ModelStore
from beam_bert.models.store import CANDIDATE, PRODUCTION
from beam_bert.settings.inference import ClassifyConfig, SentimentConfig
from beam_bert.settings.nightly import NightlyConfig
from beam_bert.sinks.manifest import Manifest
from beam_bert.sources import list_files
from beam_bert.terminal import TERMINAL
from beam_bert.training.finetune import SOURCES
from beam_bert.training.setup import declared_sources, training_digest


def show_plan(config: NightlyConfig, beam_flags: Sequence[str] = ()) -> None:
    """Say what this night would do, a line for each step, and change nothing.

    Raises:
      UserError: what the night would fail of before it trains or reads.
    """
    store = ModelStore(config.store)
    production = store.aliases().get(PRODUCTION)
    candidate = known_candidate(config, store)
    steps = {"train": _training(config, candidate)}
    if candidate is None and (config.finetune is None or "train" not in config.steps):
        steps["gate"] = "nothing to judge: there is no candidate"
    elif config.evaluate is None:
        steps["gate"] = "off: there is no section evaluate"
    elif candidate is not None and candidate == production:
        steps["gate"] = "nothing to judge: the candidate is in production already"
    else:
        steps["gate"] = _gate(config, store, candidate, production)
    steps["production"] = production or "no version yet"
    lines = [f"{name + ':':<12}{text}" for name, text in steps.items()]
    TERMINAL.show(f"night {config.date}, nothing is done:", *lines)
    TERMINAL.result("dry_run", {"date": config.date, **steps}, "; ".join(lines))
    if "classify" not in config.steps:
        return
    section = config.classify.model_copy(
        update={"input": with_files(config.classify.input), "dry_run": True}
    )
    if production is None:
        TERMINAL.show("classify:   after a first promotion, all that is in classify.input")
    elif section.input:
        TERMINAL.show(f"classify:   with {production}:")
        classified(config, section, beam_flags)


def known_candidate(config: NightlyConfig, store: ModelStore) -> str | None:
    """The version made of today's labels and settings; without training: what the alias says."""
    aliases = store.aliases()
    if config.finetune is None:
        return aliases.get(CANDIDATE)
    digest = training_digest(config.finetune, declared_sources(config.finetune, *SOURCES))
    found = [record.version for record in store.versions() if record.trained_on == digest]
    if not found:
        return None
    return aliases[PRODUCTION] if aliases.get(PRODUCTION) in found else found[-1]


def classified(
    config: NightlyConfig, section: ClassifyConfig, beam_flags: Sequence[str]
) -> Manifest | None:
    """Run the job that the night's `task` names with the settings of its section."""
    if config.task == "sentiment":
        # What is not given has the sentiment job's own default.
        settings: dict[str, Any] = section.model_dump(exclude_unset=True)
        section = SentimentConfig(**settings)
    return run_job(config.task, section, beam_flags)


def with_files(patterns: Sequence[str]) -> tuple[str, ...]:
    """The patterns behind which there is a file: on a quiet day a folder may be empty."""
    found = []
    for pattern in patterns:
        try:
            list_files([pattern])
        except NoFilesError as error:
            TERMINAL.say(f"nothing to read: {one_line(error)}")
        else:
            found.append(pattern)
    return tuple(found)


def _training(config: NightlyConfig, candidate: str | None) -> str:
    if config.finetune is None or "train" not in config.steps:
        return "off"
    if candidate is not None:
        return f"not due: {candidate} was trained on these labels and settings"
    files = list_files(config.finetune.train)
    return f"due: no version was trained on these labels and settings ({len(files):,} files)"


def _gate(
    config: NightlyConfig, store: ModelStore, candidate: str | None, production: str | None
) -> str:
    others = f"against {production}" if production else "alone, as there is none in production"
    if candidate is None:
        return f"the new model will be judged {others}"
    if verdict := known_verdict(config, store, candidate):
        return f"{candidate} was {'approved' if verdict.approved else 'kept out'}: {verdict.reason}"
    return f"{candidate} will be judged {others}"
