"""Attention in training: padded groups answer, and learn, as each sequence alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from beam_bert.encoder.plan import Run
from beam_bert.training.attention import attend

HEADS, SIZE = 2, 8


def runs_of(lengths: list[int]) -> list[Run]:
    """As `pack` lays sequences: the longest first, those of one length in a run."""
    runs, start, token = [], 0, 0
    for length in sorted(set(lengths), reverse=True):
        count = lengths.count(length)
        runs.append(Run(start, count, length, token))
        start, token = start + count, token + count * length
    return runs


def alone(query: Tensor, key: Tensor, value: Tensor, lengths: list[int]) -> Tensor:
    """Each sequence by torch's own attention, in float32."""
    out = []
    for parts in zip(*(x.float().split(lengths) for x in (query, key, value)), strict=True):
        q, k, v = (part.transpose(0, 1) for part in parts)
        out.append(F.scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(1))
    return torch.cat(out)


def outcome(context: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    weights = torch.linspace(-1, 1, context.numel()).view(context.shape).to(context.dtype)
    gradients = torch.autograd.grad(context, inputs, weights)
    return [context.detach().float(), *(gradient.float() for gradient in gradients)]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_padded_groups_are_each_sequence_alone_with_its_gradients(lengths: list[int]) -> None:
    lengths = sorted(lengths, reverse=True)
    generator = torch.Generator().manual_seed(sum(lengths))
    shape = (sum(lengths), HEADS, SIZE)
    inputs = [torch.randn(shape, generator=generator).bfloat16().requires_grad_() for _ in range(3)]
    query, key, value = inputs
    found = outcome(attend(query, key, value, runs_of(lengths), False), inputs)
    expected = outcome(alone(query, key, value, lengths), inputs)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.03, atol=0.03)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_first_tokens_alone_are_those_of_the_whole(dtype: torch.dtype) -> None:
    lengths = [9, 9, 4, 1]
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn((sum(lengths), HEADS, SIZE), generator=generator).to(dtype) for _ in range(3)
    )
    first = torch.tensor([0, 9, 18, 22])
    runs = runs_of(lengths)
    whole = attend(query, key, value, runs, False)[first]
    torch.testing.assert_close(
        attend(query[first], key, value, runs, True), whole, rtol=0.02, atol=0.02
    )
