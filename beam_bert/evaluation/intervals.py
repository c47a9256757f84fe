"""How sure the metrics are: bootstrap intervals (Efron 1979), seeded, vectorised, in plain numpy.

A replicate draws as many rows as there are, with replacement. Rows that look alike to the metric
(the same true and given labels) are one kind, so a replicate is one multinomial draw over kinds:
exactly the same distribution as drawing rows, at a cost that does not grow with the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from beam_bert.evaluation.metrics import (
    Array,
    BoolArray,
    FloatArray,
    LabelCounts,
    first_column,
    given_labels,
    ranks,
    score_metrics,
    true_labels,
    wilson_interval,
)
from beam_bert.reports import evaluation as report
from beam_bert.tasks.classification import REGRESSION

REPLICATES = 1_000
LEVEL = 0.95
_CHUNK_DRAWS = 4_000_000  # numbers held at once: 32 MB
_MOST_DRAWS = 200_000_000  # fewer replicates where there are more kinds of rows than this allows
_FEWEST_REPLICATES = 200
_LABEL_F1 = "f1 of each label"


@dataclass(frozen=True)
class Bootstrap:
    """What the metrics of one model are in many replicates of its rows.

    Attributes:
      values: the metrics on the rows as they are, by name.
      replicates: float64 [replicates] for each of them.
      rows: how many they are.
      label_f1: float64 [replicates, labels]; None for regression.
      support: int64 [labels], rows in which each is true; None for regression.
    """

    values: Mapping[str, float]
    replicates: Mapping[str, FloatArray]
    rows: int
    label_f1: FloatArray | None = None
    support: Array | None = None

    def intervals(self) -> dict[str, report.Metric]:
        """Each metric with its interval; where the replicates are all alike, see `_collapsed`."""
        metrics = {}
        for name, value in self.values.items():
            low, high = percentile_interval(self.replicates[name])
            metrics[name] = (
                report.Metric(value=value, low=low, high=high)
                if low < high
                else self._collapsed(name, value)
            )
        return metrics

    def label_f1_intervals(self) -> FloatArray:
        """float64 [labels, 2]: low and high end of each label's F1."""
        assert self.label_f1 is not None and self.support is not None
        tail = (1 - LEVEL) / 2
        ends = np.quantile(self.label_f1, [tail, 1 - tail], axis=0).T
        # Never wrong, or never right, in these rows: they are still so many rows only.
        is_point = ends[:, 0] == ends[:, 1]
        wilson = np.stack(wilson_interval(ends[:, 0] * self.support, self.support), axis=1)
        return np.where(is_point[:, None], wilson, ends)

    def _collapsed(self, name: str, value: float) -> report.Metric:
        """A share that no drawing of these rows changes: of all right, or none.

        Its interval is Wilson's; macro F1's is the mean of its labels'. Errors and correlations
        are no shares, and have none.
        """
        if self.support is None:
            return report.Metric(value=value)
        if name == "macro_f1":
            known = self.support > 0 if self.support.any() else slice(None)
            low, high = self.label_f1_intervals()[known].mean(axis=0)  # none of what no row has
        else:
            low, high = wilson_interval(np.array(value * self.rows), np.array(self.rows))
        return report.Metric(value=value, low=min(float(low), value), high=max(float(high), value))


