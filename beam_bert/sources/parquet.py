"""Parquet: row groups read with just the wanted columns; a damaged one costs itself alone."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from beam_bert.slices.conversion import leaves, rebuilt
from beam_bert.slices.plan import MAX_ROWS_A_SLICE, Segment
from beam_bert.sources.documents import Columns, joined
from beam_bert.sources.fitting import fitted, id_texts, is_text, plain_type, valid_text
from beam_bert.sources.lost import DamagedFileError, NotSupportedError, WrongKindError
from beam_bert.sources.parquet_types import distinct_names
from beam_bert.sources.recognition import foreign
from beam_bert.sources.rejects import MESSAGES, Rejects
from beam_bert.sources.spec import SourceSpec
from beam_bert.storage.signatures import SIGNATURE_BYTES

_SMALL_BYTES = 64 << 10
_TAIL_SHARE = 64  # of a larger file so small a part is looked at for its footer, which mostly fits
# A batch costs about a millisecond of Python and, of dictionaries, a copy of each.
_BATCH_ROWS = 8_192
_BATCH_BYTES = 16 << 20
_PIECE_BYTES = 1 << 20  # of a batch, once its dictionaries are unpacked
# Read as dictionaries, all texts of a row group that differ stay in memory until its end: a row
# group of more is read without them, and those after it, fewer rows at a time.
_MOST_DICTIONARY_BYTES = 256 << 20
_BATCH_ROWS_OF_LARGE = 256
_MOST_LOST_ROWS = 100_000_000
_MOST_NESTING = 60  # Arrow's messages, which stand for rows in keys and between workers, hold 64

# What pyarrow raises on a file that is cut short or whose bytes are not what they should be.
PARQUET_ERRORS = (pa.ArrowException, OSError, ValueError, MemoryError, IndexError, OverflowError)


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


def open_parquet(
    file: Any, footer: bytes, *, dictionaries: bool = False
) -> pyarrow.parquet.ParquetFile:
    """The file behind its footer, which is not read again; dates of INT96 in microseconds.

    Args:
      file: the whole file, seekable.
      footer: by `read_footer`.
      dictionaries: read texts as dictionaries.

    Raises:
      LostFile: the footer is none, the file is something else, or has what pyarrow does not read.
    """
    try:
        metadata = pyarrow.parquet.read_metadata(pa.BufferReader(b"PAR1" + footer))
        if any(map(_holds_fixed_lists, metadata.schema.to_arrow_schema().types)):
            # pyarrow 25 cannot read such a list that is null; as lists of any size it can.
            plain = _without_fixed_lists(footer, metadata.metadata[b"ARROW:schema"])
            metadata = pyarrow.parquet.read_metadata(pa.BufferReader(b"PAR1" + plain))
        rows = [count for count, _ in row_groups(metadata)]
        if sum(rows) != metadata.num_rows or min(rows, default=0) < 0:
            raise ValueError(f"{metadata.num_rows} rows, but {sum(rows)} in its row groups")
        # With pre_buffer neighbouring column chunks are fetched as one range, and side by side.
        return pyarrow.parquet.ParquetFile(
            file,
            metadata=metadata,
            read_dictionary=_text_paths(metadata.schema) if dictionaries else None,
            # In nanoseconds, pyarrow's default, years after 2262 would become others.
            coerce_int96_timestamp_unit="us",
            pre_buffer=True,
            page_checksum_verification=True,
        )
    except pa.ArrowNotImplementedError as error:
        raise NotSupportedError(
            f"a column has what pyarrow does not read ({one_line(error)}); write it as another type"
        ) from error
    except PARQUET_ERRORS as error:
        file.seek(0)
        if problem := foreign(file.read(SIGNATURE_BYTES), "parquet"):
            raise WrongKindError(problem) from error
        raise DamagedFileError(
            f"no readable Parquet footer: {one_line(error).rstrip('.')}"
        ) from error


def _text_paths(schema: Any) -> list[str]:
    """Paths of the columns that hold strings of bytes, at any depth."""
    columns = map(schema.column, range(len(schema)))
    return [
        column.path
        for column in columns
        if column.physical_type == "BYTE_ARRAY" and column.logical_type.type != "DECIMAL"
    ]


def _holds_fixed_lists(type_: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(type_):
        return True
    return any(_holds_fixed_lists(type_.field(i).type) for i in range(type_.num_fields))


def _without_fixed_lists(footer: bytes, stored: bytes) -> bytes:
    """The footer as long as it was, with Arrow's schema in it (base64) naming plain lists.

    Durations and zones stand in that schema alone. One that comes out longer is left out.
    """

    def plain(type_: pa.DataType) -> pa.DataType:
        return pa.list_(type_.value_field) if pa.types.is_fixed_size_list(type_) else type_

    message = base64.b64decode(stored)
    schema = pa.ipc.read_schema(pa.py_buffer(message))
    fields = [field.with_type(rebuilt(field.type, plain)) for field in schema]
    changed = pa.schema(fields, schema.metadata).serialize().to_pybytes()
    if len(changed) > len(message):
        return footer.replace(b"ARROW:schema", b"ARROW:hidden")
    return footer.replace(stored, base64.b64encode(changed.ljust(len(message), b"\0")))


def row_groups(metadata: Any) -> list[tuple[int, int]]:
    """Rows and unpacked bytes of each row group.

    Not its stored bytes: asking a damaged footer for a column chunk ends the process (pyarrow 25
    lets the C++ exception of `RowGroupMetaData.column` through).
    """
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    return [(group.num_rows, group.total_byte_size) for group in groups]


class _Counted:
    """A file that counts what is read of it."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self._taken = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._taken += len(data)
        return data

    def taken(self) -> int:
        """Bytes read since this was last asked."""
        taken, self._taken = self._taken, 0
        return taken

    def close(self) -> None:
        """Whoever opened the file closes it."""


