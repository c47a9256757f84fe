"""`PackedModel`: an encoder with a head; it plans, packs, runs and restores the order.

What a head makes of a sequence is up to its class: `classifier` has one, `answering` another.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from beam_bert.encoder.checkpoint import Checkpoint
from beam_bert.encoder.config import EncoderConfig
from beam_bert.encoder.cpu_threads import CPU_THREADS
from beam_bert.encoder.memory import keep_freed_memory
from beam_bert.encoder.micro_batch_size import (
    WORTH_MEASURING,
    Measurement,
    candidates,
    default_batch_tokens,
    forward_bytes,
    measure,
)
from beam_bert.encoder.model import Encoder
from beam_bert.encoder.packing import PackedBatch, pack
from beam_bert.encoder.plan import (
    Int32Array,
    Int64Array,
    MicroBatch,
    distinct_sequences,
    plan_micro_batches,
)
from beam_bert.encoder.precision import resolve_precision
from beam_bert.errors import ConfigError, ModelError, RunFailed

Float32Array = npt.NDArray[np.float32]
OnBatch = Callable[[int, int], None]
logger = logging.getLogger(__name__)

# The arrays that `PackedModel.outputs` takes.
_Arrays = tuple[Int32Array, Int64Array, Int32Array | None, Int32Array | None]


@dataclass(frozen=True, eq=False)
class _OnThread:
    """A micro-batch that some thread will compute, or has."""

    batch: MicroBatch
    outputs: Future[torch.Tensor]

    def result(self) -> Float32Array:
        return self.outputs.result().numpy()

    def cancel(self) -> None:
        self.outputs.cancel()


@dataclass(frozen=True, eq=False)
class _Queued:
    """A micro-batch that was started: its outputs, and when a GPU will have written them."""

    batch: MicroBatch
    outputs: torch.Tensor
    written: torch.cuda.Event | None

    def result(self) -> Float32Array:
        if self.written is not None:
            self.written.synchronize()
        return self.outputs.numpy()

    def cancel(self) -> None:
        """Too late: it is on its way."""


class PackedModel(ABC):
    """A loaded model: the encoder, and what its head says of each sequence.

    Attributes:
      config: what the checkpoint says about itself.
      precision: "fp32", "bf16", "int8" or "fp8", resolved.
      device: "cpu", "cuda" or "cuda:1", resolved.
      batch_tokens: tokens of a micro-batch; halved when a GPU runs out of memory.
      measured: what other sizes cost; None where the size was given, or little was computed yet.
      width: numbers that the head gives for a sequence.

    Raises:
      ConfigError: the precision or device is unknown here, or batch_tokens is not positive.
    """

    width: int

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: EncoderConfig,
        precision: str,
        device: str,
        batch_tokens: int | None,
    ) -> None:
        target = resolve_device(device)
        self.config = config
        self.precision = resolve_precision(precision, target)
        self.device = str(target)
        if batch_tokens is not None and batch_tokens < 1:
            raise ConfigError(f"batch_tokens must be positive, got {batch_tokens}")
        self.batch_tokens = batch_tokens or default_batch_tokens(config, self.precision, target)
        self.measured: Measurement | None = None
        self._may_measure = batch_tokens is None and config.num_layers > 0
        self._encoder = Encoder(checkpoint, config, self.precision, target)
        self._threads = CPU_THREADS if target.type == "cpu" else None
        if self._threads:
            keep_freed_memory()
        # Threads of one process share the model; a GPU gets its work from one at a time.
        self._lock = threading.Lock()

    @property
    def forward_bytes(self) -> int:
        """Most memory that forwards take beside the weights; known before they run."""
        largest = max(candidates(self.batch_tokens)) if self._may_measure else self.batch_tokens
        longest = max(largest, self.config.max_length)
        at_once = self._threads.count if self._threads else 1
        return at_once * forward_bytes(self.config, longest, self.precision)

    def outputs(
        self,
        input_ids: Int32Array,
        offsets: Int64Array,
        first_lengths: Int32Array | None = None,
        ranges: Int32Array | None = None,
        *,
        on_batch: OnBatch | None = None,
    ) -> Float32Array:
        """What the head says of many sequences, in the order given.

        Args:
          input_ids: int32 [total_tokens], the sequences end to end, special tokens included.
          offsets: int64 [n + 1], where each begins and the last ends; from 0, rising.
          first_lengths: int32 [n], tokens of the first segment (token type 0), the rest is of
            type 1; None: all of type 0.
          ranges: int32 [n, 4], for heads that look at parts of a sequence (see their class).
          on_batch: called after each micro-batch with the number of sequences it finished and the
            tokens that it computed.

        Returns:
          float32 [n, width]. What the model makes NaN stays NaN.

        Raises:
          ModelError: a token id is outside the model's vocabulary.
          ValueError: a sequence is empty or longer than `config.max_length`.
          RunFailed: a single sequence does not fit in the GPU's memory.
        """
        self._check(input_ids, offsets)
        first, inverse = distinct_sequences(input_ids, offsets, first_lengths, ranges)
        copies = np.bincount(inverse, minlength=len(first))
        outputs = np.empty((len(first), self.width), dtype=np.float32)
        lengths = np.diff(offsets)[first]
        if self._may_measure and lengths.sum() >= WORTH_MEASURING * self.batch_tokens:
            self.choose_batch_tokens(input_ids, offsets)
        arrays = input_ids, offsets, first_lengths, ranges
        # Each core, or the GPU, has its next micro-batches waiting while it computes one.
        running: deque[_OnThread | _Queued] = deque()

        def finish(leave: int) -> None:
            while len(running) > leave:
                done = running.popleft()
                outputs[done.batch.rows] = done.result()
                if on_batch is not None:
                    on_batch(int(copies[done.batch.rows].sum()), done.batch.num_tokens)

        with self._threads.open() if self._threads else nullcontext() as pool:
            threads = self._threads.count if self._threads else 1
            pending = deque(plan_micro_batches(lengths, self.batch_tokens, threads))
            try:
                while pending:
                    batch = pending.popleft()
                    rows = MicroBatch(first[batch.rows], batch.lengths)
                    started = self._start(pool, batch, rows, arrays)
                    if started is None:
                        self._halve(batch)
                        pending = deque(half for b in [batch, *pending] for half in self._cut(b))
                    else:
                        running.append(started)
                    finish(leave=2 * threads)
                finish(leave=0)
            finally:
                for call in running:
                    call.cancel()
        return outputs[inverse]

    @abstractmethod
    def _read(self, packed: PackedBatch, ranges: Int32Array | None) -> torch.Tensor:
        """Encoder and head over a micro-batch of n sequences: float32 [n, width], on the device."""

    def _start(
        self, pool: Executor | None, batch: MicroBatch, rows: MicroBatch, arrays: _Arrays
    ) -> _OnThread | _Queued | None:
        """Have a micro-batch computed; None: a GPU has not the memory for it."""
        if pool is not None:
            return _OnThread(batch, pool.submit(self._compute, rows, arrays))
        try:
            return _Queued(batch, *self._queue(rows, arrays))
        except torch.cuda.OutOfMemoryError:
            return None  # to where the error holds on to nothing any more

    @torch.inference_mode()
    def _compute(self, batch: MicroBatch, arrays: _Arrays) -> torch.Tensor:
        return self._read(*self._packed(batch, arrays))

    @torch.inference_mode()
    def _queue(
        self, batch: MicroBatch, arrays: _Arrays
    ) -> tuple[torch.Tensor, torch.cuda.Event | None]:
        """Queue a micro-batch on a GPU; an event says when its outputs are here."""
        packed = self._packed(batch, arrays)
        with self._lock:
            outputs = self._read(*packed)
            if not outputs.is_cuda:
                return outputs, None
            here = torch.empty(outputs.shape, dtype=outputs.dtype, pin_memory=True)
            here.copy_(outputs, non_blocking=True)
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(outputs.device))
            return here, event

    def _packed(self, batch: MicroBatch, arrays: _Arrays) -> tuple[PackedBatch, Int32Array | None]:
        input_ids, offsets, first_lengths, ranges = arrays
        device = torch.device(self.device)
        packed = pack(batch, input_ids, offsets, first_lengths, self.config, device)
        return packed, None if ranges is None else ranges[batch.rows]

    def choose_batch_tokens(self, input_ids: Int32Array, offsets: Int64Array) -> None:
        """Measure on this machine and these texts which `batch_tokens` is fastest, and take it.

        `outputs` does it once, as soon as there is much to compute; nothing is measured where the
        size was given, or where the texts do not fill the largest one. Arguments as there.
        """
        lengths = np.diff(offsets)
        with self._lock:
            sizes, device = candidates(self.batch_tokens), torch.device(self.device)
            if not self._may_measure or lengths.sum() < max(sizes):
                return
            plan = plan_micro_batches(lengths, max(sizes))
            middle = plan[len(plan) // 2]
            batches = {}
            for size in sizes:
                part = plan_micro_batches(middle.lengths, size)[0]
                chosen = MicroBatch(middle.rows[part.rows], part.lengths)
                batches[size] = pack(chosen, input_ids, offsets, None, self.config, device)
            self.measured = self._measure(batches)
            self.batch_tokens = self.measured.chosen
            self._may_measure = False

    def _measure(self, batches: Mapping[int, PackedBatch]) -> Measurement:
        """On all threads at once, since they share caches and memory; one of them is believed."""
        if self._threads is None:
            return measure(self._encoder, batches)
        with self._threads.open() as pool:
            all_threads = range(self._threads.count)
            measured = list(pool.map(lambda _: measure(self._encoder, batches), all_threads))
        return measured[0]

    def _check(self, input_ids: Int32Array, offsets: Int64Array) -> None:
        lengths = np.diff(offsets)
        if offsets[0] != 0 or offsets[-1] != len(input_ids):
            raise ValueError(
                f"offsets run from {offsets[0]} to {offsets[-1]}, not over the "
                f"{len(input_ids)} tokens given"
            )
        if len(lengths) and (lengths.min() < 1 or lengths.max() > self.config.max_length):
            raise ValueError(
                f"sequences have {lengths.min()} to {lengths.max()} tokens; this model takes "
                f"1 to {self.config.max_length}"
            )
        if len(input_ids) and (input_ids.min() < 0 or input_ids.max() >= self.config.vocab_size):
            raise ModelError(
                f"token id {input_ids.max()} is outside the model's vocabulary of "
                f"{self.config.vocab_size}; use the tokenizer that the model was trained with"
            )

    def _halve(self, batch: MicroBatch) -> None:
        if len(batch.rows) == 1:
            raise RunFailed(
                f"one sequence of {batch.num_tokens} tokens does not fit in the memory of "
                f"{self.device}; lower --max_length or use a larger GPU"
            )
        torch.cuda.empty_cache()
        self._may_measure = False
        half = max(1, batch.num_tokens // 2)
        if half >= self.batch_tokens:
            return  # another thread found that out, after this one had made its plan
        self.batch_tokens = half
        logger.warning(
            "%s is out of memory at %d tokens a micro-batch; going on with %d",
            self.device,
            batch.num_tokens,
            self.batch_tokens,
        )

    def _cut(self, batch: MicroBatch) -> list[MicroBatch]:
        pieces = plan_micro_batches(batch.lengths, self.batch_tokens)
        return [MicroBatch(batch.rows[p.rows], p.lengths) for p in pieces]


def resolve_device(device: str) -> torch.device:
    """The device that "auto", "cpu", "cuda" or "cuda:1" stands for; raises ConfigError."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
    except RuntimeError:
        target = torch.device("meta")
    if target.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {device!r} is unknown; it is auto, cpu, cuda or cuda:<n>")
    if target.type == "cuda" and (target.index or 0) >= torch.cuda.device_count():
        way = f"mend the driver: torch here is made for CUDA {torch.version.cuda}"
        if torch.version.cuda is None:
            way = "install torch with CUDA: the one here is made without"
        raise ConfigError(
            f"device {device!r} is not here (GPUs that torch sees: {torch.cuda.device_count()}); "
            f"use cpu, or {way}"
        )
    return target