def bootstrap(
    scores: Sequence[Array],
    targets: Array,
    problem_type: str,
    thresholds: Array | float = 0.5,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> list[Bootstrap]:
    """Accuracy, macro- and weighted F1, or the metrics of regression, in replicates of the rows.

    Of each of the models whose scores these are, over the very same replicates: their differences
    are those of a paired bootstrap. Other arguments as in
    `beam_bert.evaluation.metrics.score_metrics`; the same seed draws the same rows.
    """
    if problem_type == REGRESSION:
        values = [first_column(of_model) for of_model in scores]
        return _regression(values, first_column(targets), replicates, seed)
    true = true_labels(targets, problem_type, scores[0].shape[1])
    given = [given_labels(of_model, problem_type, thresholds) for of_model in scores]
    return _labels(given, true, problem_type, replicates, seed)


def percentile_interval(replicates: Array, level: float = LEVEL) -> tuple[float, float]:
    """The middle `level` of the replicates."""
    tail = (1 - level) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def difference_interval(value: float, replicates: Array, rows: int) -> tuple[float, float]:
    """Of a difference of two shares on the same rows.

    Where all replicates are alike (the two never differ, or always) it is as wide as Wilson's
    interval around none of so many rows.
    """
    low, high = percentile_interval(replicates)
    if low < high:
        return low, high
    width = float(wilson_interval(np.array(0), np.array(rows))[1])
    return max(value - width, -1.0), min(value + width, 1.0)


def chance_of_none(differences: Array) -> float:
    """Two-sided p-value of a difference being 0, from its replicates (never quite 0)."""
    total = len(differences) + 1
    below, above = (differences <= 0).sum() + 1, (differences >= 0).sum() + 1
    return float(min(1.0, 2 * min(below, above) / total))


def _labels(
    given: list[BoolArray], true: BoolArray, problem_type: str, replicates: int, seed: int
) -> list[Bootstrap]:
    first, counts = distinct_rows(true, *given)
    true, given = true[first], [labels[first] for labels in given]

    def measure(drawn: FloatArray) -> list[dict[str, FloatArray]]:
        """Of each model in each replicate; drawn is [replicates, kinds]."""
        rows, support = drawn.sum(axis=1), drawn @ true.astype(np.float64)
        models = []
        for labels in given:
            label_counts = LabelCounts(
                hits=drawn @ (labels & true).astype(np.float64),
                given=drawn @ labels.astype(np.float64),
                true=support,
            )
            right = drawn @ (labels == true).all(axis=1).astype(np.float64)
            metrics = {
                "accuracy": right / rows,
                "macro_f1": label_counts.macro_f1(problem_type),
                "weighted_f1": label_counts.weighted_f1,
            }
            models.append(metrics | {_LABEL_F1: label_counts.f1})
        return models

    models = []
    whole = measure(counts[None, :].astype(np.float64))
    for values, drawn in zip(whole, _draws(counts, replicates, seed, measure), strict=True):
        label_f1, _ = drawn.pop(_LABEL_F1), values.pop(_LABEL_F1)
        measured = {name: float(value[0]) for name, value in values.items()}
        models.append(Bootstrap(measured, drawn, int(counts.sum()), label_f1, counts @ true))
    return models


def _regression(
    models: list[FloatArray], true: FloatArray, replicates: int, seed: int
) -> list[Bootstrap]:
    """All metrics are functions of weighted sums; Spearman keeps the ranks of the whole sample."""
    columns = [_moments(values, true) for values in models]
    ones = np.ones(len(true), np.int64)
    drawn = _draws(ones, replicates, seed, lambda rows: [_of_moments(rows @ c) for c in columns])
    measured = [score_metrics(values, true, REGRESSION) for values in models]
    return [
        Bootstrap({name: whole[name] for name in metrics}, metrics, len(true))
        for whole, metrics in zip(measured, drawn, strict=True)
    ]


def _moments(values: FloatArray, true: FloatArray) -> FloatArray:
    error = values - true
    columns = [np.ones_like(true), np.abs(error), error**2]
    for a, b in ((values, true), (ranks(values), ranks(true))):
        a, b = a - a.mean(), b - b.mean()  # small numbers: the differences below lose no digits
        columns += [a, b, a * a, b * b, a * b]
    return np.stack(columns, axis=1)


def _of_moments(sums: FloatArray) -> dict[str, FloatArray]:
    means = sums / sums[:, :1]
    return {
        "spearman": _correlations(means[:, 8:13]),
        "pearson": _correlations(means[:, 3:8]),
        "mean_absolute_error": means[:, 1],
        "root_mean_squared_error": np.sqrt(means[:, 2]),
    }


def _correlations(means: FloatArray) -> FloatArray:
    a, b, aa, bb, ab = means.T
    norm = np.sqrt(np.maximum(aa - a * a, 0) * np.maximum(bb - b * b, 0))
    return np.where(norm > 1e-300, (ab - a * b) / np.where(norm > 1e-300, norm, 1), 0.0)


def distinct_rows(*columns: BoolArray) -> tuple[Array, Array]:
    """Of rows that are equal in all of bool [n, …], the first one's number, and how many."""
    packed = np.ascontiguousarray(np.packbits(np.concatenate(columns, axis=1), axis=1))
    whole = packed.view(np.dtype((np.void, packed.shape[1])))[:, 0]
    _, first, counts = np.unique(whole, return_index=True, return_counts=True)
    return first, counts


def _draws(
    counts: Array,
    replicates: int,
    seed: int,
    measure: Callable[[FloatArray], list[dict[str, FloatArray]]],
) -> list[dict[str, FloatArray]]:
    """What `measure` finds in all replicates; it is asked of as many at once as memory allows."""
    generator = np.random.default_rng(seed)
    rows, kinds = int(counts.sum()), len(counts)
    left = min(replicates, max(_FEWEST_REPLICATES, _MOST_DRAWS // kinds))
    chunks = []
    while left > 0:
        size = min(left, max(1, _CHUNK_DRAWS // kinds))
        drawn = generator.multinomial(rows, counts / rows, size=size)
        chunks.append(measure(drawn.astype(np.float64)))
        left -= size
    return [
        {name: np.concatenate([metrics[name] for metrics in of_model]) for name in of_model[0]}
        for of_model in zip(*chunks, strict=True)
    ]
