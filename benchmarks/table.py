"""The files of the table: bytes a row, and bytes that DataFusion scans to find one row.

    pip install 'beam-bert[readers]' && python benchmarks/table.py

Eight shards of 50,000 predictions each, as the job names, encodes and compacts them, beside the
same rows written plainly. Ids are the input's (UUIDs) or ours (path and row number).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import random
import re
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_bert.sinks.shards import parquet_bytes
from beam_bert.slices.schema import described, output_schema

SHARDS = 8
TASK = [
    described("label", pa.string(), "The likeliest label."),
    described("score", pa.float32(), "Its probability."),
]
SCHEMA = output_schema(pa.schema([("url", pa.string())]), TASK)


def shard(number: int, rows: int, with_ids: bool) -> pa.RecordBatch:
    """Predictions as a job makes them of one slice."""
    chance = random.Random(number)
    source = f"gs://bucket/reviews/2026-11-{number + 1:02d}.jsonl"
    draw = np.random.default_rng(number)
    ids = [f"{source}#{row}" for row in range(rows)]
    if with_ids:
        ids = [str(uuid.UUID(int=chance.getrandbits(128))) for _ in range(rows)]
    columns = {
        "doc_id": ids,
        "url": [f"https://shop.example/item/{each}" for each in draw.integers(0, 500, rows)],
        "label": draw.choice(["negative", "neutral", "positive"], rows),
        "score": draw.beta(8, 2, rows).astype(np.float32),
        "num_tokens": draw.integers(5, 128, rows),
        "num_windows": [1] * rows,
        "truncated": [False] * rows,
        "source_file": [source] * rows,
        "source_row": range(rows),
        "model": ["sentiment-small-en"] * rows,
        "model_version": ["0123456789abcdef"] * rows,
    }
    arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def plainly(batch: pa.RecordBatch) -> bytes:
    """By pyarrow's defaults, zstd."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_batches([batch]), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def merged(batches: list[pa.RecordBatch]) -> list[bytes]:
    """One file of all, as `beam-bert compact` writes it."""
    rows = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
    size = sum(len(parquet_bytes(batch, SCHEMA)) for batch in batches)
    return [parquet_bytes(rows, SCHEMA, size)]


WRITERS: dict[str, Callable[[list[pa.RecordBatch]], list[bytes]]] = {
    "plain": lambda batches: [plainly(batch) for batch in batches],
    "beam_bert": lambda batches: [parquet_bytes(batch, SCHEMA) for batch in batches],
    "beam_bert, compacted": merged,
}


def scanned(folder: Path, query: str) -> int:
    """Bytes that a query scans, as DataFusion counts them."""
    import datafusion  # of [readers]

    context = datafusion.SessionContext()
    context.sql("set datafusion.execution.parquet.pushdown_filters = true").collect()
    context.register_parquet("t", str(folder))
    batches = context.sql(f"explain analyze {query}").collect()
    plan = str(pa.Table.from_batches(batches).to_pydict())
    return sum(_bytes(*found) for found in re.findall(r"bytes_scanned=([\d.]+) ?([KMG]?)", plan))


def _bytes(number: str, unit: str) -> int:
    return round(float(number) * {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}[unit])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=50_000, help="Rows of a shard. [50000]")
    rows = parser.parse_args().rows
    versions = {name: importlib.metadata.version(name) for name in ("pyarrow", "datafusion")}
    print(f"{SHARDS} shards of {rows:,} rows; {versions}")
    print(f"{'ids':<10}{'writer':<22}{'files':>6}{'bytes a row':>12}", end="")
    print(f"{'scanned: a doc_id':>20}{'a source_row':>14}")
    for with_ids in (False, True):
        batches = [shard(number, rows, with_ids) for number in range(SHARDS)]
        one = batches[5].slice(rows // 3, 1).to_pylist()[0]
        queries = (
            f"select label from t where doc_id = '{one['doc_id']}'",
            f"select label from t where source_file = '{one['source_file']}' "
            f"and source_row = {one['source_row']}",
        )
        for name, write in WRITERS.items():
            with tempfile.TemporaryDirectory() as place:
                files = write(batches)
                for number, data in enumerate(files):
                    (Path(place) / f"part-{number:05d}.parquet").write_bytes(data)
                size = sum(map(len, files)) / (rows * SHARDS)
                found = [scanned(Path(place), query) for query in queries]
            ids = "UUIDs" if with_ids else "ours"
            print(f"{ids:<10}{name:<22}{len(files):>6}{size:>12.2f}", end="")
            print(f"{found[0]:>20,}{found[1]:>14,}")


if __name__ == "__main__":
    sys.exit(main())
