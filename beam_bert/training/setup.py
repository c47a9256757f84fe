"""What a training starts with: settings that were checked, models, sources, a device, a key."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from beam_bert.encoder.config import read_config
from beam_bert.encoder.engine import resolve_device
from beam_bert.encoder.precision import resolve_precision
from beam_bert.errors import InputError
from beam_bert.labelled.labels import read_label_names
from beam_bert.labelled.provenance import (
    UNKNOWN_LICENCE,
    SourceRecord,
    card_licence,
    check_sources,
    unallowed_licences,
)
from beam_bert.models import ResolvedModel, fetch_model, resolve_model
from beam_bert.models.cache import cache_folder
from beam_bert.settings.limits import YAML_BYTES
from beam_bert.settings.naming import named
from beam_bert.settings.training import TrainingConfig
from beam_bert.software import software_versions
from beam_bert.sources import list_files
from beam_bert.sources.opening import read_text
from beam_bert.storage.billing import bill_to
from beam_bert.terminal import tell
from beam_bert.training.loop import LoopSettings
from beam_bert.training.saving import check_output

C = TypeVar("C", bound=TrainingConfig)
# Settings that say where and how, not what: another value gives the same model.
_PLACES = {
    "output", "layout", "alias", "overwrite", "work_folder", "checkpoint_s", "data",
    "allowed_licences", "accept_unlicensed", "accept_base_license", "billing_project",
}  # fmt: skip


@dataclass(frozen=True)
class StartingPoint:
    """A model that was asked for, pinned and on this disk."""

    resolved: ResolvedModel
    folder: Path

    @property
    def text(self) -> str:
        """How the card names it."""
        return f"{self.resolved.name} (version {self.resolved.version})"

    @cached_property
    def licence(self) -> str:
        """What its own card says it may be used under."""
        place, remote = self.resolved.location, "gs://"
        card = f"{place if place.startswith(remote) else self.folder}/README.md"
        try:
            return card_licence(read_text(card, YAML_BYTES))
        except (OSError, UnicodeDecodeError):
            return UNKNOWN_LICENCE


@dataclass(frozen=True, eq=False)
class Setup(Generic[C]):
    """What is checked and at hand before any row is read.

    Attributes:
      config: the settings.
      base, teacher: models to start from and to learn from.
      sources: the files of all rows.
      device: to train on.
      started: on the monotonic clock, in seconds.
    """

    config: C
    base: StartingPoint
    teacher: StartingPoint | None
    sources: list[SourceRecord]
    device: torch.device
    started: float

    @property
    def models(self) -> list[StartingPoint]:
        """Base and teacher."""
        return [self.base, *([self.teacher] if self.teacher else [])]

    def key(self, job: str, **resolved: object) -> str:
        """Names the run by all that its model depends on: no other's checkpoint is gone on from.

        Args:
          job: finetune or pretrain.
          resolved: settings as files say that stand beside a model, and in no digest.
        """
        what = {
            "job": job,
            "settings": _settings(self.config, but=_PLACES) | resolved,
            "models": [model.resolved.version for model in self.models],
            "sources": [[s.use, s.path, s.sha256] for s in self.sources],
            "versions": software_versions(),
        }
        return _digest(what)

    def loop_settings(self) -> LoopSettings:
        """How to go through the batches, by the settings of the same names; others as they default.

        bf16 is the products' alone: weights and sums stay float32.
        """
        names = {field.name for field in fields(LoopSettings)}
        values: dict[str, Any] = {name: value for name, value in self.config if name in names}
        bf16 = resolve_precision(self.config.precision, self.device) == "bf16"
        return LoopSettings(bf16=bf16, **values)


def set_up(config: C, *uses: str, teacher: str | None = None) -> Setup[C]:
    """Check output, device, models and sources.

    Args:
      config: the settings.
      uses: those that name files.
      teacher: the model to learn from; the base, too, where none is named.

    Raises:
      UserError: something about them is wrong; nothing was done.
    """
    started = time.monotonic()
    bill_to(config.billing_project)
    check_output(config)
    device = resolve_device(config.device)
    base = find_model(str(config.base or teacher))
    taught_by = find_model(teacher) if teacher else None
    read_config(base.folder)  # an encoder, or one line now
    setup = Setup(config, base, taught_by, declared_sources(config, *uses), device, started)
    check_base_licence(config, *setup.models)
    return setup


def find_model(name: str) -> StartingPoint:
    """Resolve and fetch a model; raises ModelError."""
    resolved = resolve_model(name)
    return StartingPoint(resolved, fetch_model(resolved))


def check_base_licence(config: TrainingConfig, *models: StartingPoint) -> None:
    """Tell under which licence the models stand that a training starts or learns from.

    Raises:
      InputError: it is none of those allowed, and was not accepted as it is.
    """
    for model in models:
        shown = f"model {model.resolved.name}: licence {model.licence}"
        odd = unallowed_licences(model.licence, config.allowed_licences)
        if not odd:
            tell(shown)
        elif config.accept_base_license or (config.accept_unlicensed and odd == [UNKNOWN_LICENCE]):
            tell(f"warning: {shown}, accepted as it is")
        else:
            raise InputError(
                f"{shown} (by its card); what is trained from it stands under that as well, and "
                f"{', '.join(odd)} is none of those allowed "
                f"({', '.join(config.allowed_licences)}): say {named('accept_base_license')} if "
                f"you may use it so, add it to {named('allowed_licences')}, or start from another "
                "model"
            )


def training_digest(config: TrainingConfig, sources: Sequence[SourceRecord]) -> str:
    """Stands for what a model learns from: the files' content, and the settings.

    Not for where the files lie, nor for the version that `store@alias` as the base stands for: a
    model that was promoted is no reason to train the next one.
    """
    settings = _settings(config, but={*_PLACES, "train", "dev", "unlabelled", "input"})
    what = [settings, sorted([source.use, source.sha256] for source in sources)]
    return _digest(what)


def _settings(config: TrainingConfig, *, but: Collection[str]) -> dict[str, object]:
    """The settings that a model depends on, with the label names in place of their file."""
    settings = {k: v for k, v in config.model_dump(mode="json").items() if k not in but}
    if settings.get("label_names") is not None:
        settings["label_names"] = read_label_names(settings["label_names"])
    return settings


def _digest(what: object) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def work_folder(config: TrainingConfig, key: str) -> Path:
    """Where the run keeps its checkpoint."""
    if config.work_folder is not None:
        return Path(config.work_folder).expanduser() / key
    return cache_folder() / "training" / key


def declared_sources(config: TrainingConfig, *uses: str) -> list[SourceRecord]:
    """The files that these settings name, with digests and licences.

    Raises:
      InputError: a file is missing, or its licence is; see `check_sources`.
    """
    files = [
        (use, file)
        for use in uses
        if getattr(config, use)
        for file in list_files(getattr(config, use))
    ]
    return check_sources(
        files,
        declared_in=config.data,
        allowed=config.allowed_licences,
        accept_unlicensed=config.accept_unlicensed,
    )
