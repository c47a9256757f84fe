"""How long a person waits: the first rows, a mistake, the help; medians over child processes.

    python benchmarks/startup.py [--runs 5]

Every command is a process of its own, on the example reviews with the embedded model. "imports" is
what Python's own -X importtime says of the packages that cost most in the first of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REVIEWS = Path(__file__).parents[1] / "examples" / "reviews.csv"
PACKAGES = ("apache_beam", "torch", "transformers", "pyarrow", "matplotlib", "pydantic", "pandas")


def main() -> None:
    """Run every command a few times and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        job = ["sentiment", "--input", str(REVIEWS), "--output", f"{folder}/out", "--overwrite"]
        commands = {
            "36 rows, Parquet and report": job,
            "two texts on the command line": ["sentiment", "I love it", "never again"],
            "a wrong file name": ["sentiment", "--input", "nope.csv", "--output", f"{folder}/no"],
            "an unknown flag": ["sentiment", "--inptu", "x"],
            "--help": ["sentiment", "--help"],
        }
        print(f"{'command':<32}{'seconds':>9}{'fastest':>9}{'first line':>12}")
        for name, words in commands.items():
            seconds, first = zip(*(_timed(words) for _ in range(runs)), strict=True)
            print(
                f"{name:<32}{statistics.median(seconds):>9.2f}{min(seconds):>9.2f}"
                f"{statistics.median(first):>12.2f}"
            )
        print("\nimports, seconds (a package's own modules and what it imports first)")
        for package, spent in _imports(job).items():
            print(f"{package:<32}{spent:>9.2f}")


def _timed(words: list[str]) -> tuple[float, float]:
    """Seconds of a command, and until its first line."""
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "beam_bert", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},  # as on a terminal
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        first = time.perf_counter() - started
        process.stdout.read()
    return time.perf_counter() - started, first


def _imports(words: list[str]) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "beam_bert", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    spent = dict.fromkeys(PACKAGES, 0.0)
    for line in done.stderr.splitlines():
        if line.startswith("import time:") and line.count("|") == 2:
            own, _, module = line.removeprefix("import time:").split("|")
            package = module.strip().split(".")[0]
            if package in spent and own.strip().isdigit():
                spent[package] += int(own) / 1e6
    return dict(sorted(spent.items(), key=lambda item: -item[1]))


if __name__ == "__main__":
    main()
