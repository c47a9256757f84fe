"""The columns of a TokenBatch as arrays, the way models take them, and a ScoreBatch's likewise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, eq=False)
class TokenArrays:
    """Windows end to end, and how many of them each document has.

    Attributes:
      ids: int32 [tokens].
      offsets: int64 [windows + 1], where each window begins and the last ends.
      first_lengths: int32 [windows], tokens of the first segment; None: there is but one.
      ranges: int32 [windows, k], parts that a head looks at; None: it looks at all.
      counts: int32 [documents].
    """

    ids: np.ndarray
    offsets: np.ndarray
    first_lengths: np.ndarray | None
    ranges: np.ndarray | None
    counts: np.ndarray

    @staticmethod
    def of(rows: pa.RecordBatch) -> TokenArrays:
        """Take the columns of a TokenBatch apart (see `beam_bert.slices.schema`)."""
        windows = rows["input_ids"].flatten()
        lengths = pc.list_value_length(windows).to_numpy(zero_copy_only=False)
        names = rows.schema.names
        first = rows["first_lengths"].flatten() if "first_lengths" in names else None
        ranges = _table(rows["ranges"].flatten()) if "ranges" in names else None
        return TokenArrays(
            ids=windows.flatten().to_numpy(),
            offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
            first_lengths=None if first is None else first.to_numpy(),
            ranges=ranges,
            counts=pc.list_value_length(rows["input_ids"]).to_numpy(zero_copy_only=False),
        )

    @staticmethod
    def sequences(
        ids: np.ndarray, offsets: np.ndarray, first_lengths: np.ndarray | None
    ) -> TokenArrays:
        """Windows that are each a document of its own."""
        return TokenArrays(ids, offsets, first_lengths, None, np.ones(len(offsets) - 1, np.int32))

    def __len__(self) -> int:
        """Windows."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 [windows], tokens of each."""
        return np.diff(self.offsets)

    def parts(self) -> Iterator[TokenArrays]:
        """What a model is given at a time: all of it."""
        yield self

    def everything(self) -> TokenArrays:
        """All windows at once."""
        return self

    @property
    def arguments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
        """The arguments of `beam_bert.encoder.PackedModel.outputs`."""
        return self.ids, self.offsets, self.first_lengths, self.ranges

    def documents(self, start: int, stop: int) -> TokenArrays:
        """The documents from `start` to `stop`."""
        window_offsets = np.concatenate([[0], np.cumsum(self.counts)])
        first, last = window_offsets[start], window_offsets[stop]
        offsets = self.offsets[first : last + 1]
        return TokenArrays(
            ids=self.ids[offsets[0] : offsets[-1]],
            offsets=offsets - offsets[0],
            first_lengths=None if self.first_lengths is None else self.first_lengths[first:last],
            ranges=None if self.ranges is None else self.ranges[first:last],
            counts=self.counts[start:stop],
        )

    def windows(self, chosen: np.ndarray) -> TokenArrays:
        """Some of the windows, int64 [n], each as a document of its own."""
        lengths = np.diff(self.offsets)[chosen]
        ends = np.cumsum(lengths)
        chosen_tokens = np.arange(lengths.sum()) + np.repeat(
            self.offsets[chosen] - ends + lengths, lengths
        )
        return TokenArrays(
            ids=self.ids[chosen_tokens],
            offsets=np.concatenate([[0], ends]),
            first_lengths=None if self.first_lengths is None else self.first_lengths[chosen],
            ranges=None if self.ranges is None else self.ranges[chosen],
            counts=np.ones(len(chosen), np.int32),
        )


def logits_array(rows: pa.RecordBatch) -> np.ndarray:
    """What the model said of the windows of a ScoreBatch, float32 [windows, width]."""
    return _table(rows["logits"].flatten())


def _table(rows: pa.FixedSizeListArray) -> np.ndarray:
    """Lists of one size as [n, size], for none of them too."""
    values: np.ndarray = rows.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(-1, rows.type.list_size)
