"""Prediction rows -> one staged shard, and one ShardRecord, a slice."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics

from beam_bert.inference.model_handler import NAMESPACE
from beam_bert.sinks.records import ShardRecord
from beam_bert.sinks.run import RunSpec
from beam_bert.sinks.shards import write_shard
from beam_bert.slices.batch import SliceBatch
from beam_bert.storage.billing import bill_to


class WriteShards(beam.PTransform):
    """Prediction rows -> one staged shard, and one ShardRecord, a slice."""

    def __init__(self, run: RunSpec, schema: pa.Schema) -> None:
        super().__init__()
        self._run = run
        self._schema = schema

    def expand(self, batches: Any) -> Any:
        """Write each slice where it is."""
        return batches | "WriteShard" >> beam.Map(_write, self._run, self._schema)


def _write(batch: SliceBatch, run: RunSpec, schema: pa.Schema) -> ShardRecord:
    bill_to(run.billing_project)
    record = write_shard(run, batch, schema)
    Metrics.counter(NAMESPACE, "rows_predicted").inc(record.rows_predicted)
    for reason, rows in record.rejects_by_reason.items():
        Metrics.counter(NAMESPACE, f"rejects_{reason}").inc(rows)
    return record
