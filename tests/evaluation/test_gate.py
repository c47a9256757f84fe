"""The gate: what an evaluation must show before a model may replace another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from beam_bert.evaluation.comparison import compare
from beam_bert.evaluation.gate import is_better, judge, rows_needed
from beam_bert.reports import evaluation as report
from beam_bert.settings.nightly import GateConfig
from beam_bert.tasks.classification import REGRESSION, SINGLE_LABEL

PRODUCTION = report.Model(name="old", version="1", precision="fp32", device="cpu")


def evaluation(
    rows: int,
    right: int,
    other_right: int | None,
    *,
    shared: int | None = None,
    trained_on: int = 0,
) -> report.Evaluation:
    """Of a model that has so many rows right, and one that it is compared with.

    Args:
      shared: rows that both have right; default: as many as may be.
    """
    targets = np.arange(rows) % 2
    both = min(right, other_right or 0) if shared is None else shared
    first = np.arange(rows) < right
    second = np.zeros(rows, bool)
    if other_right is not None:
        second[:both] = True
        second[rows - (other_right - both) :] = other_right > both
    scores = [np.eye(2)[np.where(each, targets, 1 - targets)] for each in (first, second)]
    found = compare(*scores, targets, SINGLE_LABEL, name="new", other=PRODUCTION, replicates=2_000)
    value = {"accuracy": report.Metric(value=right / rows)}
    return _document(
        rows, value, {"accuracy": 0.5}, found if other_right is not None else None, trained_on
    )


def _document(
    rows: int, metrics: Any, baseline: Any, found: Any, trained_on: int = 0
) -> report.Evaluation:
    return report.Evaluation.model_construct(
        main_metric=next(iter(metrics)),
        metrics=metrics,
        baseline=baseline,
        rows=report.RowTotals(read=rows, evaluated=rows, rejected=0, trained_on=trained_on),
        comparison=found,
    )


NOT_WORSE = GateConfig(promote="not_worse")


@pytest.mark.parametrize(("rows", "right"), [(3, 3), (18, 18), (199, 199)])
def test_few_rows_prove_nothing_with_or_without_production(rows: int, right: int) -> None:
    for other in (None, 0, rows):
        decision = judge(evaluation(rows, right, other), GateConfig())
        assert not decision.passed
        assert f"over {rows} rows of evaluate proves too little: 200 are needed" in decision.reason
    assert judge(evaluation(200, 200, None), GateConfig()).passed
    assert judge(evaluation(rows, right, None), GateConfig(minimum_rows=rows)).passed


def test_the_floor_on_rows_grows_with_the_fall_that_is_allowed() -> None:
    floors = [rows_needed(fall) for fall in (0.0, 0.01, 0.05, 0.1, 0.2, 0.4)]
    assert floors == sorted(floors) and floors[0] == 200 and floors[3] > 300
    small = judge(evaluation(300, 295, 296), GateConfig(max_fall=0.1, promote="not_worse"))
    assert not small.passed and f"{rows_needed(0.1)} are needed" in small.reason


@pytest.mark.parametrize("max_fall", [0.0, 0.02, 0.1])
def test_at_the_floor_a_fall_of_three_points_beyond_the_allowed_is_proven(max_fall: float) -> None:
    rows = rows_needed(max_fall)
    fall = round((max_fall + 0.03) * rows) + 1
    decision = judge(
        evaluation(rows, rows - fall, rows), GateConfig(max_fall=max_fall, promote="not_worse")
    )
    assert not decision.passed and "the fall is too large" in decision.reason


def test_a_model_must_beat_the_commonest_answer_unless_a_minimum_is_said() -> None:
    for right in (0, 90, 100):
        decision = judge(evaluation(200, right, None), GateConfig())
        assert not decision.passed
        assert "no better than always giving the commonest answer, which has 0.5" in decision.reason
    assert judge(evaluation(200, 101, None), GateConfig()).passed
    assert judge(evaluation(200, 90, None), GateConfig(minimum=0.4)).passed
    assert not judge(evaluation(200, 120, None), GateConfig(minimum=0.9)).passed


def test_a_fall_is_held_against_what_is_allowed_not_against_nothing() -> None:
    """A fall of 4 points of 1,000 rows is surely a fall, and not surely more than 3."""
    found = evaluation(1_000, 900, 940)
    assert judge(found, GateConfig(max_fall=0.03, promote="not_worse")).passed
    assert (
        "not proven to be larger"
        in judge(found, NOT_WORSE.model_copy(update={"max_fall": 0.035})).reason
    )
    assert not judge(found, NOT_WORSE.model_copy(update={"max_fall": 0.02})).passed
    assert not judge(found, NOT_WORSE).passed


def test_a_few_lost_rows_and_none_won_are_a_fall() -> None:
    """By McNemar's two-sided test up to five would never be one, of however many rows."""
    for lost in (4, 5):
        assert not judge(evaluation(10_000, 9_000 - lost, 9_000), NOT_WORSE).passed
    assert judge(evaluation(10_000, 8_999, 9_000), NOT_WORSE).passed


