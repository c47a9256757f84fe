"""The PTransforms: the steps of DESIGN's slice, each a thin coat over a plain function.

    ReadDocuments   patterns -> SliceBatches with document rows
    Classify        document rows -> prediction rows (tokenize, RunInference, decode)
    WriteShards     prediction rows -> one ShardRecord a slice
    CommitRun       all ShardRecords -> the published dataset and its Manifest

Elements are whole slices: Beam costs about 20 µs an element and stage, so they are few and large,
and only descriptors are ever shuffled. The first two also stand in pipelines of others, where
`batch.rows` is an Arrow RecordBatch:

    p | ReadDocuments("in/*.jsonl") | Classify("MODEL") | beam.FlatMap(lambda b: b.rows.to_pylist())
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.metrics import Metrics

from beam_bert.batch import SliceBatch
from beam_bert.encoder import load_classifier
from beam_bert.encoder.config import read_config
from beam_bert.encoder.precision import EIGHT_BITS
from beam_bert.flat import flat_logits
from beam_bert.handler import NAMESPACE
from beam_bert.models import ResolvedModel, fetch_model, resolve_model
from beam_bert.predicting import Predict
from beam_bert.progress import LIVE
from beam_bert.schema import output_schema
from beam_bert.sinks import (
    Manifest,
    RunSpec,
    ShardRecord,
    commit_run,
    find_record,
    read_ledger,
    source_files,
    write_shard,
)
from beam_bert.slices import Slice, Unit, plan_units
from beam_bert.sources import SourceSpec, cut_unit, inspect_source, list_files, read_slice
from beam_bert.tasks import ClassificationTask
from beam_bert.tokenization import DocumentTokenizer, Tokenizer, WindowSettings

logger = logging.getLogger(__name__)

DEFAULT_MAX_LENGTH = 512  # what BERT reads, and enough for most documents
DONE = "done"  # tag of the records of shards that an earlier, unfinished run left in staging


class ReadDocuments(beam.PTransform):
    """Files -> SliceBatches with document rows (`beam_bert.schema.document_schema`).

    Args:
      patterns: files, folders or globs, local or gs://; one may stand without a list.
      spec: how to read them, as `beam_bert.sources.inspect_source` completed it; None: it looks
        at the files now, with every setting at its default.
      settings_digest: stands for all that, beside the bytes, changes the output (shard keys).
      run: where shards may wait from an earlier, unfinished run; those come out at the tag `done`
        as ShardRecords and are not read into documents again. None: there is no such tag.

    Raises:
      InputError: without a spec: the files cannot be used; when the transform is made.
    """

    def __init__(
        self,
        patterns: str | Iterable[str],
        spec: SourceSpec | None = None,
        settings_digest: str = "",
        run: RunSpec | None = None,
    ) -> None:
        super().__init__()
        self._patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
        self._spec = spec or inspect_source(list_files(self._patterns), SourceSpec())
        self._settings_digest = settings_digest
        self._run = run

    def expand(self, begin: Any) -> Any:
        """Plan, spread the descriptors, cut, spread again, read."""
        read = (
            begin
            | "Patterns" >> beam.Create([self._patterns])
            | "PlanUnits" >> beam.FlatMap(_plan, self._spec, self._run)
            | "SpreadUnits" >> beam.Reshuffle()
            | "CutUnits" >> beam.FlatMap(cut_unit, self._spec)
            | "SpreadSlices" >> beam.Reshuffle()
            | "ReadSlice"
            >> beam.ParDo(_ReadSlice(self._spec, self._settings_digest, self._run)).with_outputs(
                DONE, main="documents"
            )
        )
        return read if self._run else read.documents


def _plan(patterns: tuple[str, ...], spec: SourceSpec, run: RunSpec | None) -> list[Unit]:
    files = list_files(patterns)
    if run is not None and run.incremental:
        files = read_ledger(run.output).pending(files, run.answers_key)
    return plan_units(files, spec.slice_bytes)


class _ReadSlice(beam.DoFn):
    def __init__(self, spec: SourceSpec, settings_digest: str, run: RunSpec | None) -> None:
        self._spec = spec
        self._settings_digest = settings_digest
        self._run = run
        self._rows = Metrics.counter(NAMESPACE, "rows_read")
        self._reused = Metrics.counter(NAMESPACE, "slices_reused")

    def process(self, slice_: Slice) -> Iterator[Any]:
        for batch in read_slice(slice_, self._spec, self._settings_digest):
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


class Classify(Predict):
    """Document rows -> rows with labels and scores.

    Args:
      model: which model, as `beam_bert.models.resolve_model` found it, or as `--model` names it.
      task: what its logits mean; None: the best label and its score, as the model's config says.
      windows: how long documents are cut; None: they are cut off where the model's windows end.
      pair: whether rows have a `text_pair`.
      handler_options: `precision`, `device`, `batch_tokens`, `recheck`, `accelerator` of
        `BertModelHandler`.

    Raises:
      ModelError: the model cannot be used; when the transform is made.
    """

    def __init__(
        self,
        model: ResolvedModel | str,
        task: ClassificationTask | None = None,
        windows: WindowSettings | None = None,
        *,
        pair: bool = False,
        **handler_options: Any,
    ) -> None:
        if isinstance(model, str):
            model = resolve_model(model)
            warn_if_unproved(handler_options.get("precision", "auto"))
        if task is None or windows is None:
            encoder = read_config(fetch_model(model))
            task = task or ClassificationTask(
                labels=encoder.labels,
                problem_type=encoder.problem_type,
                threshold=encoder.threshold,
            )
            windows = windows or WindowSettings(min(encoder.max_length, DEFAULT_MAX_LENGTH))
        super().__init__(
            model,
            tokenizer_of=partial(DocumentTokenizer, settings=windows, pair=pair),
            load=load_classifier,
            decode=partial(_decode_labels, task=task, model=model),
            task=task,
            **handler_options,
        )


def warn_if_unproved(precision: str) -> None:
    """Say that nothing was compared with fp32, which the jobs do and a bare transform cannot."""
    if precision in EIGHT_BITS:
        logger.warning(
            "precision %s was not compared with fp32 on your text; python -m pipelines.bench does",
            precision,
        )


def _decode_labels(
    batch: SliceBatch, tokenizer: Tokenizer, *, task: ClassificationTask, model: ResolvedModel
) -> SliceBatch:
    return decode(batch, task, model)


def decode(batch: SliceBatch, task: ClassificationTask, model: ResolvedModel) -> SliceBatch:
    """A ScoreBatch as the rows that the user reads (`beam_bert.schema.output_schema`)."""
    rows = batch.rows
    windows = pc.list_value_length(rows["logits"])
    counts = windows.to_numpy(zero_copy_only=False).astype(np.int64)
    constant = {"model": model.name, "model_version": model.shown_version}
    columns = [
        rows["doc_id"],
        *rows["carried"].flatten(),
        *task.decode(flat_logits(rows), counts),
        rows["num_tokens"],
        windows,
        rows["truncated"],
        rows["source_file"],
        rows["source_row"],
        *(pa.repeat(pa.scalar(value), len(batch)) for value in constant.values()),
    ]
    schema = output_schema(pa.schema(list(rows.schema.field("carried").type)), task.fields())
    truncated = pc.sum(rows["truncated"]).as_py() or 0
    return batch.with_rows(
        pa.RecordBatch.from_arrays(columns, schema=schema), truncated=float(truncated)
    )


class WriteShards(beam.PTransform):
    """Prediction rows -> one staged shard, and one ShardRecord, a slice."""

    def __init__(self, run: RunSpec, schema: pa.Schema) -> None:
        super().__init__()
        self._run = run
        self._schema = schema

    def expand(self, batches: Any) -> Any:
        """Write each slice where it is."""
        return batches | "WriteShard" >> beam.ParDo(_WriteShard(self._run, self._schema))


class _WriteShard(beam.DoFn):
    def __init__(self, run: RunSpec, schema: pa.Schema) -> None:
        self._run = run
        self._schema = schema

    def process(self, batch: SliceBatch) -> Iterator[ShardRecord]:
        record = write_shard(self._run, batch, self._schema)
        Metrics.counter(NAMESPACE, "rows_predicted").inc(record.rows_predicted)
        for reason, rows in record.rejects_by_reason.items():
            Metrics.counter(NAMESPACE, f"rejects_{reason}").inc(rows)
        yield record


class CommitRun(beam.PTransform):
    """All ShardRecords -> the published dataset: the last step of the pipeline itself.

    It stands in the pipeline, since the launcher of a template does not wait for the job. A runner
    may run it twice; `beam_bert.sinks.commit_run` is safe to repeat.
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
    return commit_run(run, gathered[1], schema)
