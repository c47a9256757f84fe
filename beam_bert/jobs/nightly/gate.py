"""Is the candidate good enough for production? Measured once, and the verdict written down.

A verdict is a note in the store's history, with a key over all that it rests on: both models, the
rows, how they were scored, what was demanded. Where a note with that key stands nothing is measured
again; where any of it has changed the question is a new one.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from beam_bert.encoder.config import read_config
from beam_bert.errors import BeamBertError
from beam_bert.evaluation.gate import GateDecision, is_better
from beam_bert.evaluation.gate import judge as judge_evaluation
from beam_bert.evaluation.run import evaluate, measure
from beam_bert.labelled.labels import read_label_names
from beam_bert.labelled.rows import sha256_of
from beam_bert.models import ModelStore, fetch_model, resolve_model
from beam_bert.models.store import PRODUCTION
from beam_bert.settings.nightly import NightlyConfig
from beam_bert.sinks.committed_files import read_committed_files
from beam_bert.sinks.records import SourceFile
from beam_bert.sources import list_files

_ANCHOR = re.compile(r"; the anchor (?:is now|stays) (\S+)$")
_NOTE = re.compile(r"(approved|kept) [^:]*: (.*) \(judgement ([0-9a-f]{16})\)")
# Settings of evaluate that change what is told, and not what is measured.
_TELLING = {
    "input", "model", "compare", "output", "slices", "language_column", "examples", "audit",
    "audit_terms", "audit_variants",
}  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What was decided about a candidate.

    Attributes:
      candidate: the version.
      production: what it was compared with; None: there was none.
      approved: whether it may replace that.
      reason: why, in one line.
      is_new: whether it was measured just now.
    """

    candidate: str
    production: str | None
    approved: bool
    reason: str
    is_new: bool


def known_verdict(config: NightlyConfig, store: ModelStore, candidate: str) -> Verdict | None:
    """What needs no measuring: the verdict in the history, or that a person knows better."""
    production = store.aliases().get(PRODUCTION)
    rolled_back = _rolled_back(store, candidate)
    if rolled_back is not None:
        return Verdict(candidate, production, False, rolled_back, is_new=False)
    key = _judgement_key(config, candidate, production, find_anchor(config, store))
    for move in store.history():
        note = _NOTE.fullmatch(move.reason) if move.action == "note" else None
        if note is not None and note[3] == key:
            return Verdict(candidate, production, note[1] == "approved", note[2], is_new=False)
    return None


def judge(config: NightlyConfig, store: ModelStore, candidate: str) -> Verdict:
    """The verdict about a candidate, measured and written down where there is none yet.

    Raises:
      UserError: the rows or a model cannot be used, or the gate's metric is none of theirs.
      RunFailed: the report cannot be written.
    """
    known = known_verdict(config, store, candidate)
    if known is not None:
        return known
    production, anchor = store.aliases().get(PRODUCTION), find_anchor(config, store)
    decision = _decide(config, store, candidate, production, anchor)
    kept = f"kept {production or 'no version'}, not {candidate}"
    verdict = f"approved {candidate}" if decision.passed else kept
    reason = " ".join(decision.reason.split())
    key = _judgement_key(config, candidate, production, anchor)
    store.note(f"{verdict}: {reason} (judgement {key})")
    return Verdict(candidate, production, decision.passed, reason, is_new=True)


def find_anchor(config: NightlyConfig, store: ModelStore) -> str | None:
    """The version that candidates are held against beside production.

    The best is the last that was promoted as such; what a person promotes or goes back to counts as
    the best from then on, since only they know why.

    Raises:
      ModelError: the store has not what `gate.anchor` names.
    """
    if config.gate.anchor == "none":
        return None
    if config.gate.anchor != "best":
        return store.resolve(config.gate.anchor).version
    anchor = before = None
    for move in store.history():
        now = move.aliases.get(PRODUCTION)
        if now != before:
            told = _ANCHOR.search(move.reason) if move.action == "promote" else None
            if told is not None:
                anchor = told[1]
            elif move.action == "promote" or anchor == before:
                anchor = now
        before = now
    return anchor


