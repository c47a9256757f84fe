"""How a file is laid out, by its name, its first bytes and the settings; and its bytes as UTF-8."""

from __future__ import annotations

import codecs
import json
from dataclasses import asdict, dataclass

from beam_bert.sources.compression import Readable, Rewound
from beam_bert.sources.decoding import (
    UTF8_BOM,
    Recoded,
    is_single_byte,
    is_utf8,
    wide_encoding,
)
from beam_bert.sources.delimited import header_of
from beam_bert.sources.dialects import Dialect, dialect_of
from beam_bert.sources.json_documents import AsLines, is_long, layout_of
from beam_bert.sources.jsonl import jsonl_splitter
from beam_bert.sources.lost import HeaderError, LostFile, WideEncodingError, WrongKindError
from beam_bert.sources.recognition import foreign
from beam_bert.sources.spec import Format, SourceSpec
from beam_bert.sources.squad import SquadRows, list_begin

LOOK_BYTES = 64 << 10
HEADER_BYTES = 1 << 20  # a longer header is none


@dataclass
class Opened:
    """A file whose beginning was looked at.

    Attributes:
      head: its first bytes as UTF-8, without mark.
      final: whether that is all of it.
      encoding: what it is in; None: UTF-8.
      dialect: how its fields are written, if it has fields.
      names: its columns, if a header or the settings name them.
      spread_out: whether its records are no lines, so that it is read from its start alone.
      records: its records, as UTF-8 lines.
      begin: bytes of the stored file before its first record.
    """

    head: bytes
    final: bool
    encoding: str | None
    dialect: Dialect
    names: list[str]
    spread_out: bool
    records: Readable
    begin: int

    def fields_to_bytes(self) -> bytes:
        """Columns, dialect and `begin`, for whoever reads a part of the file."""
        return json.dumps([self.names, asdict(self.dialect), self.begin]).encode()

    @property
    def can_be_cut(self) -> bool:
        """Whether its bytes can be read from any record's start."""
        return not self.spread_out and (self.encoding is None or is_single_byte(self.encoding))


def open_layout(source: Readable, format_: Format, spec: SourceSpec) -> Opened:
    """Look at a file's beginning.

    Args:
      source: its bytes from its start, unpacked.
      format_: text, jsonl, csv or tsv.
      spec: how to read it.

    Raises:
      LostFile: it cannot be read at all.
    """
    head, final, damage = _head(source, LOOK_BYTES)
    if damage and not head:
        raise damage
    if problem := foreign(head, format_):
        raise WrongKindError(problem)
    encoding = _encoding_of(head, spec)
    source = Rewound(head, source)
    if encoding:
        source = Recoded(source, encoding)
        head, final, damage = _head(source, LOOK_BYTES)
        source = Rewound(head, source)
    mark = len(UTF8_BOM) if head.startswith(UTF8_BOM) else 0
    head = head[mark:]
    source.read(mark)
    opened = Opened(head, final, encoding, Dialect(), [], False, source, mark)
    if format_ in ("csv", "tsv"):
        try:
            _find_fields(opened, format_, spec)
        except HeaderError:
            _look_further(opened)
            try:
                _find_fields(opened, format_, spec)
            except HeaderError:
                if damage:
                    raise damage from None
                raise
    elif format_ == "jsonl":
        if is_long(head):
            _look_further(opened)
        if (begin := list_begin(opened.head)) is not None:
            opened.records.read(begin)
            limit = jsonl_splitter(spec).max_record_bytes
            opened.records = SquadRows(opened.records, spec, limit)
            opened.spread_out = True
        elif (layout := layout_of(opened.head, opened.final)) != "lines":
            limit = jsonl_splitter(spec).max_record_bytes
            opened.records = AsLines(opened.records, layout, limit)
            opened.spread_out = True
    return opened


def fields_from_bytes(beside: bytes) -> tuple[list[str], Dialect, int]:
    """Columns, dialect and `begin`, as `Opened.fields_to_bytes` wrote them."""
    names, dialect, begin = json.loads(beside)
    return names, Dialect(**dialect), begin


def without_beginning(source: Readable, begin: int) -> Readable:
    """The stored bytes of a file from the first record on: behind a header, or a mark."""
    head, _, _ = _head(source, max(begin, len(UTF8_BOM)))
    return Rewound(head[begin:] if begin else head.removeprefix(UTF8_BOM), source)


def _find_fields(opened: Opened, format_: Format, spec: SourceSpec) -> None:
    dialect = dialect_of(opened.head, format_, spec)
    names, begin = header_of(opened.head, opened.final, dialect, spec)
    opened.names, opened.dialect = names, dialect
    if opened.encoding:  # one byte a character, if it is to be cut at all
        opened.begin = len(opened.head[:begin].decode("utf-8", "surrogateescape"))
    else:
        opened.begin += begin
    left = begin
    while left:
        left -= len(opened.records.read(left))


def _look_further(opened: Opened) -> None:
    """Look at as much of the file as a header may take up."""
    head, opened.final, _ = _head(opened.records, HEADER_BYTES)
    opened.head, opened.records = head, Rewound(head, opened.records)


def recoded(source: Readable, spec: SourceSpec) -> Readable:
    """The bytes of a later part of a file that was cut, as UTF-8."""
    return source if is_utf8(spec.encoding) else Recoded(source, spec.encoding)


def _head(source: Readable, size: int) -> tuple[bytes, bool, LostFile | None]:
    """The beginning of a file; whether that is all; or its damage."""
    head = b""
    while len(head) < size:
        try:
            more = source.read(size - len(head))
        except LostFile as damage:  # comes again when the rest is read
            return head, False, damage
        if not more:
            return head, True, None
        head += more
    return head, False, None


def _encoding_of(head: bytes, spec: SourceSpec) -> str | None:
    """What the file is in; None: UTF-8."""
    wide = wide_encoding(head)
    if spec.encoding == "auto":
        return wide
    named = codecs.lookup(spec.encoding).name
    if wide and not named.startswith(wide.lower()):
        raise WideEncodingError(
            f"the file is {wide} by its first bytes, not {spec.encoding}; name no encoding, or "
            "read it in a run of its own"
        )
    return None if is_utf8(spec.encoding) else spec.encoding
