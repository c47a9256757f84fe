"""The plan of a forward: which sequences ride together. Pure functions over lengths.

Sequences are sorted by length and cut into micro-batches by a budget of real tokens; inside one
they lie end to end, nothing is padded. Because they are sorted, sequences of one length are
neighbours (`Run`s), which is all that attention on a CPU needs to work without a mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]


# What padding is counted against: the usual batch of those who pad.
PADDED_BATCH = 32
# FlashAttention gives each sequence a row of blocks, and a GPU's grid has no more rows.
MOST_SEQUENCES = 65_535
# Fewer tokens are not worth a thread: each has to read all of the weights.
_FEWEST_TOKENS = 256


@dataclass(frozen=True)
class Run:
    """`count` neighbouring sequences of one `length`.

    Their tokens start at row `start_token` of the packed batch, the first is sequence `start`.
    """

    start: int
    count: int
    length: int
    start_token: int

    @property
    def tokens(self) -> slice:
        """Rows of the packed batch that the run takes."""
        return slice(self.start_token, self.start_token + self.count * self.length)

    @property
    def sequences(self) -> slice:
        """Places in the micro-batch that the run takes."""
        return slice(self.start, self.start + self.count)


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """Sequences that go through the encoder together.

    Attributes:
      rows: int64 [n], indices of the sequences in the caller's order.
      lengths: int64 [n], their tokens, never rising.
    """

    rows: Int64Array
    lengths: Int64Array

    @property
    def num_tokens(self) -> int:
        """Tokens of all sequences together."""
        return int(self.lengths.sum())

    def runs(self) -> Iterator[Run]:
        """The stretches of equal length, in order."""
        start = start_token = 0
        changes = np.flatnonzero(np.diff(self.lengths)) + 1
        for stop in [*changes.tolist(), len(self.lengths)]:
            if stop > start:
                run = Run(start, stop - start, int(self.lengths[start]), start_token)
                yield run
                start, start_token = stop, run.tokens.stop


def plan_micro_batches(
    lengths: Int64Array, batch_tokens: int, threads: int = 1
) -> list[MicroBatch]:
    """Cut sequences of `lengths` (int64 [n], each at least 1) into micro-batches, longest first.

    Each has at most `batch_tokens` tokens, or is a single sequence that alone is longer, and at
    most `MOST_SEQUENCES`. Longest first, so that what does not fit in memory shows at once. Ties
    keep the caller's order. Where several `threads` compute at once, the cuts are such that all of
    them have about as much to do: a multiple of their number, of one size.
    """
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens must be positive, got {batch_tokens}")
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    middles = ends - lengths[order] / 2
    total = int(lengths.sum())
    shares = _even_shares(total, batch_tokens, threads)
    batches: list[MicroBatch] = []
    start, used = 0, 0
    while start < len(order):
        stop = int(np.searchsorted(ends, used + batch_tokens, side="right"))
        left = shares - len(batches)
        if left > 1:
            even = used + (total - used) / left
            stop = min(stop, int(np.searchsorted(middles, even, side="right")))
        stop = min(max(stop, start + 1), start + MOST_SEQUENCES)
        rows = order[start:stop]
        batches.append(MicroBatch(rows, lengths[rows]))
        start, used = stop, int(ends[stop - 1])
    return batches


def _even_shares(tokens: int, batch_tokens: int, threads: int) -> int:
    """How many micro-batches of one size leave no thread without work; 0: there is one."""
    busy = min(threads, tokens // _FEWEST_TOKENS)
    if busy < 2:
        return 0
    # Not filled to the brim: cuts fall between sequences, and what were too much would be left.
    return busy * -(-tokens // int(max(1, 0.95 * batch_tokens) * busy))


def distinct_sequences(
    input_ids: Int32Array,
    offsets: Int64Array,
    first_lengths: Int32Array | None,
    ranges: Int32Array | None = None,
) -> tuple[Int64Array, Int64Array]:
    """Find sequences that are the same: tokens, segments, and what the head looks at.

    Args:
      input_ids: int32 [total_tokens], laid end to end.
      offsets: int64 [n + 1].
      first_lengths: int32 [n] or None.
      ranges: int32 [n, k] or None.

    Returns:
      `first` int64 [d]: one index for each distinct sequence, the earliest, rising;
      `inverse` int64 [n]: the place in `first` of each sequence.
    """
    ids = np.ascontiguousarray(input_ids).tobytes()
    bounds = (offsets * input_ids.itemsize).tolist()
    keys: list[Any] = [ids[start:stop] for start, stop in pairwise(bounds)]
    if first_lengths is not None:
        keys = list(zip(keys, first_lengths.tolist(), strict=True))
    if ranges is not None:
        keys = list(zip(keys, map(bytes, np.ascontiguousarray(ranges)), strict=True))
    place_of: dict[Any, int] = {}
    # A new key gets the number of those before it.
    key_numbers = [place_of.setdefault(key, len(place_of)) for key in keys]
    inverse = np.array(key_numbers, dtype=np.int64)
    return np.unique(inverse, return_index=True)[1], inverse


def padded_tokens(lengths: Int64Array, batch: int = PADDED_BATCH) -> int:
    """Tokens that batches of `batch` sequences, in the order given, each as long as its longest."""
    return sum(
        len(part) * int(part.max())
        for part in (lengths[n : n + batch] for n in range(0, len(lengths), batch))
    )
