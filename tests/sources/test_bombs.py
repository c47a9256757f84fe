"""Small files of very many rows, or of few that unpack to much, take little memory, row for row."""

from __future__ import annotations

import bz2
import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from beam_bert.slices.batch import SliceBatch
from beam_bert.slices.plan import Segment, Slice
from beam_bert.sources import SourceSpec, inspect_source, list_files, read_slice
from tests.platform.terraform_files import ROOT

READ_BOMBS = """
import resource, sys
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq, zstandard
from beam_bert.slices.plan import MAX_ROWS_A_SLICE, plan_units
from beam_bert.sources import SourceSpec, cut_unit, inspect_source, list_files, read_slice

MIB = 2**20
entry = pa.array([b"x" * MIB], pa.binary(MIB))
fixed = pa.DictionaryArray.from_arrays(pa.array([0] * 600, pa.int32()), entry)
entries = pa.array(["x" * MIB, "y" * MIB])
texts = pa.DictionaryArray.from_arrays(pa.array([0, 1] * 200, pa.int32()), entries)

def parquet(**columns):
    def write(path):
        pq.write_table(pa.table(columns), path, compression="zstd", row_group_size=10**9)
    return write

def plain(data):
    return lambda path: path.write_bytes(data)

BOMBS = {
    "blank.txt.zst": (plain(zstandard.compress(b"\\n" * 2 * MIB)), 2 * MIB),
    "blank.jsonl": (plain(b"\\n" * 2 * MIB), 0),
    "bad.jsonl": (plain(b"x\\n" * (MIB // 2)), MIB // 2),
    "no_utf8.txt": (plain(b"\\xff\\n" * (MIB // 2)), MIB // 2),
    "ragged.csv": (plain(b"text,b\\n" + b"x\\n" * (MIB // 4)), MIB // 4),
    "equal.parquet": (parquet(text=pa.repeat(pa.scalar("the same"), MIB // 2)), MIB // 2),
    "long.parquet": (parquet(text=texts), 400),
    "fixed.parquet": (parquet(text=pa.repeat(pa.scalar("a"), 600), value=fixed), 600),
}

def read(path):
    rows, files = 0, list_files([str(path)])
    spec = inspect_source(files, SourceSpec(keep_columns=()))
    spec = spec if path.name != "fixed.parquet" else inspect_source(files, SourceSpec())
    for unit in plan_units(files, spec.slice_bytes):
        for slice_ in cut_unit(unit, spec):
            for batch in read_slice(slice_, spec, ""):
                assert batch.rows_read <= MAX_ROWS_A_SLICE
                rows += batch.rows_read
    return rows

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

folder = Path(sys.argv[1])
for name, (make, _) in BOMBS.items():
    make(folder / name)
plain(b"text,b\\none,x\\n")(folder / "first.csv")
parquet(text=pa.array(["one"]))(folder / "first.parquet")
read(folder / "first.csv"), read(folder / "first.parquet")
for name, (_, rows) in BOMBS.items():
    before = peak()
    found = read(folder / name)
    assert found == rows, (name, found)
    assert peak() - before < 500, (name, peak() - before)
"""


def test_files_that_hold_very_many_rows_or_unpack_to_much_take_little_memory(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ_BOMBS, str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2_000:]


MANY = 20_000


