"""Metrics agree with what one counts by hand, intervals and tests with what chance does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_bert.evaluation.comparison import compare, discordant, gain, mcnemar_p_value
from beam_bert.evaluation.intervals import bootstrap, distinct_rows
from beam_bert.evaluation.metrics import (
    LabelCounts,
    baseline,
    calibration_bins,
    calibration_error,
    calibration_error_by_chance,
    confusion_matrix,
    correlation,
    dev_metrics,
    negative_log_likelihood,
    probabilities,
    ranks,
    row_losses,
    score_metrics,
    true_labels,
    wilson_interval,
)
from beam_bert.reports import evaluation as report
from beam_bert.tasks.classification import MULTI_LABEL, REGRESSION, SINGLE_LABEL


def differences(
    *arrays: np.ndarray, problem_type: str = SINGLE_LABEL, replicates: int = 1_000
) -> tuple[report.ComparedModels, dict[str, report.MetricDifference]]:
    old = report.Model(name="old", version="1", precision="fp32", device="cpu")
    found = compare(*arrays, problem_type, name="new", other=old, replicates=replicates)
    return found, {difference.metric: difference for difference in found.differences}


def scores_for(predicted: list[int], labels: int, confidence: float = 0.9) -> np.ndarray:
    rest = (1 - confidence) / (labels - 1)
    return np.where(np.eye(labels, dtype=bool)[predicted], confidence, rest)


@st.composite
def single_label(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    labels, rows = draw(st.integers(2, 5)), draw(st.integers(1, 30))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    scores = probabilities(generator.normal(size=(rows, labels)), SINGLE_LABEL)
    return scores, generator.integers(0, labels, rows)


@st.composite
def multi_label(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    labels, rows = draw(st.integers(1, 9)), draw(st.integers(1, 30))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    return generator.random((rows, labels)), generator.integers(0, 2, (rows, labels)).astype(float)


def test_accuracy_and_f1_are_what_one_counts_by_hand() -> None:
    # true    0 0 0 1 1 2    label 0: 2 hits of 2 given, 3 true: P 1,   R 2/3, F1 4/5
    # given   0 0 1 1 2 2    label 1: 1 of 2, 2: F1 1/2;  label 2: 1 of 2, 1: F1 2/3
    scores, targets = scores_for([0, 0, 1, 1, 2, 2], 3), np.array([0, 0, 0, 1, 1, 2])
    found = score_metrics(scores, targets, SINGLE_LABEL)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["macro_f1"] == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)
    assert found["weighted_f1"] == pytest.approx((3 * 4 / 5 + 2 * 1 / 2 + 1 * 2 / 3) / 6)
    assert found["loss"] == pytest.approx(-(4 * math.log(0.9) + 2 * math.log(0.05)) / 6)
    assert found["calibration_error"] == pytest.approx(0.9 - 4 / 6)
    matrix = confusion_matrix(scores.argmax(axis=1), targets, 3)
    assert matrix.tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]


@given(multi_label(), st.floats(0.1, 0.9))
def test_f1_of_many_labels_is_what_a_loop_would_count(
    rows: tuple[np.ndarray, np.ndarray], threshold: float
) -> None:
    scores, targets = rows
    counts = LabelCounts.of(scores >= threshold, targets > 0.5)
    for label in range(scores.shape[1]):
        true = {row for row in range(len(scores)) if targets[row, label] == 1}
        found = {row for row in range(len(scores)) if scores[row, label] >= threshold}
        hits = len(true & found)
        expected = 2 * hits / (len(true) + len(found)) if true or found else 0
        assert counts.f1[label] == pytest.approx(expected)
        assert counts.precision[label] == pytest.approx(hits / len(found) if found else 0)
        assert counts.recall[label] == pytest.approx(hits / len(true) if true else 0)


@given(single_label())
def test_losses_are_those_that_torch_trains_with(rows: tuple[np.ndarray, np.ndarray]) -> None:
    scores, targets = rows
    logits = np.log(scores)
    expected = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(targets))
    assert negative_log_likelihood(logits, targets, SINGLE_LABEL) == pytest.approx(float(expected))
    assert row_losses(scores, targets, SINGLE_LABEL).mean() == pytest.approx(float(expected))
    assert dev_metrics(logits, targets, SINGLE_LABEL)["loss"] == pytest.approx(float(expected))


@given(multi_label())
def test_losses_of_many_labels_are_those_that_torch_trains_with(
    rows: tuple[np.ndarray, np.ndarray],
) -> None:
    logits, targets = 8 * (rows[0] - 0.5), rows[1]
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(logits), torch.tensor(targets)
    )
    assert negative_log_likelihood(logits, targets, MULTI_LABEL) == pytest.approx(float(expected))
    scores = probabilities(logits, MULTI_LABEL)
    assert row_losses(scores, targets, MULTI_LABEL).mean() == pytest.approx(float(expected))


def test_probabilities_neither_overflow_nor_lose_the_order() -> None:
    logits = np.array([[900.0, -900.0], [0.0, 0.0]])
    assert probabilities(logits, SINGLE_LABEL).tolist() == [[1.0, 0.0], [0.5, 0.5]]
    assert probabilities(logits, MULTI_LABEL).tolist() == [[1.0, 0.0], [0.5, 0.5]]
    assert probabilities(logits, REGRESSION).tolist() == logits.tolist()


@given(single_label())
def test_the_calibration_error_is_the_mean_gap_of_the_curve(
    rows: tuple[np.ndarray, np.ndarray],
) -> None:
    scores, targets = rows
    bins = calibration_bins(scores, targets, SINGLE_LABEL)
    assert sum(b.count for b in bins) == len(targets)
    gaps = sum(b.count * abs(b.confidence - b.right.value) for b in bins) / len(targets)
    assert calibration_error(scores, targets, SINGLE_LABEL) == pytest.approx(gaps)
    assert all(b.low <= b.confidence <= b.high + 1e-9 for b in bins)
    assert all(0 <= b.right.low <= b.right.value <= b.right.high <= 1 for b in bins)


@pytest.mark.parametrize("problem_type", [SINGLE_LABEL, MULTI_LABEL])
@pytest.mark.parametrize("rows", [60, 1000])
def test_the_calibration_error_by_chance_is_that_of_answers_drawn_with_the_models_own_chances(
    problem_type: str, rows: int
) -> None:
    generator = np.random.default_rng(rows)
    scores = generator.dirichlet([0.3] * 5, rows)

    def drawn() -> np.ndarray:
        if problem_type == MULTI_LABEL:
            return (generator.random(scores.shape) < scores).astype(int)
        chosen = generator.random((rows, 1)) > scores.cumsum(axis=1)
        return np.minimum(chosen.sum(axis=1), 4)

    errors = [calibration_error(scores, drawn(), problem_type) for _ in range(300)]
    found = calibration_error_by_chance(scores, drawn(), problem_type)
    assert found == pytest.approx(np.mean(errors), rel=0.1)


def test_a_model_that_is_as_sure_as_it_is_right_has_no_calibration_error() -> None:
    scores = scores_for([0] * 10, 2, confidence=0.7)
    assert calibration_error(scores, np.array([0] * 7 + [1] * 3), SINGLE_LABEL) == pytest.approx(0)
    assert calibration_error(scores, np.zeros(10, int), SINGLE_LABEL) == pytest.approx(0.3)


def test_wilsons_interval_is_the_textbooks() -> None:
    low, high = wilson_interval(np.array([8, 0, 0]), np.array([10, 10, 0]))
    assert low.tolist() == pytest.approx([0.4902, 0, 0], abs=1e-4)
    assert high.tolist() == pytest.approx([0.9433, 0.2775, 1], abs=1e-4)


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=40))
def test_ranks_are_shared_by_equal_values(values: list[int]) -> None:
    array = np.array(values, float)
    expected = [
        sum(other < value for other in values) + (values.count(value) - 1) / 2 for value in values
    ]
    assert ranks(array).tolist() == expected


def test_regression_has_errors_and_correlations() -> None:
    found, true = np.array([[1.0], [2.0], [4.0]]), np.array([1.0, 3.0, 3.5])
    metrics = score_metrics(found, true, REGRESSION)
    assert metrics["mean_absolute_error"] == pytest.approx(0.5)
    assert metrics["root_mean_squared_error"] == pytest.approx(math.sqrt(1.25 / 3))
    assert metrics["pearson"] == pytest.approx(np.corrcoef(found[:, 0], true)[0, 1])
    assert metrics["spearman"] == pytest.approx(1)
    assert correlation(np.ones(3), true) == 0


@settings(max_examples=25)
@given(single_label())
def test_an_interval_is_around_the_very_metric(rows: tuple[np.ndarray, np.ndarray]) -> None:
    scores, targets = rows
    (drawn,) = bootstrap([scores], targets, SINGLE_LABEL, replicates=100)
    whole = score_metrics(scores, targets, SINGLE_LABEL)
    for name, interval in drawn.intervals().items():
        assert interval.value == pytest.approx(whole[name])
        assert 0 <= interval.low <= interval.high <= 1


@given(multi_label())
def test_drawing_kinds_of_rows_is_drawing_rows(rows: tuple[np.ndarray, np.ndarray]) -> None:
    given_, true = rows[0] >= 0.5, rows[1] > 0.5
    first, counts = distinct_rows(true, given_)
    assert counts.sum() == len(true)
    kinds = {row.tobytes(): 0 for row in np.concatenate([true, given_], axis=1)}
    assert len(first) == len(kinds)
    once_more = np.repeat(first, counts)
    assert LabelCounts.of(given_[once_more], true[once_more]).f1.tolist() == (
        LabelCounts.of(given_, true).f1.tolist()
    )


def test_the_interval_of_accuracy_is_as_wide_as_the_binomial_says() -> None:
    targets = np.zeros(400, int)
    scores = scores_for([0] * 320 + [1] * 80, 2)
    (drawn,) = bootstrap([scores], targets, SINGLE_LABEL, replicates=4_000)
    interval = drawn.intervals()["accuracy"]
    half = 1.96 * math.sqrt(0.8 * 0.2 / 400)
    assert interval.low == pytest.approx(0.8 - half, abs=0.004)
    assert interval.high == pytest.approx(0.8 + half, abs=0.004)


def test_the_interval_of_regression_is_as_wide_as_drawing_rows_makes_it() -> None:
    generator = np.random.default_rng(0)
    true = generator.normal(size=200)
    found = true + generator.normal(size=200)
    (drawn,) = bootstrap([found[:, None]], true, REGRESSION, replicates=500)
    rows = generator.integers(0, 200, (500, 200))
    by_hand = {
        "pearson": [np.corrcoef(found[r], true[r])[0, 1] for r in rows],
        "mean_absolute_error": np.abs(found - true)[rows].mean(axis=1),
        "root_mean_squared_error": np.sqrt(((found - true) ** 2)[rows].mean(axis=1)),
    }
    for name, replicates in by_hand.items():
        assert np.std(drawn.replicates[name]) == pytest.approx(np.std(replicates), rel=0.2)
        assert np.mean(drawn.replicates[name]) == pytest.approx(np.mean(replicates), abs=0.02)


def test_the_same_seed_draws_the_same_interval() -> None:
    generator = np.random.default_rng(0)
    scores = probabilities(generator.normal(size=(50, 3)), SINGLE_LABEL)
    targets = generator.integers(0, 3, 50)
    first, again, other = (
        bootstrap([scores], targets, SINGLE_LABEL, replicates=100, seed=seed)[0].intervals()
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_models_are_drawn_together_so_that_equal_ones_never_differ() -> None:
    generator = np.random.default_rng(0)
    scores = probabilities(generator.normal(size=(50, 3)), SINGLE_LABEL)
    targets = generator.integers(0, 3, 50)
    a, b = bootstrap([scores, scores], targets, SINGLE_LABEL, replicates=100)
    assert all((a.replicates[name] == b.replicates[name]).all() for name in a.replicates)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        (0, 0, 1.0),
        (1, 8, 2 * (1 + 9) / 2**9),
        (8, 1, 2 * (1 + 9) / 2**9),
        (5, 5, 1.0),
        (0, 20, 2 / 2**20),
    ],
)
def test_mcnemars_test_is_exact(only_first: int, only_second: int, p_value: float) -> None:
    assert mcnemar_p_value(only_first, only_second) == pytest.approx(p_value)


def test_mcnemars_test_holds_for_many_rows() -> None:
    assert mcnemar_p_value(50_000, 51_000) == pytest.approx(0.00167, abs=0.0001)


def test_a_better_model_is_told_from_chance_and_an_equal_one_is_not() -> None:
    targets = np.zeros(300, int)
    good, bad = scores_for([0] * 290 + [1] * 10, 2), scores_for([0] * 240 + [1] * 60, 2)
    other = scores_for([1] * 12 + [0] * 288, 2)
    compared, better = differences(good, bad, targets)
    assert (compared.only_model_right, compared.only_other_right) == (50, 0)
    assert all(difference.more_than_chance for difference in better.values())
    words = better["accuracy"].in_words
    assert compared.verdict == words
    assert "new is better than old, by more than chance" in words
    assert "+0.1667" in words
    _, near = differences(good, other, targets)
    assert not near["accuracy"].more_than_chance
    assert "no more than chance" in near["accuracy"].in_words
    _, same = differences(good, good, targets)
    assert same["accuracy"].p_value == 1
    assert "equal" in same["accuracy"].in_words


def test_of_errors_the_smaller_is_the_better_one() -> None:
    generator = np.random.default_rng(0)
    true = generator.normal(size=200)
    good, bad = true + 0.1 * generator.normal(size=200), true + generator.normal(size=200)
    compared, by_metric = differences(good[:, None], bad[:, None], true, problem_type=REGRESSION)
    assert compared.only_model_right is None
    difference = by_metric["mean_absolute_error"]
    assert difference.change.value < 0 < gain(difference)
    assert "new is better" in difference.in_words


def test_rows_that_one_model_alone_has_right_are_counted() -> None:
    first, second = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    assert discordant(first, second) == (1, 1)


@pytest.mark.parametrize("problem_type", [SINGLE_LABEL, MULTI_LABEL, REGRESSION])
def test_the_baseline_is_what_a_model_has_that_always_says_the_same(problem_type: str) -> None:
    generator = np.random.default_rng(5)
    classes = generator.choice(4, size=300, p=[0.5, 0.3, 0.15, 0.05])
    targets = {
        SINGLE_LABEL: classes,
        MULTI_LABEL: np.eye(4)[classes],
        REGRESSION: generator.normal(size=(300, 1)),
    }[problem_type]
    always = {
        SINGLE_LABEL: np.tile([0.9, 0.1, 0.0, 0.0], (300, 1)),
        MULTI_LABEL: np.tile([0.9, 0.1, 0.0, 0.0], (300, 1)),
        REGRESSION: np.full((300, 1), targets.mean()),
    }[problem_type]
    found = baseline(targets, problem_type, 4)
    expected = score_metrics(always, targets, problem_type)
    for name in found.keys() - {"mean_absolute_error"}:
        assert found[name] == pytest.approx(expected[name])
    assert found.get("mean_absolute_error", 0) <= expected.get("mean_absolute_error", 0)


def test_targets_become_one_boolean_a_label() -> None:
    assert true_labels(np.array([1, 0]), SINGLE_LABEL, 2).tolist() == [[False, True], [True, False]]
    assert true_labels(np.array([[1.0, 0.0]]), MULTI_LABEL, 2).tolist() == [[True, False]]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=60).map(np.array), st.booleans())
def test_no_interval_has_no_width_though_all_rows_are_right_or_all_are_wrong(
    targets: np.ndarray, is_right: bool
) -> None:
    scores = np.eye(3)[targets if is_right else (targets + 1) % 3]
    (drawn,) = bootstrap([scores], targets, SINGLE_LABEL, replicates=30)
    value = drawn.values["accuracy"]
    accuracy = drawn.intervals()["accuracy"]
    low, high = wilson_interval(np.array(value * len(targets)), np.array(len(targets)))
    assert (accuracy.low, accuracy.high) == (pytest.approx(low), pytest.approx(high))
    for each in drawn.intervals().values():
        assert each.low < each.high and each.low <= each.value <= each.high
    for (low, high), rows in zip(drawn.label_f1_intervals(), drawn.support, strict=True):
        assert 0 <= low < high <= 1
        assert rows > 0 or (low, high) == (0, 1)  # no row of it: nothing is known
    _, same = differences(scores, scores, targets, replicates=30)
    for difference in same.values():
        assert difference.change.low < 0 < difference.change.high


def test_a_regression_without_any_error_has_no_interval() -> None:
    values = np.linspace(0, 1, 20)
    (drawn,) = bootstrap([values[:, None]], values[:, None], REGRESSION, replicates=30)
    errors = drawn.intervals()["mean_absolute_error"]
    assert errors.value == 0 and errors.low is None


def test_a_label_that_no_row_has_does_not_widen_the_interval_of_macro_f1() -> None:
    targets = np.array([0, 1] * 20)
    two, three = (
        bootstrap([scores_for(targets.tolist(), labels)], targets, SINGLE_LABEL)[0].intervals()
        for labels in (2, 3)
    )
    assert two["macro_f1"] == three["macro_f1"]
