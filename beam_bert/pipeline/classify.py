"""Document rows -> prediction rows: tokenize, RunInference, decode."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import numpy as np
import pyarrow.compute as pc

from beam_bert.encoder import EncoderConfig, load_classifier
from beam_bert.encoder.config import read_config
from beam_bert.encoder.precision import EIGHT_BITS
from beam_bert.inference.compute_options import ComputeOptions
from beam_bert.models import ResolvedModel, fetch_model, resolve_model
from beam_bert.pipeline.predict import Predict, output_rows
from beam_bert.settings.inference import window_length
from beam_bert.slices.batch import SliceBatch
from beam_bert.slices.token_arrays import logits_array
from beam_bert.tasks import ClassificationTask
from beam_bert.tokenization import DocumentTokenizer, WindowSettings

logger = logging.getLogger(__name__)


class Classify(Predict):
    """Document rows -> rows with labels and scores.

    Args:
      model: which model, as `beam_bert.models.resolve_model` found it, or as `--model` names it.
      task: what its logits mean; None: the best label and its score, as the model's config says.
      windows: how long documents are cut; None: they are cut off where the model's windows end.
      pair: whether rows have a `text_pair`.
      precision, device, batch_tokens: how and where the model runs, as the flags.
      options: all that can be said of that, in place of those three.

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
        precision: str = "auto",
        device: str = "auto",
        batch_tokens: int | None = None,
        options: ComputeOptions | None = None,
    ) -> None:
        options = options or ComputeOptions(precision, device, batch_tokens)
        if isinstance(model, str):
            model = resolve_model(model)
            warn_if_unchecked(options.precision)
        if task is None or windows is None:
            encoder = read_config(fetch_model(model))
            task = task or task_of(encoder)
            windows = windows or WindowSettings(window_length(None, encoder.max_length))
        super().__init__(
            model,
            tokenizer_of=partial(DocumentTokenizer, settings=windows, pair=pair),
            load=load_classifier,
            decode=partial(decode, task=task, model=model),
            task=task,
            options=options,
        )


def task_of(
    encoder: EncoderConfig,
    kind: type[ClassificationTask] = ClassificationTask,
    *,
    threshold: float | None = None,
    **settings: Any,
) -> ClassificationTask:
    """What a model's logits mean, as its config says; `settings`: what is shown of them."""
    return kind(
        labels=encoder.labels,
        problem_type=encoder.problem_type,
        threshold=encoder.threshold if threshold is None else threshold,
        **settings,
    )


def warn_if_unchecked(precision: str) -> None:
    """Say that nothing was compared with fp32, which the jobs do and a bare transform cannot."""
    if precision in EIGHT_BITS:
        logger.warning(
            "precision %s was not compared with fp32 on your text; beam-bert bench does",
            precision,
        )


def decode(batch: SliceBatch, task: ClassificationTask, model: ResolvedModel) -> SliceBatch:
    """A ScoreBatch as the rows that the user reads (`beam_bert.slices.schema.output_schema`)."""
    rows = batch.rows
    windows = pc.list_value_length(rows["logits"])
    counts = windows.to_numpy(zero_copy_only=False).astype(np.int64)
    columns = task.decode(logits_array(rows), counts)
    truncated = pc.sum(rows["truncated"]).as_py() or 0
    return batch.with_rows(
        output_rows(rows, columns, windows, task, model), truncated=float(truncated)
    )
