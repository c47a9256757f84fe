"""Bytes and requests that reading a bucket costs: the launch's look, then the run, counted there.

    python -m benchmarks.bucket                     # an emulator on this machine, 8 MB a file
    python -m benchmarks.bucket --megabytes 20 --slice_bytes 1048576

Each file is read as a job reads it: on this machine, where what the first pass has fetched is kept,
and as workers on other machines read it, who have not seen it before. With --jobs whole jobs with
two worker processes follow.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from beam_bert.slices.plan import plan_units
from beam_bert.sources import SourceSpec, cut_unit, inspect_source, list_files, read_slice
from beam_bert.storage.kept_bytes import KEPT
from beam_bert.storage.places import open_storage
from tests.storage.faulty_proxy import FaultyProxy
from tests.storage.servers import BUCKET, run_emulator

SENTENCE = "the room was small but clean and nobody spoke to us for a week"


def _texts(size: int) -> list[str]:
    return [f"{SENTENCE} {i * 7919}" for i in range(size // (len(SENTENCE) + 10))]


def _csv(texts: list[str]) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows([["text"], *([text] for text in texts)])
    return file.getvalue().encode()


def _jsonl(texts: list[str]) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


def _parquet(texts: list[str]) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"text": texts, "other": [text[::-1] for text in texts]})
    pq.write_table(table, sink, row_group_size=len(texts) // 16 + 1, compression="none")
    return sink.getvalue()


FILES: dict[str, Callable[[list[str]], bytes]] = {
    "a.txt": lambda texts: "\n".join(texts).encode(),
    "a.txt.gz": lambda texts: gzip.compress("\n".join(texts).encode()),
    "a.jsonl": _jsonl,
    "a.csv": _csv,
    "a.parquet": _parquet,
}


def read(place: str, spec: SourceSpec) -> None:
    """All slices of all files, as workers read them."""
    for unit in plan_units(list_files([place]), spec.slice_bytes):
        for slice_ in cut_unit(unit, spec):
            for _ in read_slice(slice_, spec, ""):
                pass


def measure(
    proxy: FaultyProxy, table: Table, name: str, place: str, slice_bytes: int, jobs: bool
) -> None:
    """One line for each phase."""

    def line(phase: str) -> None:
        fetched, requests = proxy.bytes_read(), len(proxy.seen)
        table.add_row(name, phase, f"{fetched / 1e6:.2f}", f"{fetched / size:.2f}", f"{requests:,}")
        proxy.forget()

    size = sum(file.size for file in list_files([place]))
    proxy.forget()
    spec = inspect_source(list_files([place]), SourceSpec(slice_bytes=slice_bytes, keep_columns=()))
    line("launch")
    read(place, spec)
    line("run, same machine")
    KEPT.stop()
    read(place, spec)
    line("run, other machines")
    if jobs:
        run_job(place, slice_bytes)
        line("job, two processes")


def run_job(place: str, slice_bytes: int) -> None:
    """All of the file is read, but few rows go through the model: its time is not asked for."""
    command = [sys.executable, "-m", "pipelines.sentiment", "--quiet", "--limit", "200"]
    command += ["--input", place, "--text_column", "text", "--slice_bytes", str(slice_bytes)]
    command += ["--direct_num_workers", "2", "--direct_running_mode", "multi_processing"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*command, "--output", folder], check=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--megabytes", type=int, default=8, help="size of each large file")
    parser.add_argument("--slice_bytes", type=int, default=1 << 20)
    parser.add_argument("--small_files", type=int, default=20)
    parser.add_argument("--jobs", action="store_true", help="run whole jobs, too: some minutes")
    arguments = parser.parse_args()
    texts = _texts(arguments.megabytes * 1_000_000)
    table = Table(title=f"slices of {arguments.slice_bytes:,} bytes")
    for heading in ("file", "phase", "MB", "of its size", "requests"):
        table.add_column(heading)
    with run_emulator() as address:
        proxy = FaultyProxy(address)
        os.environ["STORAGE_EMULATOR_HOST"] = proxy.address
        storage = open_storage(f"gs://{BUCKET}")
        for name, make in FILES.items():
            storage.write(f"{name}/{name}", make(texts))
            place = f"gs://{BUCKET}/{name}/{name}"
            measure(proxy, table, name, place, arguments.slice_bytes, arguments.jobs)
        for number in range(arguments.small_files):
            storage.write(f"small/{number}.jsonl", _jsonl(texts[:12]))
        measure(
            proxy,
            table,
            f"{arguments.small_files} small",
            f"gs://{BUCKET}/small",
            arguments.slice_bytes,
            arguments.jobs,
        )
        proxy.stop()
    Console().print(table)


if __name__ == "__main__":
    main()
