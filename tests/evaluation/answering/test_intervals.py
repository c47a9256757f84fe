"""Intervals of answers: whole texts are drawn, since questions of one text are alike."""

from __future__ import annotations

import numpy as np
import pytest

from beam_bert.evaluation.answering.scoring import Intervals
from beam_bert.reports.evaluation import FEWEST_FOR_INTERVAL


def test_questions_of_one_text_count_as_one_draw() -> None:
    """Thirty texts, each right in all of its questions or in none: thirty things are known."""
    right = np.random.default_rng(0).random(30) < 0.6
    intervals = Intervals(2_000, 0)
    alone = intervals.of(right.astype(float), np.arange(30))
    many = intervals.of(np.repeat(right, 20).astype(float), np.repeat(np.arange(30), 20))
    assert many.value == pytest.approx(alone.value)
    assert (many.low, many.high) == (alone.low, alone.high)
    apart = intervals.of(np.repeat(right, 20).astype(float), np.arange(600))
    assert apart.high - apart.low < 0.3 * (many.high - many.low)  # type: ignore[operator]


def test_a_text_with_more_questions_weighs_more() -> None:
    values = np.array([1.0] * 90 + [0.0] * 10)
    texts = np.array([0] * 90 + list(range(1, 11)))
    assert Intervals(500, 0).of(values, texts).value == pytest.approx(0.9)


def test_of_few_texts_no_interval_is_given_however_many_questions() -> None:
    texts = np.repeat(np.arange(FEWEST_FOR_INTERVAL - 1), 50)
    assert Intervals(100, 0).of(np.ones(len(texts)), texts).low is None
