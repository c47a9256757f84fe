"""What a training leaves: a model with card, curves and sources, as a folder or in a store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from beam_bert.labelled.provenance import data_yaml, unallowed_licences
from beam_bert.models import ModelStore
from beam_bert.models.store import split_reference
from beam_bert.settings.training import TrainingConfig
from beam_bert.software import software_versions
from beam_bert.storage.paths import resolved
from beam_bert.training.card import Card, render
from beam_bert.training.loop import Progress
from beam_bert.training.saving import TRAINING_FILE, as_json, new_folder, put_in_place
from beam_bert.training.setup import Setup


@dataclass(frozen=True)
class Delivered:
    """What a training run left behind.

    Attributes:
      location: the folder, or `store@version`.
      version: of the store; None for a folder.
      metrics: on the rows held out.
    """

    location: str
    version: str | None
    metrics: Mapping[str, float]


def documents(
    setup: Setup[Any],
    progress: Progress,
    metrics: Mapping[str, float],
    *,
    record: Mapping[str, Any],
    rejected: int = 0,
    notes: Sequence[str] = (),
    **card: Any,
) -> dict[str, str]:
    """The texts beside a model, by file name: its card, its curves and what it was trained on.

    Args:
      setup: of the training.
      progress: its curves.
      metrics: on the rows held out.
      record: what else training.json tells.
      rejected: rows that were left out.
      notes: what else a reader of the card must know.
      card: what else `Card` has.
    """
    config, base = setup.config, setup.base
    training = {
        "curves": progress.curves,
        "metrics": metrics,
        **record,
        "settings": settings_of(config),
        "base": {
            "name": base.resolved.name,
            "version": base.resolved.version,
            "licence": base.licence,
        },
        "sources": [asdict(source) for source in setup.sources],
    }
    left_out = [f"{rejected:,} rows could not be used and were left out"] if rejected else []
    text = render(
        Card(
            name=Path(config.output.rstrip("/")).name,
            base=base.text,
            base_model=base.resolved.name,
            base_licence=base.licence,
            teacher=setup.teacher.text if setup.teacher else None,
            sources=setup.sources,
            notes=[*_licence_notes(setup), *notes, *left_out],
            metrics=metrics,
            settings=settings_of(config),
            versions=software_versions(),
            curve=progress.curves["epochs"],
            **card,
        )
    )
    return {
        TRAINING_FILE: as_json(training),
        "data.yaml": data_yaml(setup.sources),
        "README.md": text,
    }


def _licence_notes(setup: Setup[Any]) -> list[str]:
    """What a card says first, where a model's or a source's licence is none of those allowed."""
    notes = [
        f"**the licence of {model.resolved.name} was accepted as it is**: {model.licence}"
        for model in dict.fromkeys(setup.models)
        if unallowed_licences(model.licence, setup.config.allowed_licences)
    ]
    if unlicensed := [source.path for source in setup.sources if not source.allowed]:
        note = "**--accept_unlicensed was given**: no allowed licence is declared for "
        notes.append(note + ", ".join(unlicensed))
    return notes


def deliver(
    setup: Setup[Any],
    work: Path,
    make: Callable[[Path], None],
    metrics: Mapping[str, float],
    notes: str,
    trained_on: str | None = None,
) -> Delivered:
    """Save the model, as a new version of the store or as the folder asked for; drop the work.

    Args:
      setup: says where, and the parent: its base, where that is a version of the same store.
      work: the run's folder, gone afterwards.
      make: fills an empty folder with the model.
      metrics: for the store's record.
      notes: likewise.
      trained_on: likewise, see `training_digest`.

    Raises:
      RunFailed: the disk is full; nothing was published, and `work` is still there.
      UserError: the place may not be written.
    """
    config = setup.config
    if config.layout == "folder":
        target = Path(config.output).expanduser()
        with new_folder(target) as made:
            make(made)
            put_in_place(made, target)
        delivered = Delivered(str(target), None, metrics)
    else:
        store = ModelStore(config.output)
        with new_folder(work / "model") as made:
            make(made)
            parent = _parent(setup.base.resolved.name, store)
            record = store.publish(
                made, parent=parent, metrics=dict(metrics), notes=notes, trained_on=trained_on
            )
            version = record.version
            store.set_alias(config.alias, version, reason=notes)
        delivered = Delivered(f"{store.location}@{version}", version, metrics)
    shutil.rmtree(work, ignore_errors=True)
    return delivered


def _parent(name: str, store: ModelStore) -> str | None:
    """The version of this very store that `name` stands for, if any."""
    reference = split_reference(name)
    if reference is None or resolved(reference[0]) != resolved(store.location):
        return None
    return store.resolve(reference[1]).version


def settings_of(config: TrainingConfig) -> dict[str, object]:
    """The settings that differ from their defaults, for the card."""
    values = config.model_dump(mode="json")
    fields = type(config).model_fields
    return {
        name: value
        for name, value in values.items()
        if fields[name].is_required() or getattr(config, name) != fields[name].default
    }