def read_parquet(
    file: BinaryIO, segment: Segment, spec: SourceSpec
) -> Iterator[tuple[Columns | None, Rejects, bytes, int]]:
    """The documents of the segment's row groups, a few rows at a time.

    Args:
      file: the whole file, seekable.
      segment: row groups [start, stop) and the number of their first row.
      spec: resolved.

    Yields:
      documents, rejects, what stands for their bytes in a key, and the stored bytes read for them:
      those of a row group with its last rows, as ranges come in any order.

    Raises:
      LostFile: the footer cannot be read.
    """
    footer = segment.beside or read_footer(file)
    counted = _Counted(file)
    parquet = open_parquet(counted, footer, dictionaries=True)
    counted.taken()
    yield None, Rejects(), footer, 0
    names = distinct_names(parquet.schema_arrow.names)
    schema = pa.schema([f.with_name(n) for f, n in zip(parquet.schema_arrow, names, strict=True)])
    paths = column_paths(schema, spec.column_types)
    stored_as = dict(zip(names, parquet.schema_arrow.names, strict=True))
    wanted = sorted({stored_as[path] for path in paths.values()})
    for name, type_ in zip(schema.names, schema.types, strict=True):
        if stored_as[name] in wanted and (depth := _nesting(type_)) > _MOST_NESTING:
            raise NotSupportedError(
                f"column {name} is nested {depth} deep, {_MOST_NESTING} is the most that is read; "
                "keep other columns alone"
            )
    row = segment.first_row
    groups = row_groups(parquet.metadata)
    plain = open_parquet(counted, footer)
    width = _fixed_width(schema)
    for run in _runs(groups, segment):
        together = _together(plain, run, wanted) if len(run) > 1 and wanted else None
        if together and together.num_rows == sum(groups[group][0] for group in run):
            yield from _piece(together, row, paths, spec, counted.taken())
            row += together.num_rows
            continue
        for group in run:
            end = row + groups[group][0]
            if groups[group][1] > _MOST_DICTIONARY_BYTES:
                parquet = plain
            rows_at_once = _rows_at_once(*groups[group], width)
            batches = _batches(parquet, group, wanted, end - row, rows_at_once)
            while row < end:
                try:
                    batch = next(batches, None)
                    if batch is None or row + batch.num_rows > end:
                        raise ValueError("it has other rows than the footer says")
                except (FileNotFoundError, PermissionError):
                    raise
                except PARQUET_ERRORS as error:
                    message = f"row group {group}, {end - row:,} rows: {one_line(error)}"
                    if end - row > _MOST_LOST_ROWS:  # rather the footer is wrong
                        raise DamagedFileError(message) from error
                    is_whole = isinstance(error, pa.ArrowNotImplementedError)
                    reason = NotSupportedError.reason if is_whole else DamagedFileError.reason
                    yield from _lost_rows(row, end, reason, message)
                    counted.taken()
                    break
                stored = counted.taken() if row + batch.num_rows == end else 0
                yield from _piece(batch, row, paths, spec, stored)
                row += batch.num_rows
            row = end


def _runs(groups: list[tuple[int, int]], segment: Segment) -> Iterator[range]:
    """Row groups that are read together: neighbours that are small whatever is in them, else one.

    Every row of a group may be one value of its dictionary, so that may be as large as the group.
    """
    wanted = range(len(groups))[segment.start : segment.stop]
    begin = wanted.start
    rows = size = 0
    for group in wanted:
        rows += groups[group][0]
        size += groups[group][0] * groups[group][1]
        if group > begin and (rows > _BATCH_ROWS or size > _BATCH_BYTES):
            yield range(begin, group)
            begin, rows, size = group, groups[group][0], groups[group][0] * groups[group][1]
    if begin < wanted.stop:
        yield range(begin, wanted.stop)


