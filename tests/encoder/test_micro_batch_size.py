"""The size of a micro-batch: measured where it pays, and never at the price of other bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from beam_bert.encoder import SequenceClassifier, engine, load_classifier
from beam_bert.encoder import micro_batch_size as budget

from .conftest import company_tolerance, packed, random_sequences

SIZES = budget.candidates(1_000)


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """Seconds that a layer takes at each size, to be filled in; its states are those of zeros."""
    seconds: dict[int, float] = {}

    def time_layer(encoder, number, size):
        states = None if seconds[size] is None else torch.zeros(size, 2)
        return seconds[size], states

    monkeypatch.setattr(budget, "_time_layer", time_layer)
    return seconds


def measured() -> budget.Measurement:
    return budget.measure(None, {size: size for size in SIZES})


def test_the_size_that_costs_least_a_token_is_chosen(times):
    times |= {1_000: 1.0, 500: 0.6, 2_000: 1.8}
    found = measured()
    assert found.chosen == 2_000
    assert found.microseconds == {1_000: 1_000, 500: 1_200, 2_000: 900}


def test_what_is_hardly_faster_does_not_replace_the_default(times):
    times |= {1_000: 1.0, 500: 0.49, 2_000: 2.1}
    assert measured().chosen == 1_000


@pytest.mark.parametrize("too_large", SIZES)
def test_a_size_that_does_not_fit_in_memory_is_not_chosen(times, too_large):
    times |= {1_000: 1.0, 500: 0.8, 2_000: 1.0, too_large: None}
    found = measured()
    assert too_large not in found.microseconds
    assert found.chosen == (1_000 if too_large in (1_000, 2_000) else 2_000)


def test_a_size_that_gives_other_bits_is_not_chosen(times, monkeypatch):
    times |= {1_000: 1.0, 500: 0.8, 2_000: 0.1}
    time_layer = budget._time_layer

    def other_bits(encoder, number, size):
        seconds, states = time_layer(encoder, number, size)
        return seconds, states + (1e-7 if size == 2_000 else 0)

    monkeypatch.setattr(budget, "_time_layer", other_bits)
    found = measured()
    assert (found.chosen, set(found.microseconds)) == (1_000, {1_000, 500})


@pytest.fixture
def model(checkpoint, monkeypatch) -> SequenceClassifier:
    monkeypatch.setattr(engine, "WORTH_MEASURING", 3)
    return load_classifier(checkpoint("bert")[0], precision="fp32", device="cpu")


def test_much_text_is_measured_once_and_says_the_same_at_every_size(model, checkpoint):
    assert model.batch_tokens == 4_096
    bound = model.forward_bytes
    rng = np.random.default_rng(0)
    arrays = packed(random_sequences(rng.integers(1, 513, 60).tolist()))
    got = model.logits(*arrays)
    found = model.measured
    assert found is not None
    assert set(found.microseconds) <= {4_096, 2_048, 8_192}
    assert found.chosen == model.batch_tokens
    assert model.forward_bytes <= bound, "memory was to be known before the forward"
    assert (model.logits(*arrays) == got).all()
    assert model.measured is found
    for size in budget.candidates(4_096):
        fixed = load_classifier(checkpoint("bert")[0], precision="fp32", batch_tokens=size)
        tolerance = company_tolerance("fp32")
        np.testing.assert_allclose(fixed.logits(*arrays), got, rtol=0, atol=tolerance)
        assert (fixed.batch_tokens, fixed.measured) == (size, None)


def test_text_that_does_not_fill_the_largest_size_is_not_measured_even_when_asked(model):
    model.choose_batch_tokens(*packed(random_sequences([512] * 15)))
    assert (model.batch_tokens, model.measured) == (4_096, None)
    model.choose_batch_tokens(*packed(random_sequences([512] * 16)))
    assert model.measured is not None


def test_little_text_is_not_measured(model):
    model.logits(*packed(random_sequences([50] * 40)))
    assert (model.batch_tokens, model.measured) == (4_096, None)
