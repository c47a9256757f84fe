"""`python -m pipelines.nightly`: one night, from whatever an earlier one left."""

from __future__ import annotations

import hashlib
import json
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime

from filelock import FileLock, Timeout

from beam_bert.errors import (
    BeamBertError,
    OutputError,
    RunFailed,
    one_line,
)
from beam_bert.jobs.nightly.gate import Verdict, judge, known_verdict
from beam_bert.jobs.nightly.page import evaluation_report, write_page
from beam_bert.jobs.nightly.plan import classified, known_candidate, show_plan, with_files
from beam_bert.jobs.runners import check_places, pipeline_options
from beam_bert.models import ModelStore
from beam_bert.models.cache import cache_folder
from beam_bert.models.store import CANDIDATE, PRODUCTION
from beam_bert.settings.nightly import NightlyConfig
from beam_bert.sinks.manifest import Manifest
from beam_bert.storage.base import Wording
from beam_bert.storage.billing import bill_to
from beam_bert.storage.paths import resolved
from beam_bert.storage.places import open_storage
from beam_bert.terminal import TERMINAL, after_commit
from beam_bert.training.finetune import finetune

GATE_FILE = "gate.json"
_OUTPUT = Wording(place="output", error=OutputError, again="run the same command again")


@dataclass
class Night:
    """What a night came to: the JSON line that ends it.

    Attributes:
      status: done, nothing_to_do or failed.
      date: the night, YYYY-MM-DD.
      trained: the version that was trained now.
      candidate: the version that was looked at, if any.
      decision: promoted, approved (not moved yet), kept (the old model stays), current (it is in
        production already), none (there is no candidate), failed or off.
      reason: of that.
      version: in production afterwards.
      rows_read, rows_predicted, rows_rejected: of the documents that were read now.
      manifest: of the run that read them; None where there was nothing to read.
      evaluation: the report that the verdict of this night rests on, if it was made now.
      page: the page about this night; None without the extra [report].
      warnings: of this night's training, one line each.
      seconds: of the whole night.
      errors: one line each; what is listed first decides the exit code.
    """

    date: str
    status: str = "nothing_to_do"
    trained: str | None = None
    candidate: str | None = None
    decision: str = "off"
    reason: str = ""
    version: str | None = None
    rows_read: int = 0
    rows_predicted: int = 0
    rows_rejected: int = 0
    manifest: str | None = None
    evaluation: str | None = None
    page: str | None = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    errors: tuple[str, ...] = ()


def nightly(config: NightlyConfig, beam_flags: Sequence[str] = ()) -> Night:
    """Do what this night is due, and end with one line of JSON on stdout.

    Documents are classified even if the model could not be refreshed; that is told at the end.

    Raises:
      ConfigError: a place that the runner's workers cannot see.
      BeamBertError: the first thing that went wrong, after the JSON line that has them all.
    """
    if "classify" in config.steps:  # before a training of hours, not after it
        places = {
            "store": (config.store,),
            "classify.input": config.classify.input,
            "classify.output": (config.classify.output,),
        }
        check_places(pipeline_options(beam_flags), places)
    started = time.monotonic()
    bill_to(config.billing_project)
    config = config.on(config.date or f"{datetime.now():%Y-%m-%d}")
    night = Night(config.date)
    if config.dry_run:
        show_plan(config, beam_flags)
        return night
    errors: list[BeamBertError] = []
    try:
        with _alone(config.store):
            try:
                _refresh(config, night)
            except Exception as error:
                errors.append(_as_told(error))
                night.decision = "failed"
                _write_down(config, f"the refresh of {config.date} failed: {one_line(errors[0])}")
            _classify(config, night, beam_flags)
    except Exception as error:
        errors.append(_as_told(error))
    night.errors = tuple(one_line(error) for error in errors)
    if errors:
        night.status = "failed"
    night.seconds = round(time.monotonic() - started, 3)
    with after_commit("the page of this night"):
        night.page = write_page(config, asdict(night))
    with after_commit("the line of this night"):
        print(json.dumps(asdict(night)))
    if errors:
        for line in night.errors[1:]:
            TERMINAL.error(line)
        raise errors[0]
    return night


def _as_told(error: Exception) -> BeamBertError:
    """The error of a step; what nobody foresaw (a GPU out of memory) still ends in a JSON line."""
    if isinstance(error, BeamBertError):
        return error
    traceback.print_exception(error)
    return RunFailed(f"{type(error).__name__}: {error}; see the traceback above")


