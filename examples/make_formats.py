"""Write reviews.jsonl, the one file here that is written by hand, in every other format.

python examples/make_formats.py
"""

from __future__ import annotations

import csv
import gzip
import json
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = Path(__file__).parent


def main() -> None:
    """Read reviews.jsonl and write its siblings beside it."""
    lines = (FOLDER / "reviews.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    names = list(rows[0])
    with (FOLDER / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with (FOLDER / "reviews.tsv").open("w", encoding="utf-8") as file:
        for row in (dict(zip(names, names, strict=True)), *rows):
            file.write("\t".join(row[name] for name in names) + "\n")
    (FOLDER / "reviews.txt").write_text(
        "".join(f"{row['text']}\n" for row in rows), encoding="utf-8"
    )
    # mtime 0: the same bytes whenever it is run
    packed = gzip.compress((FOLDER / "reviews.csv").read_bytes(), mtime=0)
    (FOLDER / "reviews.csv.gz").write_bytes(packed)
    typed = [row | {"received": datetime.fromisoformat(row["received"])} for row in rows]
    pq.write_table(pa.Table.from_pylist(typed), FOLDER / "reviews.parquet", compression="zstd")


if __name__ == "__main__":
    main()
