"""Temperature scaling (Guo et al. 2017, arXiv:1706.04599), and thresholds for several labels."""

from __future__ import annotations

import numpy as np

from beam_bert.evaluation.metrics import (
    calibration_error,
    dev_metrics,
    negative_log_likelihood,
    probabilities,
    score_metrics,
)
from beam_bert.tasks.classification import MULTI_LABEL, REGRESSION

_LOG_RANGE = (-3.0, 3.0)
_LOG_SPREAD = 0.3  # 19 of 20 temperatures between 0.55 and 1.8, beforehand
_ROUNDS = 40  # the interval is then 3e-8 wide
_MOST_LOGITS = 5_000_000  # of 10,000 labels 500 rows say enough; all of them would take minutes
_PARTS = 5


def fit_temperature(logits: np.ndarray, targets: np.ndarray, problem_type: str) -> float:
    """The likeliest temperature, between exp(-3) and exp(3).

    Before any row was seen its logarithm is taken to be normal around 0, as a model's own logits
    have it. A few hundred rows say far more than that; but where the model makes no mistake on any
    row, their likelihood alone would ask for a temperature of 0. Found by golden-section search.
    """
    golden = (np.sqrt(5) - 1) / 2
    every = -(-logits.size // _MOST_LOGITS)
    logits, targets = logits[::every], targets[::every]

    def cost(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        beforehand = (log_temperature / _LOG_SPREAD) ** 2 / 2
        return negative_log_likelihood(scaled, targets, problem_type) + beforehand / len(logits)

    low, high = _LOG_RANGE
    left, right = high - golden * (high - low), low + golden * (high - low)
    left_cost, right_cost = cost(left), cost(right)
    for _ in range(_ROUNDS):
        if left_cost <= right_cost:
            high, right, right_cost = right, left, left_cost
            left = high - golden * (high - low)
            left_cost = cost(left)
        else:
            low, left, left_cost = left, right, right_cost
            right = low + golden * (high - low)
            right_cost = cost(right)
    return float(np.exp((low + high) / 2))


def calibrated_loss(logits: np.ndarray, targets: np.ndarray, problem_type: str) -> float:
    """The loss at the fitted temperature: to be only more or less sure makes no difference."""
    if problem_type == REGRESSION:
        return dev_metrics(logits, targets, problem_type)["loss"]
    temperature = np.float32(fit_temperature(logits, targets, problem_type))
    return negative_log_likelihood(logits / temperature, targets, problem_type)


def cross_fitted_error(logits: np.ndarray, targets: np.ndarray, problem_type: str) -> float:
    """The calibration error of rows scaled by a temperature that was fitted without them.

    A fifth of the rows at a time, so that all count: on the rows that it was fitted on, a
    temperature does better than it will later.
    """
    scaled = np.empty_like(logits)
    for part in range(_PARTS):
        apart = np.arange(len(logits)) % _PARTS == part
        if apart.any() and not apart.all():
            temperature = fit_temperature(logits[~apart], targets[~apart], problem_type)
            scaled[apart] = logits[apart] / np.float32(temperature)
        else:
            scaled[apart] = logits[apart]
    return calibration_error(probabilities(scaled, problem_type), targets, problem_type)


def fit_threshold(logits: np.ndarray, targets: np.ndarray) -> float:
    """The probability from which labels are given with the best macro F1, in steps of 0.01.

    Calibrated probabilities of rare labels seldom reach 0.5: at 0.5 most would never be given. One
    threshold for all labels, not one each: a rare label's own would follow a handful of dev rows.
    """
    scores, true = probabilities(logits, MULTI_LABEL), targets > 0.5
    candidates = np.round(np.arange(0.05, 0.951, 0.01), 2)
    values = [
        score_metrics(scores, true, MULTI_LABEL, candidate)["macro_f1"] for candidate in candidates
    ]
    # The middle of those near the best: a peak of one candidate is chance.
    near = candidates[np.array(values) >= max(values) - 0.002]
    return float(near[len(near) // 2])
