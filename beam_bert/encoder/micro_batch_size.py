"""How many tokens a micro-batch takes: what is known beforehand, and a measurement where it pays.

A larger micro-batch runs longer products, a smaller one stays in the cache; where the balance lies
is the machine's affair. The default is never far off, so it is only ever exchanged for a size
that is clearly faster here and that gives the very same bits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from beam_bert.encoder.config import EncoderConfig
from beam_bert.encoder.model import Encoder
from beam_bert.encoder.packing import PackedBatch
from beam_bert.encoder.precision import EIGHT_BITS, compute_dtype

# Measuring takes the time of one or two micro-batches: worth it from so many on.
WORTH_MEASURING = 100
_ROUNDS = 3
_CLEARLY_FASTER = 0.95  # of the default's time; a busy machine's noise is a few per cent


def default_batch_tokens(config: EncoderConfig, precision: str, device: torch.device) -> int:
    """Tokens of a micro-batch where nothing is asked for.

    On a CPU, as many as keep the widest activation, [tokens, intermediate], within 24 MiB (for
    BERT-base 2,048 in float32 and 4,096 in bfloat16): longer products are faster ones, but past 32
    MiB glibc hands memory back to the kernel after each use (see `memory`), and every layer would
    pay for fresh pages.
    """
    if device.type == "cuda":
        return 65_536
    widest = max(config.intermediate_size, 2 * config.hidden_size)
    fitting = 24 * 2**20 // (compute_dtype(precision).itemsize * widest)
    return int(min(4_096, max(512, fitting // 512 * 512)))


def candidates(default: int) -> tuple[int, ...]:
    """The sizes that are measured, the default first."""
    return default, default // 2, 2 * default


def forward_bytes(config: EncoderConfig, tokens: int, precision: str) -> int:
    """An upper bound on the activations of a forward over `tokens`, all layers' peak, in bytes.

    The widest moment is attention (states, queries, keys, values, context, one more on the way; in
    bf16 on a CPU the first four once more, by heads) or the feed-forward block (states, and the
    intermediate ones, which 8 bits hold up to three times).
    """
    attention = (10 if precision == "bf16" else 8) * config.hidden_size
    feed_forward = (
        3 * config.hidden_size + (3 if precision in EIGHT_BITS else 1) * config.intermediate_size
    )
    size = compute_dtype(precision).itemsize
    working = 2**22  # attention's own blocks, the micro-batch's indices, the head
    return tokens * size * max(attention, feed_forward) + working


@dataclass(frozen=True)
class Measurement:
    """What the sizes of a micro-batch cost here.

    Attributes:
      chosen: tokens of a micro-batch from now on.
      microseconds: of a token in one layer, the least of a few tries, by size; only sizes that
        fit in memory and give the default's bits.
    """

    chosen: int
    microseconds: Mapping[int, float]


@torch.inference_mode()
def measure(encoder: Encoder, batches: Mapping[int, PackedBatch]) -> Measurement:
    """Time single layers, in turns, over micro-batches of several sizes.

    Args:
      encoder: as it will run.
      batches: by size, the default first; each begins with the sequences of the smaller ones.
    """
    default = next(iter(batches))
    took: dict[int, list[float]] = {size: [] for size in batches}
    for number in range(_ROUNDS + 1):  # the first one warms up
        expected = None
        for size in list(took):
            seconds, states = _time_layer(encoder, number, batches[size])
            if states is None or (expected is not None and not _same(states, expected)):
                del took[size]
                continue
            expected = states if expected is None else expected
            took[size] += [seconds / len(states)] if number else []
    cost = {size: 1e6 * min(times) for size, times in took.items()}
    best = min(cost, key=lambda size: cost[size], default=default)
    is_faster = default in cost and cost[best] < _CLEARLY_FASTER * cost[default]
    return Measurement(best if is_faster else default, cost)


def _time_layer(
    encoder: Encoder, number: int, batch: PackedBatch
) -> tuple[float, torch.Tensor | None]:
    """Seconds of one layer, and its states; None where a GPU's memory is too small for it."""
    try:
        hidden = encoder.embed(batch)
        _wait(hidden)
        started = time.perf_counter()
        states = encoder.layer(number, hidden, batch)
        _wait(states)
        return time.perf_counter() - started, states
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        return 0.0, None


def _wait(tensor: torch.Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)


def _same(states: torch.Tensor, expected: torch.Tensor) -> bool:
    rows = min(len(states), len(expected))
    return torch.equal(states[:rows], expected[:rows])
