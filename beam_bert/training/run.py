"""What every training run has: a device, models to start from, a key, a work folder, a result."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from filelock import FileLock, Timeout

from beam_bert.encoder.precision import resolve_precision
from beam_bert.errors import ConfigError, InputError, OutputError, RunFailed
from beam_bert.labelled.labels import read_label_names
from beam_bert.labelled.provenance import (
    UNKNOWN_LICENCE,
    SourceRecord,
    card_licence,
    check_sources,
    unallowed_licences,
)
from beam_bert.labelled.rows import LabelsWanted, Rows, read_rows
from beam_bert.models import ModelStore, ResolvedModel, fetch_model, resolve_model
from beam_bert.models.cache import cache_folder
from beam_bert.models.store import split_reference
from beam_bert.reports.progress import Snapshot, show_progress
from beam_bert.settings.limits import YAML_BYTES
from beam_bert.settings.training import TrainingConfig
from beam_bert.software import software_versions
from beam_bert.sources import SourceSpec, list_files
from beam_bert.sources.opening import read_text
from beam_bert.storage.paths import resolved
from beam_bert.terminal import TERMINAL
from beam_bert.training.checkpoint import NAME as CHECKPOINT
from beam_bert.training.loop import LoopSettings, Objective, Plan, Progress, Start, Trained
from beam_bert.training.saving import (
    check_folder,
    check_writable,
    new_folder,
    publish,
    put_in_place,
)
from beam_bert.training.soup import WiseFtWeight, train_soup

_STALE_S = 30 * 24 * 3600.0
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


class Training(Protocol):
    """A training that is set up: what `run_training` goes through, and what becomes of it."""

    @property
    def network(self) -> Trained:
        """What is trained."""

    @property
    def objective(self) -> Objective:
        """What it minimizes."""

    def plans(self) -> Sequence[Plan]:
        """What to go through: one training, or several whose weights are averaged."""

    def finish(self, progress: Progress, work: Path) -> Delivered:
        """Save and publish the kept epoch's weights."""


def run_training(
    training: Training,
    work: Path,
    key: str,
    start: Start | None = None,
    wise_ft_weight: WiseFtWeight | None = None,
) -> Delivered:
    """Train, from the last checkpoint on if there is one, deliver, and tell how good it is.

    Args:
      training: what to train, and how.
      work: folder of its checkpoint.
      key: names the run there.
      start: as `beam_bert.training.loop.train` has it.
      wise_ft_weight: as `beam_bert.training.soup.train_soup` has it.

    Raises:
      RunFailed: it did not finish; nothing was published.
    """
    plans = training.plans()
    progress = [Progress() for _ in plans]

    def snapshot() -> Snapshot:
        earlier = Snapshot(
            sum(each.resumed_rows for each in progress),
            sum(each.resumed_share for each in progress) / len(plans),
        )
        rows = sum(each.rows for each in progress)
        share = sum(each.share for each in progress) / len(plans)
        return Snapshot(rows, share, "rows", earlier)

    with _alone(work):
        _drop_stale(work.parent)
        with show_progress(snapshot):
            found = train_soup(
                training.network,
                training.objective,
                plans,
                work=work,
                key=key,
                progress=progress,
                say=say,
                start=start,
                wise_ft_weight=wise_ft_weight,
            )
        delivered = training.finish(found, work)
    for name, value in delivered.metrics.items():
        say(f"dev {name} {value:.4f}")
    return delivered


