"""Temperature scaling (Guo et al. 2017, arXiv:1706.04599), and thresholds for several labels."""

from __future__ import annotations

import numpy as np

from beam_bert.tasks.classification import MULTI_LABEL, SINGLE_LABEL
from beam_bert.training.metrics import (
    calibration_error,
    negative_log_likelihood,
    probabilities,
    score_metrics,
)

_LOG_RANGE = (-3.0, 3.0)
_ROUNDS = 60
_PARTS = 5


def fit_temperature(logits: np.ndarray, targets: np.ndarray, problem_type: str) -> float:
    """The temperature that makes the targets likeliest, between exp(-3) and exp(3).

    Found by golden-section search: the likelihood has one peak in the inverse temperature. Beside
    the n rows stands one whose label may be any, as in Platt's scaling (1999): else a dev set on
    which the model makes no mistake would ask for a temperature of 0.
    """
    golden = (np.sqrt(5) - 1) / 2
    share = 1 / (len(logits) + 1)

    def cost(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        given = negative_log_likelihood(scaled, targets, problem_type)
        return (1 - share) * given + share * _any_label_cost(scaled, problem_type)

    low, high = _LOG_RANGE
    for _ in range(_ROUNDS):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if cost(left) <= cost(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


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


def _any_label_cost(logits: np.ndarray, problem_type: str) -> float:
    """The negative log likelihood where each label (multi-label: each answer) is as likely."""
    if problem_type == SINGLE_LABEL:
        # Of the first label, plus how much less likely the mean label is.
        first = negative_log_likelihood(logits, np.zeros(len(logits), np.int64), problem_type)
        return first + float((logits[:, 0] - logits.mean(axis=1)).mean())
    return negative_log_likelihood(logits, np.full(logits.shape, 0.5), problem_type)
