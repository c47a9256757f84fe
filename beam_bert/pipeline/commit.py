"""All ShardRecords -> the published dataset and its Manifest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import pyarrow as pa

from beam_bert.sinks.commit import commit_run
from beam_bert.sinks.manifest import Manifest
from beam_bert.sinks.records import ShardRecord
from beam_bert.sinks.run import RunSpec
from beam_bert.storage.billing import bill_to


class CommitRun(beam.PTransform):
    """All ShardRecords -> the published dataset: the last step of the pipeline itself.

    It stands in the pipeline, since the launcher of a template does not wait for the job. A runner
    may run it twice; `commit_run` is safe to repeat.
    """

    def __init__(self, run: RunSpec, schema: pa.Schema) -> None:
        super().__init__()
        self._run = run
        self._schema = schema

    def expand(self, records: Any) -> Any:
        """Gather the records (names and counts only) and commit once."""
        return (
            records
            | "OneKey" >> beam.Map(lambda record: ("", record))
            | "Gather" >> beam.GroupByKey()
            | "Commit" >> beam.Map(_commit, self._run, self._schema)
        )


def _commit(
    gathered: tuple[str, Iterable[ShardRecord]], run: RunSpec, schema: pa.Schema
) -> Manifest:
    bill_to(run.billing_project)
    return commit_run(run, gathered[1], schema)
