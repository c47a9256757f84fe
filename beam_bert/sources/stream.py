"""Read a stream of bytes as blocks of whole records, numbered, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_bert.slices.plan import MAX_ROWS_A_SLICE
from beam_bert.slices.schema import REJECT_RAW_LIMIT
from beam_bert.sources.compression import Readable
from beam_bert.sources.lost import LostFile
from beam_bert.sources.records import Offsets, Splitter

# Large enough that numpy and pyarrow work at memory speed, small enough for the cache.
BLOCK_BYTES = 2 << 20
_READ_BYTES = 2 << 20


@dataclass
class Block:
    """Whole records, one after another.

    Attributes:
      data: the records' bytes.
      offset: where in the stream they begin.
      starts, stops: span of each record in `data`, its terminator left out (int64).
      rows: number of each record within its file (int64).
      bad: indices of the records that the splitter could not use, by reason.
    """

    data: bytes
    offset: int
    starts: Offsets
    stops: Offsets
    rows: Offsets
    bad: dict[str, Offsets]

    def __len__(self) -> int:
        return len(self.starts)

    def raw(self, index: int) -> bytes:
        """The bytes of one record."""
        return self.data[self.starts[index] : self.stops[index]]

    def raws(self, indices: npt.NDArray[np.int64]) -> pa.Array:
        """The bytes of some records."""
        # Records and what is between them in turn: all of that is one array, without a copy.
        spans = np.stack([self.starts, self.stops], axis=1).ravel().astype(np.int32)
        buffers = [None, pa.py_buffer(spans), pa.py_buffer(self.data)]
        turns = pa.BinaryArray.from_buffers(pa.binary(), max(len(spans) - 1, 0), buffers)
        return turns.take(pa.array(2 * indices, pa.int64()))

    def records_at(self, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Indices of the records that hold one of some places in `data`, each once."""
        holds = np.zeros(len(self), bool)  # not np.unique, which takes ten times as long
        holds[np.searchsorted(self.starts, offsets, side="right") - 1] = True
        return np.flatnonzero(holds)

    def only(self, keep: npt.NDArray[np.bool_]) -> Block:
        """The block without the records that `keep` leaves out; none of these may be bad."""
        if keep.all():
            return self
        kept = np.flatnonzero(keep)
        sizes = (self.stops - self.starts)[kept]
        stops = np.cumsum(sizes + 1) - 1
        lines = pa.ListArray.from_arrays([0, len(kept)], self.raws(kept))
        data = pc.binary_join(lines, b"\n")[0].as_py() + b"\n" * bool(len(kept))
        return Block(data, self.offset, stops - sizes, stops, self.rows[keep], {})


@dataclass(frozen=True)
class Oversized:
    """A record that is too long to hold in memory: its beginning, and its whole size."""

    row: int
    raw: bytes
    size: int


class RecordStream:
    """The records of a `Readable`, as blocks.

    A block is as many records as `block_bytes` hold, MAX_ROWS_A_SLICE at most and one at least: its
    borders follow from the bytes alone, however the reads fall, so what is built on them is the
    same in every run.
    """

    def __init__(self, source: Readable, splitter: Splitter, first_row: int) -> None:
        self._source = source
        self._splitter = splitter
        self._row = first_row
        self._offset = 0
        self.damage: LostFile | None = None
        self.cut_short = b""

    def blocks(self, block_bytes: int) -> Iterator[Block | Oversized]:
        """All records in order; afterwards `damage` and `cut_short` tell of a damaged file."""
        pending = b""
        final = False
        while not final:
            # Twice what is pending where it is a long record, so it is looked through few times.
            chunk = self._read(max(_READ_BYTES - len(pending), len(pending)))
            final = not chunk
            pending = pending + chunk if pending else chunk
            # What a damaged file ends in is no record.
            split = self._splitter.split(pending, final and self.damage is None)
            begin = first = 0
            tail = len(pending) - (int(split.ends[-1]) if len(split.ends) else 0)
            too_long = not final and tail > self._splitter.max_record_bytes
            while first < len(split.ends):
                enough = (
                    len(pending) - begin >= block_bytes
                    or len(split.ends) - first >= MAX_ROWS_A_SLICE
                )
                if not (final or too_long or enough):
                    break
                last = int(np.searchsorted(split.ends, begin + block_bytes, side="right")) - 1
                last = max(first, min(last, first + MAX_ROWS_A_SLICE - 1))
                end = int(split.ends[last])
                bad = {
                    reason: indices[slice(*np.searchsorted(indices, [first, last + 1]))] - first
                    for reason, indices in split.bad.items()
                }
                yield self._block(pending[begin:end], split.ends[first : last + 1] - begin, bad)
                begin, first = end, last + 1
            pending = pending[begin:]
            if too_long:
                oversized, pending = self._skip(pending)
                yield oversized
        self.cut_short = pending

    def _read(self, size: int) -> bytes:
        try:
            return self._source.read(size)
        except LostFile as damage:
            self.damage = damage
            return b""

    def _block(self, data: bytes, ends: Offsets, bad: dict[str, Offsets]) -> Block:
        starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        numbered = self._splitter.numbered(data, ends)
        if not numbered.all():
            new_indices = np.cumsum(numbered) - 1
            bad = {reason: new_indices[indices] for reason, indices in bad.items()}
            starts, ends = starts[numbered], ends[numbered]
        array = np.frombuffer(data, np.uint8)
        stops = self._splitter.stops(array, starts, ends)
        rows = np.arange(self._row, self._row + len(ends), dtype=np.int64)
        self._row += len(ends)
        offset, self._offset = self._offset, self._offset + len(data)
        return Block(data, offset, starts, stops, rows, bad)

    def _skip(self, begun: bytes) -> tuple[Oversized, bytes]:
        """Read to the end of a line that is too long to hold; its bytes count, but are not kept."""
        raw, size = begun[:REJECT_RAW_LIMIT], len(begun)
        self._offset += size
        rest = b""
        last = begun[-1:]
        while chunk := self._read(_READ_BYTES):
            line_end = self._splitter.line_end.search(chunk)
            line = chunk[: line_end.start()] if line_end else chunk
            raw += line[: REJECT_RAW_LIMIT - len(raw)]
            if line_end:
                size += line_end.start()
                self._offset += line_end.end()
                last = line[-1:] or last
                rest = chunk[line_end.end() :]
                size -= last == b"\r" and line_end.group() == b"\n"
                break
            size += len(chunk)
            self._offset += len(chunk)
            last = chunk[-1:]
        row = self._row
        self._row += 1
        return Oversized(row, raw[:size], size), rest
