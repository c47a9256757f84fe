"""Read a slice: its segments become one `SliceBatch`, or several if they unpack to more."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from beam_bert.slices.batch import FileRead, SliceBatch
from beam_bert.slices.plan import FileEntry, Slice, slice_key
from beam_bert.sources.documents import Documents
from beam_bert.sources.formats import compression_of
from beam_bert.sources.segments import Piece, read_segment
from beam_bert.sources.spec import SourceSpec

# Rejects for a file that nobody could look into: it may be there, and readable, another night.
UNREAD_REASONS = frozenset({"missing_file", "unreadable_file"})


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
    unpacks = any(compression_of(segment.path) for segment in slice_.segments)
    part = _Part(spec, slice_.with_cut(0) if unpacks else slice_)
    for segment in slice_.segments:
        for piece in read_segment(segment, spec, spec.slice_bytes if unpacks else None):
            if unpacks and part.size and part.size + piece.size > spec.slice_bytes:
                yield part.finish(settings_digest)
                part = _Part(spec, slice_.with_cut(part.slice.cut + 1))
            part.add(segment.path, piece)
    yield part.finish(settings_digest)


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