def _drop_stale(folder: Path) -> None:
    """Remove what nobody has gone on with for a month: trainings on labels that changed since."""
    for work in {state.parent for state in folder.glob(f"*/{CHECKPOINT}")}:
        # Of a soup, or one that the start is mixed into, each training has a state of its own.
        try:
            newest = max(state.stat().st_mtime for state in work.rglob(CHECKPOINT))
        except (FileNotFoundError, ValueError):  # somebody goes on with it, or is done with it, now
            continue
        is_ours = re.fullmatch("[0-9a-f]{16}", work.name)
        if is_ours and time.time() - newest > _STALE_S:
            say(f"removed {work}: a training that nobody went on with for 30 days")
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Hold a lock beside the run's folder, which dies with the process.

    The output is no part of a run's key: two stores that learn from the same rows would share it.
    """
    lock = FileLock(work.with_name(f"{work.name}.lock"), blocking=False)
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise RunFailed(
            f"the same training is running already, in {work}; run this command again after it, "
            "or name another --work_folder"
        ) from None
    except OSError as error:
        raise OutputError(
            f"{work} cannot be written ({error.strerror}); name another --work_folder"
        ) from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)  # who waits for it sees that, and makes anew
        lock.release()


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
            say(shown)
        elif config.accept_base_license or (config.accept_unlicensed and odd == [UNKNOWN_LICENCE]):
            say(f"warning: {shown}, accepted as it is")
        else:
            raise InputError(
                f"{shown} (by its card); what is trained from it stands under that as well, and "
                f"{', '.join(odd)} is none of those allowed "
                f"({', '.join(config.allowed_licences)}): say --accept_base_license if you may use "
                "it so, add it to --allowed_licences, or start from another model"
            )


def base_note(config: TrainingConfig, *models: StartingPoint) -> list[str]:
    """What a card says of models under a licence that is none of those allowed."""
    return [
        f"**the licence of {model.resolved.name} was accepted as it is**: {model.licence}"
        for model in dict.fromkeys(models)
        if unallowed_licences(model.licence, config.allowed_licences)
    ]


def training_device(name: str) -> torch.device:
    """The device that `--device` names; raises ConfigError where it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch sees no GPU here; use cpu, or mend the driver")
    return torch.device(name)


def loop_settings(config: TrainingConfig, device: torch.device) -> LoopSettings:
    """How to go through the batches, by the settings of the same names; others as they default.

    bf16 is the products' alone: weights and sums stay float32.
    """
    names = {field.name for field in fields(LoopSettings)}
    found: dict[str, Any] = {name: value for name, value in config if name in names}
    return LoopSettings(bf16=resolve_precision(config.precision, device) == "bf16", **found)


