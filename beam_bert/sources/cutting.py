"""Cut a large file into segments from record start to record start, with true row numbers.

One sequential scan: 3 GB/s a core for lines, 1.0 for TSV, 0.5 for CSV with quotes (Zen4, 80 to
120 MB of goemotions), so disks and networks are what it waits for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from google_crc32c import Checksum

from beam_bert.slices.plan import FileEntry, Segment, Slice, Unit, slices_of_unit
from beam_bert.sources.compression import Readable
from beam_bert.sources.delimited import delimited_splitter
from beam_bert.sources.formats import format_of, is_packed
from beam_bert.sources.layouts import open_layout
from beam_bert.sources.lost import ChangedFileError, LostFile
from beam_bert.sources.opening import check_unchanged, open_listed
from beam_bert.sources.parquet import open_parquet, read_footer, row_groups
from beam_bert.sources.records import Splitter
from beam_bert.sources.spec import Format, SourceSpec
from beam_bert.sources.stream import BLOCK_BYTES, Oversized, RecordStream
from beam_bert.storage.base import crc32c_text

_SCAN_BYTES = 4 << 20
# Of one file, over all its slices: what is more is read again by each of them.
_MAX_FOOTERS_BYTES = 16 << 20
_LF = 10


def cut_unit(unit: Unit, spec: SourceSpec) -> list[Slice]:
    """The slices of a unit: a large uncompressed file is cut, anything else stays whole.

    A file that cannot be read now stays whole too: reading it will tell why.

    Args:
      unit: as planned from the listing.
      spec: resolved; its `slice_bytes` is the size of a slice.
    """
    if len(unit.files) != 1 or unit.size <= spec.slice_bytes:
        return slices_of_unit(unit)
    file = unit.files[0]
    format_ = format_of(file.path, spec)
    if is_packed(file) or (format_ == "text" and spec.text_unit == "file"):
        return slices_of_unit(unit)
    try:
        if format_ == "parquet":
            segments = _row_group_runs(file, spec.slice_bytes)
        else:
            segments = _runs_of_records(file, format_, spec)
    except (FileNotFoundError, PermissionError, ChangedFileError, LostFile):
        return slices_of_unit(unit)
    return slices_of_unit(unit, segments or None)


def _row_group_runs(file: FileEntry, slice_bytes: int) -> list[Segment]:
    """Runs of row groups of about `slice_bytes` stored bytes, by each one's share of the file."""
    segments: list[Segment] = []
    with open_listed(file, ahead=0) as opened:
        footer = read_footer(opened)
        groups = row_groups(open_parquet(opened, footer).metadata)
    packed = file.size / max(sum(size for _, size in groups), 1)
    start = row = first_row = 0
    stored = 0.0
    for group, (rows, size) in enumerate(groups):
        stored += size * packed
        row += rows
        if stored >= slice_bytes or group == len(groups) - 1:
            segments.append(Segment(file.path, start, group + 1, first_row))
            start, first_row, stored = group + 1, row, 0.0
    if len(footer) * len(segments) <= _MAX_FOOTERS_BYTES:
        return [replace(segment, beside=footer) for segment in segments]
    return segments


def _runs_of_records(file: FileEntry, format_: Format, spec: SourceSpec) -> list[Segment]:
    """Runs of records of about `slice_bytes`; the last one ends where the listing says."""
    with open_listed(file, keep=True) as stored:
        opened = open_layout(stored, format_, spec)
        if not opened.can_be_cut:
            return []
        has_fields = format_ in ("csv", "tsv")
        stored.seek(0)
        summed = _Summed(stored, spec.slice_bytes) if file.crc32c else None
        source = summed or stored
        if has_fields:
            source.read(opened.begin)
            splitter = delimited_splitter(opened.dialect, spec)
            starts = _record_starts(source, opened.begin, splitter, spec)
        else:
            starts = _line_starts(source, spec.slice_bytes)
        cuts = [(0, 0)]
        for start, row in starts:
            if start < file.size:
                cuts.append((start, row))
                if summed:
                    summed.cut(start)
        check_unchanged(file, stored)
    sums = summed.finish() if summed else [""] * len(cuts)
    stops = [*(start for start, _ in cuts[1:]), file.size]
    fields = opened.fields_to_bytes() if has_fields else b""
    return [
        Segment(file.path, start, stop, row, fields, crc32c)
        for (start, row), stop, crc32c in zip(cuts, stops, sums, strict=True)
    ]


class _Summed:
    """A file that is read once, from its beginning, and the CRC32C of each of its segments.

    So whoever fetches a segment again, on another machine, knows what its bytes have to be: Cloud
    Storage tells that of whole objects alone.
    """

    def __init__(self, file: BinaryIO, slice_bytes: int) -> None:
        self._file = file
        self._slice_bytes = slice_bytes
        self._begin = 0  # of the segment
        self._held = b""  # what may belong to it or to the next one
        self._at = 0  # where that begins
        self._checksum = Checksum()
        self._sums: list[str] = []

    def read(self, size: int, /) -> bytes:
        data = self._file.read(size)
        self._held += data
        self._add(self._begin + self._slice_bytes)  # no segment ends before
        return data

    def cut(self, at: int) -> None:
        """A segment ends there, and the next one begins."""
        self._add(at)
        self._sums.append(crc32c_text(self._checksum))
        self._checksum, self._begin = Checksum(), at

    def finish(self) -> list[str]:
        """Of every segment, when all has been read."""
        self.cut(self._at + len(self._held))
        return self._sums

    def _add(self, stop: int) -> None:
        added, self._held = self._held[: stop - self._at], self._held[stop - self._at :]
        self._checksum.update(added)
        self._at += len(added)


def _line_starts(file: Readable, slice_bytes: int) -> Iterator[tuple[int, int]]:
    """Start and number of each line that begins a segment: the first one `slice_bytes` further on.

    Line ends are counted, and looked up only near a cut, so most bytes are merely compared.
    """
    offset = row = 0
    target = slice_bytes
    while chunk := file.read(_SCAN_BYTES):
        is_end = np.frombuffer(chunk, np.uint8) == _LF
        begin = 0
        # A line starts after its predecessor's end, so that end is looked for from target - 1.
        while (line_end := chunk.find(b"\n", max(target - 1 - offset, begin))) >= 0:
            row += int(np.count_nonzero(is_end[begin : line_end + 1]))
            begin = line_end + 1
            yield offset + begin, row
            target = offset + begin + slice_bytes
            if target - 1 - offset >= len(chunk):
                break
        row += int(np.count_nonzero(is_end[begin:]))
        offset += len(chunk)


def _record_starts(
    file: Readable, begin: int, splitter: Splitter, spec: SourceSpec
) -> Iterator[tuple[int, int]]:
    """The same for CSV, whose line ends may stand inside quotes; empty lines have no number."""
    target = begin + spec.slice_bytes
    for block in RecordStream(file, splitter, first_row=0).blocks(BLOCK_BYTES):
        if isinstance(block, Oversized):
            continue
        starts = block.starts + (begin + block.offset)
        while (place := int(np.searchsorted(starts, target))) < len(starts):
            start = int(starts[place])
            yield start, int(block.rows[place])
            target = start + spec.slice_bytes
