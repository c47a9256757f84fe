"""Whether a large job that is killed half-way loses or doubles a row, and the memory it takes.

    python benchmarks/kill.py --texts FILE [--rows 200000] [--files 8] [--kill_after_s 120]

FILE has a document a line; the rows are its lines over and over, each with its number, and one line
of every file is no JSON. `pipelines.sentiment` reads them with the embedded model, is killed by
SIGKILL after so many seconds, and started again with the same command, which goes on. Printed: rows
asked for, rows in the output and how many different ones, rejects, what the second run reused, and
the most memory that a process took. The exit code is 1 where a row is missing or there twice.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds


def write_input(folder: Path, texts: list[str], rows: int, files: int) -> int:
    """Write the files; returns the rows that can be used."""
    folder.mkdir()
    for number in range(files):
        with (folder / f"{number}.jsonl").open("w", encoding="utf-8") as file:
            for row in range(number, rows, files):
                line = {"id": f"r{row}", "text": f"{texts[row % len(texts)]} {row}"}
                file.write(json.dumps(line) + "\n")
            file.write("{no JSON\n")
    return rows


def run(source: Path, output: Path, kill_after_s: float | None) -> float:
    """Run the job, or kill it; returns the seconds that it ran."""
    command = [sys.executable, "-m", "pipelines.sentiment", "--id_column", "id"]
    command += ["--input", f"{source}/*.jsonl", "--output", str(output), "--run_id", "kill"]
    command += ["--slice_bytes", str(2**19)]  # many shards, so that the kill falls between them
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        code = process.wait(kill_after_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        code = 0 if process.wait() == -signal.SIGKILL else 1
    if code:
        sys.exit(f"the job ended with {code}: {' '.join(command)}")
    return time.monotonic() - started


def table(output: Path, kind: str) -> Any:
    """The rows of the output, or its rejects."""
    return ds.dataset(output / kind, partitioning="hive").to_table()


def main() -> None:
    """Run, kill, run again, count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--kill_after_s", type=float, default=120)
    arguments = parser.parse_args()
    texts = arguments.texts.read_text(encoding="utf-8").splitlines()
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "in", Path(folder) / "out"
        rows = write_input(source, texts, arguments.rows, arguments.files)
        first = run(source, output, arguments.kill_after_s)
        kept = len(list(output.glob("staging/**/*.parquet")))
        second = run(source, output, None)
        ids = table(output, "predictions")["doc_id"].to_pylist()
        rejects = table(output, "rejects").num_rows
    gigabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(
        f"{rows:,} rows in {arguments.files} files; killed after {first:.0f} s with {kept} shards "
        f"staged, then {second:.0f} s\nrows in the output: {len(ids):,}, different ones "
        f"{len(set(ids)):,}; rejects: {rejects} ({arguments.files} lines were no JSON)\n"
        f"most memory of a process: {gigabytes:.1f} GiB"
    )
    if not (len(ids) == len(set(ids)) == rows and rejects == arguments.files and kept):
        sys.exit("rows were lost or doubled, or the kill came before the first shard or too late")


if __name__ == "__main__":
    main()