def _together(
    parquet: pyarrow.parquet.ParquetFile, groups: range, columns: list[str]
) -> pa.RecordBatch | None:
    """The rows of some row groups; None: not all of them can be read."""
    try:
        table = parquet.read_row_groups(list(groups), columns=columns, use_threads=False)
        names = distinct_names(table.schema.names)
        columns_of = [_decoded(column.combine_chunks()) for column in table.columns]
        return pa.RecordBatch.from_arrays(columns_of, names=names)
    except (FileNotFoundError, PermissionError):
        raise
    except PARQUET_ERRORS:
        return None


def _piece(
    batch: pa.RecordBatch, row: int, paths: dict[str, str], spec: SourceSpec, stored: int
) -> Iterator[tuple[Columns | None, Rejects, bytes, int]]:
    columns, rejects = _columns(batch, row, paths, spec)
    yield columns, rejects, batch.serialize(), stored


def _nesting(type_: pa.DataType) -> int:
    """How deep lists and structs stand in each other."""
    inner = [type_.field(i).type for i in range(type_.num_fields)]
    return 1 + max(map(_nesting, inner)) if inner else 0


def _lost_rows(
    begin: int, end: int, reason: str, message: str
) -> Iterator[tuple[None, Rejects, bytes, int]]:
    """Rows that cannot be read, each of which counts."""
    for row in range(begin, end, MAX_ROWS_A_SLICE):
        rejects = Rejects()
        rows = np.arange(row, min(row + MAX_ROWS_A_SLICE, end))
        rejects.add(rows, (reason, message), None)
        yield None, rejects, b"damaged", 0