def read_counting_calls(path: Path, spec: SourceSpec) -> tuple[list[SliceBatch], int]:
    """What a file holds, and how many functions of Python's that took."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    slice_ = Slice(0, (Segment(str(path)),))
    list(read_slice(slice_, spec, ""))  # what is imported the first time does not count
    sys.setprofile(count)
    try:
        batches = list(read_slice(slice_, spec, ""))
    finally:
        sys.setprofile(None)
    return batches, calls


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a.jsonl", "{{x{}}}"),
        ("a.jsonl", '{{"a{}":x}}'),
        ("a.jsonl", "{{"),
        ("a.jsonl", "{}"),
        ("a.jsonl", "[{}]"),
        ("a.jsonl", '{{"text":1}}'),
        ("a.jsonl", '{{"text":"a","part":[1]}}'),
        ("a.csv", "x"),
        ("a.csv", "{},y,z"),
        ("a.csv", '"'),
        ("a.csv", 'x{}"'),
        ("a.csv", '"x'),
        ("a.csv", 'a{},"x'),
    ],
)
def test_a_bad_line_costs_no_call_of_its_own(tmp_path: Path, name: str, line: str) -> None:
    path = tmp_path / name
    lines = [line.format(number) for number in range(MANY)]
    begin = 'text,b\n"one",two\n' if name == "a.csv" else '{"text":"one","part":{"a":1}}\n' * 1_000
    path.write_text(begin + "\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("beam_bert.sources.sampling._SAMPLE_BYTES", 10_000)
        spec = inspect_source(list_files([str(path)]), SourceSpec())
    (batch,), calls = read_counting_calls(path, spec)
    assert batch.rejects.num_rows > MANY / 3
    assert calls < MANY / 4, calls
    if name == "a.jsonl":  # each alone, as a parser of its own would tell it
        for row in batch.rejects.slice(MANY // 2, 20).to_pylist():
            assert row["raw"].decode() == lines[row["source_row"] - 1_000]
            (tmp_path / "one.jsonl").write_bytes(row["raw"])
            (one,) = read_slice(Slice(0, (Segment(str(tmp_path / "one.jsonl")),)), spec, "")
            told = one.rejects.to_pylist()[0]
            assert (told["reason"], told["message"]) == (row["reason"], row["message"])


@pytest.mark.parametrize(
    ("texts", "group_rows", "reason"),
    [
        ([b"\xff%d" % number for number in range(MANY)], MANY, "invalid_utf8"),
        ([None] * MANY, MANY, "missing_text"),
        ([b""] * (MANY // 10), 1, "empty_text"),
    ],
)
def test_a_row_of_parquet_costs_no_call_of_its_own(
    tmp_path: Path, texts: list[bytes | None], group_rows: int, reason: str
) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": pa.array(texts, pa.binary())})
    pq.write_table(table, path, row_group_size=group_rows)
    spec = inspect_source(list_files([str(path)]), SourceSpec())
    (batch,), calls = read_counting_calls(path, spec)
    assert batch.rejects.column("reason").to_pylist() == [reason] * len(texts)
    assert batch.rejects.column("source_row").to_pylist() == list(range(len(texts)))
    assert calls < MANY / 4, calls


def test_a_row_group_that_is_damaged_among_small_ones_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"text number {number}" for number in range(20)]
    table = pa.table({"text": texts})
    pq.write_table(table, path, row_group_size=2, compression="none", write_page_checksum=True)
    path.write_bytes(path.read_bytes().replace(b"number 7", b"nUmber 7", 1))
    spec = inspect_source(list_files([str(path)]), SourceSpec())
    (batch,) = read_slice(Slice(0, (Segment(str(path)),)), spec, "")
    assert batch.rows.column("text").to_pylist() == [*texts[:6], *texts[8:]]
    rejects = batch.rejects.to_pylist()
    assert [(row["source_row"], row["reason"]) for row in rejects] == [
        (6, "damaged_file"),
        (7, "damaged_file"),
    ]


def test_a_column_nested_deeper_than_arrow_can_send_loses_the_file_and_not_the_run(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.parquet"
    deep = pa.array(["deep"])
    for _ in range(90):
        deep = pa.StructArray.from_arrays([deep], ["a"])
    pq.write_table(pa.table({"text": ["a"], "deep": deep}), path)
    spec = inspect_source(list_files([str(path)]), SourceSpec())
    (batch,) = read_slice(Slice(0, (Segment(str(path)),)), spec, "")
    assert [row["reason"] for row in batch.rejects.to_pylist()] == ["not_supported"]
    spec = inspect_source(list_files([str(path)]), SourceSpec(keep_columns=()))
    (batch,) = read_slice(Slice(0, (Segment(str(path)),)), spec, "")
    assert batch.rows.column("text").to_pylist() == ["a"]


def test_thousands_of_columns_are_looked_up_in_one_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a"], **{f"c{n}": pa.nulls(1) for n in range(300)}}), path)
    made = 0

    def counted(*arguments: Any) -> pa.Schema:
        nonlocal made
        made += 1
        return schema(*arguments)

    schema = pa.schema
    monkeypatch.setattr("beam_bert.sources.sampling.pa.schema", counted)
    inspect_source(list_files([str(path)]), SourceSpec())
    assert made < 50


def test_small_elements_of_an_array_cost_no_call_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    elements = ['{"text":"a"}', *(["1", '{"text": "b"}', "{}", '"c"'] * (MANY // 4))]
    path.write_text("[" + ",\n ".join(elements) + "]")
    spec = inspect_source(list_files([str(path)]), SourceSpec())
    (batch,), calls = read_counting_calls(path, spec)
    assert batch.rows.column("text").to_pylist() == ["a"] + ["b"] * (MANY // 4)
    raws = zip(
        *(batch.rejects.column(name).to_pylist() for name in ("source_row", "raw")), strict=True
    )
    assert all(raw.decode() == elements[row] for row, raw in raws)
    assert batch.rows_read == len(elements)
    assert calls < MANY / 4, calls


@pytest.mark.parametrize(
    ("name", "compress"),
    [("a.txt.gz", gzip.compress), ("a.txt.zst", zstandard.compress), ("a.txt.bz2", bz2.compress)],
)
def test_very_many_members_of_a_few_bytes_are_one_file(
    tmp_path: Path, name: str, compress: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / name
    path.write_bytes((compress(b"") + compress(b"a line\n")) * MANY)
    spec = inspect_source(list_files([str(path)]), SourceSpec())
    (batch,) = read_slice(Slice(0, (Segment(str(path)),)), spec, "")
    assert batch.rows.column("text").to_pylist() == ["a line"] * MANY
