"""Cuts of large files: exact, at record starts, with true row numbers, about as large as wished."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_bert.slices.plan import FileEntry, Segment, Unit
from beam_bert.sources import SourceSpec, cut_unit
from beam_bert.sources.compression import Readable
from beam_bert.sources.records import Delimited, Lines, Offsets, Splitter
from beam_bert.sources.stream import Oversized, RecordStream


def segments(path: Path, slice_bytes: int, size: int | None = None) -> list[Segment]:
    spec = SourceSpec(slice_bytes=slice_bytes, carried=pa.schema([]))
    unit = Unit(3, (FileEntry(str(path), size or path.stat().st_size),))
    slices = cut_unit(unit, spec)
    assert [s.ordinal for s in slices] == [3] * len(slices)
    assert [s.cut for s in slices] == list(range(len(slices)))
    return [segment for s in slices for segment in s.segments]


@pytest.mark.parametrize("scan_bytes", [1, 7, 4 << 20])
def test_lines_are_cut_at_the_first_start_after_each_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scan_bytes: int
) -> None:
    monkeypatch.setattr("beam_bert.sources.cutting._SCAN_BYTES", scan_bytes)
    path = tmp_path / "a.txt"
    path.write_bytes(b"aaaa\nbb\n\ncccccccccc\nd\ne")
    name = str(path)
    assert segments(path, 6) == [
        Segment(name, 0, 8, 0),
        Segment(name, 8, 20, 2),
        Segment(name, 20, 23, 4),
    ]
    assert segments(path, 5)[:2] == [Segment(name, 0, 5, 0), Segment(name, 5, 20, 1)]
    assert segments(path, 1) == [
        Segment(name, start, stop, row)
        for row, (start, stop) in enumerate([(0, 5), (5, 8), (8, 9), (9, 20), (20, 22), (22, 23)])
    ]


def test_what_fits_a_slice_or_cannot_be_cut_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\nb\n")
    assert segments(path, 4) == [Segment(str(path))]
    (tmp_path / "a.txt.gz").write_bytes(b"x" * 100)
    assert segments(tmp_path / "a.txt.gz", 4) == [Segment(str(tmp_path / "a.txt.gz"))]
    assert segments(tmp_path / "gone.csv", 4, size=100) == [Segment(str(tmp_path / "gone.csv"))]
    (tmp_path / "b.parquet").write_bytes(b"no parquet")
    assert segments(tmp_path / "b.parquet", 4) == [Segment(str(tmp_path / "b.parquet"))]
    pair = Unit(0, (FileEntry("a.txt", 2), FileEntry("b.txt", 2)))
    (slice_,) = cut_unit(pair, SourceSpec(slice_bytes=1))
    assert slice_.segments == (Segment("a.txt"), Segment("b.txt"))


def test_csv_is_cut_between_records_and_the_header_counts_for_none(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'id,text\n1,"a\nb"\n\n2,c\n3,"d\r\n"\r\n4,e\n')
    name = str(path)
    assert segments(path, 1) == [
        Segment(name, 0, 17, 0),
        Segment(name, 17, 21, 1),
        Segment(name, 21, 30, 2),
        Segment(name, 30, 34, 3),
    ]


def test_parquet_is_cut_between_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"text {i}" for i in range(10)]}), path, row_group_size=3)
    name = str(path)
    assert segments(path, 1) == [Segment(name, g, g + 1, 3 * g) for g in range(4)]
    three_rows = path.stat().st_size * 3 // 10
    assert segments(path, three_rows + 50) == [Segment(name, 0, 2, 0), Segment(name, 2, 4, 6)]


class Bytes(Readable):
    """Bytes that come in pieces of any size."""

    def __init__(self, data: bytes, piece: int) -> None:
        self._data = data
        self._piece = piece

    def read(self, size: int, /) -> bytes:
        size = min(size, self._piece)
        given, self._data = self._data[:size], self._data[size:]
        return given


def streamed(
    data: bytes, splitter: Splitter, read_bytes: int, block_bytes: int
) -> list[tuple[int, bytes, str | None, int]]:
    """Row, beginning, what is wrong, and size of each record."""
    found: list[tuple[int, bytes, str | None, int]] = []
    for block in RecordStream(Bytes(data, read_bytes), splitter, 0).blocks(block_bytes):
        if isinstance(block, Oversized):
            found.append((block.row, block.raw[:5], "too_large", block.size))
            continue
        assert data[block.offset :].startswith(block.data)
        for i in range(len(block)):
            raw = block.raw(i)
            flaw = next((reason for reason, bad in block.bad.items() if i in bad), None)
            found.append((int(block.rows[i]), raw[:5], flaw, len(raw)))
    return found


line_like = st.lists(st.sampled_from([b"\n", b"\r", b"a", b"bcdef"]), max_size=30).map(b"".join)
csv_like = st.lists(st.sampled_from([b'"', b'"', b",", b"\n", b"a", b"bc"]), max_size=40).map(
    b"".join
)
sizes = st.integers(1, 50)


@settings(max_examples=300, deadline=None)
@given(line_like, sizes, sizes, st.integers(3, 60))
def test_lines_are_the_same_however_they_are_read(
    data: bytes, read_bytes: int, block_bytes: int, most: int
) -> None:
    expected = [
        (row, line[:5], "too_large" if len(line) + len(end) > most else None, len(line))
        for row, (line, end) in enumerate(re.findall(rb"(.*?)(\r?\n|\Z)", data, re.DOTALL))
        if line or end
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("beam_bert.sources.stream._READ_BYTES", read_bytes)
        assert streamed(data, Lines(most), read_bytes, block_bytes) == expected


@settings(max_examples=500, deadline=None)
@given(csv_like, sizes, sizes, st.integers(3, 60))
def test_csv_records_are_the_same_however_they_are_read(
    data: bytes, read_bytes: int, block_bytes: int, most: int
) -> None:
    splitter = Delimited(b",", True, most)
    with pytest.MonkeyPatch.context() as patch:
        whole = streamed(data, splitter, 1_000, 1_000)
        patch.setattr("beam_bert.sources.stream._READ_BYTES", read_bytes)
        assert streamed(data, splitter, read_bytes, block_bytes) == whole


@settings(max_examples=500, deadline=None)
@given(csv_like)
def test_counting_quotes_and_reading_with_care_find_the_same_records(data: bytes) -> None:
    splitter = Delimited(b",", True, 1_000)
    fast = splitter.split(data, final=True)
    slow = splitter._split_with_care(data, final=True)
    assert fast.ends.tolist() == slow.ends.tolist()
    assert _listed(fast.bad) == _listed(slow.bad)


def _listed(bad: dict[str, Offsets]) -> dict[str, list[int]]:
    return {reason: indices.tolist() for reason, indices in bad.items()}


def test_a_stray_quote_costs_one_line_of_a_large_file() -> None:
    lines = [b"%d,some text" % i for i in range(200_000)]
    lines[100] = b'100,"some text'
    found = Delimited(b",", True, 1 << 20).split(b"\n".join(lines), final=True)
    assert len(found.ends) == 200_000
    assert _listed(found.bad) == {"unclosed_quote": [100]}
