"""`Predict`: what every task's transform does, whatever its model says and its rows show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import RunInference
from apache_beam.utils.shared import Shared

from beam_bert.encoder import PackedModel
from beam_bert.inference.compute_options import DEFAULTS, ComputeOptions
from beam_bert.inference.fp32_recheck import NAMESPACE, RecheckedModel
from beam_bert.inference.model_handler import BertModelHandler
from beam_bert.models import ResolvedModel, fetch_model
from beam_bert.slices.batch import SliceBatch
from beam_bert.slices.schema import output_schema
from beam_bert.tasks import Task
from beam_bert.tokenization import Tokenizer


class Predict(beam.PTransform):
    """Document rows -> prediction rows, through Beam's RunInference: what all tasks share.

    Args:
      model: which model, as `beam_bert.models.resolve_model` found it.
      tokenizer_of: makes the tokenizer from the model's folder.
      load: makes the model, see `BertModelHandler`.
      decode: makes the output's rows of a ScoreBatch.
      task: what the model's outputs mean.
      options: how and where the model runs.
    """

    def __init__(
        self,
        model: ResolvedModel,
        *,
        tokenizer_of: Callable[[Path], Tokenizer],
        load: Callable[..., PackedModel],
        decode: Callable[[SliceBatch], SliceBatch],
        task: Task,
        options: ComputeOptions = DEFAULTS,
    ) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.tokenizer = partial(_tokenizer, tokenizer_of, model)  # here and now
        self._load = load
        self.decode = decode
        self.options = options

    def expand(self, batches: Any) -> Any:
        """Tokenize, run the model, decode."""
        handler = BertModelHandler(
            self.model, load=self._load, task=self.task, options=self.options
        )
        return (
            batches
            | "Tokenize" >> beam.ParDo(_Tokenize(self.tokenizer))
            | "RunInference" >> RunInference(handler)
            | "Decode" >> beam.Map(self.decode)
        )

    def load_model(self, precision: str | None = None) -> PackedModel:
        """The model, here and now; in another precision than the workers' where one is given."""
        return self._load(
            fetch_model(self.model),
            precision=precision or self.options.precision,
            device=self.options.device,
            batch_tokens=self.options.batch_tokens,
        )

    def load_checked(self) -> RecheckedModel:
        """The model as the workers run it, here and now."""
        exact = partial(self.load_model, "fp32")
        return RecheckedModel.of(self.load_model(), self.task, exact, self.options.recheck_margin)


class _Tokenize(beam.DoFn):
    def __init__(self, make: Callable[[], Tokenizer]) -> None:
        self._make = make
        self._shared = Shared()  # one tokenizer a process, for all of its threads
        self._tokens = Metrics.counter(NAMESPACE, "tokens")

    def setup(self) -> None:
        self._tokenizer: Tokenizer = self._shared.acquire(self._make)

    def process(self, batch: SliceBatch) -> Iterator[SliceBatch]:
        tokenized = self._tokenizer.tokenize(batch)
        self._tokens.inc(int(tokenized.stats["tokens"]))
        yield tokenized


def _tokenizer(tokenizer_of: Callable[[Path], Tokenizer], model: ResolvedModel) -> Tokenizer:
    return tokenizer_of(fetch_model(model))


def output_rows(
    rows: pa.RecordBatch,
    columns: Iterable[pa.Array],
    windows: pa.Array,
    task: Task,
    model: ResolvedModel,
) -> pa.RecordBatch:
    """Rows of a ScoreBatch as the user reads them, with the task's columns and int32 windows."""
    carried = rows.schema.field("carried")
    arrays = [
        rows["doc_id"],
        *rows["carried"].flatten(),
        *columns,
        rows["num_tokens"],
        windows,
        rows["truncated"],
        rows["source_file"],
        rows["source_row"],
        *(pa.repeat(pa.scalar(value), len(rows)) for value in (model.name, model.shown_version)),
    ]
    schema = output_schema(pa.schema(list(carried.type)), task.fields())
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
