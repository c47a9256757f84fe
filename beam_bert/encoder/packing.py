"""`PackedBatch`: a micro-batch as tensors, its sequences end to end, ready for the encoder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from beam_bert.encoder.attention import Boundaries
from beam_bert.encoder.config import EncoderConfig
from beam_bert.encoder.plan import Int32Array, Int64Array, MicroBatch


@dataclass(frozen=True, eq=False)
class PackedBatch:
    """The input of `Encoder.forward`.

    Attributes:
      input_ids: int32 [total_tokens].
      position_rows: int32 [total_tokens], row that is added of the table of positions and token
        types (token_type * max_positions + position).
      first_tokens: int64 [n], where each sequence's first token lies.
      boundaries: for attention.
    """

    input_ids: torch.Tensor
    position_rows: torch.Tensor
    first_tokens: torch.Tensor
    boundaries: Boundaries


def pack(
    batch: MicroBatch,
    input_ids: Int32Array,
    offsets: Int64Array,
    first_lengths: Int32Array | None,
    config: EncoderConfig,
    device: torch.device,
) -> PackedBatch:
    """Gather the sequences of `batch` from the caller's arrays and lay them end to end.

    Args:
      batch: which sequences, in which order.
      input_ids: int32 [total_tokens] of all sequences; `offsets` int64 [n + 1] and
        `first_lengths` int32 [n] or None describe them as in `SequenceClassifier.logits`.
      config: for the rows of positions and token types.
      device: where the tensors go.
    """
    starts = np.zeros(len(batch.lengths) + 1, dtype=np.int64)
    np.cumsum(batch.lengths, out=starts[1:])
    # Position of every packed token in its own sequence: 0, 1, 2, …, 0, 1, …
    position = np.arange(starts[-1]) - np.repeat(starts[:-1], batch.lengths)
    source = np.repeat(offsets[batch.rows], batch.lengths) + position
    position_rows = position + config.position_offset
    if first_lengths is not None and config.type_vocab_size > 1:
        is_second = position >= np.repeat(first_lengths[batch.rows], batch.lengths)
        position_rows += is_second * config.max_positions

    return PackedBatch(
        input_ids=to_device(input_ids[source], device),
        position_rows=to_device(position_rows.astype(np.int32), device),
        first_tokens=to_device(starts[:-1], device),
        boundaries=Boundaries(
            runs=tuple(batch.runs()),
            starts=to_device(starts.astype(np.int32), device),
            queries=to_device(np.arange(len(starts), dtype=np.int32), device),
            longest=int(batch.lengths.max()),
        ),
    )


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """`array` as a tensor on `device`; a GPU copies it when its turn comes, and nobody waits."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
