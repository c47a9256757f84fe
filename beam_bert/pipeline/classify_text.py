"""Classification inside somebody else's Beam pipeline: rows in, the same rows with answers out.

    rows | ClassifyText(model="sentiment-small-en", text_field="body")

Also a provider for Beam YAML (`beam_bert.pipeline.classify_text.ClassifyText`). Unlike the jobs,
whose batches are slices of files and so the same in every run, batches here are what the runner
makes of a stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.typehints.schemas import named_fields_from_element_type

from beam_bert.encoder.config import read_config
from beam_bert.inference.compute_options import ComputeOptions
from beam_bert.models import fetch_model, resolve_model
from beam_bert.pipeline.classify import Classify, task_of, warn_if_unchecked
from beam_bert.settings.fields import check_values
from beam_bert.settings.inference import ClassifyConfig, window_length
from beam_bert.slices.batch import SliceBatch
from beam_bert.slices.plan import Segment, Slice
from beam_bert.slices.schema import document_schema, rejects_batch
from beam_bert.tasks import ClassificationTask, SentimentTask
from beam_bert.tasks.classification import REGRESSION
from beam_bert.tokenization import WindowSettings

BATCH_ROWS = 1_024
STRIDE = 64  # and a third of the window at most, as in the jobs
_SOURCE = "row"  # stands in the place of a file's name; rows come from none


class ClassifyText(beam.PTransform):
    """Each row of text, with the model's answer: one row out for each row in, whatever it holds.

    Rows may be `beam.Row`s (or NamedTuples), dicts or plain strings; a string becomes a row with
    the one field `text`. A row that cannot be used has null answers and says why in
    `reject_reason`; nothing is dropped.

    Args:
      model: as `--model` of the jobs: a folder, gs:// prefix, Hugging Face id, or embedded name.
      text_field: the field that holds the text.
      sentiment: add `sentiment` and `polarity` (models whose labels say which side they are on);
        as in the sentiment job, longer texts are then read whole, in windows.
      top_k, all_scores, threshold, max_length, precision, device, batch_tokens: as the flags.

    Raises:
      ModelError, ConfigError: the model or a value cannot be used; when the transform is made,
        not when it runs.
    """

    def __init__(
        self,
        model: str = "sentiment-small-en",
        text_field: str = "text",
        sentiment: bool = False,
        top_k: int = 1,
        all_scores: bool = False,
        threshold: float | None = None,
        max_length: int | None = None,
        precision: str = "auto",
        device: str = "auto",
        batch_tokens: int | None = None,
    ) -> None:
        super().__init__()
        options = ComputeOptions(precision, device, batch_tokens)
        check_values(ClassifyConfig, top_k=top_k, threshold=threshold, max_length=max_length)
        self._text_field = text_field
        warn_if_unchecked(precision)
        resolved = resolve_model(model)
        encoder = read_config(fetch_model(resolved))
        self._task = task_of(
            encoder,
            SentimentTask if sentiment else ClassificationTask,
            top_k=top_k,
            all_scores=all_scores,
            threshold=threshold,
        )
        window = window_length(max_length, encoder.max_length)
        self._classify = Classify(
            resolved,
            self._task,
            WindowSettings(window, sentiment, min(STRIDE, window // 3)),
            options=options,
        )

    def expand(self, rows: Any) -> Any:
        """Batch, classify, take the batches apart again."""
        answered = (
            rows
            | "Batch" >> beam.BatchElements(max_batch_size=BATCH_ROWS)
            | "ToDocuments" >> beam.Map(documents_of, self._text_field)
            | "Classify" >> self._classify
        )
        names = [field.name for field in self._task.fields()]
        return answered | "ToRows" >> beam.FlatMap(rows_of, names).with_output_types(
            self._row_type(rows.element_type)
        )

    def _row_type(self, element_type: Any) -> Any:
        """The type of the rows that come out: Beam YAML and SQL look at its fields."""
        if element_type is str:
            fields: list[tuple[str, Any]] = [("text", str)]
        else:
            try:
                fields = list(named_fields_from_element_type(element_type))
            except (TypeError, ValueError):
                return beam.Row  # dicts, or unknown: their fields are seen only as they come
        answers = _ANSWER_TYPES if self._task.problem_type != REGRESSION else {}
        for field in self._task.fields():
            fields.append((field.name, answers.get(field.name, float | None)))
        fields.append(("reject_reason", str | None))
        return RowTypeConstraint.from_fields(fields)


_ANSWER_TYPES: dict[str, Any] = {
    "label": str | None,
    "sentiment": str | None,
    "labels": Sequence[str] | None,
    "scores": Sequence[float] | None,
}


@dataclass(frozen=True)
class RowBatch(SliceBatch):
    """A batch of somebody's rows on its way; the rows themselves ride along untouched."""

    elements: tuple[Any, ...] = ()


def documents_of(elements: Sequence[Any], text_field: str) -> RowBatch:
    """Rows as documents, numbered by their place; those without usable text are rejects."""
    usable: dict[int, Any] = {}
    rejects = []
    for number, element in enumerate(elements):
        text = _fields(element).get(text_field)
        reason = _unusable(text)
        if reason is None:
            usable[number] = text
        else:
            where = {"source_file": _SOURCE, "source_row": number}
            rejects.append(where | {"reason": reason, "message": f"field {text_field!r}"})
    schema = document_schema(pa.schema([]))
    columns = {
        "doc_id": [str(number) for number in usable],
        "text": list(usable.values()),
        "source_file": [_SOURCE] * len(usable),
        "source_row": list(usable),
        "carried": [{}] * len(usable),
    }
    rows = pa.RecordBatch.from_pydict(columns, schema=schema)
    source = Slice(0, (Segment(_SOURCE),))
    return RowBatch(source, "", rows, rejects_batch(rejects), elements=tuple(elements))


def rows_of(batch: RowBatch, names: Sequence[str]) -> Iterator[beam.Row]:
    """The rows of a classified batch, each with its answers or the reason why there are none."""
    answers: dict[int, dict[str, Any]] = {
        number: answer | {"reject_reason": None}
        for number, answer in zip(
            batch.rows["source_row"].to_pylist(), batch.rows.select(names).to_pylist(), strict=True
        )
    }
    for reject in batch.rejects.select(["source_row", "reason"]).to_pylist():
        nothing: dict[str, Any] = dict.fromkeys(names)
        answers[reject["source_row"]] = nothing | {"reject_reason": reject["reason"]}
    for number, element in enumerate(batch.elements):
        yield beam.Row(**{**_fields(element), **answers[number]})


def _fields(element: Any) -> dict[str, Any]:
    if isinstance(element, str):
        return {"text": element}
    if isinstance(element, Mapping):
        return dict(element)
    if hasattr(element, "_asdict"):
        return dict(element._asdict())
    raise TypeError(f"ClassifyText takes rows, dicts or strings, not {type(element).__name__}")


def _unusable(text: object) -> str | None:
    """Why a text cannot be used, in the sources' words, or None."""
    if not isinstance(text, str):
        return "missing_text" if text is None else "not_text"
    if not text.strip():
        return "empty_text"
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates
        return "invalid_utf8"
    return None
