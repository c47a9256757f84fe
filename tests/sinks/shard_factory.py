"""Slices with rows and rejects, as the last step before the sinks hands them over."""

from __future__ import annotations

import pyarrow as pa

from beam_bert.sinks.records import ShardRecord
from beam_bert.sinks.run import RunSpec
from beam_bert.sinks.shards import write_shard
from beam_bert.slices.batch import FileRead, SliceBatch
from beam_bert.slices.plan import Segment, Slice
from beam_bert.slices.schema import described, output_schema, rejects_batch
from beam_bert.storage.places import open_storage

SCHEMA = output_schema(
    pa.schema([("stars", pa.int64())]),
    [
        described("label", pa.string(), "The likeliest label."),
        described("score", pa.float32(), "Its probability."),
    ],
)
LABELS = ("negative", "neutral", "positive")


def make_run(output: object, **changes: object) -> RunSpec:
    fields: dict = {
        "run_id": "run-1",
        "run_key": "work-1",
        "job": "classify",
        "output": str(output),
        "partition": "run_date=2026-11-23",
        "max_reject_rate": 0.9,
        "config": {"text_column": "text"},
        "model": {"name": "m", "version": "v1"},
        "versions": {"beam_bert": "0.1.0"},
        "started_at": "2026-11-23T01:00:00+00:00",
    }
    return RunSpec(**{**fields, **changes})


def make_batch(ordinal: int, rows: int, rejects: int = 0, cut: int = 0) -> SliceBatch:
    """Slice `ordinal` of `rows` good and `rejects` bad rows, in a file of its own."""
    source = f"in/{ordinal}-{cut}.jsonl"
    predicted = pa.RecordBatch.from_pylist(
        [
            {
                "doc_id": f"{source}#{row}",
                "stars": row,
                "label": LABELS[row % 3],
                "score": (row % 7) / 7,
                "num_tokens": row % 50,
                "num_windows": 1,
                "truncated": False,
                "source_file": source,
                "source_row": row,
                "model": "m",
                "model_version": "v1",
            }
            for row in range(rows)
        ],
        schema=SCHEMA,
    )
    rejected = rejects_batch(
        {
            "source_file": source,
            "source_row": rows + row,
            "reason": ("bad_json", "empty_text")[row % 2],
            "message": f"row {rows + row} cannot be used",
            "raw": b"\xff{",
        }
        for row in range(rejects)
    )
    return SliceBatch(
        slice=Slice(ordinal, (Segment(source),), cut),
        key=f"{ordinal * 1000 + cut:016x}",
        rows=predicted,
        rejects=rejected,
        files=(FileRead(source, rows + rejects, 100 * rows),),
        stats={"tokens": float(10 * rows), "inference_s": 0.5},
    )


def stage(run: RunSpec, sizes: list[tuple[int, int]]) -> list[ShardRecord]:
    """Stage one shard for each (rows, rejects)."""
    return [
        write_shard(run, make_batch(ordinal, rows, rejects), SCHEMA)
        for ordinal, (rows, rejects) in enumerate(sizes)
    ]


def staged_records(run: RunSpec) -> list[ShardRecord]:
    """Every record in staging, by name."""
    storage = open_storage(run.output)
    documents = [storage.read(file.path) for file in storage.list_files(run.records)]
    return [ShardRecord.model_validate_json(document) for document in documents if document]