def run_key(
    job: str,
    config: TrainingConfig,
    models: Sequence[StartingPoint],
    sources: Sequence[SourceRecord],
) -> str:
    """Names a run by all that its model depends on: a checkpoint of another is not gone on from."""
    what = {
        "job": job,
        "settings": _settings(config, but=_PLACES),
        "models": [model.resolved.version for model in models],
        "sources": [[s.use, s.path, s.sha256] for s in sources],
        "versions": software_versions(),
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def training_digest(config: TrainingConfig, sources: Sequence[SourceRecord]) -> str:
    """Stands for what a model learns from: the files' content, and the settings.

    Not for where the files lie, nor for the version that `--base store@alias` stands for: a model
    that was promoted is no reason to train the next one.
    """
    settings = _settings(config, but={*_PLACES, "train", "dev", "unlabelled", "input"})
    what = [settings, sorted([source.use, source.sha256] for source in sources)]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _settings(config: TrainingConfig, *, but: Collection[str]) -> dict[str, object]:
    """The settings that a model depends on, with the label names in place of their file."""
    settings = {k: v for k, v in config.model_dump(mode="json").items() if k not in but}
    if settings.get("label_names") is not None:
        settings["label_names"] = read_label_names(settings["label_names"])
    return settings


def work_folder(config: TrainingConfig, key: str) -> Path:
    """Where the run keeps its checkpoint."""
    if config.work_folder is not None:
        return Path(config.work_folder).expanduser() / key
    return cache_folder() / "training" / key


def say(line: str) -> None:
    """Tell the person who started the run."""
    (TERMINAL.warn if line.startswith("warning: ") else TERMINAL.say)(line)


def check_output(config: TrainingConfig) -> None:
    """Raise UserError early where the result could not be put where it is asked for."""
    if config.layout == "folder":
        if "://" in config.output:
            raise OutputError(
                f"--output {config.output}: --layout folder writes a local folder; a store may lie "
                "on gs:// (--layout store)"
            )
        check_folder(Path(config.output).expanduser(), overwrite=config.overwrite)
    else:
        if split_reference(config.output) is not None:
            # A store of that name would hide the alias from all who ask for it.
            raise OutputError(
                f"--output {config.output}: name the store alone; --alias says which alias the "
                f"version gets ({config.alias})"
            )
        store = ModelStore.open(config.output)
        store.check_alias(config.alias)
        store.aliases()
        store.versions()  # a damaged record would stop the publication
    if "://" not in config.output:
        check_writable(Path(config.output).expanduser())


def deliver(
    config: TrainingConfig,
    base: StartingPoint,
    work: Path,
    make: Callable[[Path], None],
    metrics: Mapping[str, float],
    notes: str,
    trained_on: str | None = None,
) -> Delivered:
    """Save the model, as a new version of the store or as the folder asked for; drop the work.

    Args:
      config: says where.
      base: what it was trained from: the parent, where that is a version of the same store.
      work: the run's folder, gone afterwards.
      make: fills an empty folder with the model.
      metrics: for the store's record.
      notes: likewise.
      trained_on: likewise, see `training_digest`.

    Raises:
      RunFailed: the disk is full; nothing was published, and `work` is still there.
      UserError: the place may not be written.
    """
    if config.layout == "folder":
        target = Path(config.output).expanduser()
        with new_folder(target) as made:
            make(made)
            put_in_place(made, target)
        delivered = Delivered(str(target), None, metrics)
    else:
        store = ModelStore.open(config.output)
        with new_folder(work / "model") as made:
            make(made)
            parent = _parent(base.resolved.name, store)
            version = publish(
                made,
                store,
                config.alias,
                parent=parent,
                metrics=metrics,
                notes=notes,
                trained_on=trained_on,
            )
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


def read_and_tell(
    patterns: Sequence[str],
    spec: SourceSpec,
    *,
    labels: LabelsWanted | None,
    max_reject_rate: float,
    flag: str,
) -> Rows:
    """`beam_bert.labelled.rows.read_rows`, with what it found out about labels, and a line about
    rows that it had to leave out.
    """
    rows = read_rows(patterns, spec, labels=labels, max_reject_rate=max_reject_rate, flag=flag)
    for line in rows.meaning.lines() if rows.meaning else ():
        say(line if line.startswith("warning: ") else f"{flag}: {line}")
    if rows.rejected:
        say(f"warning: {rows.rejected:,} rows of {flag} cannot be used and are left out")
    return rows


def check_emptied(
    lost: int, flaw: str, *, rejected: int, rows_read: int, max_reject_rate: float
) -> None:
    """Tell of rows of whose text the tokenizer leaves nothing.

    Args:
      lost: how many these are.
      flaw: where one of them stands, and what is wrong with it.
      rejected: rows that could not be used before.
      rows_read: all that were read.
      max_reject_rate: share of them to go on without.

    Raises:
      InputError: there are more rejects than that.
    """
    if not lost:
        return
    if lost + rejected > max_reject_rate * rows_read:
        raise InputError(
            f"{lost + rejected} of {rows_read} rows cannot be used, such as {flaw}; mend them, or "
            f"raise --max_reject_rate (now {max_reject_rate:g}) to go on without them"
        )
    say(f"warning: of {lost:,} rows the tokenizer leaves nothing, so they are left out: {flaw}")


def rejected_notes(rejected: int) -> list[str]:
    """What a card says of rows that were left out, where there are any."""
    return [f"{rejected:,} rows could not be used and were left out"] if rejected else []


def report_leaks(leaks: Sequence[str], total: int, what: str, policy: str) -> None:
    """Tell what of the training stands in dev too.

    Args:
      leaks: places of those that do.
      total: of how many.
      what: they are, for the message.
      policy: "remove" or "refuse", as `--train_dev_overlap`.

    Raises:
      InputError: there are some, and they are refused.
    """
    if not leaks:
        return
    found = f"{len(leaks)} of {total} {what} stand in --dev too, the first is {leaks[0]}"
    if policy == "refuse":
        raise InputError(f"{found}; take them out, or say --train_dev_overlap remove")
    say(f"warning: {found}; they are left out of the training")


def unlicensed_notes(sources: Sequence[SourceRecord]) -> list[str]:
    """What a card says first, where a source has no allowed licence."""
    unlicensed = [source.path for source in sources if not source.allowed]
    note = "**--accept_unlicensed was given**: no allowed licence is declared for "
    return [note + ", ".join(unlicensed)] if unlicensed else []


def base_dict(base: StartingPoint) -> dict[str, object]:
    """The model that was started from, as JSON types."""
    resolved = base.resolved
    return {"name": resolved.name, "version": resolved.version, "licence": base.licence}


def source_dicts(sources: Sequence[SourceRecord]) -> list[dict[str, object]]:
    """The records as JSON types."""
    return [asdict(source) for source in sources]
