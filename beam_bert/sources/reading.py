"""Read a slice: its segments become one `SliceBatch`, or several if they hold too much for one."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO

from beam_bert.slices.batch import FileRead, SliceBatch
from beam_bert.slices.plan import MAX_ROWS_A_SLICE, FileEntry, Slice, slice_key
from beam_bert.sources.documents import Documents
from beam_bert.sources.formats import format_of, is_packed
from beam_bert.sources.lost import MissingFileError, ReplacedFileError, UnreadableFileError
from beam_bert.sources.opening import is_gs, load_listed, open_binary, open_listed
from beam_bert.sources.segments import Piece, read_segment
from beam_bert.sources.spec import SourceSpec

# A file that nobody could look into may be there, and readable, another night.
_UNREAD = (MissingFileError, UnreadableFileError, ReplacedFileError)
_TOGETHER = 16


def read_slice(slice_: Slice, spec: SourceSpec, settings_digest: str) -> Iterator[SliceBatch]:
    """The documents of a slice, in source order, and what could not be used.

    One batch, or as many as it takes for each to hold at most MAX_ROWS_A_SLICE rows and, of files
    that unpack to more than they are, `spec.slice_bytes` of unpacked bytes (a longer record has its
    own), numbered by `Slice.piece`: so memory stays bounded whatever a file holds.

    Args:
      slice_: what to read.
      spec: resolved by `inspect_source`.
      settings_digest: stands in the key for all else that changes the output.

    Yields:
      batches whose rows have `document_schema(spec.carried, pair=…)`.

    Raises:
      OSError: reading failed in a way that may pass; a file that is gone, may not be read or is
        damaged becomes a reject instead.
    """
    listed = {file.path: file for file in slice_.files}
    files = [listed.get(segment.path) or FileEntry(segment.path, 0) for segment in slice_.segments]
    part = _Part(spec, slice_, spec.digest())
    with _openers(slice_, spec) as openers:
        for segment, file, open_file in zip(slice_.segments, files, openers, strict=True):
            for piece in read_segment(segment, spec, file, open_file):
                if part.is_full_with(piece):
                    yield part.finish(settings_digest)
                    part = _Part(spec, part.slice.next_piece(), part.digest)
                part.add(segment.path, piece)
        yield part.finish(settings_digest)


@contextlib.contextmanager
def _openers(slice_: Slice, spec: SourceSpec) -> Iterator[list[Callable[[], BinaryIO]]]:
    """How to open each segment's file; small ones on gs:// are fetched side by side, whole."""
    listed = {file.path: file for file in slice_.files}
    openers: list[Callable[[], BinaryIO]] = []
    with ThreadPoolExecutor(_TOGETHER) as threads:
        for segment in slice_.segments:
            file = listed.get(segment.path)
            if file is None:
                openers.append(partial(open_binary, segment.path))
            elif format_of(file.path, spec) == "parquet" and not is_packed(file):
                openers.append(partial(open_listed, file, ahead=0))  # it is read here and there
            elif len(slice_.segments) > 1 and is_gs(file.path):
                openers.append(threads.submit(load_listed, file).result)
            else:
                openers.append(partial(open_listed, file, segment.stop))
        try:
            yield openers
        finally:
            threads.shutdown(cancel_futures=True)


@dataclass
class _Part:
    """What becomes one SliceBatch; its digest goes on from that of the part before."""

    spec: SourceSpec
    slice: Slice
    begun: bytes
    unpacked: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    lost: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.documents = Documents(self.spec)
        self._digest = hashlib.sha256(self.begun)

    @property
    def digest(self) -> bytes:
        return self._digest.digest()

    def is_full_with(self, piece: Piece) -> bool:
        """Whether a piece must go into the next part."""
        rows = self.documents.rows_read
        return bool(
            (rows and rows + piece.rows > MAX_ROWS_A_SLICE)
            or (self.unpacked and self.unpacked + piece.unpacked > self.spec.slice_bytes)
        )

    def add(self, path: str, piece: Piece) -> None:
        before = self.documents.rows_read
        if piece.columns is not None:
            self._digest.update(repr((path, len(piece.columns.rows))).encode())
            self.documents.add(path, piece.columns)
        self.documents.reject(path, piece.rejects)
        if piece.rejects.lost is not None:
            self.lost[path] = f"{piece.rejects.lost}"
            if isinstance(piece.rejects.lost, _UNREAD):
                self.unread.add(path)
        for content in piece.content:
            self._digest.update(content)
        self._digest.update(piece.rejects.places())
        self.rows[path] = self.rows.get(path, 0) + self.documents.rows_read - before
        self.sizes[path] = self.sizes.get(path, 0) + piece.size
        self.unpacked += piece.unpacked

    def finish(self, settings_digest: str) -> SliceBatch:
        documents, rejects = self.documents.finish()
        listed = {file.path: file for file in self.slice.files}
        unlisted = FileEntry("", 0)
        return SliceBatch(
            slice=self.slice,
            key=slice_key(self.slice, self.digest, settings_digest),
            rows=documents,
            rejects=rejects,
            files=tuple(
                # Without a version an incremental run does not count it as done.
                FileRead(
                    path,
                    rows,
                    self.sizes[path],
                    file.size,
                    "" if path in self.unread else file.version,
                    self.lost.get(path, ""),
                    file.identity,
                )
                for path, rows in self.rows.items()
                for file in [listed.get(path, unlisted)]
            ),
        )
