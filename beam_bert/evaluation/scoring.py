"""A model as the classify job runs it: the same tokenizer, windows, engine and task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_bert.encoder import load_classifier
from beam_bert.errors import ModelError
from beam_bert.evaluation.data import POSITION
from beam_bert.evaluation.metrics import Array, FloatArray
from beam_bert.inference.fp32_recheck import RecheckedModel
from beam_bert.inference.model_handler import score
from beam_bert.labelled.rows import document_rows, slice_of
from beam_bert.models import ResolvedModel, fetch_model, resolve_model
from beam_bert.settings.evaluation import EvaluateConfig
from beam_bert.settings.inference import stride_of, window_length
from beam_bert.settings.naming import named
from beam_bert.slices.batch import SliceBatch
from beam_bert.slices.token_arrays import logits_array
from beam_bert.tasks import ClassificationTask
from beam_bert.tokenization import DocumentTokenizer, WindowSettings


@dataclass(frozen=True, eq=False)
class Scored:
    """What a model made of a batch.

    Attributes:
      positions: int64 [n], the rows that have scores, by `POSITION`, rising.
      scores: float64 [n, labels].
      num_tokens: int32 [n]; truncated: bool [n], as in the output of the classify job.
      rejects: rows that the tokenizer or the model could not use.
    """

    positions: Array
    scores: FloatArray
    num_tokens: Array
    truncated: Array
    rejects: pa.RecordBatch

    def at(self, positions: Array) -> Array:
        """Where these positions stand in the arrays."""
        return np.searchsorted(self.positions, positions)


@dataclass(frozen=True, eq=False)
class Scorer:
    """A loaded model and what it takes to score text with it."""

    resolved: ResolvedModel
    checked: RecheckedModel
    task: ClassificationTask
    tokenizer: DocumentTokenizer

    def score(self, batch: SliceBatch) -> Scored:
        """Score the rows of a batch of documents that has `POSITION`."""
        scored = score(self.tokenizer.tokenize(batch), self.checked)
        rows = scored.rows
        counts = pc.list_value_length(rows["logits"]).to_numpy(zero_copy_only=False)
        scores = np.zeros((0, len(self.task.labels)))
        if len(counts):
            scores = self.task.probabilities(logits_array(rows), counts.astype(np.int64))
        return Scored(
            positions=rows[POSITION].to_numpy(),
            scores=scores,
            num_tokens=rows["num_tokens"].to_numpy(),
            truncated=rows["truncated"].to_numpy(zero_copy_only=False),
            rejects=scored.rejects,
        )

    def score_texts(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Scored:
        """Score texts (and their second segments) that stand in no file."""
        numbers = range(len(texts))
        rows = document_rows([str(number) for number in numbers], texts, pairs)
        rows = rows.append_column(POSITION, pa.array(numbers, pa.int64()))
        return self.score(slice_of(rows))


def load_scorer(config: EvaluateConfig, name: str) -> Scorer:
    """Resolve and load a model for an evaluation.

    Raises:
      ModelError: it cannot be found or loaded, or has no classification head.
      ConfigError: it does not read `max_length` tokens.
    """
    resolved = resolve_model(name)
    folder = fetch_model(resolved)
    load = partial(load_classifier, folder, device=config.device, batch_tokens=config.batch_tokens)
    model = load(precision=config.precision)
    max_length = window_length(config.max_length, model.config.max_length)
    windows = WindowSettings(
        max_length=max_length,
        overlapping=config.long_documents == "window",
        stride=stride_of(config, max_length),
    )
    tokenizer = DocumentTokenizer(folder, windows, pair=config.text_pair_column is not None)
    task = ClassificationTask(
        labels=model.config.labels,
        problem_type=model.config.problem_type,
        threshold=model.config.threshold if config.threshold is None else config.threshold,
        combine=config.combine_windows,
    )
    checked = RecheckedModel.of(model, task, partial(load, precision="fp32"), config.recheck_margin)
    return Scorer(resolved, checked, task, tokenizer)


def check_comparable(first: Scorer, second: Scorer) -> Array:
    """Where each of the first model's labels stands in the second's scores.

    Raises:
      ModelError: they give other labels, or another kind of answer.
    """
    if first.task.problem_type != second.task.problem_type:
        raise ModelError(
            f"{named('compare', second.resolved.name)} is a {second.task.problem_type} model, "
            f"{first.resolved.name} a {first.task.problem_type} one; compare models of one kind"
        )
    mine, other = set(first.task.labels), set(second.task.labels)
    if mine != other:
        odd = sorted(mine ^ other)[0]
        who = first if odd in mine else second
        raise ModelError(
            f"{named('compare', second.resolved.name)} has other labels than "
            f"{first.resolved.name}: only {who.resolved.name} has {odd!r}; compare models with the "
            "same labels"
        )
    return np.array([second.task.labels.index(label) for label in first.task.labels])
