"""Attention within each sequence of a packed batch, with gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from beam_bert.encoder.plan import Run

_LEAST_OF_LONGEST = 0.5  # a shorter sequence is not padded to a group's longest


def attend(
    query: Tensor, key: Tensor, value: Tensor, runs: Sequence[Run], first_only: bool
) -> Tensor:
    """Attention within each sequence; shapes as in `beam_bert.encoder.attention.attend`.

    Without dropout of the probabilities, which would keep torch from its fused kernel: 9 ms instead
    of 32 for a layer of 62 banking77 rows. That kernel's backward in bf16 is slow on CPUs (torch
    2.13), so there are products instead.

    Split and concatenated, not written in place: autograd would copy the whole of a tensor for
    each slice that is taken from it or written to it.
    """
    attention: Callable[..., Tensor] = F.scaled_dot_product_attention
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        if not first_only:
            padded: Tensor = PaddedAttention.apply(query, key, value, _groups(tuple(runs)))
            return padded
        attention = _attention_by_products
    tokens = [run.count * run.length for run in runs]
    queries = query.split([run.count for run in runs] if first_only else tokens)
    out = []
    for run, q, k, v in zip(runs, queries, key.split(tokens), value.split(tokens), strict=True):
        shape = (run.count, -1)
        q, k, v = (part.unflatten(0, shape).transpose(1, 2) for part in (q, k, v))
        out.append(attention(q, k, v).transpose(1, 2).flatten(0, 1))
    return torch.cat(out).flatten(1)


def _attention_by_products(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    return torch.softmax(scores, dim=-1).to(value.dtype) @ value


@dataclass(frozen=True, eq=False)
class Group:
    """Sequences that are computed together, as if all were as long as the longest.

    Attributes:
      tokens: of the batch that are theirs.
      count: of sequences.
      length: of the longest.
      places: int64 [tokens] the place of each of their tokens among count * length; None: they fill
        all.
      mask: float32 [count, 1, 1, length], -inf where a sequence has ended.
    """

    tokens: slice
    count: int
    length: int
    places: Tensor | None
    mask: Tensor

    def padded(self, x: Tensor) -> Tensor:
        """[batch's tokens, heads, size] -> [count * heads, length, size], 0 after the ends."""
        x, (heads, size) = x[self.tokens], x.shape[1:]
        if self.places is not None:
            wide = x.new_zeros(self.count * self.length, heads, size)
            x = wide.index_copy_(0, self.places, x)
        x = x.view(self.count, self.length, heads, size).transpose(1, 2)
        return x.reshape(self.count * heads, self.length, size)

    def put(self, x: Tensor, into: Tensor) -> None:
        """[count * heads, length, size] into [batch's tokens, heads, size]."""
        heads, size = into.shape[1:]
        x = x.view(self.count, heads, self.length, size).transpose(1, 2).reshape(-1, heads, size)
        into[self.tokens] = x if self.places is None else x.index_select(0, self.places)


@lru_cache(maxsize=1)  # every layer of a batch asks for the same
def _groups(runs: tuple[Run, ...]) -> list[Group]:
    """The sequences of a batch, longest first, in groups of similar length."""
    lengths = np.repeat([run.length for run in runs], [run.count for run in runs])
    groups, first, token = [], 0, 0
    while first < len(lengths):
        longest = int(lengths[first])
        theirs = lengths[first:]
        theirs = theirs[theirs >= _LEAST_OF_LONGEST * longest]
        goes_on = np.arange(longest) < theirs[:, None]
        mask = np.where(goes_on, 0, -np.inf).astype(np.float32)[:, None, None]
        places = None if goes_on.all() else torch.from_numpy(np.flatnonzero(goes_on))
        after = token + int(theirs.sum())
        tokens = slice(token, after)
        groups.append(Group(tokens, len(theirs), longest, places, torch.from_numpy(mask)))
        first, token = first + len(theirs), after
    return groups


class PaddedAttention(torch.autograd.Function):
    """Attention by products over few padded groups, and its gradient.

    A product of matrices as small as one sequence's costs its call, not its arithmetic: a batch of
    short texts has some twenty lengths, and three groups.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, groups: Sequence[Group]
    ) -> Tensor:
        """Context [tokens, heads * size] from query, key, value [tokens, heads, size]."""
        out, saved = torch.empty_like(query), []
        heads, size = query.shape[1:]
        for group in groups:
            q, k, v = (group.padded(x) for x in (query, key, value))
            scores = torch.bmm(q, k.transpose(1, 2)).float().mul_(size**-0.5)
            if group.places is not None:
                by_head = (group.count, heads, group.length, group.length)
                scores.view(by_head).add_(group.mask)
            probabilities = torch.softmax(scores, dim=-1).to(query.dtype)
            group.put(torch.bmm(probabilities, v), out)
            saved += [q, k, v, probabilities]
        ctx.save_for_backward(*saved)
        ctx.groups = groups
        return out.flatten(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of query, key and value."""
        saved = ctx.saved_tensors
        size = saved[0].shape[-1]
        gradient = gradients[0].unflatten(1, (-1, size))
        of_inputs = [torch.empty_like(gradient) for _ in range(3)]
        for i, group in enumerate(ctx.groups):
            q, k, v, probabilities = saved[4 * i : 4 * i + 4]
            of_context = group.padded(gradient)
            of_probabilities = torch.bmm(of_context, v.transpose(1, 2)).float()
            p = probabilities.float()
            # Of the softmax: what all places of a row have in common changes nothing.
            common = (of_probabilities * p).sum(dim=-1, keepdim=True)
            of_scores = ((of_probabilities - common) * p).mul_(size**-0.5).to(q.dtype)
            group.put(torch.bmm(of_scores, k), of_inputs[0])
            group.put(torch.bmm(of_scores.transpose(1, 2), q), of_inputs[1])
            group.put(torch.bmm(probabilities.transpose(1, 2), of_context), of_inputs[2])
        return *of_inputs, None
