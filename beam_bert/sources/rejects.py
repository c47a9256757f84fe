"""What could not be used, column by column: a million bad rows must not cost a million objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_bert.slices.schema import REJECT_RAW_LIMIT, REJECT_SCHEMA
from beam_bert.sources.lost import LostFile
from beam_bert.sources.utf8 import invalid_records

if TYPE_CHECKING:
    from beam_bert.sources.stream import Block

# Reasons that the splitters and parsers give with a message that needs no value.
MESSAGES = {
    "too_large": "the record or its text is larger than max_document_bytes",
    "unclosed_quote": "a quoted field does not end as it should; the row is taken to end here",
    "ragged_row": "the number of fields differs from the number of columns",
    "invalid_utf8": "the row is not valid UTF-8",
    "nul_byte": "the text holds a NUL byte",
    "empty_text": "the text is empty or white space",
    "missing_text": "there is no text",
}
Raws = Callable[[np.ndarray], pa.Array]
# Reason and message: of all records, or a list of them and, before it, the number of each record's.
Flaws = tuple[str, str] | tuple[np.ndarray, list[tuple[str, str]]]
_NO_INDICES = np.array([], np.int64)


@dataclass
class Rejects:
    """Records of one file that cannot be used, as batches of REJECT_SCHEMA without a file.

    Attributes:
      batches: the rejects, in any order.
      lost: why the file, or its rest, cannot be read; None: it can.
    """

    batches: list[pa.RecordBatch] = field(default_factory=list)
    lost: LostFile | None = None

    def __len__(self) -> int:
        return sum(batch.num_rows for batch in self.batches)

    def without(self, block: Block, indices: np.ndarray, flaws: Flaws) -> Block:
        """Add some records of a block, `flaws` being those of each or of all; the block without."""
        if len(indices) == 0:
            return block
        self.add(block.rows[indices], flaws, block.raws(indices))
        keep = np.ones(len(block), bool)
        keep[indices] = False
        return block.only(keep)

    def without_flawed(self, block: Block, flaws: Mapping[int, tuple[str, str]]) -> Block:
        """The same for the few that each have a flaw of their own, by index."""
        indices = sorted(flaws)
        each = np.arange(len(indices))
        return self.without(block, np.array(indices, np.int64), (each, [flaws[i] for i in indices]))

    def without_unreadable(self, block: Block) -> Block:
        """The same for what its splitter could not use, and what is not UTF-8."""
        flawed = list(block.bad.values())
        numbers = np.repeat(np.arange(len(flawed)), [len(indices) for indices in flawed])
        flaws = [(reason, MESSAGES[reason]) for reason in block.bad]
        block = self.without(block, np.concatenate([_NO_INDICES, *flawed]), (numbers, flaws))
        invalid = invalid_records(block)
        return self.without(block, invalid, ("invalid_utf8", MESSAGES["invalid_utf8"]))

    @classmethod
    def of_file(
        cls, lost: LostFile, raw: bytes | None = None, raw_size: int | None = None
    ) -> Rejects:
        """A file that cannot be read, or not to its end."""
        rejects = cls(lost=lost)
        content = pa.array([raw], pa.binary())
        flaw = (lost.reason, " ".join(str(lost).split()))
        rejects.add(None, flaw, content, raw_size=raw_size)
        return rejects

    def add(
        self,
        rows: np.ndarray | None,
        flaws: Flaws,
        raw: pa.Array | None,
        *,
        doc_ids: pa.Array | None = None,
        raw_size: int | None = None,
    ) -> None:
        """Add some records.

        Args:
          rows: their numbers; None: one that stands for the file.
          flaws: reason and message of each, or of all.
          raw: their bytes.
          doc_ids: their ids, where these are known.
          raw_size: of the one record, where `raw` is only its beginning.
        """
        count = 1 if rows is None else len(rows)
        if isinstance(flaws[0], str):
            reasons, messages = (pa.repeat(pa.scalar(word), count) for word in flaws)
        else:
            numbers, words = pa.array(flaws[0]), flaws[1]
            reasons, messages = (
                pa.array([flaw[i] for flaw in words], pa.string()).take(numbers) for i in (0, 1)
            )
        raw = pa.nulls(count, pa.binary()) if raw is None else raw
        sizes = pc.binary_length(raw).cast(pa.int64())
        if raw_size is not None:
            sizes = pa.array([raw_size], pa.int64())
        if count and (pc.max(sizes).as_py() or 0) > REJECT_RAW_LIMIT:
            raw = pc.binary_slice(raw, 0, REJECT_RAW_LIMIT)
        columns = [
            pa.repeat(pa.scalar(""), count),
            pa.nulls(1, pa.int64()) if rows is None else pa.array(rows, pa.int64()),
            pa.nulls(count, pa.string()) if doc_ids is None else doc_ids,
            reasons,
            messages,
            raw,
            sizes,
        ]
        self.batches.append(pa.RecordBatch.from_arrays(columns, schema=REJECT_SCHEMA))

    def of(self, path: str) -> list[pa.RecordBatch]:
        """The same with the file that they are of."""
        return [
            batch.set_column(0, REJECT_SCHEMA.field(0), pa.repeat(pa.scalar(path), batch.num_rows))
            for batch in self.batches
        ]

    def places(self) -> bytes:
        """What stands for them in a slice's key: where and why."""
        parts = []
        for batch in self.batches:
            reasons = batch["reason"].dictionary_encode()
            rows = pc.fill_null(batch["source_row"], -1)
            words = [len(rows), *reasons.dictionary.to_pylist()]
            numbers = (reasons.indices.to_numpy(), rows.to_numpy())
            parts += [repr(words).encode(), *(array.tobytes() for array in numbers)]
        return b"".join(parts)


def in_order(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Rejects of a slice, file after file, by row; what has none stands last."""
    if not batches:
        return pa.RecordBatch.from_pylist([], schema=REJECT_SCHEMA)
    whole = pa.concat_batches(batches)
    numbers: dict[str, int] = {}
    file_numbers = [numbers.setdefault(b["source_file"][0].as_py(), len(numbers)) for b in batches]
    files = np.repeat(file_numbers, [batch.num_rows for batch in batches])
    rows = pc.fill_null(whole["source_row"], np.iinfo(np.int64).max).to_numpy()
    if np.all((files[1:] > files[:-1]) | ((files[1:] == files[:-1]) & (rows[1:] >= rows[:-1]))):
        return whole
    return whole.take(pa.array(np.lexsort((rows, files))))