def _decide(
    config: NightlyConfig,
    store: ModelStore,
    candidate: str,
    production: str | None,
    anchor: str | None,
) -> GateDecision:
    models = {
        version: f"{store.location}@{version}"
        for version in (candidate, production, anchor)
        if version is not None
    }
    if production is not None and (odd := _odd_labels(models[candidate], models[production])):
        return GateDecision(
            False,
            f"{candidate} and {production} do not answer with the same labels ({odd}), so they "
            "cannot be compared; look at the report of evaluate, then promote by hand",
        )
    assert config.evaluate is not None  # without it nobody asks for a verdict
    settings = config.evaluate.model_copy(
        update={
            "model": models[candidate],
            "compare": None if production is None else models[production],
            "output": config.output,
        }
    )
    evaluation = evaluate(settings, leave_out_trained=True)
    decision = judge_evaluation(evaluation, config.gate)
    if not decision.passed:
        return decision
    is_best, reason = True, decision.reason
    others = (None, candidate, production)
    if anchor not in others and not _odd_labels(models[candidate], models[anchor]):
        beside = settings.model_copy(update={"compare": models[anchor]})
        measured = measure(beside, leave_out_trained=True)
        held = judge_evaluation(measured, config.gate, f"the anchor {anchor}", must_be_better=False)
        if not held.passed:
            return held
        is_best = is_better(measured, config.gate)
        reason += f"; {held.reason}"
    elif anchor is not None and anchor == production and evaluation.comparison is not None:
        is_best = is_better(evaluation, config.gate)
    again = f"; promoting it has {rows:,} rows read again" if (rows := _done(config)) else ""
    now = f"; the anchor {f'is now {candidate}' if is_best else f'stays {anchor}'}"
    return GateDecision(True, reason + again + (now if config.gate.anchor == "best" else ""))


def _done(config: NightlyConfig) -> int:
    """Rows in the output of documents that are still there: under another model all are due."""
    try:
        files = [
            SourceFile(path=file.path, rows=0, bytes=file.size, identity=file.identity)
            for file in list_files(config.classify.input)
        ]
        held = read_committed_files(config.classify.output).holding(files)
    except BeamBertError:  # that is told when they are classified
        return 0
    return sum(file.rows for file, _ in held)


def _rolled_back(store: ModelStore, candidate: str) -> str | None:
    """Why a version that a person took out of production does not come back by itself."""
    left, was_there = None, False
    for move in store.history():
        is_there = move.aliases.get(PRODUCTION) == candidate
        if was_there and not is_there:
            left = move
        was_there = is_there
    if was_there or left is None or left.action != "rollback":
        return None  # what a later night replaced may be the best again, once labels are put back
    return (
        f"{candidate} was in production until {left.at:%Y-%m-%d} (rollback by {left.by}: "
        f"{left.reason}); promote it by hand if it should come back"
    )


def _odd_labels(first: str, second: str) -> str:
    """Labels that one of two models has, as a text; empty where both have the same."""
    configs = [read_config(fetch_model(resolve_model(name))) for name in (first, second)]
    odd = set(configs[0].labels) ^ set(configs[1].labels)
    if configs[0].problem_type != configs[1].problem_type:
        odd |= {config.problem_type for config in configs}
    return ", ".join(sorted(odd)[:5])


def _judgement_key(
    config: NightlyConfig, candidate: str, production: str | None, anchor: str | None
) -> str:
    section = config.evaluate
    assert section is not None  # without it nobody asks for a verdict
    settings = {k: v for k, v in section.model_dump(mode="json").items() if k not in _TELLING}
    settings["label_names"] = read_label_names(section.label_names)
    rows = sorted(sha256_of(file.path) for file in list_files(section.input))
    what = [candidate, production, anchor, rows, settings, config.gate.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
