"""How good a model's answers are: pure functions over arrays, in plain numpy.

Three kinds of answers (`problem_type`, as in a Hugging Face config) share one layout of arrays:

    scores    float64 [n, labels]   probabilities; regression: values (column 0 counts)
    targets   single-label          int64 [n], number of the class
              multi-label           float or bool [n, labels], 1 where the label is true
              regression            float [n] or [n, 1]

Intervals around these numbers are in `evaluation.intervals`, two models side by side in
`evaluation.comparison`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_bert.reports import evaluation as report
from beam_bert.tasks.classification import MULTI_LABEL, REGRESSION, SINGLE_LABEL

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]

BINS = 15
# Those that an epoch may be chosen by, the default first.
CHOOSING_METRICS = {
    SINGLE_LABEL: ("accuracy", "macro_f1"),
    MULTI_LABEL: ("macro_f1", "accuracy"),
    REGRESSION: ("spearman",),
}
DEFAULT_METRIC = {problem_type: names[0] for problem_type, names in CHOOSING_METRICS.items()}
# Metrics that are better the smaller they are.
ERRORS = frozenset({"loss", "calibration_error", "mean_absolute_error", "root_mean_squared_error"})
_SMALLEST = 1e-12  # probability that a loss takes for 0, since log(0) is no number


def probabilities(logits: Array, problem_type: str) -> FloatArray:
    """Softmax or sigmoid in float64; regression: the values."""
    values = logits.astype(np.float64)
    if problem_type == SINGLE_LABEL:
        values = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(values / values.sum(axis=1, keepdims=True))
    if problem_type == MULTI_LABEL:
        return np.asarray(0.5 * (1 + np.tanh(values / 2)))
    return values


def dev_metrics(
    logits: Array, targets: Array, problem_type: str, thresholds: Array | float = 0.5
) -> dict[str, float]:
    """As `score_metrics`, from logits [n, labels]; the loss is exact however sure the model is."""
    metrics = score_metrics(probabilities(logits, problem_type), targets, problem_type, thresholds)
    if problem_type != REGRESSION:
        metrics["loss"] = negative_log_likelihood(logits, targets, problem_type)
    return metrics


def score_metrics(
    scores: Array, targets: Array, problem_type: str, thresholds: Array | float = 0.5
) -> dict[str, float]:
    """The metrics of one problem type, by name; those of `ERRORS` are better when smaller.

    Single- and multi-label: accuracy (multi-label: the row's labels are all right and complete),
    macro_f1 (see `LabelCounts.macro_f1`), weighted_f1 (by support), loss
    (negative log-likelihood), calibration_error. Regression: spearman, pearson,
    mean_absolute_error, root_mean_squared_error, loss (mean square).

    Args:
      scores, targets: as the module says; at least one row.
      problem_type: as in a Hugging Face config.
      thresholds: multi-label: probability from which a label is given, one or one a label.
    """
    if problem_type == REGRESSION:
        values, right = first_column(scores), first_column(targets)
        squared = float(((values - right) ** 2).mean())
        return {
            "spearman": correlation(ranks(values), ranks(right)),
            "pearson": correlation(values, right),
            "mean_absolute_error": float(np.abs(values - right).mean()),
            "root_mean_squared_error": float(np.sqrt(squared)),
            "loss": squared,
        }
    given = given_labels(scores, problem_type, thresholds)
    true = true_labels(targets, problem_type, scores.shape[1])
    counts = LabelCounts.of(given, true)
    return {
        "accuracy": float((given == true).all(axis=1).mean()),
        "macro_f1": float(counts.macro_f1(problem_type)),
        "weighted_f1": float(counts.weighted_f1),
        "loss": float(row_losses(scores, targets, problem_type).mean()),
        "calibration_error": calibration_error(scores, targets, problem_type),
    }


def baseline(targets: Array, problem_type: str, labels: int) -> dict[str, float]:
    """What a model would have that always gives the commonest answer; regression: the middle."""
    if problem_type == REGRESSION:
        values = first_column(targets)
        return {
            "spearman": 0.0,
            "pearson": 0.0,
            "mean_absolute_error": float(np.abs(values - np.median(values)).mean()),
            "root_mean_squared_error": float(values.std()),
        }
    true = true_labels(targets, problem_type, labels)
    given = np.zeros_like(true)
    given[:, true.sum(axis=0).argmax()] = True
    counts = LabelCounts.of(given, true)
    alike = Counter(row.tobytes() for row in np.packbits(true, axis=1))
    return {
        "accuracy": max(alike.values()) / len(true),
        "macro_f1": float(counts.macro_f1(problem_type)),
        "weighted_f1": float(counts.weighted_f1),
    }


def given_labels(scores: Array, problem_type: str, thresholds: Array | float = 0.5) -> BoolArray:
    """Which labels the model gives, bool [n, labels]: the best one, or all from the threshold."""
    if problem_type == SINGLE_LABEL:
        return true_labels(scores.argmax(axis=1), problem_type, scores.shape[1])
    return np.asarray(scores >= thresholds)


def true_labels(targets: Array, problem_type: str, labels: int) -> BoolArray:
    """Targets as bool [n, labels]."""
    if problem_type == SINGLE_LABEL:
        return np.asarray(targets[:, None] == np.arange(labels))
    return np.asarray(targets > 0.5)


@dataclass(frozen=True)
class LabelCounts:
    """What F1 is made of; the last axis is the labels, axes before it are several samples.

    Attributes:
      hits: times the label was given and true.
      given: times it was given.
      true: times it was true, its support.
    """

    hits: Array
    given: Array
    true: Array

    @staticmethod
    def of(given: Array, true: Array) -> LabelCounts:
        """Counts over the rows of bool [n, labels]."""
        return LabelCounts((given & true).sum(axis=0), given.sum(axis=0), true.sum(axis=0))

    @property
    def precision(self) -> FloatArray:
        """Of the times the label was given, the share in which it was true; 0 if never given."""
        return _share(self.hits, self.given)

    @property
    def recall(self) -> FloatArray:
        """Of the times the label was true, the share in which it was given; 0 if never true."""
        return _share(self.hits, self.true)

    @property
    def f1(self) -> FloatArray:
        """Harmonic mean of precision and recall; 0 where there are no hits."""
        return _share(2 * self.hits, self.given + self.true)

    def macro_f1(self, problem_type: str) -> FloatArray:
        """Mean F1 over labels as scikit-learn has it: multi-label over all of them; single-label
        over those that are true or given somewhere.
        """
        if problem_type == MULTI_LABEL:
            return np.asarray(self.f1.mean(axis=-1))
        return _share(self.f1.sum(axis=-1), (self.given + self.true > 0).sum(axis=-1))

    @property
    def weighted_f1(self) -> FloatArray:
        """Mean F1, weighted by support."""
        return _share((self.f1 * self.true).sum(axis=-1), self.true.sum(axis=-1))


def confusion_matrix(predicted: Array, targets: Array, labels: int) -> npt.NDArray[np.int64]:
    """Rows by true class (first axis) and predicted class, int64 [labels, labels]."""
    cells = targets.astype(np.int64) * labels + predicted
    return np.bincount(cells, minlength=labels * labels).reshape(labels, labels)


def negative_log_likelihood(logits: Array, targets: Array, problem_type: str) -> float:
    """Mean over rows (multi-label: over rows and labels)."""
    values = logits.astype(np.float64)
    if problem_type == SINGLE_LABEL:
        top = values.max(axis=1, keepdims=True)
        total = top[:, 0] + np.log(np.exp(values - top).sum(axis=1))
        return float((total - values[np.arange(len(values)), targets]).mean())
    return float((np.logaddexp(0, values) - values * targets).mean())


def row_losses(scores: Array, targets: Array, problem_type: str) -> FloatArray:
    """How far the model was from the truth in each row, float64 [n]: what makes a row hard.

    Negative log-likelihood (multi-label: mean over labels); regression: the absolute error.
    """
    if problem_type == REGRESSION:
        return np.abs(first_column(scores) - first_column(targets))
    true = true_labels(targets, problem_type, scores.shape[1])
    if problem_type == SINGLE_LABEL:
        return np.asarray(-np.log(np.maximum((scores * true).sum(axis=1), _SMALLEST)))
    right = np.where(true, scores, 1 - scores)
    return np.asarray(-np.log(np.maximum(right, _SMALLEST)).mean(axis=1))


def calibration_bins(
    scores: Array, targets: Array, problem_type: str, bins: int = BINS
) -> list[report.CalibrationPoint]:
    """The calibration curve: bins of equal width in confidence, empty ones left out.

    Single-label: of the best label's probability; multi-label: of every label's in every row.
    """
    confidence, correct = _confidences(scores, targets, problem_type)
    place = _bin_of(confidence, bins)
    counts = np.bincount(place, minlength=bins)
    sums = np.bincount(place, confidence, minlength=bins)
    right = np.bincount(place, correct, minlength=bins)
    low, high = wilson_interval(right, counts)
    return [
        report.CalibrationPoint(
            low=float(b / bins),
            high=float((b + 1) / bins),
            count=int(counts[b]),
            confidence=float(sums[b] / counts[b]),
            right=report.Metric(
                value=float(right[b] / counts[b]), low=float(low[b]), high=float(high[b])
            ),
        )
        for b in np.flatnonzero(counts)
    ]


def calibration_error(scores: Array, targets: Array, problem_type: str, bins: int = BINS) -> float:
    """Expected calibration error over bins of equal width (Guo et al. 2017, arXiv:1706.04599).

    Single-label: of the best label's probability; multi-label: of every label's in every row.
    """
    confidence, correct = _confidences(scores, targets, problem_type)
    gap = np.bincount(_bin_of(confidence, bins), confidence - correct, minlength=bins)
    return float(np.abs(gap).sum() / max(len(confidence), 1))


def calibration_error_by_chance(
    scores: Array, targets: Array, problem_type: str, bins: int = BINS
) -> float:
    """What `calibration_error` would be, in the mean, if every confidence were right.

    Few rows alone make an error, so that 0 is not what to expect (Bröcker and Smith 2007,
    "Increasing the reliability of reliability diagrams"). Answers in a bin are right with the
    chances that the model gives; their number is taken as normal, whose mean deviation is
    sqrt(2 variance / pi).
    """
    confidence, _ = _confidences(scores, targets, problem_type)
    variance = np.bincount(_bin_of(confidence, bins), confidence * (1 - confidence), minlength=bins)
    deviation = np.sqrt(2 * np.maximum(variance, 0) / np.pi)
    return float(deviation.sum() / max(len(confidence), 1))


def wilson_interval(hits: Array, counts: Array, z: float = 1.96) -> tuple[FloatArray, FloatArray]:
    """Interval around the share hits / counts (Wilson 1927); 0 to 1 where counts is 0."""
    unknown = np.asarray(counts) == 0
    n = np.where(unknown, 1.0, counts)
    share = np.asarray(hits, np.float64) / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = np.where(unknown, 0.0, np.clip(middle - half, 0, share))
    return low, np.where(unknown, 1.0, np.clip(middle + half, share, 1))


def correlation(a: Array, b: Array) -> float:
    """Pearson's; 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / norm) if norm > 0 else 0.0


def ranks(values: Array) -> FloatArray:
    """Ranks from 0, equal values sharing their mean rank: Pearson's of ranks is Spearman's."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts + 1) / 2)[inverse])


def _confidences(scores: Array, targets: Array, problem_type: str) -> tuple[FloatArray, BoolArray]:
    if problem_type == SINGLE_LABEL:
        return scores.max(axis=1), scores.argmax(axis=1) == targets
    return scores.ravel(), np.asarray(targets).ravel() > 0.5


def _bin_of(confidence: Array, bins: int) -> npt.NDArray[np.int64]:
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def first_column(values: Array) -> FloatArray:
    """The values of a regression, float64 [n], from [n] or [n, 1]."""
    values = np.asarray(values, np.float64)
    return values if values.ndim == 1 else values[:, 0]


def _share(part: Array, whole: Array) -> FloatArray:
    return np.asarray(part / np.where(whole > 0, whole, 1))