def _refresh(config: NightlyConfig, night: Night) -> None:
    """Train, judge, promote, as far as the steps say."""
    if not {"train", "gate", "promote"} & set(config.steps):
        return
    store = ModelStore(config.store)
    candidate = known_candidate(config, store)
    if (
        candidate is not None
        and config.finetune is not None
        and store.aliases().get(CANDIDATE) != candidate
    ):  # the training was killed just before it set the alias
        store.set_alias(CANDIDATE, candidate, reason="it is the one trained on the latest labels")
    if candidate is None and config.finetune is not None and "train" in config.steps:
        with TERMINAL.warnings() as warnings:
            candidate = night.trained = finetune(config.finetune).version
        night.status, night.warnings = "done", tuple(warnings)
        if warnings:
            _write_down(config, f"the training of {candidate} warned: {'; '.join(warnings)}")
    night.candidate = candidate
    night.version = store.aliases().get(PRODUCTION)
    verdict = _verdict(config, store, night)
    if verdict is not None and verdict.approved and "promote" in config.steps:
        store.promote(
            verdict.candidate,
            reason=verdict.reason,
            expected_current=verdict.production,
        )
        night.status, night.decision = "done", "promoted"
        night.version = verdict.candidate
    if "gate" in config.steps and "promote" not in config.steps:
        _write_gate(config, night)


def _write_down(config: NightlyConfig, line: str) -> None:
    """Write a line into the store's history, once; where that cannot be, the night tells it."""
    with suppress(BeamBertError):
        store = ModelStore(config.store)
        if store.exists() and all(move.reason != line for move in store.history()[-1:]):
            store.note(line)


def _verdict(config: NightlyConfig, store: ModelStore, night: Night) -> Verdict | None:
    """The verdict about the night's candidate, if there is one to make or to find."""
    if night.candidate is None:
        night.decision, night.reason = "none", "there is no candidate"
        return None
    if night.candidate == night.version:
        night.decision, night.reason = "current", "the candidate is in production already"
        return None
    if config.evaluate is None:
        night.decision, night.reason = "off", "there is no section evaluate to judge it by"
        return None
    if "gate" in config.steps:
        verdict = judge(config, store, night.candidate)
    elif "promote" in config.steps and (found := known_verdict(config, store, night.candidate)):
        verdict = found
    else:
        night.decision, night.reason = "none", f"{night.candidate} was not judged yet"
        return None
    if verdict.is_new:
        night.status = "done"
        night.evaluation = evaluation_report(config)
    night.decision = "approved" if verdict.approved else "kept"
    night.reason = verdict.reason
    return verdict


def _write_gate(config: NightlyConfig, night: Night) -> None:
    """Tell a scheduler that promotes in a job of its own whether it should."""
    gate = {"promote": night.decision == "approved", "reason": night.reason}
    storage = open_storage(str(config.output), _OUTPUT)
    storage.write(GATE_FILE, json.dumps({**gate, "candidate": night.candidate}).encode())


def _classify(config: NightlyConfig, night: Night, beam_flags: Sequence[str]) -> None:
    if "classify" not in config.steps:
        return
    manifest: Manifest | None = None
    section = config.classify.model_copy(update={"input": with_files(config.classify.input)})
    if section.input:
        manifest = classified(config, section, beam_flags)
    night.version = ModelStore(config.store).aliases().get(PRODUCTION)
    if manifest is None:
        return
    counts = manifest.counts
    night.status = "done"
    night.version = manifest.model["store_version"]
    night.rows_read = counts.rows_read
    night.rows_predicted, night.rows_rejected = counts.rows_predicted, counts.rows_rejected
    output = config.classify.output.rstrip("/")
    night.manifest = f"{output}/runs/{manifest.run_id}/manifest.json"


@contextmanager
def _alone(store: str) -> Iterator[None]:
    """Hold this machine's lock of the store's nights; it dies with the process.

    On other machines the store's own preconditions decide: one wins, the others are told.
    """
    name = hashlib.sha256(resolved(store).encode()).hexdigest()[:16]
    path = cache_folder() / "nightly" / f"{name}.lock"
    lock = FileLock(path, blocking=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = lock.acquire()
    except Timeout:
        raise RunFailed(
            f"another nightly job of {store} is running on this machine; it does this one's work, "
            "wait for it"
        ) from None
    except OSError as error:
        raise OutputError(
            f"{path.parent} cannot be written ({error.strerror}); set BEAM_BERT_CACHE to another "
            "folder"
        ) from None
    with held:
        yield
