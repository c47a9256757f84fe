"""Temperatures."""

from __future__ import annotations

import numpy as np
import pytest

from beam_bert.evaluation.metrics import calibration_error, probabilities
from beam_bert.training.calibration import calibrated_loss, cross_fitted_error, fit_temperature

SINGLE, MULTI = "single_label_classification", "multi_label_classification"


def overconfident(problem_type: str, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Targets drawn from the probabilities of logits, and these logits times `factor`."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (4000, 5))
    scores = probabilities(logits, problem_type)
    if problem_type == SINGLE:
        targets = (scores.cumsum(axis=1) > generator.random((4000, 1))).argmax(axis=1)
    else:
        targets = (generator.random(scores.shape) < scores).astype(np.float32)
    return (logits * factor).astype(np.float32), targets


@pytest.mark.parametrize("problem_type", [SINGLE, MULTI])
@pytest.mark.parametrize("factor", [0.4, 3.0])
def test_the_temperature_that_was_put_in_is_found(problem_type: str, factor: float) -> None:
    logits, targets = overconfident(problem_type, factor)
    temperature = fit_temperature(logits, targets, problem_type)
    assert temperature == pytest.approx(factor, rel=0.1)
    before = calibration_error(probabilities(logits, problem_type), targets, problem_type)
    after = probabilities(logits / temperature, problem_type)
    assert calibration_error(after, targets, problem_type) < min(before, 0.02)


@pytest.mark.parametrize("problem_type", [SINGLE, MULTI])
def test_the_calibrated_loss_is_that_of_what_is_known_not_of_how_sure(problem_type: str) -> None:
    logits, targets = overconfident(problem_type, 1.0)
    loss = calibrated_loss(logits, targets, problem_type)
    assert calibrated_loss(logits * 3, targets, problem_type) == pytest.approx(loss, rel=1e-3)
    noise = np.random.default_rng(1).normal(0, 1, logits.shape).astype(np.float32)
    assert calibrated_loss(logits + noise, targets, problem_type) > 1.02 * loss


def test_the_calibrated_loss_of_values_is_their_mean_square() -> None:
    off = np.array([[1.0], [2.0], [4.0]], np.float32)
    assert calibrated_loss(off, off - [[0.0], [1.0], [2.0]], "regression") == pytest.approx(5 / 3)


def test_a_model_without_a_mistake_on_dev_is_not_made_sure_of_everything() -> None:
    logits = np.eye(4, dtype=np.float32)[np.arange(60) % 4] * 5
    temperature = fit_temperature(logits, np.arange(60) % 4, SINGLE)
    assert probabilities(logits / temperature, SINGLE).max() < 0.995


def test_the_cross_fitted_error_is_of_rows_that_the_temperature_did_not_see() -> None:
    logits, targets = overconfident(SINGLE, 3.0)
    before = calibration_error(probabilities(logits, SINGLE), targets, SINGLE)
    assert cross_fitted_error(logits, targets, SINGLE) < min(before, 0.03)
    # Few rows of noise: no temperature helps those that it was not fitted on.
    noise = np.random.default_rng(1).normal(0, 3, (40, 5)).astype(np.float32)
    labels = np.random.default_rng(2).integers(0, 5, 40)
    fitted = noise / np.float32(fit_temperature(noise, labels, SINGLE))
    seen = calibration_error(probabilities(fitted, SINGLE), labels, SINGLE)
    assert cross_fitted_error(noise, labels, SINGLE) > seen
