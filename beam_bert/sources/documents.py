"""From parsed columns to documents: screen the texts, make the ids, keep the rejects.

Every format ends here, so the rules for a usable text stand in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_bert.slices.schema import REJECT_RAW_LIMIT, document_schema, rejects_batch
from beam_bert.sources.spec import SourceSpec

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


@dataclass(frozen=True)
class Reject:
    """One record, or with `row` None one file, that cannot be used."""

    row: int | None
    reason: str
    message: str
    raw: bytes | None = None
    raw_size: int | None = None
    doc_id: str | None = None

    def cut(self) -> Reject:
        """The same, holding no more of the raw bytes than a reject row shows."""
        if self.raw is None or (self.raw_size is None and len(self.raw) <= REJECT_RAW_LIMIT):
            return self
        size = len(self.raw) if self.raw_size is None else self.raw_size
        return replace(self, raw=self.raw[:REJECT_RAW_LIMIT], raw_size=size)


@dataclass
class Columns:
    """What a parser made of some records of one file, column by column.

    Attributes:
      rows: number of each record within the file (int64).
      texts: a string array for each text column; null where the record has none.
      pair: the same for the pair column, if there is one.
      ids: the id column as strings; None if there is no id column.
      carried: one array a carried column, of the resolved type.
      raw: the bytes of the i-th of these records, for its reject.
    """

    rows: npt.NDArray[np.int64]
    texts: list[pa.Array]
    pair: pa.Array | None
    ids: pa.Array | None
    carried: list[pa.Array]
    raw: Callable[[int], bytes | None]

    def without(self, indices: Iterable[int]) -> Columns:
        """The same without some of the records."""
        keep = np.ones(len(self.rows), bool)
        keep[list(indices)] = False
        kept = pa.array(keep)
        places = np.flatnonzero(keep)
        raw = self.raw
        return Columns(
            rows=self.rows[keep],
            texts=[text.filter(kept) for text in self.texts],
            pair=None if self.pair is None else self.pair.filter(kept),
            ids=None if self.ids is None else self.ids.filter(kept),
            carried=[array.filter(kept) for array in self.carried],
            raw=lambda i: raw(int(places[i])),
        )


@dataclass
class Documents:
    """Collects what is read of a slice: record batches of documents, and rejects.

    Attributes:
      rows_read: records so far, rejected ones included.
    """

    spec: SourceSpec
    batches: list[pa.RecordBatch] = field(default_factory=list)
    rejected: list[tuple[str, Reject]] = field(default_factory=list)
    rows_read: int = 0

    def __post_init__(self) -> None:
        self.schema = document_schema(
            self.spec.resolved, pair=self.spec.text_pair_column is not None
        )

    def reject(self, path: str, rejects: Iterable[Reject]) -> None:
        """Note records (or a file) that a parser could not use."""
        before = len(self.rejected)
        self.rejected.extend((path, reject.cut()) for reject in rejects)
        self.rows_read += len(self.rejected) - before

    def add(self, path: str, columns: Columns) -> None:
        """Screen the records' texts; usable ones become documents, others rejects."""
        count = len(columns.rows)
        if count == 0:
            return
        self.rows_read += count
        text = joined(columns.texts)
        bad = screened(text, columns.texts, self.spec.max_document_bytes)
        named = {i: (reason, _named(self.spec.text_columns)) for i, reason in bad.items()}
        if columns.pair is not None:
            pair_bad = screened(columns.pair, [columns.pair], self.spec.max_document_bytes)
            for i, reason in pair_bad.items():
                named.setdefault(i, (reason, _named((str(self.spec.text_pair_column),))))
        ids = document_ids(path, columns.rows, columns.ids)
        arrays = [
            ids,
            text,
            *([columns.pair] if columns.pair is not None else []),
            pa.repeat(pa.scalar(path), count),
            pa.array(columns.rows),
            struct_of(self.spec.resolved, columns.carried, count),
        ]
        if named:
            for i in sorted(named):
                reason, where = named[i]
                message = f"{MESSAGES[reason]} ({where})"
                reject = Reject(
                    int(columns.rows[i]), reason, message, columns.raw(i), doc_id=ids[i].as_py()
                )
                self.rejected.append((path, reject.cut()))
            keep = np.ones(count, bool)
            keep[list(named)] = False
            kept = pa.array(keep)
            arrays = [array.filter(kept) for array in arrays]
        self.batches.append(pa.RecordBatch.from_arrays(arrays, schema=self.schema))

    def finish(self) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """All documents as one batch, and all rejects as another, both in source order."""
        if self.batches:
            rows = pa.concat_batches(self.batches)
        else:
            rows = pa.RecordBatch.from_pylist([], schema=self.schema)
        return rows, rejects_batch(
            {
                "source_file": path,
                "source_row": reject.row,
                "doc_id": reject.doc_id,
                "reason": reject.reason,
                "message": reject.message,
                "raw": reject.raw,
                **({} if reject.raw_size is None else {"raw_size": reject.raw_size}),
            }
            for path, reject in self._in_order()
        )

    def _in_order(self) -> Iterable[tuple[str, Reject]]:
        # Files come one after another, but the parsers tell of a block's rejects in their order.
        places = {path: place for place, (path, _) in reversed(list(enumerate(self.rejected)))}
        return sorted(
            self.rejected,
            key=lambda item: (
                places[item[0]],
                item[1].row is None,
                item[1].row or 0,
            ),
        )


