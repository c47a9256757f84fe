"""From parsed columns to documents: screen the texts, make the ids, keep the rejects.

Every format ends here, so the rules for a usable text stand in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_bert.slices.schema import document_schema
from beam_bert.sources.fitting import fitted
from beam_bert.sources.partitions import partition_values
from beam_bert.sources.rejects import MESSAGES, Raws, Rejects, in_order
from beam_bert.sources.spec import SourceSpec


@dataclass
class Columns:
    """What a parser made of some records of one file, column by column.

    Attributes:
      rows: number of each record within the file (int64).
      texts: a string array for each text column; null where the record has none.
      pair: the same for the pair column, if there is one.
      ids: the id column as strings; None if there is no id column.
      carried: the file's other columns, as they were read, by their names in the file.
      raw: the bytes of the records at some indices, for their rejects.
    """

    rows: npt.NDArray[np.int64]
    texts: list[pa.Array]
    pair: pa.Array | None
    ids: pa.Array | None
    carried: Mapping[str, pa.Array]
    raw: Raws

    def without(self, indices: npt.NDArray[np.int64]) -> Columns:
        """The same without some of the records."""
        keep = np.ones(len(self.rows), bool)
        keep[indices] = False
        kept = pa.array(keep)
        rows_kept = np.flatnonzero(keep)
        raw = self.raw
        return Columns(
            rows=self.rows[keep],
            texts=[text.filter(kept) for text in self.texts],
            pair=None if self.pair is None else self.pair.filter(kept),
            ids=None if self.ids is None else self.ids.filter(kept),
            carried={name: array.filter(kept) for name, array in self.carried.items()},
            raw=lambda indices: raw(rows_kept[indices]),
        )


@dataclass
class Documents:
    """Collects what is read of a slice: record batches of documents, and rejects.

    Attributes:
      rows_read: records so far, rejected ones included.
    """

    spec: SourceSpec
    batches: list[pa.RecordBatch] = field(default_factory=list)
    rejected: list[pa.RecordBatch] = field(default_factory=list)
    rows_read: int = 0

    def __post_init__(self) -> None:
        self.schema = document_schema(
            self.spec.resolved, pair=self.spec.text_pair_column is not None
        )

    def reject(self, path: str, rejects: Rejects) -> None:
        """Note records (or a file) that a parser could not use."""
        self.rejected.extend(rejects.of(path))
        self.rows_read += len(rejects)

    def add(self, path: str, columns: Columns) -> None:
        """Screen the records' texts; usable ones become documents, others rejects."""
        count = len(columns.rows)
        if count == 0:
            return
        text = joined(columns.texts)
        parts = [(text, columns.texts, self.spec.text_columns)]
        if columns.pair is not None:
            parts.append((columns.pair, [columns.pair], (str(self.spec.text_pair_column),)))
        ids = document_ids(path, columns.rows, columns.ids)
        carried, misfits = self._carried(path, columns)
        arrays = [
            ids,
            text,
            *([columns.pair] if columns.pair is not None else []),
            pa.repeat(pa.scalar(path), count),
            pa.array(columns.rows),
            struct_of(self.spec.resolved, carried, count),
        ]
        keep = np.ones(count, bool)
        for whole, texts, names in parts:
            for reason, is_bad in screened(whole, texts, self.spec.max_document_bytes).items():
                bad = np.flatnonzero(is_bad & keep)
                if len(bad) == 0:
                    continue
                keep[bad] = False
                why = (reason, f"{MESSAGES[reason]} ({_named(names)})")
                self._reject_some(path, columns, bad, why, ids)
        for message, rows in misfits.items():
            bad = np.array([i for i in rows if keep[i]], np.int64)
            keep[bad] = False
            self._reject_some(path, columns, bad, ("carried_type", message), ids)
        if not keep.all():
            kept = pa.array(keep)
            arrays = [array.filter(kept) for array in arrays]
        self.rows_read += int(np.count_nonzero(keep))
        self.batches.append(pa.RecordBatch.from_arrays(arrays, schema=self.schema))

    def _reject_some(
        self,
        path: str,
        columns: Columns,
        bad: npt.NDArray[np.int64],
        why: tuple[str, str],
        ids: pa.Array,
    ) -> None:
        if len(bad):
            rejects = Rejects()
            raw, doc_ids = columns.raw(bad), ids.take(pa.array(bad))
            rejects.add(columns.rows[bad], why, raw, doc_ids=doc_ids)
            self.reject(path, rejects)

    def _carried(self, path: str, columns: Columns) -> tuple[list[pa.Array], dict[str, list[int]]]:
        """The carried columns in their types, and which values do not go into them, by message.

        They are the file's own, the path's, or null where neither has one.
        """
        count = len(columns.rows)
        values = partition_values(path) if self.spec.partitions.names else {}
        arrays = []
        misfits: dict[str, list[int]] = {}
        for name, field_ in zip(self.spec.carried_from, self.spec.resolved, strict=True):
            if name in self.spec.partitions.names:
                text = pa.array([values.get(name)], pa.string())
                array = pa.repeat(text.cast(field_.type)[0], count)
            elif name in columns.carried:
                array = columns.carried[name]
                if array.type != field_.type:  # else it was checked where it was read
                    array, bad = fitted(array, field_.type)
                    message = f"column {field_.name}: a value does not fit the type {field_.type}"
                    misfits |= {message: bad} if bad else {}
            else:
                array = pa.nulls(count, field_.type)
            arrays.append(array)
        return arrays, misfits

    def finish(self) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """All documents as one batch, and all rejects as another, both in source order."""
        if self.batches:
            rows = pa.concat_batches(self.batches)
        else:
            rows = pa.RecordBatch.from_pylist([], schema=self.schema)
        return rows, in_order(self.rejected)


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


def screened(
    text: pa.Array, parts: list[pa.Array], max_bytes: int
) -> dict[str, npt.NDArray[np.bool_]]:
    """Which texts cannot be used, by reason; where there are several the first one counts."""
    sizes = pc.binary_length(text)
    masks = {
        "missing_text": text.is_null(),
        "empty_text": pc.equal(pc.binary_length(pc.utf8_trim_whitespace(text)), 0),
        "too_large": pc.greater(sizes, max_bytes),
    }
    if any(_holds_nul(part) for part in parts):
        masks["nul_byte"] = pc.match_substring(text, "\0")
    return {
        reason: pc.fill_null(mask, False).to_numpy(zero_copy_only=False)
        for reason, mask in masks.items()
        if pc.any(mask).as_py()
    }


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
