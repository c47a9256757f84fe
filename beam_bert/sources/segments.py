"""Read one segment of one file, whatever its format, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from beam_bert.slices.plan import FileEntry, Segment
from beam_bert.sources.compression import DamagedFileError, Readable, Rewound, seekable, unpacked
from beam_bert.sources.delimited import (
    HeaderError,
    delimited_splitter,
    header_of,
    parse_delimited,
)
from beam_bert.sources.documents import MESSAGES, Columns, Reject
from beam_bert.sources.formats import (
    UTF8_BOM,
    format_of,
    is_packed,
    recode_hint,
    wide_encoding,
)
from beam_bert.sources.jsonl import jsonl_splitter, parse_jsonl
from beam_bert.sources.opening import ChangedFileError, check_unchanged, open_listed
from beam_bert.sources.parquet import ParquetDamage, read_parquet
from beam_bert.sources.records import Splitter
from beam_bert.sources.spec import Format, SourceSpec
from beam_bert.sources.stream import BLOCK_BYTES, Block, Oversized, RecordStream
from beam_bert.sources.text import parse_text, text_splitter, whole_file

HEADER_BYTES = 1 << 20

Parse = Callable[[Block, SourceSpec], tuple[Columns, list[Reject]]]


@dataclass
class Piece:
    """Some records of a file.

    Attributes:
      columns: those that could be parsed.
      rejects: the others.
      content: the bytes that all this was made from, for the key.
      size: how many bytes these are.
    """

    columns: Columns | None = None
    rejects: list[Reject] = field(default_factory=list)
    content: tuple[bytes, ...] = ()
    size: int = 0


class _Bounded:
    """The bytes of a file up to `stop`; a file that has become shorter is damaged."""

    def __init__(self, file: BinaryIO, start: int, stop: int | None) -> None:
        self._file = file
        self._left = None if stop is None else stop - start
        if start:
            file.seek(start)

    def read(self, size: int, /) -> bytes:
        if self._left is None:
            return self._file.read(size)
        data = self._file.read(min(size, self._left))
        if not data and self._left and size:
            raise DamagedFileError(f"the file has lost {self._left} bytes since it was listed")
        self._left -= len(data)
        return data


def read_segment(
    segment: Segment,
    spec: SourceSpec,
    block_limit: int | None,
    file: FileEntry,
    open_file: Callable[[], BinaryIO],
) -> Iterator[Piece]:
    """The records of a segment, in order; a file that cannot be read is one reject without row.

    Args:
      segment: of a file in any format.
      spec: resolved.
      block_limit: no more bytes a piece than this, up to a record's end; None: as is fastest.
      file: as it was listed: no row comes from another version.
      open_file: opens it.
    """
    format_ = format_of(segment.path, spec)
    try:
        with open_file() as opened:
            if format_ == "parquet":
                pieces = _parquet(opened, segment, spec, file)
            elif format_ == "text" and spec.text_unit == "file":
                pieces = _whole_file(opened, segment, spec, file)
            else:
                block_bytes = min(block_limit or BLOCK_BYTES, BLOCK_BYTES)
                pieces = _records(opened, segment, format_, spec, block_bytes, file)
            for piece in pieces:
                check_unchanged(file, opened)
                yield piece
    except ChangedFileError as error:
        yield _lost("changed_file", str(error))
    except FileNotFoundError:
        yield _lost("missing_file", f"{segment.path} was there when the input was listed")
    except PermissionError as error:
        yield _lost("unreadable_file", f"{segment.path} may not be read: {error.strerror}")


def _lost(reason: str, message: str, raw: bytes | None = None) -> Piece:
    """A reject that stands for a file, or the rest of one."""
    return Piece(
        rejects=[Reject(None, reason, message, raw)], content=(reason.encode(), raw or b"")
    )


def _source(opened: BinaryIO, segment: Segment, file: FileEntry) -> Readable:
    if is_packed(file):
        return unpacked(opened, file)
    return _Bounded(opened, segment.start, segment.stop)


def _whole_file(
    opened: BinaryIO, segment: Segment, spec: SourceSpec, file: FileEntry
) -> Iterator[Piece]:
    source = _source(opened, segment, file)
    columns, rejects, content = whole_file(source, segment.path, spec)
    yield Piece(columns, rejects, (content,), len(content))


def _parquet(
    opened: BinaryIO, segment: Segment, spec: SourceSpec, file: FileEntry
) -> Iterator[Piece]:
    content: list[bytes] = []
    try:
        stored_file = seekable(opened, file)
        for columns, rejects, stored in read_parquet(stored_file, segment, spec, content.append):
            yield Piece(columns, rejects, tuple(content), stored)
            content.clear()
    except (ParquetDamage, DamagedFileError) as damage:
        yield _lost("damaged_file", f"{segment.path}: {damage}")


def _records(
    opened: BinaryIO,
    segment: Segment,
    format_: Format,
    spec: SourceSpec,
    block_bytes: int,
    file: FileEntry,
) -> Iterator[Piece]:
    source = _source(opened, segment, file)
    names: list[str] = []
    head = segment.beside
    if segment.start == 0:
        try:
            head = _head(source)
        except DamagedFileError as damage:
            yield _lost("damaged_file", f"{segment.path}: {damage}")
            return
        if encoding := wide_encoding(head):
            hint = recode_hint(segment.path, encoding)
            yield _lost("wide_encoding", hint, head)
            return
    elif format_ in ("csv", "tsv") and not head and spec.column_names is None:
        with open_listed(file, ahead=HEADER_BYTES) as again:
            head = _head(again)
    splitter: Splitter
    parse: Parse
    begin = 0
    if format_ in ("csv", "tsv"):
        try:
            names, begin = header_of(head, len(head) < HEADER_BYTES, format_, spec)
        except HeaderError as error:
            yield _lost("bad_header", f"{segment.path}: {error}", head)
            return
        splitter = delimited_splitter(format_, spec)

        def parse(block: Block, spec: SourceSpec) -> tuple[Columns, list[Reject]]:
            return parse_delimited(block, names, format_, spec)
    else:
        if segment.start == 0 and head.startswith(UTF8_BOM):
            begin = len(UTF8_BOM)
        splitter = jsonl_splitter(spec) if format_ == "jsonl" else text_splitter(spec)
        parse = parse_jsonl if format_ == "jsonl" else parse_text
    if segment.start == 0:
        source = Rewound(head[begin:], source)
    if names:
        yield Piece(content=(repr(names).encode(),))
    yield from _parsed(RecordStream(source, splitter, segment.first_row), parse, spec, block_bytes)


def _head(source: Readable) -> bytes:
    """The beginning of a file, as far as a header may reach."""
    head = b""
    while len(head) < HEADER_BYTES:
        try:
            more = source.read(HEADER_BYTES - len(head))
        except DamagedFileError:
            if head:
                break  # comes again when the rest is read
            raise
        if not more:
            break
        head += more
    return head


def _parsed(
    stream: RecordStream, parse: Parse, spec: SourceSpec, block_bytes: int
) -> Iterator[Piece]:
    for block in stream.blocks(block_bytes):
        if isinstance(block, Oversized):
            reject = Reject(block.row, "too_large", MESSAGES["too_large"], block.raw, block.size)
            yield Piece(None, [reject], (block.raw, str(block.size).encode()), block.size)
        else:
            columns, rejects = parse(block, spec)
            yield Piece(columns, rejects, (block.data,), len(block.data))
    if stream.damage is not None:
        yield _lost("damaged_file", stream.damage, stream.cut_short)
