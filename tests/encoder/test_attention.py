"""Attention on a CPU: both ways give what the formula gives, whatever the lengths."""

from __future__ import annotations

import importlib
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_bert.encoder import attention
from beam_bert.encoder.attention import Boundaries, attend
from beam_bert.encoder.plan import MicroBatch

HEADS, SIZE = 3, 16


def by_the_formula(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, starts: list[int]
) -> torch.Tensor:
    """One sequence and one head at a time, in float64."""
    out = torch.empty(query.shape, dtype=torch.float64)
    first_only = len(query) == len(starts) - 1
    for i, (start, stop) in enumerate(pairwise(starts)):
        rows = slice(i, i + 1) if first_only else slice(start, stop)
        for head in range(HEADS):
            q, k, v = (
                x[:, head].double() for x in (query[rows], key[start:stop], value[start:stop])
            )
            out[rows, head] = torch.softmax(q @ k.T / SIZE**0.5, dim=1) @ v
    return out.flatten(1)


@pytest.mark.parametrize("native", [True, False], ids=["products", "torch"])
@pytest.mark.parametrize("scores_at_once", [1, 100, 2**19])
@pytest.mark.parametrize("first_tokens_only", [True, False])
@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(1, 70), min_size=1, max_size=8))
def test_every_token_attends_to_its_own_sequence_alone(
    native, scores_at_once, first_tokens_only, lengths
):
    lengths = np.array(sorted(lengths, reverse=True))
    total, count = int(lengths.sum()), len(lengths)
    starts = [0, *np.cumsum(lengths).tolist()]
    boundaries = Boundaries(
        runs=tuple(MicroBatch(np.arange(count), lengths).runs()),
        starts=torch.tensor(starts, dtype=torch.int32),
        queries=torch.arange(count + 1, dtype=torch.int32),
        longest=int(lengths.max()),
    )
    generator = torch.Generator().manual_seed(total)
    # Side by side, as the layer's one product gives them.
    states = torch.randn(total, 3, HEADS, SIZE, generator=generator).bfloat16()
    query, key, value = states.unbind(1)
    if first_tokens_only:
        query = query[torch.tensor(starts[:-1])]
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(attention, "has_native_bf16", lambda: native)
        patch.setattr(attention, "has_amx", lambda: False)
        patch.setattr(attention, "_SCORES_AT_ONCE", scores_at_once)
        got = attend(query, key, value, boundaries, first_tokens_only=first_tokens_only)
    expected = by_the_formula(query, key, value, starts)
    torch.testing.assert_close(got.double(), expected, rtol=0.02, atol=0.03)


def test_a_full_memory_is_not_remembered_as_an_option_that_is_not_there(monkeypatch):
    varlen = importlib.import_module("torch.nn.attention.varlen")
    attention._one_order.cache_clear()

    def full(*_, **__):
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patch, pytest.raises(torch.OutOfMemoryError):
        patch.setattr(varlen, "varlen_attn", full)
        attention._one_order(torch.device("cpu"))
    monkeypatch.setattr(varlen, "varlen_attn", lambda *_, **__: None)
    assert attention._one_order(torch.device("cpu")) == {"num_splits": 1}
    attention._one_order.cache_clear()
