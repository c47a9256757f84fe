"""Parquet: row groups read with just the wanted columns; a damaged one costs itself alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from beam_bert.slices.plan import Segment
from beam_bert.sources.documents import MESSAGES, Columns, Reject
from beam_bert.sources.fitting import fitted, is_text, plain_type, valid_text
from beam_bert.sources.spec import SourceSpec

_BATCH_ROWS = 65_536
_SMALL_BYTES = 64 << 10
_TAIL_SHARE = 64  # of a larger file so small a part is looked at for its footer, which mostly fits

# What pyarrow raises on a file that is cut short or whose bytes are not what they should be.
PARQUET_ERRORS = (pa.ArrowException, OSError, ValueError, MemoryError, IndexError, OverflowError)


class ParquetDamage(Exception):
    """A file that is no Parquet, or not all of it."""


def read_footer(file: BinaryIO) -> bytes:
    """The end of the file, from its metadata on, in one or two reads.

    A file without a readable footer gives its last bytes: parsing them tells what is wrong.
    """
    size = file.seek(0, os.SEEK_END)
    looked_at = size if size <= _SMALL_BYTES else min(max(size // _TAIL_SHARE, 8192), _SMALL_BYTES)
    tail = _read_from(file, size - looked_at)
    wanted = int.from_bytes(tail[-8:-4], "little") + 8
    if not tail.endswith(b"PAR1") or wanted > size:
        return tail[-8:]
    return tail[-wanted:] if wanted <= len(tail) else _read_from(file, size - wanted)


def _read_from(file: BinaryIO, start: int) -> bytes:
    file.seek(start)
    pieces = []
    while piece := file.read(_SMALL_BYTES):
        pieces.append(piece)
    return b"".join(pieces)


def open_parquet(file: Any, footer: bytes) -> pyarrow.parquet.ParquetFile:
    """The file behind its footer, which is not read again.

    Raises:
      ParquetDamage: the footer is none.
    """
    try:
        metadata = pyarrow.parquet.read_metadata(pa.BufferReader(b"PAR1" + footer))
        # With pre_buffer neighbouring column chunks are fetched as one range, and side by side.
        return pyarrow.parquet.ParquetFile(
            file, metadata=metadata, pre_buffer=True, page_checksum_verification=True
        )
    except PARQUET_ERRORS as error:
        raise ParquetDamage(f"no readable Parquet footer: {one_line(error)}") from error


def row_groups(metadata: Any) -> list[tuple[int, int]]:
    """Rows and unpacked bytes of each row group.

    Not its stored bytes: asking a damaged footer for a column chunk ends the process (pyarrow 25
    lets the C++ exception of `RowGroupMetaData.column` through).
    """
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    return [(group.num_rows, group.total_byte_size) for group in groups]


class _Recorded:
    """A file that remembers what is read of it, so a key can stand for these bytes."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self._reads: list[tuple[int, bytes]] = []

    def read(self, size: int = -1) -> bytes:
        start = self._file.tell()
        data = self._file.read(size)
        self._reads.append((start, data))
        return data

    def taken(self) -> list[bytes]:
        """What was read since this was last asked, in the file's order: ranges come in any."""
        reads, self._reads = sorted(self._reads), []
        return [data for _, data in reads]

    def close(self) -> None:
        """Whoever opened the file closes it."""


def read_parquet(
    file: BinaryIO, segment: Segment, spec: SourceSpec, digest: Callable[[bytes], None]
) -> Iterator[tuple[Columns | None, list[Reject], int]]:
    """The documents of the segment's row groups, batch by batch, with the stored bytes read.

    Args:
      file: the whole file, seekable.
      segment: row groups [start, stop) and the number of their first row.
      spec: resolved.
      digest: is told all stored bytes that the rows come from.

    Raises:
      ParquetDamage: the footer cannot be read.
    """
    footer = segment.beside or read_footer(file)
    digest(footer)
    recorded = _Recorded(file)
    parquet = open_parquet(recorded, footer)
    schema = parquet.schema_arrow
    wanted = [name for name in spec.column_types if schema.get_all_field_indices(name)]
    counts = [rows for rows, _ in row_groups(parquet.metadata)]
    row = segment.first_row
    for group in range(len(counts))[segment.start : segment.stop]:
        count = counts[group]
        try:
            batches = [
                _columns(batch, first, spec)
                for batch, first in _numbered(parquet, group, wanted, row, count)
            ]
        except (FileNotFoundError, PermissionError):
            raise
        except PARQUET_ERRORS as error:
            message = f"row group {group} ({count} rows) cannot be read: {one_line(error)}"
            size = sum(map(len, recorded.taken()))  # which of it was read first is chance
            digest(b"damaged")
            yield None, [Reject(None, "damaged_file", message)], size
        else:
            stored = recorded.taken()
            for data in stored:
                digest(data)
            size = sum(map(len, stored))
            for columns, rejects in batches:
                yield columns, rejects, size
                size = 0
        row += count


def one_line(error: BaseException) -> str:
    """An error's message on one line, cut to a readable length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."


def _numbered(
    parquet: Any, group: int, wanted: list[str], row: int, count: int
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """The row group's batches, each with its first row; whole, or an error."""
    seen = 0
    if wanted:
        for batch in parquet.iter_batches(
            _BATCH_ROWS, row_groups=[group], columns=wanted, use_threads=False
        ):
            yield batch, row + seen
            seen += batch.num_rows
    else:  # no column of interest: rows without values
        empty = pa.RecordBatch.from_struct_array(pa.array([{}] * count, pa.struct([])))
        yield empty, row
        seen = count
    if seen != count:
        raise ValueError(f"{seen} rows where the footer says {count}")


def _columns(batch: pa.RecordBatch, row: int, spec: SourceSpec) -> tuple[Columns, list[Reject]]:
    """One batch as documents; the values that do not fit cost their rows."""
    count = batch.num_rows
    flaws: dict[int, tuple[str, str]] = {}
    column: dict[str, pa.Array] = {}
    for name, type_ in spec.column_types.items():
        places = batch.schema.get_all_field_indices(name)
        if not places:
            column[name] = pa.nulls(count, type_)
            continue
        array = batch.column(places[0])
        if name in spec.text_parts:
            if not is_text(plain_type(array.type)):
                message = f"column {name} is {array.type}, not text"
                flaws |= dict.fromkeys(range(count), ("not_text", message))
                column[name] = pa.nulls(count, pa.string())
                continue
            array, bad = valid_text(array)
            column[name] = array
            flaws |= dict.fromkeys(bad, ("invalid_utf8", MESSAGES["invalid_utf8"]))
            continue
        column[name], bad = fitted(array, type_, as_json=name in spec.mixed)
        message = f"column {name}: a value does not fit the type {type_}"
        for i in bad:
            flaws.setdefault(i, ("carried_type", message))
    ids = None
    if spec.id_column is not None:
        ids, _ = fitted(column[spec.id_column], pa.string(), as_json=True)
    texts = [column[name] for name in spec.text_columns]

    def raw(i: int) -> bytes | None:
        values = [value for text in texts if (value := text[i].as_py()) is not None]
        return " ".join(values).encode() if values else None

    columns = Columns(
        rows=np.arange(row, row + count, dtype=np.int64),
        texts=texts,
        pair=None if spec.text_pair_column is None else column[spec.text_pair_column],
        ids=ids,
        carried=[column[name] for name in spec.carried_from],
        raw=raw,
    )
    if not flaws:
        return columns, []
    rejects = [Reject(row + i, *flaws[i], raw(i)) for i in sorted(flaws)]
    return columns.without(flaws), rejects
