"""Two models on the same rows: is the difference more than chance?

Right and wrong answers are compared by McNemar's exact test (McNemar 1947), other metrics by a
paired bootstrap: both models are measured on the same drawn rows.
"""

from __future__ import annotations

import numpy as np

from beam_bert.evaluation.intervals import (
    REPLICATES,
    bootstrap,
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
from beam_bert.reports import evaluation as report
from beam_bert.tasks.classification import REGRESSION

SIGNIFICANCE = 0.05


def compare(
    first: Array,
    second: Array,
    targets: Array,
    problem_type: str,
    thresholds: Array | float = 0.5,
    *,
    name: str,
    other: report.Model,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> report.ComparedModels:
    """Compare the scores of two models on the same rows; see `metrics` for the arrays.

    Both models have the same labels, in the same order; they are called `name` and `other.name`.
    """
    a, b = bootstrap(
        [first, second], targets, problem_type, thresholds, replicates=replicates, seed=seed
    )
    alone: tuple[int, int] | tuple[None, None] = (None, None)
    if problem_type != REGRESSION:
        true = true_labels(targets, problem_type, first.shape[1])
        given = [given_labels(scores, problem_type, thresholds) for scores in (first, second)]
        alone = discordant(*((labels == true).all(axis=1) for labels in given))
    differences = {}
    for metric, value in a.values.items():
        change = value - b.values[metric]
        changes = a.replicates[metric] - b.replicates[metric]
        ends, p_value, test = percentile_interval(changes), chance_of_none(changes), "bootstrap"
        if alone[0] is not None:
            ends = difference_interval(change, changes, len(targets))
            if metric == "accuracy":
                p_value, test = mcnemar_p_value(*alone), "mcnemar"
        at_least, at_most = percentile_interval(changes, 1 - 2 * SIGNIFICANCE)
        difference = report.MetricDifference(
            metric=metric,
            model=value,
            other=b.values[metric],
            change=report.Metric(value=change, low=ends[0], high=ends[1]),
            at_least=at_least,
            at_most=at_most,
            p_value=p_value,
            test=test,
            more_than_chance=p_value < SIGNIFICANCE,
            in_words="",
        )
        words = in_words(difference, name, other.name)
        differences[metric] = difference.model_copy(update={"in_words": words})
    return report.ComparedModels(
        other=other,
        only_model_right=alone[0],
        only_other_right=alone[1],
        verdict=differences[DEFAULT_METRIC[problem_type]].in_words,
        differences=list(differences.values()),
    )


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
    draws = np.arange(1, fewer + 1)
    log_choices = np.concatenate([[0.0], np.cumsum(np.log((tosses - draws + 1) / draws))])
    log_tail = np.logaddexp.reduce(log_choices) - tosses * np.log(2)
    return float(min(1.0, 2 * np.exp(log_tail)))


def gain(difference: report.MetricDifference) -> float:
    """How much better the first model is: the change, turned round for errors."""
    change = difference.change.value
    return -change if difference.metric in ERRORS else change


def in_words(difference: report.MetricDifference, first: str, second: str) -> str:
    """One sentence on which model is better, by how much, and whether that is more than chance."""
    name = difference.metric.replace("_", " ").replace("f1", "F1")
    if gain(difference) == 0:
        return f"In {name} {first} and {second} are equal: {difference.model:.4f}."
    side = "better" if gain(difference) > 0 else "worse"
    more = ", by more than chance"
    if not difference.more_than_chance:
        more = ", but no more than chance would make it"
    change, p_value = difference.change, difference.p_value
    return (
        f"In {name} {first} is {side} than {second}{more}: "
        f"{difference.model:.4f} against {difference.other:.4f}, a difference of "
        f"{change.value:+.4f} (95 % interval {change.low:+.4f} to {change.high:+.4f}; "
        f"{_TESTS[difference.test]}, p = "
        f"{f'{p_value:.3f}' if p_value >= 0.001 else 'less than 0.001'})."
    )


_TESTS = {"mcnemar": "McNemar's exact test", "bootstrap": "paired bootstrap"}
