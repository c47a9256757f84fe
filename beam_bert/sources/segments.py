"""Read one segment of one file, whatever its format, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from google_crc32c import Checksum

from beam_bert.slices.plan import FileEntry, Segment
from beam_bert.sources.compression import Readable, seekable, unpacked
from beam_bert.sources.delimited import delimited_splitter, parse_delimited
from beam_bert.sources.dialects import Dialect
from beam_bert.sources.documents import Columns
from beam_bert.sources.formats import format_of, is_packed
from beam_bert.sources.jsonl import jsonl_splitter, parse_jsonl
from beam_bert.sources.layouts import (
    HEADER_BYTES,
    fields_from_bytes,
    open_layout,
    recoded,
    without_beginning,
)
from beam_bert.sources.lost import (
    ChangedFileError,
    DamagedFileError,
    LostFile,
    MissingFileError,
    ReplacedFileError,
    UnreadableFileError,
)
from beam_bert.sources.opening import check_unchanged, open_listed
from beam_bert.sources.parquet import read_parquet
from beam_bert.sources.records import Splitter
from beam_bert.sources.rejects import MESSAGES, Rejects
from beam_bert.sources.spec import Format, SourceSpec
from beam_bert.sources.stream import BLOCK_BYTES, Block, Oversized, RecordStream
from beam_bert.sources.text import parse_text, text_splitter, whole_file
from beam_bert.storage.base import crc32c_text, wrong_bytes

Parse = Callable[[Block, SourceSpec], tuple[Columns, Rejects]]


@dataclass
class Piece:
    """Some records of a file.

    Attributes:
      columns: those that could be parsed.
      rejects: the others.
      content: the bytes that all this was made from, for the key.
      size: bytes that were read for it.
      unpacked: bytes that they became, where these may be more than the file has.
    """

    columns: Columns | None = None
    rejects: Rejects = field(default_factory=Rejects)
    content: tuple[bytes, ...] = ()
    size: int = 0
    unpacked: int = 0

    @property
    def rows(self) -> int:
        """Records of either kind."""
        return len(self.rejects) + (0 if self.columns is None else len(self.columns.rows))


class _Bounded:
    """The bytes of a segment; a file that has become shorter is damaged."""

    def __init__(self, file: BinaryIO, segment: Segment) -> None:
        self._file = file
        self._segment = segment
        self._left = None if segment.stop is None else segment.stop - segment.start
        self._checksum = Checksum()
        if segment.start:
            file.seek(segment.start)

    def read(self, size: int, /) -> bytes:
        if self._left is None:
            return self._file.read(size)
        data = self._file.read(min(size, self._left))
        if not data and self._left and size:
            raise DamagedFileError(f"the file has lost {self._left} bytes since it was listed")
        self._left -= len(data)
        if self._segment.crc32c:
            self._checksum.update(data)
            if not self._left:
                self._check()
        return data

    def _check(self) -> None:
        segment, crc32c = self._segment, crc32c_text(self._checksum)
        if crc32c != segment.crc32c:
            part = f"{segment.path}, bytes {segment.start:,} to {segment.stop:,}"
            raise wrong_bytes(part, crc32c, segment.crc32c)


def read_segment(
    segment: Segment, spec: SourceSpec, file: FileEntry, open_file: Callable[[], BinaryIO]
) -> Iterator[Piece]:
    """The records of a segment, in order; a file that cannot be read is one reject without row.

    Args:
      segment: of a file in any format.
      spec: resolved.
      file: as it was listed: no row comes from another version.
      open_file: opens it.
    """
    format_ = format_of(segment.path, spec)
    try:
        with open_file() as opened:
            if format_ == "parquet":
                pieces = _parquet(opened, segment, spec, file)
            else:
                pieces = _records(opened, segment, format_, spec, file)
            for piece in pieces:
                check_unchanged(file, opened)
                yield piece
    except LostFile as lost:
        yield _lost(lost, segment.path)
    except ChangedFileError as error:
        yield _lost(ReplacedFileError(str(error)), segment.path)
    except FileNotFoundError:
        yield _lost(MissingFileError("it was there when the input was listed"), segment.path)
    except PermissionError as error:
        yield _lost(UnreadableFileError(f"it may not be read: {error.strerror}"), segment.path)


def _lost(lost: LostFile, path: str, raw: bytes | None = None) -> Piece:
    """A reject that stands for a file, or the rest of one."""
    rejects = Rejects.of_file(type(lost)(f"{path}: {lost}"), raw)
    rejects.lost = lost
    return Piece(rejects=rejects, content=(lost.reason.encode(), raw or b""))


def _parquet(
    opened: BinaryIO, segment: Segment, spec: SourceSpec, file: FileEntry
) -> Iterator[Piece]:
    for columns, rejects, content, stored in read_parquet(seekable(opened, file), segment, spec):
        yield Piece(columns, rejects, (content,), stored, len(content))


def _records(
    stored: BinaryIO, segment: Segment, format_: Format, spec: SourceSpec, file: FileEntry
) -> Iterator[Piece]:
    packed = is_packed(file)
    source: Readable = unpacked(stored, file) if packed else _Bounded(stored, segment)
    has_fields = format_ in ("csv", "tsv")
    expands = packed
    if segment.stop is None:
        opened = open_layout(source, format_, spec)
        names, dialect, source = opened.names, opened.dialect, opened.records
        expands = packed or not opened.can_be_cut
    else:  # whoever cut it saw more of the file's beginning than may stand in this part
        names, dialect, begin = [], Dialect(), 0
        if has_fields and segment.beside:
            names, dialect, begin = fields_from_bytes(segment.beside)
        elif has_fields:
            with open_listed(file, ahead=HEADER_BYTES) as again:
                opened = open_layout(again, format_, spec)
                names, dialect, begin = opened.names, opened.dialect, opened.begin
        if segment.start == 0:
            source = without_beginning(source, begin)
        source = recoded(source, spec)
    if format_ == "text" and spec.text_unit == "file":
        columns, rejects, whole = whole_file(source, spec)
        yield Piece(columns, rejects, (whole,), len(whole), len(whole))
        return
    splitter: Splitter
    parse: Parse
    if format_ == "jsonl":
        splitter, parse = jsonl_splitter(spec), parse_jsonl
    elif format_ == "text":
        splitter, parse = text_splitter(spec), parse_text
    else:
        splitter = delimited_splitter(dialect, spec)

        def parse(block: Block, spec: SourceSpec) -> tuple[Columns, Rejects]:
            return parse_delimited(block, names, dialect, spec)

        if names:
            yield Piece(content=(repr((names, dialect)).encode(),))
    stream = RecordStream(source, splitter, segment.first_row)
    # What may be more than the listing says is read in blocks that a slice can hold.
    block_bytes = min(spec.slice_bytes, BLOCK_BYTES) if expands else BLOCK_BYTES
    yield from _parsed(stream, parse, spec, block_bytes, expands)
    if stream.damage is not None:
        yield _lost(stream.damage, segment.path, stream.cut_short)


def _parsed(
    stream: RecordStream, parse: Parse, spec: SourceSpec, block_bytes: int, expands: bool
) -> Iterator[Piece]:
    for block in stream.blocks(block_bytes):
        if isinstance(block, Oversized):
            rejects = Rejects()
            raw = pa.array([block.raw], pa.binary())
            flaw = ("too_large", MESSAGES["too_large"])
            rejects.add(np.array([block.row]), flaw, raw, raw_size=block.size)
            content = (block.raw, str(block.size).encode())
            yield Piece(None, rejects, content, block.size, expands * block.size)
        else:
            columns, rejects = parse(block, spec)
            size = len(block.data)
            yield Piece(columns, rejects, (block.data,), size, expands * size)
