"""Read a slice: its segments become one `SliceBatch`, or several if they unpack to more."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO

from beam_bert.slices.batch import FileRead, SliceBatch
from beam_bert.slices.plan import FileEntry, Slice, slice_key
from beam_bert.sources.documents import Documents
from beam_bert.sources.formats import format_of, is_packed
from beam_bert.sources.opening import is_gs, load_listed, open_binary, open_listed
from beam_bert.sources.segments import Piece, read_segment
from beam_bert.sources.spec import SourceSpec

_TOGETHER = 16
# Rejects for a file that nobody could look into: it may be there, and readable, another night.
UNREAD_REASONS = frozenset({"missing_file", "unreadable_file", "changed_file"})


def read_slice(slice_: Slice, spec: SourceSpec, settings_digest: str) -> Iterator[SliceBatch]:
    """The documents of a slice, in source order, and what could not be used.

    Exactly one batch, unless files of the slice are compressed: then as many as it takes for each
    to hold at most `spec.slice_bytes` of unpacked bytes (a longer record has its own), numbered
    by `Slice.cut`, so memory stays bounded however large a file unpacks.

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
    files = [listed.get(each.path) or FileEntry(each.path, 0) for each in slice_.segments]
    unpacks = any(map(is_packed, files))
    limit = spec.slice_bytes if unpacks else None
    part = _Part(spec, slice_.with_cut(0) if unpacks else slice_)
    with _openers(slice_, spec) as openers:
        for segment, file, open_file in zip(slice_.segments, files, openers, strict=True):
            for piece in read_segment(segment, spec, limit, file, open_file):
                if unpacks and part.size and part.size + piece.size > spec.slice_bytes:
                    yield part.finish(settings_digest)
                    part = _Part(spec, slice_.with_cut(part.slice.cut + 1))
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
    """What becomes one SliceBatch."""

    spec: SourceSpec
    slice: Slice
    size: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.documents = Documents(self.spec)
        self._digest = hashlib.sha256(self.spec.digest())

    def add(self, path: str, piece: Piece) -> None:
        before = self.documents.rows_read
        if piece.columns is not None:
            self._digest.update(repr((path, len(piece.columns.rows))).encode())
            self.documents.add(path, piece.columns)
        self.documents.reject(path, piece.rejects)
        if any(reject.reason in UNREAD_REASONS for reject in piece.rejects):
            self.unread.add(path)
        for content in piece.content:
            self._digest.update(content)
        self._digest.update(repr([(r.row, r.reason) for r in piece.rejects]).encode())
        self.rows[path] = self.rows.get(path, 0) + self.documents.rows_read - before
        self.bytes[path] = self.bytes.get(path, 0) + piece.size
        self.size += piece.size

    def finish(self, settings_digest: str) -> SliceBatch:
        documents, rejects = self.documents.finish()
        listed = {file.path: file for file in self.slice.files}
        unlisted = FileEntry("", 0)
        return SliceBatch(
            slice=self.slice,
            key=slice_key(self.slice, self._digest.digest(), settings_digest),
            rows=documents,
            rejects=rejects,
            files=tuple(
                # Without a version an incremental run does not count it as done.
                FileRead(
                    path,
                    rows,
                    self.bytes[path],
                    file.size,
                    "" if path in self.unread else file.version,
                )
                for path, rows in self.rows.items()
                for file in [listed.get(path, unlisted)]
            ),
        )
