"""May a model replace another? Judged from an evaluation of both on the same rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from beam_bert.errors import ConfigError
from beam_bert.evaluation.comparison import gain
from beam_bert.evaluation.metrics import ERRORS
from beam_bert.reports import evaluation as report
from beam_bert.settings.nightly import FEWEST_ROWS, PROVABLE, GateConfig

_NORMAL_95 = 1.645  # one side's quantile
_TOLERANCE = 1e-9  # 0.9 - 0.03 is a little more than 0.87


@dataclass(frozen=True)
class GateDecision:
    """Whether a model may replace another, and why, in one line."""

    passed: bool
    reason: str


def rows_needed(max_fall: float) -> int:
    """Rows of which a fall by `PROVABLE` beyond `max_fall` is more than chance, 200 at least.

    A fall by a share f means that the two models differ in a share f of the rows or more, so its
    standard error is at least sqrt(f (1 - f) / rows).
    """
    fall = min(max_fall + PROVABLE, 0.5)
    return max(FEWEST_ROWS, math.ceil(_NORMAL_95**2 * fall * (1 - fall) / PROVABLE**2))


def judge(
    evaluation: report.Evaluation,
    gate: GateConfig,
    other: str = "production",
    *,
    must_be_better: bool | None = None,
) -> GateDecision:
    """Whether the evaluated model may replace the one that it was compared with, and why.

    Args:
      evaluation: with `comparison` where there is a model to replace.
      gate: what is demanded.
      other: what that model is called.
      must_be_better: than the other; None: as the gate says.

    Raises:
      ConfigError: the metric is none of this evaluation's.
    """
    name = _metric(evaluation, gate)
    differences = _differences(evaluation)
    known = differences or evaluation.metrics
    if name not in known:
        raise ConfigError(f"gate.metric: {name!r} is none of {', '.join(known)}")
    value = evaluation.metrics[name].value
    floor = _floor(evaluation, gate, name, value)
    if floor is not None:
        return GateDecision(False, floor)
    left_out = evaluation.rows.trained_on
    note = f"; {left_out:,} rows that a model was trained on are left out" if left_out else ""
    if not differences:
        return GateDecision(True, f"{name} {value:.4f}; nothing to compare it with{note}")
    better = gate.promote == "better" if must_be_better is None else must_be_better
    decision = _compared(differences[name], gate, other, better)
    return GateDecision(decision.passed, decision.reason + note)


def is_better(evaluation: report.Evaluation, gate: GateConfig) -> bool:
    """Whether the model is better than the one it was compared with, as measured."""
    difference = _differences(evaluation).get(_metric(evaluation, gate))
    return difference is not None and gain(difference) > _TOLERANCE


def _differences(evaluation: report.Evaluation) -> dict[str, report.MetricDifference]:
    compared = evaluation.comparison.differences if evaluation.comparison else []
    return {difference.metric: difference for difference in compared}


def _metric(evaluation: report.Evaluation, gate: GateConfig) -> str:
    return evaluation.main_metric if gate.metric == "auto" else gate.metric


def _floor(evaluation: report.Evaluation, gate: GateConfig, name: str, value: float) -> str | None:
    """What speaks against the model, whatever it is compared with."""
    rows, sign = evaluation.rows.evaluated, -1 if name in ERRORS else 1
    needed = gate.minimum_rows or rows_needed(0.0 if name in ERRORS else gate.max_fall)
    if rows < needed:
        left_out = evaluation.rows.trained_on
        without = f" (without {left_out:,} that a model was trained on)" if left_out else ""
        return (
            f"{name} {value:.4f} over {rows:,} rows of evaluate{without} proves too little: "
            f"{needed:,} are needed; add labelled rows, or set gate.minimum_rows"
        )
    if gate.minimum is None:
        least = evaluation.baseline[name]
        if sign * value <= sign * least + _TOLERANCE:
            return (
                f"{name} {value:.4f} is no better than always giving the commonest answer, which "
                f"has {least:.4f}"
            )
    elif sign * value < sign * gate.minimum - _TOLERANCE:
        side = "above the most allowed" if sign < 0 else "below the minimum"
        return f"{name} {value:.4f} is {side}, {gate.minimum:.4f}"
    return None


def _compared(
    difference: report.MetricDifference, gate: GateConfig, other: str, must_be_better: bool
) -> GateDecision:
    """Whether the change is a fall that the rule forbids, and a gain where one is demanded."""
    gained, worst, best = gain(difference), difference.at_least, difference.at_most
    at_least, at_most = f"{worst:+.4f}", f"{best:+.4f}"
    if difference.metric in ERRORS:
        worst, best = -best, -worst
    most = gate.max_fall + _TOLERANCE
    decides = {"any_fall": gained, "proven_fall": best, "proven_safe": worst}[gate.rule]
    numbers = (
        f"{difference.metric} {difference.model:.4f} against {other}'s {difference.other:.4f} "
        f"({difference.change.value:+.4f}, with 95 % certainty at least {at_least}, and likewise "
        f"at most {at_most}; a fall of {gate.max_fall:g} is allowed)"
    )
    if -decides > most:
        why = "is too large" if -gained > most else "cannot be ruled out"
        return GateDecision(False, f"{numbers}; the fall {why}")
    if must_be_better and gained <= _TOLERANCE:
        return GateDecision(False, f"{numbers}; it is not better (gate.promote: not_worse)")
    unproven = "; the fall is not proven to be larger" if -gained > most else ""
    return GateDecision(True, numbers + unproven)