def joined(texts: list[pa.Array]) -> pa.Array:
    """Texts of several columns with a space between, empty ones left out; null if all are null."""
    if len(texts) == 1:
        return texts[0]
    # Not by null_handling="skip": pyarrow 25 then loses rows in which all is null.
    absent = texts[0].is_null()
    text = pc.fill_null(texts[0], "")
    for part in texts[1:]:
        absent = pc.and_(absent, part.is_null())
        part = pc.fill_null(part, "")
        both = pc.and_(pc.not_equal(text, ""), pc.not_equal(part, ""))
        text = pc.binary_join_element_wise(text, pc.if_else(both, " ", ""), part, "")
    return pc.if_else(absent, pa.scalar(None, pa.string()), text)


def screened(text: pa.Array, parts: list[pa.Array], max_bytes: int) -> dict[int, str]:
    """Reason why a text cannot be used, for the index of each one that cannot."""
    bad: dict[int, str] = {}
    sizes = pc.binary_length(text)
    large = pc.greater(sizes, max_bytes)
    blank = pc.equal(pc.binary_length(pc.utf8_trim_whitespace(text)), 0)
    checks = [("too_large", large), ("empty_text", blank), ("missing_text", text.is_null())]
    if any(_holds_nul(part) for part in parts):
        checks.insert(0, ("nul_byte", pc.match_substring(text, "\0")))
    for reason, mask in checks:
        if pc.any(mask).as_py():
            for i in np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False)):
                bad[int(i)] = reason
    return bad


def document_ids(path: str, rows: npt.NDArray[np.int64], ids: pa.Array | None) -> pa.Array:
    """The id column, and <file>#<row> where it is null, empty or not there at all."""
    if ids is not None and ids.null_count == 0:
        lacking = pc.equal(ids, "")
        if not pc.any(lacking).as_py():
            return ids
    own = pc.binary_join_element_wise(pa.scalar(path), pa.array(rows).cast(pa.string()), "#")
    if ids is None:
        return own
    return pc.if_else(pc.fill_null(pc.equal(ids, ""), True), own, ids)


def struct_of(schema: pa.Schema, columns: list[pa.Array], count: int) -> pa.Array:
    """One struct array of the carried columns (also where there are none)."""
    if not columns:
        return pa.Array.from_buffers(pa.struct([]), count, [None])
    return pa.StructArray.from_arrays(columns, fields=list(schema))


def _holds_nul(text: pa.Array) -> bool:
    buffer = text.buffers()[2]
    return buffer is not None and bool((np.frombuffer(buffer, np.uint8) == 0).any())


def _named(columns: tuple[str, ...]) -> str:
    return f"column {', '.join(columns)}" if len(columns) == 1 else f"columns {', '.join(columns)}"
