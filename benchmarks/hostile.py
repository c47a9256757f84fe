"""Small files that unpack to much: CPU seconds and peak memory of each, beside ordinary text.

    python benchmarks/hostile.py          # reading alone
    python benchmarks/hostile.py --job    # the whole job, with the embedded model on a CPU
    python benchmarks/hostile.py --only "bad lines"

Each file has a process of its own. Reading is what the job's workers do before the model sees
anything. "Ordinary" is text of lines of about 60 characters, no two of them equal, with as many
unpacked bytes; for a whole job 1 MiB of it is run, and its seconds over those of an empty job are
taken times the size.
"""

from __future__ import annotations

import argparse
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


BOMBS: dict[str, tuple[Callable[[Path], object], int]] = {
    "4 MiB of blank lines.txt": (lambda p: p.write_bytes(b"\n" * 4 * MIB), 4 * MIB),
    "4 MiB of blank lines.jsonl": (lambda p: p.write_bytes(b"\n" * 4 * MIB), 4 * MIB),
    "64 MiB of line ends.txt.zst": (
        lambda p: p.write_bytes(zstandard.compress(b"\n" * 64 * MIB)),
        64 * MIB,
    ),
    "64 MiB of line ends.txt.gz": (
        lambda p: p.write_bytes(gzip.compress(b"\n" * 64 * MIB)),
        64 * MIB,
    ),
    "4 MiB of bad lines.jsonl": (lambda p: p.write_bytes(b"x\n" * 2 * MIB), 4 * MIB),
    "4 MiB of broken objects.jsonl": (lambda p: p.write_bytes(b"{x}\n" * MIB), 4 * MIB),
    "4 MiB of no UTF-8.txt": (lambda p: p.write_bytes(b"\xff\n" * 2 * MIB), 4 * MIB),
    "4 MiB of ragged rows.csv": (lambda p: p.write_bytes(b"text,b\n" + b"x\n" * 2 * MIB), 4 * MIB),
    "4 MiB of open quotes.csv": (
        lambda p: p.write_bytes(b"text,b\n" + b'"\n' * 2 * MIB),
        4 * MIB,
    ),
    "2 million equal rows.parquet": (_equal_rows(2_000_000), 26 * MIB),
    "20 million equal rows.parquet": (_equal_rows(20_000_000), 260 * MIB),
    "1,000 rows of 1 MiB.parquet": (_long_entries, 1_000 * MIB),
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
        if whole_job:
            plain.write_bytes(b"one line\n")
            empty_s, _ = measure(plain)
            ordinary(plain, MIB)
            an_ordinary_mib_s = measure(plain)[0] - empty_s
            print(f"one line {empty_s:.1f} s, an ordinary MiB {an_ordinary_mib_s:.1f} s more")
        for name, (make, unpacked) in BOMBS.items():
            if only not in name:
                continue
            path = Path(folder) / name
            make(path)
            seconds, peak = measure(path)
            if whole_job:
                ordinary_s = empty_s + an_ordinary_mib_s * unpacked / MIB
            else:
                ordinary(plain, unpacked)
                ordinary_s, _ = measure(plain)
            print(
                f"{name:32}{path.stat().st_size:>12,}{seconds:>9.1f}{peak:>9,.0f}"
                f"{seconds / ordinary_s:>12.2f}x",
                flush=True,
            )
            path.unlink()


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
    process = subprocess.Popen([sys.executable, *arguments])
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
