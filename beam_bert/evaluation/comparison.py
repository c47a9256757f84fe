"""Two models on the same rows: is the difference more than chance?

Right and wrong answers are compared by McNemar's exact test (McNemar 1947), other metrics by a
paired bootstrap: both models are measured on the same drawn rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from beam_bert.evaluation.intervals import (
    REPLICATES,
    Interval,
    bootstrap_together,
    chance_of_none,
    difference_interval,
    percentile_interval,
)
from beam_bert.evaluation.metrics import (
    DEFAULT_METRIC,
    ERRORS,
    Array,
    BoolArray,
    given_labels,
    true_labels,
)
from beam_bert.tasks.classification import REGRESSION

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Difference:
    """One metric of two models, and how they differ.

    Attributes:
      metric: its name.
      first, second: its value for each of the models.
      change: first minus second, with its 95 % interval.
      p_value: chance of such a difference between models that are equally good.
      test: "mcnemar" or "bootstrap".
      at_least, at_most: one-sided 95 % bounds of the change.
    """

    metric: str
    first: float
    second: float
    change: Interval
    p_value: float
    test: str
    at_least: float
    at_most: float

    @property
    def more_than_chance(self) -> bool:
        """Whether equally good models would differ so in less than one sample of twenty."""
        return self.p_value < SIGNIFICANCE

    @property
    def gain(self) -> float:
        """How much better the first model is: the change, turned round for errors."""
        return -self.change.value if self.metric in ERRORS else self.change.value


@dataclass(frozen=True)
class Comparison:
    """Two models on the same rows.

    Attributes:
      rows: how many there were.
      only_first, only_second: rows that one of them alone had right; None for regression.
      differences: by metric.
    """

    rows: int
    only_first: int | None
    only_second: int | None
    differences: Mapping[str, Difference]


def compare(
    first: Array,
    second: Array,
    targets: Array,
    problem_type: str,
    thresholds: Array | float = 0.5,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Comparison:
    """Compare the scores of two models on the same rows; see `metrics` for the arrays.

    Both models have the same labels, in the same order.
    """
    a, b = bootstrap_together(
        [first, second], targets, problem_type, thresholds, replicates=replicates, seed=seed
    )
    differences = {}
    for name, value in a.values.items():
        changes = a.replicates[name] - b.replicates[name]
        ends = percentile_interval(changes)
        if problem_type != REGRESSION:
            ends = difference_interval(value - b.values[name], changes, len(targets))
        differences[name] = Difference(
            name,
            value,
            b.values[name],
            Interval(value - b.values[name], *ends),
            chance_of_none(changes),
            "bootstrap",
            *percentile_interval(changes, 1 - 2 * SIGNIFICANCE),
        )
    if problem_type == REGRESSION:
        return Comparison(len(targets), None, None, differences)
    true = true_labels(targets, problem_type, first.shape[1])
    right = [
        (given_labels(scores, problem_type, thresholds) == true).all(axis=1)
        for scores in (first, second)
    ]
    only_first, only_second = discordant(right[0], right[1])
    differences["accuracy"] = replace(
        differences["accuracy"], p_value=mcnemar_p_value(only_first, only_second), test="mcnemar"
    )
    return Comparison(len(targets), only_first, only_second, differences)


def discordant(first_right: BoolArray, second_right: BoolArray) -> tuple[int, int]:
    """Rows that the first model alone has right, and those that the second alone has."""
    return int((first_right & ~second_right).sum()), int((~first_right & second_right).sum())


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value: were the models equally good, each of the rows that one of them
    alone has right would be the first's or the second's like the toss of a coin.
    """
    tosses, fewer = only_first + only_second, min(only_first, only_second)
    if tosses == 0:
        return 1.0
    places = np.arange(1, fewer + 1)
    log_choices = np.concatenate([[0.0], np.cumsum(np.log((tosses - places + 1) / places))])
    log_tail = np.logaddexp.reduce(log_choices) - tosses * np.log(2)
    return float(min(1.0, 2 * np.exp(log_tail)))


def main_difference(comparison: Comparison, problem_type: str) -> Difference:
    """The difference in the metric that this kind of model is chosen by."""
    return comparison.differences[DEFAULT_METRIC[problem_type]]


def in_words(difference: Difference, first: str = "the model", second: str = "the other") -> str:
    """One sentence on which model is better, by how much, and whether that is more than chance."""
    name = difference.metric.replace("_", " ").replace("f1", "F1")
    change, test = difference.change, _TESTS[difference.test]
    numbers = (
        f"{difference.first:.4f} against {difference.second:.4f}, a difference of "
        f"{change.value:+.4f} (95 % interval {change.low:+.4f} to {change.high:+.4f}; "
        f"{test}, p = {_p_text(difference.p_value)})"
    )
    if difference.gain == 0:
        return f"In {name} {first} and {second} are equal: {difference.first:.4f}."
    side = "better" if difference.gain > 0 else "worse"
    if difference.more_than_chance:
        verdict = f"{first} is {side} than {second}, by more than chance"
    else:
        verdict = f"{first} is {side} than {second}, but no more than chance would make it"
    return f"In {name} {verdict}: {numbers}."


_TESTS = {"mcnemar": "McNemar's exact test", "bootstrap": "paired bootstrap"}


def _p_text(p_value: float) -> str:
    return f"{p_value:.3f}" if p_value >= 0.001 else "less than 0.001"
