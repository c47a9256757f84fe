"""Files -> SliceBatches with document rows.

Elements are whole slices: Beam costs about 20 µs an element and stage, so they are few and large,
and only descriptors are ever shuffled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from beam_bert.inference.model_handler import NAMESPACE
from beam_bert.sinks.committed_files import read_committed_files
from beam_bert.sinks.records import find_record
from beam_bert.sinks.run import RunSpec
from beam_bert.sinks.shards import source_files
from beam_bert.slices.live_counts import LIVE
from beam_bert.slices.plan import Slice, Unit, plan_units
from beam_bert.sources import SourceSpec, cut_unit, inspect_source, list_files, read_slice
from beam_bert.sources.limiting import within
from beam_bert.storage.billing import bill_to

DONE = "done"  # tag of the records of shards that an earlier, unfinished run left in staging
REUSED_METRIC = "slices_reused"


class ReadDocuments(beam.PTransform):
    """Files -> SliceBatches with document rows (`beam_bert.slices.schema.document_schema`).

    Args:
      patterns: files, folders or globs, local or gs://; one may stand without a list.
      spec: how to read them, as `beam_bert.sources.inspect_source` completed it; None: it looks
        at the files now, with every setting at its default.
      settings_digest: stands for all that, beside the bytes, changes the output (shard keys).
      run: where shards may wait from an earlier, unfinished run; those come out at the tag `done`
        as ShardRecords and are not read into documents again. None: there is no such tag.
      apart: places whose files are not input, should they lie in it: the output, the model.
      arithmetic: says on each worker what its products are made in, for the shards' keys.

    Raises:
      InputError: without a spec: the files cannot be used; when the transform is made.
    """

    def __init__(
        self,
        patterns: str | Iterable[str],
        spec: SourceSpec | None = None,
        settings_digest: str = "",
        run: RunSpec | None = None,
        apart: tuple[str, ...] = (),
        arithmetic: Callable[[], str] | None = None,
    ) -> None:
        super().__init__()
        self._arithmetic = arithmetic
        self._patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        self._apart = apart
        self._spec = spec or inspect_source(list_files(self._patterns, apart), SourceSpec())
        self._settings_digest = settings_digest
        self._run = run

    def expand(self, begin: Any) -> Any:
        """Plan, spread the descriptors, cut, spread again, read."""
        read = (
            begin
            | "Patterns" >> beam.Create([self._patterns])
            | "PlanUnits" >> beam.FlatMap(_plan, self._apart, self._spec, self._run)
            | "SpreadUnits" >> beam.Reshuffle()
            | "CutUnits" >> beam.FlatMap(_cut, self._spec, self._run)
            | "SpreadSlices" >> beam.Reshuffle()
            | "ReadSlice"
            >> beam.ParDo(
                _ReadSlice(self._spec, self._settings_digest, self._run, self._arithmetic)
            ).with_outputs(DONE, main="documents")
        )
        return read if self._run else read.documents


def _bill(run: RunSpec | None) -> None:
    if run is not None:
        bill_to(run.billing_project)


def _plan(
    patterns: tuple[str, ...], apart: tuple[str, ...], spec: SourceSpec, run: RunSpec | None
) -> list[Unit]:
    _bill(run)
    files = list_files(patterns, apart)
    if spec.row_limits is not None:
        limits = dict(spec.row_limits)
        files = [file for file in files if file.path in limits]
    if run is not None and run.incremental:
        files = read_committed_files(run.output).pending(files, run.answers_digest)
    return plan_units(files, spec.slice_bytes)


def _cut(unit: Unit, spec: SourceSpec, run: RunSpec | None) -> list[Slice]:
    _bill(run)
    return cut_unit(unit, spec)


class _ReadSlice(beam.DoFn):
    def __init__(
        self,
        spec: SourceSpec,
        settings_digest: str,
        run: RunSpec | None,
        arithmetic: Callable[[], str] | None,
    ) -> None:
        self._arithmetic = arithmetic
        self._spec = spec
        self._settings_digest = settings_digest
        self._run = run
        self._rows = Metrics.counter(NAMESPACE, "rows_read")
        self._reused = Metrics.counter(NAMESPACE, REUSED_METRIC)

    def setup(self) -> None:
        # Of this worker, which runs the model too: the runner fuses the steps.
        arithmetic = self._arithmetic() if self._arithmetic else ""
        self._digest = self._settings_digest + arithmetic

    def process(self, slice_: Slice) -> Iterator[Any]:
        _bill(self._run)
        for whole in read_slice(slice_, self._spec, self._digest):
            batch = within(whole, self._spec)
            if whole.rows_read and not batch.rows_read:
                continue  # all of it lies behind the limit
            self._rows.inc(batch.rows_read)
            LIVE.add_read(batch.rows_read, sum(file.bytes for file in batch.files))
            record = self._run and find_record(self._run, batch.slice.shard_name(batch.key))
            if record:
                self._reused.inc()
                LIVE.add_documents(batch.rows_read)
                # The rows are the same; the files may have been touched since.
                record = record.model_copy(update={"files": source_files(batch)})
                yield beam.pvalue.TaggedOutput(DONE, record)
            else:
                yield batch