def one_line(error: BaseException) -> str:
    """An error's message on one line, cut to a readable length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."


def column_paths(schema: pa.Schema, names: Iterable[str]) -> dict[str, str]:
    """Where in the file each of the columns is: by its name, or by the path to a nested one."""
    paths = {}
    for name in names:
        if schema.get_all_field_indices(name):
            paths[name] = name
        elif "." in name and type_at(schema, name) is not None:
            paths[name] = name.split(".")[0]
    return paths


def type_at(schema: pa.Schema, path: str) -> pa.DataType | None:
    """Type of a column, or of a member of structs, `a.b`; a column of that very name wins."""
    indices = schema.get_all_field_indices(path)
    if indices:
        return schema.field(indices[0]).type
    first, *inner = path.split(".")
    indices = schema.get_all_field_indices(first)
    if not indices or not inner:
        return None
    type_ = plain_type(schema.field(indices[0]).type)
    for name in inner:
        if not pa.types.is_struct(type_) or type_.get_field_index(name) < 0:
            return None
        type_ = type_.field(name).type
    return type_


def _batches(
    parquet: pyarrow.parquet.ParquetFile,
    group: int,
    columns: list[str],
    count: int,
    at_once: int,
) -> Iterator[pa.RecordBatch]:
    """The row group's rows, so few at a time that their values fit into memory.

    Runs of equal values stay a dictionary and its indices until it is known how large they are.
    """
    if not columns:  # no column of interest: rows without values
        for begin in range(0, count, MAX_ROWS_A_SLICE):
            rows = min(MAX_ROWS_A_SLICE, count - begin)
            yield pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))
        return
    for batch in parquet.iter_batches(
        at_once, row_groups=[group], columns=columns, use_threads=False
    ):
        sizes = np.zeros(batch.num_rows, np.int64)
        for column in batch.columns:
            sizes += _unpacked_sizes(column)
        begin = 0
        while begin < batch.num_rows:
            total = np.cumsum(sizes[begin:])
            rows = max(1, int(np.searchsorted(total, _PIECE_BYTES, side="right")))
            some = batch.slice(begin, rows)
            arrays = [_decoded(column) for column in some.columns]
            yield pa.RecordBatch.from_arrays(arrays, names=distinct_names(some.schema.names))
            begin += rows


def _fixed_width(schema: pa.Schema) -> int:
    """Bytes a row of values of a fixed size, which may stand in a dictionary of one."""
    types = [leaf for each in schema.types for leaf in leaves(plain_type(each))]
    return sum(type_.byte_width for type_ in types if pa.types.is_fixed_size_binary(type_))


def _rows_at_once(rows: int, size: int, width: int) -> int:
    """Rows that take no more than a batch may, as far as the footer tells of their bytes."""
    a_row = max(size // max(rows, 1), width, 1)
    most = _BATCH_ROWS if size <= _MOST_DICTIONARY_BYTES else _BATCH_ROWS_OF_LARGE
    return min(max(_BATCH_BYTES // a_row, 1), most)


def _unpacked_sizes(array: pa.Array) -> np.ndarray | int:
    """About how many bytes each row has once no dictionary is left; 0: there is none."""
    if pa.types.is_dictionary(array.type):
        values = array.dictionary
        if not len(values) or not (
            pa.types.is_binary(values.type) or pa.types.is_string(values.type)
        ):
            return 0
        # Not the length of each value: a batch may use few of a million.
        offsets = np.frombuffer(values.buffers()[1], np.int32)[values.offset :]
        places = pc.fill_null(array.indices, 0).to_numpy()
        sizes = offsets[places + 1] - offsets[places]
        return np.where(array.is_valid().to_numpy(zero_copy_only=False), sizes, 0)
    if pa.types.is_struct(array.type):
        return sum(map(_unpacked_sizes, array.flatten()))
    if pa.types.is_list(array.type):
        inner = _unpacked_sizes(array.flatten())
        if isinstance(inner, int):
            return 0
        begins = np.concatenate([[0], np.cumsum(inner)])
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        ends = np.cumsum(lengths)
        return np.asarray(begins[ends] - begins[ends - lengths], np.int64)
    return 0


def _decoded(array: pa.Array) -> pa.Array:
    """The array without dictionaries. Not by a cast, which refuses all for one bad byte."""
    if pa.types.is_dictionary(array.type):
        return array.dictionary_decode()
    if plain_type(array.type) == array.type:
        return array
    if pa.types.is_struct(array.type):
        children = [_decoded(array.field(i)) for i in range(array.type.num_fields)]
        fields = [f.with_type(c.type) for f, c in zip(array.type, children, strict=True)]
        return pa.StructArray.from_arrays(children, fields=fields, mask=array.is_null())
    if pa.types.is_list(array.type):
        values = _decoded(array.values)
        type_ = pa.list_(array.type.value_field.with_type(values.type))
        return pa.ListArray.from_arrays(array.offsets, values, type=type_, mask=array.is_null())
    return array.cast(plain_type(array.type))


def _value_at(batch: pa.RecordBatch, name: str, path: str) -> pa.Array:
    array = batch.column(batch.schema.get_all_field_indices(path)[0])
    if name == path:
        return array
    for member in name.split(".")[1:]:
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        array = pc.struct_field(array, member)
    return array


def _columns(
    batch: pa.RecordBatch, row: int, paths: dict[str, str], spec: SourceSpec
) -> tuple[Columns, Rejects]:
    """One batch as documents; the values that do not fit cost their rows."""
    count = batch.num_rows
    flaws: list[tuple[str, str]] = []
    numbers = np.full(count, -1)  # of each row's flaw
    column: dict[str, pa.Array] = {}
    for name, type_ in spec.column_types.items():
        if name not in paths:
            column[name] = pa.nulls(count, type_)
            continue
        array = _value_at(batch, name, paths[name])
        if name in spec.text_parts:
            if not is_text(plain_type(array.type)):
                message = f"column {name} is {array.type}, not text"
                numbers[:] = len(flaws)
                flaws.append(("not_text", message))
                column[name] = pa.nulls(count, pa.string())
                continue
            column[name], bad = valid_text(array)
            numbers[bad] = len(flaws)
            flaws.append(("invalid_utf8", MESSAGES["invalid_utf8"]))
            continue
        column[name], misfits = fitted(array, type_)
        message = f"column {name}: a value does not fit the type {type_}"
        if misfits:
            places = np.array(misfits)
            numbers[places[numbers[places] < 0]] = len(flaws)
            flaws.append(("carried_type", message))
    texts = [column[name] for name in spec.text_columns]

    def raw(indices: np.ndarray) -> pa.Array:
        return joined([text.take(pa.array(indices)) for text in texts]).cast(pa.binary())

    columns = Columns(
        rows=np.arange(row, row + count, dtype=np.int64),
        texts=texts,
        pair=None if spec.text_pair_column is None else column[spec.text_pair_column],
        ids=None if spec.id_column is None else id_texts(column[spec.id_column]),
        carried=column,
        raw=raw,
    )
    rejects = Rejects()
    bad_rows = np.flatnonzero(numbers >= 0)
    if len(bad_rows) == 0:
        return columns, rejects
    rejects.add(row + bad_rows, (numbers[bad_rows], flaws), raw(bad_rows))
    return columns.without(bad_rows), rejects
