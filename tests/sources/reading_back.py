"""Write small files and read them back through the whole of `beam_bert.sources`."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from beam_bert.slices.batch import SliceBatch
from beam_bert.slices.plan import Slice, plan_units
from beam_bert.slices.schema import REJECT_SCHEMA, document_schema
from beam_bert.sources import SourceSpec, cut_unit, inspect_source, list_files, read_slice

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.compress,
}


@dataclass
class ReadBack:
    """All that came of an input.

    Attributes:
      rows: documents, in order.
      rejects: what could not be used, in order.
    """

    spec: SourceSpec
    slices: list[Slice]
    batches: list[SliceBatch]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for batch in self.batches for row in batch.rows.to_pylist()]

    @property
    def rejects(self) -> list[dict[str, Any]]:
        return [row for batch in self.batches for row in batch.rejects.to_pylist()]

    @property
    def texts(self) -> list[str]:
        return [row["text"] for row in self.rows]

    @property
    def reasons(self) -> list[tuple[int | None, str]]:
        return [(row["source_row"], row["reason"]) for row in self.rejects]


def read_back(
    patterns: str | Path | Sequence[str], slice_bytes: int = 4 << 20, **wishes: Any
) -> ReadBack:
    """List, inspect, plan, cut and read; checks what must hold of any input."""
    if isinstance(patterns, (str, Path)):
        patterns = [str(patterns)]
    files = list_files(patterns)
    spec = inspect_source(files, SourceSpec(slice_bytes=slice_bytes, **wishes))
    slices = [s for unit in plan_units(files, slice_bytes) for s in cut_unit(unit, spec)]
    batches = [batch for s in slices for batch in read_slice(s, spec, "settings")]
    schema = document_schema(spec.resolved, pair=spec.text_pair_column is not None)
    for batch in batches:
        assert batch.rows.schema.equals(schema)
        assert batch.rejects.schema.equals(REJECT_SCHEMA)
        batch.rows.validate(full=True)
        assert batch.rows_read == sum(file.rows for file in batch.files)
    names = [batch.slice.shard_name(batch.key) for batch in batches]
    assert len(set(names)) == len(names), "two shards have the same name"
    return ReadBack(spec, slices, batches)


def jsonl_bytes(records: Iterable[Mapping[str, Any]], *, ascii_only: bool = False) -> bytes:
    lines = (json.dumps(record, ensure_ascii=ascii_only) + "\n" for record in records)
    return "".join(lines).encode()


def csv_bytes(
    records: Sequence[Mapping[str, Any]],
    *,
    delimiter: str = ",",
    terminator: str = "\n",
    quoting: Any = csv.QUOTE_ALL,
) -> bytes:
    target = io.StringIO(newline="")
    names = list(records[0]) if records else ["id", "text"]
    writer = csv.writer(target, delimiter=delimiter, lineterminator=terminator, quoting=quoting)
    writer.writerow(names)
    writer.writerows([record[name] for name in names] for record in records)
    return target.getvalue().encode()


def plain_tsv_bytes(records: Sequence[Mapping[str, Any]]) -> bytes:
    lines = ["id\ttext", *(f"{record['id']}\t{record['text']}" for record in records)]
    return "".join(line + "\n" for line in lines).encode()


def parquet_bytes(records: Sequence[Mapping[str, Any]], row_group_size: int = 2) -> bytes:
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    sink = io.BytesIO()
    table = pa.Table.from_pylist([dict(record) for record in records], schema)
    pq.write_table(table, sink, row_group_size=row_group_size)
    return sink.getvalue()
