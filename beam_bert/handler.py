"""The RunInference ModelHandler: a thin coat over `beam_bert.encoder`.

An element is a whole slice, so Beam's batching is skipped and the engine plans its own
length-sorted micro-batches: the slice, not the wall clock, decides what is computed together, and
two runs compute the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler

from beam_bert.batch import SliceBatch
from beam_bert.encoder import PackedModel, load_classifier
from beam_bert.encoder.plan import padded_tokens
from beam_bert.encoder.replicas import Replicas, devices_of
from beam_bert.errors import RunFailed
from beam_bert.models import ResolvedModel, fetch_model
from beam_bert.progress import LIVE
from beam_bert.schema import logits_type

NAMESPACE = "beam_bert"  # of all of this package's metrics
LOADING_METRIC = "load_model_latency_milli_secs"  # ends the name that RunInference gives it
_READ = ("input_ids", "first_lengths", "ranges")  # columns that end here


class BertModelHandler(ModelHandler[SliceBatch, SliceBatch, Replicas]):
    """Runs a model over TokenBatches and gives ScoreBatches (see `schema`).

    A document whose logits are not numbers, or that breaks the model, becomes a reject, alone.

    Args:
      model: which model, as `beam_bert.models.resolve_model` found it.
      load: makes it from its folder, `beam_bert.encoder.load_classifier` or the like.
      precision, device, batch_tokens: as in `beam_bert.encoder.load_classifier`.
      accelerator: resource hint of this step, for runners that give GPUs to those who ask.

    Raises:
      ModelError: in `load_model`, when the checkpoint cannot be used.
    """

    def __init__(
        self,
        model: ResolvedModel,
        *,
        load: Callable[..., PackedModel] = load_classifier,
        precision: str = "auto",
        device: str = "auto",
        batch_tokens: int | None = None,
        accelerator: str | None = None,
    ) -> None:
        super().__init__()
        self._resolved = model
        self._load = load
        self._precision = precision
        self._device = device
        self._batch_tokens = batch_tokens
        self._accelerator = accelerator

    def load_model(self) -> Replicas:
        """Bring the model to this worker and load it, once a process and GPU."""
        folder = fetch_model(self._resolved)
        return Replicas(
            [
                self._load(
                    folder,
                    precision=self._precision,
                    device=device,
                    batch_tokens=self._batch_tokens,
                )
                for device in devices_of(self._device)
            ]
        )

    def should_skip_batching(self) -> bool:
        """A slice is a batch already."""
        return True

    def get_resource_hints(self) -> dict[str, str]:
        """The GPU that this step asks for, where it asks for one."""
        return {"accelerator": self._accelerator} if self._accelerator else {}

    def get_num_bytes(self, batch: Sequence[SliceBatch]) -> int:
        """Bytes of a slice's columns; Beam's own way would pickle all of it to count."""
        return int(batch.rows.nbytes)  # type: ignore[attr-defined] # the element itself, not a list

    def get_metrics_namespace(self) -> str:
        """The one namespace of all of this package's metrics."""
        return NAMESPACE

    def run_inference(
        self,
        batch: Any,
        model: Replicas,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[SliceBatch]:
        """Replace a slice's `input_ids` by `logits`."""
        with model.least_busy() as chosen:
            return [_run(batch, chosen)]


def _run(batch: SliceBatch, model: PackedModel) -> SliceBatch:
    """A slice scored, with what its micro-batches were."""
    was_measured = model.measured is not None
    scored = score(batch, model)
    stats = {f"documents_in_batches_of_{model.batch_tokens}": float(len(batch))}
    if model.measured is not None and not was_measured:
        costs = model.measured.microseconds.items()
        stats |= {f"batches_of_{size}_us": cost for size, cost in costs}
        stats["batches_measured"] = 1.0
    return scored.with_rows(scored.rows, **stats)


class Computes(Protocol):
    """What `score` needs of a model: `PackedModel` has it, and a network in training."""

    width: int
    precision: str
    device: str

    def outputs(
        self,
        input_ids: np.ndarray,
        offsets: np.ndarray,
        first_lengths: np.ndarray | None = None,
        ranges: np.ndarray | None = None,
        *,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """See `PackedModel.outputs`."""


def score(batch: SliceBatch, model: Computes) -> SliceBatch:
    """Run the model over a TokenBatch.

    Returns:
      The ScoreBatch; documents without usable logits are among its rejects.
    """
    tokens = _Tokens.of(batch.rows)
    started = time.perf_counter()
    logits, broken = _logits_or_errors(model, tokens)
    seconds = time.perf_counter() - started
    lengths = np.diff(tokens.offsets)
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
        # Which arithmetic made these rows, so that the manifest can tell.
        **{f"rows_{model.precision}_{model.device.split(':')[0]}": float(len(batch))},
    )
    bad_windows = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    bad = np.unique(np.searchsorted(window_offsets, bad_windows, side="right") - 1)
    messages = [
        broken.get(int(row), "the model's logits for this text are not finite numbers")
        for row in bad
    ]
    return scored.reject(bad.tolist(), "inference_failed", messages)


@dataclass(frozen=True)
class _Tokens:
    """A TokenBatch as the engine takes it: windows end to end, and windows a document."""

    ids: np.ndarray
    offsets: np.ndarray
    first_lengths: np.ndarray | None
    ranges: np.ndarray | None
    counts: np.ndarray

    @staticmethod
    def of(rows: pa.RecordBatch) -> _Tokens:
        windows = rows["input_ids"].flatten()
        lengths = pc.list_value_length(windows).to_numpy(zero_copy_only=False)
        names = rows.schema.names
        first = rows["first_lengths"].flatten() if "first_lengths" in names else None
        ranges = rows["ranges"].flatten().flatten().to_numpy() if "ranges" in names else None
        return _Tokens(
            ids=windows.flatten().to_numpy(),
            offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
            first_lengths=None if first is None else first.to_numpy(),
            ranges=None if ranges is None else ranges.reshape(len(lengths), -1),
            counts=pc.list_value_length(rows["input_ids"]).to_numpy(zero_copy_only=False),
        )

    def documents(self, start: int, stop: int) -> _Tokens:
        """The documents from `start` to `stop`."""
        window_offsets = np.concatenate([[0], np.cumsum(self.counts)])
        first, last = window_offsets[start], window_offsets[stop]
        offsets = self.offsets[first : last + 1]
        return _Tokens(
            ids=self.ids[offsets[0] : offsets[-1]],
            offsets=offsets - offsets[0],
            first_lengths=None if self.first_lengths is None else self.first_lengths[first:last],
            ranges=None if self.ranges is None else self.ranges[first:last],
            counts=self.counts[start:stop],
        )


def _logits_or_errors(model: Computes, tokens: _Tokens) -> tuple[np.ndarray, dict[int, str]]:
    """Logits of all windows, NaN for documents that break the model, and what they broke it with.

    When a call fails, the documents are halved until the one that fails stands alone.

    Raises:
      RunFailed: a GPU is lost to this process: every document would fail.
    """
    documents = len(tokens.counts)
    try:
        logits = model.outputs(
            tokens.ids,
            tokens.offsets,
            tokens.first_lengths,
            tokens.ranges,
            on_batch=_progress(tokens),
        )
        return logits, {}
    except torch.AcceleratorError as error:  # for good, and whatever the text
        reason = " ".join(str(error).split())[:500]
        raise RunFailed(
            f"the GPU failed ({reason}); start the run again, it goes on where this one stopped"
        ) from error
    except (RuntimeError, ValueError, IndexError) as error:
        if documents == 1:
            reason = " ".join(str(error).split())[:500]
            windows = int(tokens.counts[0])
            empty = np.full((windows, model.width), np.nan, np.float32)
            return empty, {0: f"the model failed on this text: {reason}"}
    half = documents // 2
    left, left_errors = _logits_or_errors(model, tokens.documents(0, half))
    right, right_errors = _logits_or_errors(model, tokens.documents(half, documents))
    errors = left_errors | {half + row: text for row, text in right_errors.items()}
    return np.concatenate([left, right]), errors


def _progress(tokens: _Tokens) -> Callable[[int, int], None]:
    documents_a_window = len(tokens.counts) / max(len(tokens.offsets) - 1, 1)
    sizes = Metrics.distribution(NAMESPACE, "batch_tokens")

    def count(windows: int, batch_tokens: int) -> None:
        LIVE.add_documents(windows * documents_a_window)
        sizes.update(batch_tokens)

    return count
