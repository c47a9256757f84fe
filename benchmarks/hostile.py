"""Small files that unpack to much: seconds and peak memory of reading each, beside ordinary text.

    python benchmarks/hostile.py

Each file is planned, cut and read in a process of its own, as the job's workers do before the model
sees anything; "ordinary" is text of lines of 60 characters with as many unpacked bytes.
"""

from __future__ import annotations

import gzip
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

MIB = 2**20
LINE = b"a line of ordinary text that somebody may well have written\n"


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
    "2 million equal rows.parquet": (_equal_rows(2_000_000), 26 * MIB),
    "20 million equal rows.parquet": (_equal_rows(20_000_000), 260 * MIB),
    "1,000 rows of 1 MiB.parquet": (_long_entries, 1_000 * MIB),
}


def main() -> None:
    """Make each file, read it and an ordinary one of its size, print both."""
    print(f"{'file':32}{'stored':>12}{'rows':>12}{'seconds':>9}{'peak MB':>9}{'of ordinary':>13}")
    with tempfile.TemporaryDirectory() as folder:
        for name, (make, unpacked) in BOMBS.items():
            path, plain = Path(folder) / name, Path(folder) / "ordinary.txt"
            make(path)
            plain.write_bytes(LINE * (unpacked // len(LINE)))
            rows, seconds, peak = _measured(path)
            _, ordinary, _ = _measured(plain)
            print(
                f"{name:32}{path.stat().st_size:>12,}{rows:>12,}{seconds:>9.1f}{peak:>9,.0f}"
                f"{seconds / ordinary:>12.1f}x",
                flush=True,
            )
            path.unlink()


def _measured(path: Path) -> tuple[int, float, float]:
    done = subprocess.run(
        [sys.executable, __file__, str(path)], capture_output=True, text=True, check=True
    )
    rows, seconds, peak = done.stdout.split()
    return int(rows), float(seconds), float(peak)


def read(path: str) -> None:
    """Read one file as a job does, and print rows, seconds and the peak of this process."""
    from beam_bert.slices.plan import plan_units
    from beam_bert.sources import SourceSpec, cut_unit, inspect_source, list_files, read_slice

    started, rows = time.perf_counter(), 0
    files = list_files([path])
    spec = inspect_source(files, SourceSpec())
    for unit in plan_units(files, spec.slice_bytes):
        for slice_ in cut_unit(unit, spec):
            for batch in read_slice(slice_, spec, ""):
                rows += batch.rows_read
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(rows, time.perf_counter() - started, peak)


if __name__ == "__main__":
    read(sys.argv[1]) if len(sys.argv) > 1 else main()
