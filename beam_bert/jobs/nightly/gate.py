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
from beam_bert.errors import ConfigError
from beam_bert.evaluation.comparison import Difference, GateDecision, check_gate
from beam_bert.evaluation.intervals import Interval
from beam_bert.evaluation.run import evaluate
from beam_bert.labelled.labels import read_label_names
from beam_bert.labelled.rows import sha256_of
from beam_bert.models import ModelStore, fetch_model, resolve_model
from beam_bert.models.store import PRODUCTION
from beam_bert.reports import Evaluation
from beam_bert.settings.evaluation import EvaluateConfig
from beam_bert.settings.nightly import GateConfig, NightlyConfig
from beam_bert.sources import list_files

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
    left = _left_production(store, candidate)
    if left is not None:
        return Verdict(candidate, production, False, left, is_new=False)
    key = _judgement_key(config, candidate, production)
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
    production = store.aliases().get(PRODUCTION)
    decision = _decide(config, store, candidate, production)
    kept = f"kept {production or 'no version'}, not {candidate}"
    verdict = f"approved {candidate}" if decision.passed else kept
    reason = " ".join(decision.reason.split())
    key = _judgement_key(config, candidate, production)
    store.note(f"{verdict}: {reason} (judgement {key})")
    return Verdict(candidate, production, decision.passed, reason, is_new=True)


def _decide(
    config: NightlyConfig, store: ModelStore, candidate: str, production: str | None
) -> GateDecision:
    other = None if production is None else f"{store.location}@{production}"
    model = f"{store.location}@{candidate}"
    if other is not None and (odd := _odd_labels(model, other)):
        return GateDecision(
            False,
            f"{candidate} and {production} do not answer with the same labels ({odd}), so they "
            "cannot be compared; look at the report of evaluate, then promote by hand",
        )
    found = evaluate(
        _evaluation(config).model_copy(
            update={"model": model, "compare": other, "output": config.output}
        )
    )
    return _checked(config.gate, found)


def _checked(gate: GateConfig, found: Evaluation) -> GateDecision:
    metric = found.main_metric if gate.metric == "auto" else gate.metric
    compared = found.comparison.differences if found.comparison else []
    differences = {each.metric: each for each in compared}
    known = differences or found.metrics
    if metric not in known:
        raise ConfigError(f"gate.metric: {metric!r} is none of {', '.join(known)}")
    difference = None
    if each := differences.get(metric):
        change = each.change
        assert change.low is not None and change.high is not None
        difference = Difference(
            metric,
            each.model,
            each.other,
            Interval(change.value, change.low, change.high),
            each.p_value,
            each.test,
        )
    return check_gate(
        metric,
        found.metrics[metric].value,
        minimum=gate.minimum,
        difference=difference,
        max_fall=gate.max_fall,
        rule=gate.rule,
    )


def _left_production(store: ModelStore, candidate: str) -> str | None:
    """Why a version that was in production before does not come back by itself."""
    was_there = False
    for move in store.history():
        is_there = move.aliases.get(PRODUCTION) == candidate
        if was_there and not is_there:
            return (
                f"{candidate} was in production until {move.at:%Y-%m-%d} ({move.action} by "
                f"{move.by}: {move.reason}); promote it by hand if it should come back"
            )
        was_there = is_there
    return None


def _odd_labels(first: str, second: str) -> str:
    """Labels that one of two models has, as a text; empty where both have the same."""
    configs = [read_config(fetch_model(resolve_model(name))) for name in (first, second)]
    odd = set(configs[0].labels) ^ set(configs[1].labels)
    if configs[0].problem_type != configs[1].problem_type:
        odd |= {config.problem_type for config in configs}
    return ", ".join(sorted(odd)[:5])


def _judgement_key(config: NightlyConfig, candidate: str, production: str | None) -> str:
    section = _evaluation(config)
    settings = {k: v for k, v in section.model_dump(mode="json").items() if k not in _TELLING}
    settings["label_names"] = read_label_names(section.label_names)
    rows = sorted(sha256_of(file.path) for file in list_files(section.input))
    what = [candidate, production, rows, settings, config.gate.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _evaluation(config: NightlyConfig) -> EvaluateConfig:
    assert config.evaluate is not None  # without it nobody asks for a verdict
    return config.evaluate
