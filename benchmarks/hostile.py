"""Small files that unpack to much: CPU seconds and peak memory of each, beside ordinary text.

    python benchmarks/hostile.py          # reading alone
    python benchmarks/hostile.py --job    # the whole job, with the embedded model on a CPU
    python benchmarks/hostile.py --only "bad lines"

Each file has a process of its own. Reading is what the job's workers do before the model sees
anything. "Ordinary" is text of lines of about 60 characters, no two of them equal, with as many
unpacked bytes (of the file itself where that is more); for a whole job 1 MiB of it is run, and its
seconds over those of an empty job are taken times the size.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

MIB = 2**20
WORDS = (
    b"a the of to film plot actor good bad story night never people think this was scene".split()
)


def _parquet(path: Path, texts: pa.Array) -> None:
    pq.write_table(pa.table({"text": texts}), path, compression="zstd", row_group_size=len(texts))


def _equal_rows(count: int) -> Callable[[Path], None]:
    return lambda path: _parquet(path, pa.repeat(pa.scalar("the same text"), count))


def _long_entries(path: Path) -> None:
    entries = pa.array(["x" * MIB, "y" * MIB])
    places = pa.array([number % 2 for number in range(1_000)], pa.int32())
    _parquet(path, pa.DictionaryArray.from_arrays(places, entries))


def _bytes(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def _lines(line: str, count: int, before: str = "") -> Callable[[Path], None]:
    """Lines that differ in their number."""
    return lambda path: path.write_text(before + "".join(line % n for n in range(count))) and None


def _packed(compress: Callable[[bytes], bytes], line: bytes, count: int) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(compress(line * count)) and None


def _many_groups(path: Path) -> None:
    table = pa.table({"text": ["a b c"]})
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for _ in range(50_000):
            writer.write_table(table)


def _many_columns(path: Path) -> None:
    columns = {f"c{number}": pa.nulls(2_000, pa.int32()) for number in range(15_000)}
    pq.write_table(pa.table({"text": ["a"] * 2_000, **columns}), path)


def _long_list(path: Path) -> None:
    nulls = pa.ListArray.from_arrays([0, 50_000_000], pa.nulls(50_000_000, pa.int32()))
    pq.write_table(pa.table({"text": ["a"], "list": nulls}), path)


def _deep_lists(path: Path) -> None:
    array = pa.array(["deep"] * 2_000)
    for _ in range(50):
        array = pa.ListArray.from_arrays(pa.array(range(2_001), pa.int32()), array)
    pq.write_table(pa.table({"text": ["a"] * 2_000, "deep": array}), path)


def _large_dictionary(path: Path) -> None:
    texts = pa.array([f"entry {number} of a dictionary" for number in range(1_000_000)])
    pq.write_table(pa.table({"text": texts}), path, dictionary_pagesize_limit=1 << 30)


def _tiny_pages(path: Path) -> None:
    texts = pa.array([f"text {number}" for number in range(200_000)])
    table = pa.table({"text": texts})
    pq.write_table(table, path, data_page_size=1, write_batch_size=1, use_dictionary=False)


def _long_metadata(path: Path) -> None:
    words = {b"key %d" % number: b"v" * 1_000 for number in range(30_000)}
    pq.write_table(pa.table({"text": ["a"]}).replace_schema_metadata(words), path)


def _long_statistics(path: Path) -> None:
    pq.write_table(pa.table({"text": ["z" * (64 * MIB)]}), path)


def bombs() -> dict[str, tuple[Callable[[Path], object], int]]:
    """How to make each file, and the bytes that it unpacks to."""
    return {
        "4 MiB of blank lines.txt": (_bytes(b"\n" * 4 * MIB), 4 * MIB),
        "4 MiB of blank lines.jsonl": (_bytes(b"\n" * 4 * MIB), 4 * MIB),
        "4 MiB of line ends, UTF-16.txt": (_bytes(b"\xff\xfe" + b"\n\0" * 2 * MIB), 4 * MIB),
        "4 MiB of half pairs, UTF-16.txt": (_bytes(b"\xff\xfe" + b"\0\xd8\n\0" * MIB), 4 * MIB),
        "64 MiB of line ends.txt.zst": (_packed(zstandard.compress, b"\n", 64 * MIB), 64 * MIB),
        "64 MiB of line ends.txt.gz": (_packed(gzip.compress, b"\n", 64 * MIB), 64 * MIB),
        "256 MiB of zeros.txt.bz2": (_packed(bz2.compress, b"\0", 256 * MIB), 256 * MIB),
        "256 MiB of zeros.txt.gz": (_packed(gzip.compress, b"\0", 256 * MIB), 256 * MIB),
        "256 MiB of zeros.txt.zst": (_packed(zstandard.compress, b"\0", 256 * MIB), 256 * MIB),
        "a line of 256 MiB of [.jsonl.gz": (_packed(gzip.compress, b"[", 256 * MIB), 256 * MIB),
        "500,000 empty members.txt.gz": (_bytes(gzip.compress(b"") * 500_000), 0),
        "500,000 empty members.txt.bz2": (_bytes(bz2.compress(b"") * 500_000), 0),
        "500,000 empty frames.txt.zst": (_bytes(zstandard.compress(b"") * 500_000), 0),
        "4 MiB of bad lines.jsonl": (_bytes(b"x\n" * 2 * MIB), 4 * MIB),
        "4 MiB of broken objects.jsonl": (_bytes(b"{x}\n" * MIB), 4 * MIB),
        "4 MiB of open objects.jsonl": (_bytes(b"{\n" * 2 * MIB), 4 * MIB),
        "4 MiB of numbers.jsonl": (_lines("%d\n", 600_000), 4 * MIB),
        "other broken objects.jsonl": (_lines('{"a%d":x}\n', 300_000), 4 * MIB),
        "texts that are numbers.jsonl": (_lines('{"text":%d}\n', 250_000), 4 * MIB),
        "5 million numbers.json": (_bytes(b'[{"text":"a"}' + b",1" * 5 * MIB + b"]"), 10 * MIB),
        "4 MiB of no UTF-8.txt": (_bytes(b"\xff\n" * 2 * MIB), 4 * MIB),
        "4 MiB of ragged rows.csv": (_bytes(b"text,b\n" + b"x\n" * 2 * MIB), 4 * MIB),
        "4 MiB of open quotes.csv": (_bytes(b"text,b\n" + b'"\n' * 2 * MIB), 4 * MIB),
        "4 MiB of stray quotes.csv": (_lines('a%d,"x\n', 400_000, "text,b\n"), 4 * MIB),
        "20,000 columns.csv": (
            _bytes(
                b",".join(b"c%d" % n for n in range(19_999)) + b",text\n" + b"," * 19_999 + b"a\n"
            ),
            0,
        ),
        "2 million equal rows.parquet": (_equal_rows(2_000_000), 26 * MIB),
        "20 million equal rows.parquet": (_equal_rows(20_000_000), 260 * MIB),
        "20 million nulls.parquet": (
            lambda path: _parquet(path, pa.nulls(20_000_000, pa.string())),
            80 * MIB,
        ),
        "2 million of no UTF-8.parquet": (
            lambda path: _parquet(path, pa.repeat(pa.scalar(b"\xff\xff", pa.binary()), 2_000_000)),
            12 * MIB,
        ),
        "1,000 rows of 1 MiB.parquet": (_long_entries, 1_000 * MIB),
        "50,000 row groups.parquet": (_many_groups, 0),
        "15,000 columns.parquet": (_many_columns, 120 * MIB),
        "a list of 50 million.parquet": (_long_list, 200 * MIB),
        "lists 50 deep.parquet": (_deep_lists, MIB),
        "a million entries.parquet": (_large_dictionary, 32 * MIB),
        "200,000 pages.parquet": (_tiny_pages, 0),
        "30 MB of metadata.parquet": (_long_metadata, 0),
        "a text of 64 MiB.parquet": (_long_statistics, 64 * MIB),
    }


def ordinary(path: Path, size: int) -> None:
    """Text of about that size."""
    chance = random.Random(0)
    with path.open("wb") as file:
        while file.tell() < size:
            file.write(b"%s %d\n" % (b" ".join(chance.choices(WORDS, k=11)), file.tell()))


def main(whole_job: bool, only: str) -> None:
    """Make each file with `only` in its name, read it and an ordinary one, print both."""
    measure = of_job if whole_job else of_reading
    print(f"{'file':32}{'stored':>12}{'CPU s':>9}{'peak MB':>9}{'of ordinary':>13}")
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "ordinary.txt"
        empty_s = an_ordinary_mib_s = 0.0
        ordinary_of: dict[int, float] = {}  # seconds, by MiB
        if whole_job:
            plain.write_bytes(b"one line\n")
            empty_s, _ = measure(plain)
            ordinary(plain, MIB)
            an_ordinary_mib_s = measure(plain)[0] - empty_s
            print(f"one line {empty_s:.1f} s, an ordinary MiB {an_ordinary_mib_s:.1f} s more")
        for name, (make, unpacked) in bombs().items():
            if only not in name:
                continue
            path = Path(folder) / name
            _apart(make, path)
            unpacked = max(unpacked, path.stat().st_size)
            seconds, peak = measure(path)
            if whole_job:
                ordinary_s = empty_s + an_ordinary_mib_s * unpacked / MIB
            else:
                size = -(-unpacked // MIB)
                if size not in ordinary_of:
                    ordinary(plain, size * MIB)
                    ordinary_of[size], _ = measure(plain)
                ordinary_s = ordinary_of[size]
            print(
                f"{name:32}{path.stat().st_size:>12,}{seconds:>9.1f}{peak:>9,.0f}"
                f"{seconds / ordinary_s:>12.2f}x",
                flush=True,
            )
            path.unlink()


def _apart(make: Callable[[Path], object], path: Path) -> None:
    """Make a file in a process of its own: what this one holds counts for those that it starts."""
    made = os.fork()
    if not made:
        make(path)
        os._exit(0)
    if os.waitpid(made, 0)[1]:
        raise SystemExit(f"{path.name} cannot be made")


def of_reading(path: Path) -> tuple[float, float]:
    """CPU seconds and MB of planning, cutting and reading a file."""
    return _measured([__file__, "--read", str(path)])


def of_job(path: Path) -> tuple[float, float]:
    """CPU seconds and MB of a whole job."""
    with tempfile.TemporaryDirectory() as output:
        flags = ["--max_reject_rate", "1", "--output", output, "--quiet"]
        model = ["--model", "sentiment-small-en"]
        return _measured(["-m", "beam_bert", "classify", "--input", str(path), *model, *flags])


def _measured(arguments: list[str]) -> tuple[float, float]:
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)} ended with status {status}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def read(path: str) -> None:
    """Read one file as a job's workers do."""
    from beam_bert.slices.plan import plan_units
    from beam_bert.sources import SourceSpec, cut_unit, inspect_source, list_files, read_slice

    files = list_files([path])
    spec = inspect_source(files, SourceSpec())
    for unit in plan_units(files, spec.slice_bytes):
        for slice_ in cut_unit(unit, spec):
            for _ in read_slice(slice_, spec, ""):
                pass


if __name__ == "__main__":
    flags = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    flags.add_argument("--job", action="store_true", help="the whole job in place of reading")
    flags.add_argument("--only", default="", help="part of the names of the files wanted")
    flags.add_argument("--read", help=argparse.SUPPRESS)
    given = flags.parse_args()
    read(given.read) if given.read else main(given.job, given.only)
