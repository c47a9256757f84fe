"""Metrics, intervals and tests are those of scikit-learn and scipy, on rows of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics
from sklearn.calibration import calibration_curve

from beam_bert.evaluation.comparison import mcnemar_p_value
from beam_bert.evaluation.intervals import bootstrap
from beam_bert.evaluation.metrics import (
    LabelCounts,
    calibration_bins,
    confusion_matrix,
    probabilities,
    ranks,
    score_metrics,
    true_labels,
    wilson_interval,
)
from beam_bert.tasks.classification import MULTI_LABEL, REGRESSION, SINGLE_LABEL

Rows = tuple[np.ndarray, np.ndarray]
few = settings(max_examples=30, deadline=None)


@st.composite
def single_label(draw: st.DrawFn) -> Rows:
    """Few rows of many labels, as often as not: labels that are only true, only given, neither."""
    labels, rows = draw(st.integers(2, 6)), draw(st.integers(1, 20))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = generator.normal(size=(rows, labels)) * draw(st.sampled_from([0.1, 3.0]))
    return probabilities(logits, SINGLE_LABEL), generator.integers(0, labels, rows)


@st.composite
def multi_label(draw: st.DrawFn) -> Rows:
    labels, rows = draw(st.integers(2, 6)), draw(st.integers(1, 20))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    true = generator.random((rows, labels)) < draw(st.sampled_from([0.1, 0.5]))
    return generator.random((rows, labels)), true.astype(np.float64)


@few
@given(single_label())
def test_single_label(rows: Rows) -> None:
    scores, targets = rows
    labels, guesses = scores.shape[1], scores.argmax(axis=1)
    found = score_metrics(scores, targets, SINGLE_LABEL)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(targets, guesses))
    for kind in ("macro", "weighted"):
        expected = metrics.f1_score(targets, guesses, average=kind, zero_division=0)
        assert found[f"{kind}_f1"] == pytest.approx(expected)
    assert found["loss"] == pytest.approx(metrics.log_loss(targets, scores, labels=range(labels)))
    assert confusion_matrix(guesses, targets, labels).tolist() == (
        metrics.confusion_matrix(targets, guesses, labels=range(labels)).tolist()
    )
    given_ = true_labels(guesses, SINGLE_LABEL, labels)
    assert_label_table(given_, true_labels(targets, SINGLE_LABEL, labels))


@few
@given(multi_label(), st.floats(0.1, 0.9))
def test_multi_label(rows: Rows, threshold: float) -> None:
    scores, targets = rows
    guesses = scores >= threshold
    found = score_metrics(scores, targets, MULTI_LABEL, threshold)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(targets, guesses))
    for kind in ("macro", "weighted"):
        expected = metrics.f1_score(targets, guesses, average=kind, zero_division=0)
        assert found[f"{kind}_f1"] == pytest.approx(expected)
    loss = metrics.log_loss(targets.ravel(), scores.ravel(), labels=[0, 1])
    assert found["loss"] == pytest.approx(loss)
    assert_label_table(guesses, targets > 0.5)


def assert_label_table(given_: np.ndarray, true: np.ndarray) -> None:
    counts = LabelCounts.of(given_, true)
    ours = (counts.precision, counts.recall, counts.f1, counts.true)
    theirs = metrics.precision_recall_fscore_support(true, given_, average=None, zero_division=0)
    for one, other in zip(ours, theirs, strict=True):
        assert one.tolist() == pytest.approx(other.tolist())


@few
@given(st.integers(2, 40), st.integers(0, 2**32), st.booleans())
def test_regression(rows: int, seed: int, ties: bool) -> None:
    generator = np.random.default_rng(seed)
    true, guesses = generator.normal(size=rows), generator.normal(size=rows)
    if ties:
        true, guesses = np.round(true), np.round(guesses)
    found = score_metrics(guesses[:, None], true, REGRESSION)
    expected = {
        "mean_absolute_error": metrics.mean_absolute_error(true, guesses),
        "root_mean_squared_error": metrics.root_mean_squared_error(true, guesses),
        "loss": metrics.mean_squared_error(true, guesses),
    }
    if np.ptp(true) and np.ptp(guesses):  # of a constant theirs is no number, ours 0
        expected |= {
            "pearson": stats.pearsonr(guesses, true).statistic,
            "spearman": stats.spearmanr(guesses, true).statistic,
        }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert (ranks(guesses) + 1).tolist() == stats.rankdata(guesses).tolist()


@few
@given(multi_label())
def test_the_calibration_curve(rows: Rows) -> None:
    scores, targets = rows
    right, confidence = calibration_curve(targets.ravel(), scores.ravel(), n_bins=15)
    bins = calibration_bins(scores, targets, MULTI_LABEL, bins=15)
    assert [each.right.value for each in bins] == pytest.approx(right.tolist())
    assert [each.confidence for each in bins] == pytest.approx(confidence.tolist())


@few
@given(st.integers(1, 10_000), st.floats(0, 1))
def test_wilsons_interval(count: int, share: float) -> None:
    hits = round(share * count)
    (low,), (high,) = wilson_interval(np.array([hits]), np.array([count]))
    expected = stats.binomtest(hits, count).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-5)


@few
@given(st.integers(0, 3_000), st.integers(0, 3_000))
def test_mcnemars_exact_test(only_first: int, only_second: int) -> None:
    expected = 1.0
    if tosses := only_first + only_second:
        expected = stats.binomtest(only_first, tosses).pvalue
    assert mcnemar_p_value(only_first, only_second) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32))
def test_a_bootstrap_interval(seed: int) -> None:
    """Theirs draws rows, ours kinds of rows: as wide, but for the draw."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 3, 200)
    guesses = np.where(generator.random(200) < 0.7, targets, generator.integers(0, 3, 200))
    scores = np.eye(3)[guesses]
    (ours,) = bootstrap([scores], targets, SINGLE_LABEL, replicates=2_000)

    def accuracy(right: np.ndarray, axis: int) -> np.ndarray:
        return right.mean(axis=axis)

    theirs = stats.bootstrap(
        ((guesses == targets).astype(float),),
        accuracy,
        n_resamples=2_000,
        method="percentile",
        random_state=generator,
    ).confidence_interval
    found = ours.intervals()["accuracy"]
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)
