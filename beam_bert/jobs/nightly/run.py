"""`python -m pipelines.nightly`: one night, from whatever an earlier one left."""

from __future__ import annotations

import hashlib
import json
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from filelock import FileLock, Timeout

from beam_bert.errors import (
    BeamBertError,
    CommittedUnread,
    ConfigError,
    NoFilesError,
    OutputError,
    RunFailed,
    one_line,
)
from beam_bert.jobs import run as jobs
from beam_bert.jobs.nightly.gate import Verdict, judge, known_verdict
from beam_bert.jobs.runners import check_places, pipeline_options
from beam_bert.models import ModelStore
from beam_bert.models.cache import cache_folder
from beam_bert.models.store import CANDIDATE, PRODUCTION
from beam_bert.settings.inference import SentimentConfig
from beam_bert.settings.nightly import NightlyConfig
from beam_bert.sinks import Manifest
from beam_bert.sources import list_files
from beam_bert.storage import Wording, open_storage
from beam_bert.storage.billing import bill_to
from beam_bert.storage.paths import resolved
from beam_bert.terminal import TERMINAL, after_commit
from beam_bert.training.finetune import finetune, training_sources
from beam_bert.training.run import training_digest

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
    seconds: float = 0.0
    errors: tuple[str, ...] = ()


def nightly(config: NightlyConfig, beam_flags: Sequence[str] = ()) -> Night:
    """Do what this night is due, and end with one line of JSON on stdout.

    Documents are classified even if the model could not be refreshed; that is told at the end.

    Raises:
      ConfigError: --dry_run, which Beam would take, and which would not stop the training; a place
        that the runner's workers cannot see.
      BeamBertError: the first thing that went wrong, after the JSON line that has them all.
    """
    if any(flag.split("=")[0] == "--dry_run" for flag in beam_flags):
        raise ConfigError(
            "--dry_run: a night has none; give it to pipelines.classify with the settings of the "
            "section classify"
        )
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
    errors: list[BeamBertError] = []
    try:
        with _alone(config.store):
            try:
                _refresh(config, night)
            except Exception as error:
                errors.append(_as_told(error))
                night.decision = "failed"
            _classify(config, night, beam_flags)
    except Exception as error:
        errors.append(_as_told(error))
    night.errors = tuple(one_line(error) for error in errors)
    if errors:
        night.status = "failed"
    night.seconds = round(time.monotonic() - started, 3)
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
    store = ModelStore.open(config.store)
    candidate = _candidate(config, store)
    if candidate is None and config.finetune is not None and "train" in config.steps:
        candidate = night.trained = finetune(config.finetune).version
        night.status = "done"
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


def _candidate(config: NightlyConfig, store: ModelStore) -> str | None:
    """The version made of today's labels and settings; without training: what the alias says."""
    aliases = store.aliases()
    if config.finetune is None:
        return aliases.get(CANDIDATE)
    digest = training_digest(config.finetune, training_sources(config.finetune))
    found = [record.version for record in store.versions() if record.trained_on == digest]
    if not found:
        return None
    candidate = aliases[PRODUCTION] if aliases.get(PRODUCTION) in found else found[-1]
    if aliases.get(CANDIDATE) != candidate:  # the training was killed just before
        store.set_alias(CANDIDATE, candidate, reason="it is the one trained on the latest labels")
    return candidate


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
    section = config.classify.model_copy(update={"input": _with_files(config.classify.input)})
    try:
        if not section.input:
            pass  # nothing has come in
        elif config.task == "sentiment":
            # What is not given has the sentiment job's own default.
            settings: dict[str, Any] = section.model_dump(exclude_unset=True)
            manifest = jobs.sentiment(SentimentConfig(**settings), beam_flags)
        else:
            manifest = jobs.classify(section, beam_flags)
    except CommittedUnread as error:
        night.status = "done"
        TERMINAL.warn(one_line(error))
    night.version = ModelStore.open(config.store).aliases().get(PRODUCTION)
    if manifest is None:
        return
    counts = manifest.counts
    night.status = "done"
    night.version = manifest.model["store_version"]
    night.rows_read = counts.rows_read
    night.rows_predicted, night.rows_rejected = counts.rows_predicted, counts.rows_rejected
    output = config.classify.output.rstrip("/")
    night.manifest = f"{output}/runs/{manifest.run_id}/manifest.json"


def _with_files(patterns: Sequence[str]) -> tuple[str, ...]:
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
        lock.acquire()
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
    try:
        yield
    finally:
        lock.release()