@pytest.mark.parametrize("rows", [300, 2_000])
def test_the_bounds_are_those_of_a_paired_difference(rows: int) -> None:
    found = evaluation(rows, int(0.8 * rows), int(0.84 * rows), shared=int(0.75 * rows))
    each = found.comparison.differences[0]  # type: ignore[union-attr]
    won, lost = 0.05, 0.09
    deviation = ((won + lost - (won - lost) ** 2) / rows) ** 0.5
    bound = 1.645 * deviation
    assert each.at_most == pytest.approx(won - lost + bound, abs=0.15 * bound)
    assert each.at_least == pytest.approx(won - lost - bound, abs=0.15 * bound)


@pytest.mark.parametrize(
    ("right", "rule", "max_fall", "passed"),
    [
        (880, "proven_fall", 0.0, False),
        (880, "proven_fall", 0.04, True),
        (898, "proven_fall", 0.0, True),
        (898, "any_fall", 0.0, False),
        (898, "any_fall", 0.002, True),
        (902, "any_fall", 0.0, True),
        (902, "proven_safe", 0.0, False),
        (902, "proven_safe", 0.02, True),
    ],
)
def test_a_fall_counts_by_the_rule(right: int, rule: Any, max_fall: float, passed: bool) -> None:
    found = evaluation(1_000, right, 900, shared=right - 10)
    gate = GateConfig(rule=rule, max_fall=max_fall, promote="not_worse")
    decision = judge(found, gate)
    assert decision.passed is passed, decision.reason
    assert f"a fall of {max_fall:g} is allowed" in decision.reason


def test_an_equal_model_is_promoted_only_where_that_is_asked() -> None:
    equal = evaluation(400, 360, 360, shared=350)
    kept = judge(equal, GateConfig())
    assert not kept.passed and "not better (gate.promote: not_worse)" in kept.reason
    assert judge(equal, NOT_WORSE).passed and not is_better(equal, NOT_WORSE)
    better = evaluation(400, 361, 360)
    assert judge(better, GateConfig()).passed and is_better(better, NOT_WORSE)


def test_errors_are_better_when_smaller() -> None:
    generator = np.random.default_rng(1)
    true = generator.normal(size=400)
    near, far = (true + noise * generator.normal(size=400) for noise in (0.2, 0.6))
    gate = GateConfig(metric="mean_absolute_error")
    for first, second, passed in ((near, far, True), (far, near, False)):
        found = compare(
            first[:, None],
            second[:, None],
            true,
            REGRESSION,
            name="new",
            other=PRODUCTION,
            replicates=500,
        )
        value = float(np.abs(first - true).mean())
        document = _document(
            400, {gate.metric: report.Metric(value=value)}, {gate.metric: 0.8}, found
        )
        assert judge(document, gate).passed is passed
        assert is_better(document, gate) is passed
        assert not judge(document, gate.model_copy(update={"minimum": 0.01})).passed


def test_rows_that_a_model_was_trained_on_are_told() -> None:
    assert (
        "7 rows that a model was trained on are left out"
        in judge(evaluation(200, 190, None, trained_on=7), GateConfig()).reason
    )
    assert (
        "(without 7 that a model was trained on)"
        in judge(evaluation(20, 19, None, trained_on=7), GateConfig()).reason
    )
