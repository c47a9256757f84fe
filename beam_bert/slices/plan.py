"""The plan: a listing of files becomes slices, the one unit of work, of output and of proof.

A slice is fixed before any work starts and is a pure function of the listing and `slice_bytes`: the
number of workers, the runner and the clock have no say. It becomes exactly one Parquet shard (and
one shard of rejects where there are any), so two runs write the same files, and a run that was
killed pays only for the slices that were in flight.

Planning has two steps, since only the listing is known at first:

1. `plan_units` packs small files together and leaves each large file alone, from names and sizes.
2. A large file that can be cut is scanned once for exact boundaries (`beam_bert.sources.cutting`),
   which yields `Segment`s with their true first row; `slices_of_unit` turns them into slices.

What cannot be cut at an offset (compressed files), or holds more rows than MAX_ROWS_A_SLICE, stays
one slice to plan for and is cut while it is read: `Slice.piece` then counts the pieces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

# A slice opens each of its files in turn; the cap bounds its start-up cost and its job-graph size.
MAX_FILES_A_SLICE = 1_000
# A few bytes can hold a million rows (blank lines, runs of equal values), and each costs memory.
MAX_ROWS_A_SLICE = 65_536


@dataclass(frozen=True, order=True)
class FileEntry:
    """One file of the listing. The plan depends on path and size alone.

    Attributes:
      path: as matched: what stands in the rows.
      size: in bytes, as stored.
      version: changes with the content: the object's generation on gs://, else the time of the
        last change in nanoseconds; "" where neither is known. No other version is read.
      identity: the file's one name, whatever it was reached by: links and `..` are resolved;
        "": the path.
      encoding: how the object's Content-Encoding says that it is packed, whatever the name says.
      crc32c: of the stored bytes, where the listing tells.
    """

    path: str
    size: int
    version: str = field(default="", compare=False)
    identity: str = field(default="", compare=False)
    encoding: str = field(default="", compare=False)
    crc32c: str = field(default="", compare=False)


@dataclass(frozen=True)
class Segment:
    """A piece of one file: [start, stop) in bytes, or in row groups for Parquet.

    `stop` None means to the end; `first_row` is
    the true 0-based number, within the file, of the segment's first row. `beside` is what reading
    it needs of the rest of the file: a CSV file's header, a Parquet file's footer; b"" where it
    has to be read again. `crc32c` is that of its bytes, where whoever cut it has found out.
    """

    path: str
    start: int = 0
    stop: int | None = None
    first_row: int = 0
    beside: bytes = field(default=b"", compare=False, repr=False)
    crc32c: str = field(default="", compare=False)


@dataclass(frozen=True)
class Slice:
    """One unit of work: pieces of files, read in order, that become one shard.

    `ordinal` is the place of the planned unit in the listing, `cut` the segment within the unit,
    `piece` the part of that if it is cut further while it is read, `files` what the listing says of
    the unit's files.
    """

    ordinal: int
    segments: tuple[Segment, ...]
    cut: int = 0
    files: tuple[FileEntry, ...] = ()
    piece: int = 0

    def next_piece(self) -> Slice:
        """The part that follows this one."""
        return replace(self, piece=self.piece + 1)

    def shard_name(self, key: str) -> str:
        """The file name, without suffix, of the shard that this slice becomes under `key`.

        Names in their order are rows in their order: a dot sorts behind the hyphen.
        """
        piece = f".{self.piece:05d}" if self.piece else ""
        return f"part-{self.ordinal:05d}-{self.cut:04d}{piece}-{key}"


@dataclass(frozen=True)
class Unit:
    """What is planned from the listing alone: one large file, or several small ones together."""

    ordinal: int
    files: tuple[FileEntry, ...]

    @property
    def size(self) -> int:
        """Bytes of all files together, as stored."""
        return sum(file.size for file in self.files)


def plan_units(files: Iterable[FileEntry], slice_bytes: int) -> list[Unit]:
    """Pack a listing into units of about `slice_bytes`, in path order, duplicates counted once.

    A file of `slice_bytes` or more is a unit of its own; smaller neighbours share one. Pure: the
    same set of files gives the same units, whatever order the listing came in.
    """
    if slice_bytes < 1:
        raise ValueError(f"slice_bytes must be positive, got {slice_bytes}")
    groups: list[tuple[FileEntry, ...]] = []
    pending: list[FileEntry] = []
    pending_bytes = 0

    def flush() -> None:
        nonlocal pending, pending_bytes
        if pending:
            groups.append(tuple(pending))
        pending, pending_bytes = [], 0

    for file in sorted(set(files)):
        if pending_bytes + file.size > slice_bytes or len(pending) >= MAX_FILES_A_SLICE:
            flush()
        pending.append(file)
        pending_bytes += file.size
    flush()
    return [Unit(ordinal, group) for ordinal, group in enumerate(groups)]


def slices_of_unit(unit: Unit, segments: Sequence[Segment] | None = None) -> list[Slice]:
    """The slices of a unit: one for each of `segments` (exact cuts of its file), else one."""
    if segments is None:
        whole = tuple(Segment(file.path) for file in unit.files)
        return [Slice(unit.ordinal, whole, files=unit.files)]
    return [
        Slice(unit.ordinal, (segment,), cut, unit.files) for cut, segment in enumerate(segments)
    ]


def slice_key(slice_: Slice, content_digest: bytes, settings_digest: str) -> str:
    """The key in a shard's name: 16 hex digits over the slice's bytes, its place and the settings.

    `content_digest` is over the raw bytes that were read; `settings_digest` stands for the model's
    version, the settings that change the output and the schema's version.
    """
    digest = hashlib.sha256()
    for segment in slice_.segments:
        digest.update(repr((segment.path, segment.start, segment.first_row)).encode())
    digest.update(repr((slice_.cut, slice_.piece)).encode())
    digest.update(content_digest)
    digest.update(settings_digest.encode())
    return digest.hexdigest()[:16]
