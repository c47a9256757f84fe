"""The dialect of a CSV or TSV file: its delimiter, quotes and escapes, as its first lines show."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from beam_bert.sources.spec import Format, SourceSpec

_SNIFF_BYTES = 64 << 10
_SNIFF_RECORDS = 20
# Excel writes such a first line where a file's delimiter is not that of the country.
_SEP_LINE = re.compile(rb'"?sep=(\S|\t)"?(?:\r\n?|\n)', re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Dialect:
    """How the fields of a file are written.

    Attributes:
      delimiter: between two fields.
      quote: around a field; None: quotes are characters like others.
      escape: before a character that shall mean nothing; None: there is none.
      begin: bytes in front of the header that are none of it.
      recognized: whether the file's first lines showed the delimiter.
    """

    delimiter: str = ","
    quote: str | None = '"'
    escape: str | None = None
    begin: int = 0
    recognized: bool = False

    def reader(self, text: str) -> Any:
        """Python's parser for it."""
        return csv.reader(
            io.StringIO(text, newline=""),
            delimiter=self.delimiter,
            quotechar=self.quote,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            escapechar=self.escape,
            skipinitialspace=self.delimiter != " ",
        )


def dialect_of(head: bytes, format_: Format, spec: SourceSpec) -> Dialect:
    """The dialect of a file that begins so (UTF-8, its mark left out)."""
    quoting = format_ == "csv" if spec.quoting is None else spec.quoting
    quote = spec.quote_char if quoting else None
    usual = "\t" if format_ == "tsv" else ","
    named = _SEP_LINE.match(head) if format_ == "csv" else None
    begin = named.end() if named else 0
    if spec.delimiter is not None:
        return Dialect(spec.delimiter, quote, spec.escape_char, begin)
    if named:
        return Dialect(named[1].decode(), quote, spec.escape_char, begin, recognized=True)
    if spec.format == "auto" and format_ == "csv":
        for delimiter in (";", "\t"):
            dialect = Dialect(delimiter, quote, spec.escape_char, recognized=True)
            if _fits_better(head, dialect, Dialect(usual, quote, spec.escape_char)):
                return dialect
    return Dialect(usual, quote, spec.escape_char)


def _fits_better(head: bytes, other: Dialect, usual: Dialect) -> bool:
    """Whether the first lines make a table with this dialect, and none with the usual one."""
    fields = _first_fields(head, other)
    if not fields or fields[0] < 2 or len(set(fields)) > 1:
        return False
    by_usual = _first_fields(head, usual)
    return not by_usual or by_usual[0] == 1 or (len(fields) > 1 and len(set(by_usual)) > 1)


def _first_fields(head: bytes, dialect: Dialect) -> list[int]:
    """How many fields each of the first records has."""
    return [len(record) for record in first_records(head, dialect)]


def first_records(head: bytes, dialect: Dialect) -> list[list[str]]:
    """The first few records, by Python's parser; none if it cannot read them."""
    sample = head[dialect.begin :][:_SNIFF_BYTES]
    if len(sample) == _SNIFF_BYTES:
        sample = sample[: max(sample.rfind(b"\n"), sample.rfind(b"\r")) + 1]
    records: list[list[str]] = []
    try:
        for record in dialect.reader(sample.decode("utf-8", "replace")):
            if record:
                records.append(record)
            if len(records) == _SNIFF_RECORDS:
                break
    except csv.Error:
        return []
    return records


def looks_like_data(names: Sequence[str], records: Iterable[Sequence[str]]) -> bool:
    """Whether a header is rather a first row: a name is a number, is long, or stands below it."""
    if any(_NUMBER.fullmatch(name) or len(name) > _LONGEST_NAME for name in names):
        return True
    return any(
        name != "" and name == value
        for record in records
        for name, value in zip(names, record, strict=False)
    )
