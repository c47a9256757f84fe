"""Small files of very many rows, or of few that unpack to much, take little memory, row for row."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    slice_ = Slice(0, (Segment(str(path)),))
    list(read_slice(slice_, spec, ""))  # what is imported the first time does not count
    sys.setprofile(count)
    try:
        (batch,) = read_slice(slice_, spec, "")
    finally:
        sys.setprofile(None)
    assert batch.rejects.num_rows > MANY / 3
    assert calls < MANY / 4, calls
    if name == "a.jsonl":  # each alone, as a parser of its own would tell it
        for row in batch.rejects.slice(MANY // 2, 20).to_pylist():
            assert row["raw"].decode() == lines[row["source_row"] - 1_000]
            (tmp_path / "one.jsonl").write_bytes(row["raw"])
            (one,) = read_slice(Slice(0, (Segment(str(tmp_path / "one.jsonl")),)), spec, "")
            told = one.rejects.to_pylist()[0]
            assert (told["reason"], told["message"]) == (row["reason"], row["message"])
