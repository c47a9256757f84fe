"""`QuestionWindows`: windows of questions and texts, laid out when a model is about to read them.

A long text and its questions take little room; all windows of it, for each of its questions, a
multiple of that. So a TokenBatch of questions (see `beam_bert.slices.schema`) holds what windows
are made of, and some are made at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_bert.slices.token_arrays import TokenArrays
from beam_bert.tokenization.token_places import represent
from beam_bert.tokenization.windows import judged_spans, lay_out

# Windows at once: enough to sort them by length, a few megabytes.
PART_TOKENS = 2**20


def windows_of(rows: pa.RecordBatch) -> TokenArrays | QuestionWindows:
    """The windows of a TokenBatch, whatever its task."""
    return QuestionWindows(rows) if "text_ids" in rows.schema.names else TokenArrays.of(rows)


@dataclass(frozen=True, eq=False)
class _Lists:
    values: np.ndarray
    lengths: np.ndarray
    firsts: np.ndarray

    @staticmethod
    def of(column: pa.Array) -> _Lists:
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
        values = column.flatten().to_numpy(zero_copy_only=False)
        return _Lists(values, lengths, np.cumsum(lengths) - lengths)


class QuestionWindows:
    """What `TokenArrays` is to other tasks, of a TokenBatch of questions.

    Attributes:
      counts: int64 [documents], windows of each.
      lengths: int64 [windows], tokens of each.
    """

    def __init__(self, rows: pa.RecordBatch) -> None:
        self._rows = rows
        self._text, self._after = _Lists.of(rows["text_ids"]), _Lists.of(rows["after"])
        starts, ends = (_Lists.of(rows[name]).values for name in ("token_starts", "token_ends"))
        lengths = self._text.lengths
        self._flags = (
            starts >= 0,
            represent(starts, lengths),
            ends >= 0,
            represent(ends[::-1], lengths[::-1])[::-1],
        )
        asked = _Lists.of(rows["before"])
        self._before = _Lists.of(rows["before"].flatten())
        begins = _Lists.of(rows["begins"])
        self.counts = begins.lengths
        self._begins = begins.values.astype(np.int64)
        self._context = _Lists.of(rows["context_lengths"]).values.astype(np.int64)
        self._document = np.repeat(np.arange(len(rows)), self.counts)
        numbers = _Lists.of(rows["questions"]).values
        self._pair = asked.firsts[self._document] + numbers
        self._judged = judged_spans(self._begins, self._context, self._pair)
        around = self._before.lengths[self._pair] + self._after.lengths[self._document]
        self.lengths = self._context + around

    def documents(self, start: int, stop: int) -> QuestionWindows:
        """The documents from `start` to `stop`."""
        return QuestionWindows(self._rows.slice(start, stop - start))

    def parts(self) -> Iterator[TokenArrays]:
        """All windows in their order, as many at a time as fit in a few megabytes."""
        ends = np.cumsum(self.lengths)
        start = 0
        while start < len(ends):
            used = ends[start] - self.lengths[start]
            stop = int(np.searchsorted(ends, used + PART_TOKENS, side="right"))
            stop = max(stop, start + 1)
            yield self.windows(np.arange(start, stop))
            start = stop

    def everything(self) -> TokenArrays:
        """All windows at once."""
        return self.windows(np.arange(len(self.lengths)))

    def windows(self, chosen: np.ndarray) -> TokenArrays:
        """Some of the windows, int64 [n], each as a document of its own."""
        pair, document, context = (
            numbers[chosen] for numbers in (self._pair, self._document, self._context)
        )
        firsts = self._text.firsts[document] + self._begins[chosen]
        before, after = self._before, self._after
        ids, offsets = lay_out(
            [
                (before.values, before.firsts[pair], before.lengths[pair]),
                (self._text.values, firsts, context),
                (after.values, after.firsts[document], after.lengths[document]),
            ],
            len(chosen),
        )
        types = None
        if "first_lengths" in self._rows.schema.names:
            types = _Lists.of(self._rows["first_lengths"]).values[pair]
        longest = int(context.max(initial=1))
        looked_at = [
            np.column_stack([before.lengths[pair], context, self._judged[chosen]]).astype(np.int32),
            *(_bits(flags, firsts, context, longest) for flags in self._flags),
        ]
        return TokenArrays(
            ids=ids,
            offsets=offsets,
            first_lengths=types,
            ranges=np.concatenate(looked_at, axis=1),
            counts=np.ones(len(chosen), np.int32),
        )


def _bits(flags: np.ndarray, firsts: np.ndarray, lengths: np.ndarray, longest: int) -> np.ndarray:
    """Stretches of flags as bits, int32 [n, ceil(longest / 32)], the lowest bit first."""
    place = np.arange(-(-longest // 32) * 32)
    there = np.minimum(firsts[:, None] + place, max(len(flags) - 1, 0))
    chosen = flags[there] & (place < lengths[:, None])
    return np.packbits(chosen, axis=1, bitorder="little").view("<i4").astype(np.int32)
