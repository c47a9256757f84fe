"""The RunInference ModelHandler: a thin coat over `beam_bert.encoder`.

An element is a whole slice, so Beam's batching is skipped and the engine plans its own
length-sorted micro-batches: the slice, not the wall clock, decides what is computed together, and
two runs compute the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler

from beam_bert.encoder import PackedModel, load_classifier
from beam_bert.encoder.plan import padded_tokens
from beam_bert.encoder.replicas import Replicas, devices_of
from beam_bert.inference.compute_options import DEFAULTS, ComputeOptions
from beam_bert.inference.fp32_recheck import NAMESPACE, RecheckedModel
from beam_bert.models import ResolvedModel, fetch_model
from beam_bert.slices.batch import SliceBatch
from beam_bert.slices.schema import logits_type
from beam_bert.tasks import Task

LOADING_METRIC = "load_model_latency_milli_secs"  # ends the name that RunInference gives it
# Columns that end here.
_READ = ("input_ids", "first_lengths", "text_ids", "before", "after", "context_lengths")


class BertModelHandler(ModelHandler[SliceBatch, SliceBatch, Replicas[RecheckedModel]]):
    """Runs a model over TokenBatches and gives ScoreBatches (see `schema`).

    A document whose logits are not numbers, or that breaks the model, becomes a reject, alone.

    Args:
      model: which model, as `beam_bert.models.resolve_model` found it.
      load: makes it from its folder, `beam_bert.encoder.load_classifier` or the like.
      task: which calls are close, and so computed again at fp32; None: none is.
      options: how and where it runs.

    Raises:
      ModelError: in `load_model`, when the checkpoint cannot be used.
    """

    def __init__(
        self,
        model: ResolvedModel,
        *,
        load: Callable[..., PackedModel] = load_classifier,
        task: Task | None = None,
        options: ComputeOptions = DEFAULTS,
    ) -> None:
        super().__init__()
        self._task = task
        self._resolved = model
        self._load = load
        self._options = options

    def load_model(self) -> Replicas[RecheckedModel]:
        """Bring the model to this worker and load it, once a process and GPU."""
        folder = fetch_model(self._resolved)
        return Replicas(
            [self._checked(folder, device) for device in devices_of(self._options.device)]
        )

    def _checked(self, folder: Path, device: str) -> RecheckedModel:
        options = self._options
        load = partial(self._load, folder, device=device, batch_tokens=options.batch_tokens)
        model = load(precision=options.precision)
        if self._task is None:
            return RecheckedModel(model)
        exact = partial(load, precision="fp32")
        return RecheckedModel.of(model, self._task, exact, options.recheck_margin)

    def should_skip_batching(self) -> bool:
        """A slice is a batch already."""
        return True

    def get_resource_hints(self) -> dict[str, str]:
        """The GPU that this step asks for, where it asks for one."""
        accelerator = self._options.accelerator
        return {"accelerator": accelerator} if accelerator else {}

    def get_num_bytes(self, batch: Sequence[SliceBatch]) -> int:
        """Bytes of a slice's columns; Beam's own way would pickle all of it to count."""
        return int(batch.rows.nbytes)  # type: ignore[attr-defined] # the element itself, not a list

    def get_metrics_namespace(self) -> str:
        """The one namespace of all of this package's metrics."""
        return NAMESPACE

    def run_inference(
        self,
        batch: Any,
        model: Replicas[RecheckedModel],
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[SliceBatch]:
        """Replace a slice's `input_ids` by `logits`."""
        with model.least_busy() as chosen:
            return [_run(batch, chosen)]


def _run(batch: SliceBatch, checked: RecheckedModel) -> SliceBatch:
    """A slice scored, with what its micro-batches were."""
    model = cast(PackedModel, checked.model)  # what a handler loads is one
    was_measured = model.measured is not None
    scored = score(batch, checked)
    stats = {f"documents_in_batches_of_{model.batch_tokens}": float(len(batch))}
    if model.measured is not None and not was_measured:
        costs = model.measured.microseconds.items()
        stats |= {f"batches_of_{size}_us": cost for size, cost in costs}
        stats["batches_measured"] = 1.0
    return scored.with_rows(scored.rows, **stats)


def score(batch: SliceBatch, checked: RecheckedModel) -> SliceBatch:
    """Run the model over a TokenBatch.

    Returns:
      The ScoreBatch; documents without usable logits are among its rejects.
    """
    model = checked.model
    with checked.seconds.spent() as spent:
        outputs = checked.outputs(batch.rows)
    (seconds,) = spent
    tokens, logits = outputs.tokens, outputs.values
    lengths = tokens.lengths
    padding_saved = padded_tokens(lengths) - int(lengths.sum())
    Metrics.counter(NAMESPACE, "device_ms").inc(round(seconds * 1000))
    Metrics.counter(NAMESPACE, "padding_tokens_saved").inc(padding_saved)

    window_offsets = np.concatenate([[0], np.cumsum(tokens.counts)])
    lists = pa.ListArray.from_arrays(
        pa.array(window_offsets, pa.int32()),
        pa.FixedSizeListArray.from_arrays(pa.array(logits.reshape(-1), pa.float32()), model.width),
    ).cast(logits_type(model.width))
    kept = [name for name in batch.rows.schema.names if name not in _READ]
    rows = batch.rows.select(kept).append_column("logits", lists)
    scored = batch.with_rows(
        rows,
        windows=float(len(logits)),
        inference_s=seconds,
        tokens_computed=float(lengths.sum()),
        padding_tokens_saved=float(padding_saved),
        windows_rechecked=float(outputs.again),
        # Which arithmetic made these rows, so that the manifest can tell.
        **{f"rows_{model.precision}_{model.device.split(':')[0]}": float(len(batch))},
    )
    bad_windows = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    bad = np.unique(np.searchsorted(window_offsets, bad_windows, side="right") - 1)
    messages = [
        outputs.broken.get(int(row), "the model's logits for this text are not finite numbers")
        for row in bad
    ]
    return scored.reject(bad.tolist(), "inference_failed", messages)
