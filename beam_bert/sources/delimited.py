"""CSV and TSV: records found by the splitter, fields parsed by pyarrow, all values strings."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv

from beam_bert.sources.documents import MESSAGES, Columns, Reject
from beam_bert.sources.formats import UTF8_BOM
from beam_bert.sources.records import Delimited
from beam_bert.sources.spec import Format, SourceSpec
from beam_bert.sources.stream import Block
from beam_bert.sources.utf8 import invalid_records, is_valid_utf8


class HeaderError(ValueError):
    """A file's first line cannot be its header."""


def delimiter_of(format_: Format) -> str:
    """What stands between two fields."""
    return "\t" if format_ == "tsv" else ","


def quoting_of(format_: Format, spec: SourceSpec) -> bool:
    """Whether quotes are more than characters."""
    return format_ == "csv" if spec.quoting is None else spec.quoting


def delimited_splitter(format_: Format, spec: SourceSpec) -> Delimited:
    """Records of up to twice the largest document, as all its quotes may be doubled."""
    limit = 2 * spec.max_document_bytes + (1 << 20)
    return Delimited(delimiter_of(format_).encode(), quoting_of(format_, spec), limit)


def header_of(head: bytes, final: bool, format_: Format, spec: SourceSpec) -> tuple[list[str], int]:
    """Column names, and how many bytes of the file they and a BOM take up.

    Args:
      head: the file's beginning, 1 MiB of it or all.
      final: whether that is the whole file.

    Raises:
      HeaderError: the first record is not a header.
    """
    begin = len(UTF8_BOM) if head.startswith(UTF8_BOM) else 0
    if spec.column_names is not None:
        return list(spec.column_names), begin
    body = head[begin:]
    splitter = delimited_splitter(format_, spec)
    split = splitter.split(body, final)
    numbered = np.flatnonzero(splitter.numbered(body, split.ends))
    if len(numbered) == 0:
        if final:
            return [], len(head)
        raise HeaderError("the first line, which should name the columns, is too long")
    first = int(numbered[0])
    if first in split.bad:
        raise HeaderError("the first line, which should name the columns, has an open quote")
    start = int(split.ends[first - 1]) if first else 0
    end = int(split.ends[first])
    record = body[start:end]
    if not is_valid_utf8(record):
        raise HeaderError("the first line, which should name the columns, is not valid UTF-8")
    return distinct(_fields(record, format_, spec)), begin + end


def distinct(names: Sequence[str]) -> list[str]:
    """Names without doubles: an empty one becomes column_<n>, a second `a` becomes a_2."""
    result: list[str] = []
    for place, name in enumerate(names, start=1):
        base = unique = name or f"column_{place}"
        number = 2
        while unique in result:
            unique = f"{base}_{number}"
            number += 1
        result.append(unique)
    return result


def parse_delimited(
    block: Block, names: Sequence[str], format_: Format, spec: SourceSpec
) -> tuple[Columns, list[Reject]]:
    """The records of a block as documents; empty lines are no records."""
    flaws = block.bad | dict.fromkeys(invalid_records(block), "invalid_utf8")
    place_of = np.arange(len(block))
    if flaws:
        place_of = np.delete(place_of, list(flaws))
    good = _only(block, place_of)
    wanted = [name for name in spec.column_types if name in names]
    table, ragged = _parse(good, names, wanted, format_, spec)
    messages = {}
    if ragged:
        for place, fields in ragged.items():
            index = int(place_of[place])
            flaws[index] = "ragged_row"
            messages[index] = f"{fields} fields where the columns are {len(names)}"
        place_of = np.delete(place_of, list(ragged))
    rejects = [
        Reject(int(block.rows[i]), reason, messages.get(i) or MESSAGES[reason], block.raw(i))
        for i, reason in sorted(flaws.items())
    ]
    count = len(place_of)
    if table.num_rows != count:
        raise RuntimeError(f"pyarrow read {table.num_rows} of {count} records")

    def column(name: str) -> pa.Array:
        return table[name] if name in wanted else pa.nulls(count, pa.string())

    columns = Columns(
        rows=block.rows[place_of],
        texts=[column(name) for name in spec.text_columns],
        pair=None if spec.text_pair_column is None else column(spec.text_pair_column),
        ids=None if spec.id_column is None else column(spec.id_column),
        carried=[
            column(name).cast(field.type) if name in wanted else pa.nulls(count, field.type)
            for name, field in zip(spec.carried_from, spec.resolved, strict=True)
        ],
        raw=lambda i: block.raw(int(place_of[i])),
    )
    return columns, rejects


def _only(block: Block, places: np.ndarray) -> Block:
    keep = np.zeros(len(block), bool)
    keep[places] = True
    return block.only(keep)


def _fields(record: bytes, format_: Format, spec: SourceSpec) -> list[str]:
    """The fields of one record, by Python's parser: pyarrow's would make numbers of some."""
    text = io.StringIO(record.decode(), newline="")
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoting_of(format_, spec) else csv.QUOTE_NONE
    try:
        return next(csv.reader(text, delimiter=delimiter_of(format_), quoting=quoting), [])
    except csv.Error as error:
        raise HeaderError(f"the first line, which should name the columns: {error}") from error


def _parse_options(format_: Format, spec: SourceSpec, handler: object = None) -> object:
    return pyarrow.csv.ParseOptions(
        delimiter=delimiter_of(format_),
        quote_char='"' if quoting_of(format_, spec) else False,
        newlines_in_values=True,
        invalid_row_handler=handler,
    )


def _guarded(data: bytes) -> bytes:
    # pyarrow strips a BOM from what it is given; here that is text, as the file's own is gone.
    return b"\n" + data if data.startswith(UTF8_BOM) else data


def _parse(
    block: Block, names: Sequence[str], wanted: list[str], format_: Format, spec: SourceSpec
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
        _parse_options(format_, spec, note),
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
