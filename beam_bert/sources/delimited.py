"""CSV and TSV: records found by the splitter, fields parsed by pyarrow, all values strings."""

from __future__ import annotations

import csv
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv

from beam_bert.sources.decoding import UTF8_BOM
from beam_bert.sources.dialects import Dialect
from beam_bert.sources.documents import Columns
from beam_bert.sources.lost import HeaderError
from beam_bert.sources.records import Delimited
from beam_bert.sources.rejects import Rejects
from beam_bert.sources.spec import SourceSpec
from beam_bert.sources.stream import Block
from beam_bert.sources.utf8 import is_valid_utf8

# Spreadsheets end at 16,384 columns; far above that a "header" is data of some other kind.
MAX_COLUMNS = 20_000


def delimited_splitter(dialect: Dialect, spec: SourceSpec) -> Delimited:
    """Records of up to twice the largest document, as all its quotes may be doubled."""
    return Delimited(
        dialect.delimiter.encode(),
        dialect.quote is not None,
        2 * spec.max_document_bytes + (1 << 20),
        quote=(dialect.quote or '"').encode(),
        escape=dialect.escape.encode() if dialect.escape else None,
    )


def header_of(
    head: bytes, final: bool, dialect: Dialect, spec: SourceSpec
) -> tuple[list[str], int]:
    """Column names, and how many bytes of the file they and what is before them take up.

    Args:
      head: the file's beginning without mark, 1 MiB of it or all.
      final: whether that is the whole file.
      dialect: the file's.
      spec: how to read it.

    Raises:
      HeaderError: the first record is not a header.
    """
    if spec.column_names is not None:
        return list(spec.column_names), dialect.begin
    body = head[dialect.begin :]
    splitter = delimited_splitter(dialect, spec)
    split = splitter.split(body, final)
    numbered = np.flatnonzero(splitter.numbered(body, split.ends))
    if len(numbered) == 0:
        if final:
            return [], len(head)
        raise HeaderError("the first line, which should name the columns, is too long")
    first = int(numbered[0])
    if any(first in indices for indices in split.bad.values()):
        raise HeaderError("the first line, which should name the columns, has an open quote")
    start = int(split.ends[first - 1]) if first else 0
    end = int(split.ends[first])
    record = body[start:end]
    if not is_valid_utf8(record):
        raise HeaderError("the first line, which should name the columns, is not valid UTF-8")
    fields = _fields(record, dialect)
    if len(fields) > MAX_COLUMNS:
        raise HeaderError(
            f"the first line has {len(fields):,} fields, {MAX_COLUMNS:,} columns are the most that "
            "are read"
        )
    return distinct([field.strip() for field in fields]), dialect.begin + end


def distinct(names: Sequence[str]) -> list[str]:
    """Names without doubles: an empty one becomes column_<n>, a second `a` becomes a_2."""
    result: dict[str, None] = {}
    numbers: dict[str, int] = {}
    for place, name in enumerate(names, start=1):
        base = unique = name or f"column_{place}"
        while unique in result:
            numbers[base] = numbers.get(base, 1) + 1
            unique = f"{base}_{numbers[base]}"
        result[unique] = None
    return list(result)


def parse_delimited(
    block: Block, names: Sequence[str], dialect: Dialect, spec: SourceSpec
) -> tuple[Columns, Rejects]:
    """The records of a block as documents; empty lines are no records."""
    rejects = Rejects()
    block = rejects.without_unreadable(block)
    named = frozenset(names)
    wanted = [name for name in spec.column_types if name in named]

    def flaw(fields: int) -> tuple[str, str]:
        return "ragged_row", f"{fields} fields where the columns are {len(names)}"

    # pyarrow calls Python for each ragged row: it sees only those that nobody else can count.
    fields = delimited_splitter(dialect, spec).field_counts(block.data, block.starts, block.stops)
    ragged = np.flatnonzero((fields >= 0) & (fields != len(names)))
    distinct, numbers = np.unique(fields[ragged], return_inverse=True)
    block = rejects.without(block, ragged, (numbers, [flaw(n) for n in distinct.tolist()]))
    table, others = _parse(block, names, wanted, dialect)
    block = rejects.without_flawed(block, {i: flaw(n) for i, n in others.items()})
    count = len(block)
    if table.num_rows != count:
        raise RuntimeError(f"pyarrow read {table.num_rows} of {count} records")

    def column(name: str) -> pa.Array:
        return table[name] if name in named else pa.nulls(count, pa.string())

    columns = Columns(
        rows=block.rows,
        texts=[column(name) for name in spec.text_columns],
        pair=None if spec.text_pair_column is None else column(spec.text_pair_column),
        ids=None if spec.id_column is None else column(spec.id_column),
        carried={name: table[name] for name in wanted},
        raw=block.raws,
    )
    return columns, rejects


def _fields(record: bytes, dialect: Dialect) -> list[str]:
    """The fields of one record, by Python's parser: pyarrow's would make numbers of some."""
    try:
        fields: list[str] = next(dialect.reader(record.decode()), [])
    except csv.Error as error:
        raise HeaderError(f"the first line, which should name the columns: {error}") from error
    return fields


def _parse_options(dialect: Dialect, handler: object = None) -> object:
    return pyarrow.csv.ParseOptions(
        delimiter=dialect.delimiter,
        quote_char=dialect.quote or False,
        escape_char=dialect.escape or False,
        newlines_in_values=True,
        invalid_row_handler=handler,
    )


def _guarded(data: bytes) -> bytes:
    # pyarrow strips a BOM from what it is given; here that is text, as the file's own is gone.
    return b"\n" + data if data.startswith(UTF8_BOM) else data


def _parse(
    block: Block, names: Sequence[str], wanted: list[str], dialect: Dialect
) -> tuple[pa.RecordBatch, dict[int, int]]:
    """The wanted columns, and the fields counted in each ragged record, by its place."""
    ragged: dict[int, int] = {}

    def note(row: pyarrow.csv.InvalidRow) -> str:
        ragged[row.number - 1] = row.actual_columns
        return "skip"

    if len(block) == 0:
        return pa.RecordBatch.from_pylist([], schema=_strings(wanted)), ragged
    data = _guarded(block.data)
    table = pyarrow.csv.read_csv(
        pa.BufferReader(data),
        pyarrow.csv.ReadOptions(
            use_threads=False, block_size=len(data) + 1, column_names=list(names)
        ),
        _parse_options(dialect, note),
        pyarrow.csv.ConvertOptions(
            column_types=_strings(names),
            include_columns=wanted or list(names[:1]),
            strings_can_be_null=False,
            check_utf8=False,
        ),
    )
    if table.num_rows == 0:
        return pa.RecordBatch.from_pylist([], schema=_strings(wanted)), ragged
    return table.combine_chunks().to_batches(max_chunksize=None)[0], ragged


def _strings(names: Sequence[str]) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in names])
