"""The order of the rows: shuffled, cut by a budget of tokens. Pure, planned before a first step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from beam_bert.encoder.plan import Int64Array


def plan_epochs(
    lengths: Int64Array, batch_tokens: int, epochs: int, seed: int
) -> list[list[Int64Array]]:
    """Batches of each epoch: rows in a random order, cut where the next would pass the budget.

    Packed batches need no rows of like length beside each other, so a batch is a fair sample.

    Args:
      lengths: int64 [n], tokens of each row.
      batch_tokens: most tokens of a batch; a longer row is a batch of its own.
      epochs: how many.
      seed: of the order.
    """
    return [plan_epoch(lengths, batch_tokens, [seed, epoch]) for epoch in range(epochs)]


def plan_epoch(lengths: Int64Array, batch_tokens: int, seed: Sequence[int]) -> list[Int64Array]:
    """One epoch's batches; see `plan_epochs`."""
    order = np.random.default_rng(seed).permutation(len(lengths)).astype(np.int64)
    ends = np.cumsum(lengths[order])
    batches, start, used = [], 0, 0
    while start < len(order):
        stop = max(int(np.searchsorted(ends, used + batch_tokens, side="right")), start + 1)
        batches.append(order[start:stop])
        start, used = stop, int(ends[stop - 1])
    return batches
