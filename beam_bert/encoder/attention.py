"""Attention over a packed batch: the only place that looks at boundaries or branches on the device.

Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762), every token of a sequence over
every other of the same sequence, no mask: sequences are whole and nothing is padded. On a GPU it is
FlashAttention (Dao 2023, arXiv:2307.08691) over the packed batch, elsewhere one length at a time:
torch's own, or, for bfloat16 on a CPU with AVX-512 BF16 alone, which torch's hardly uses (it does
use AMX), batched products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from beam_bert.encoder.plan import Run
from beam_bert.encoder.precision import has_amx, has_native_bf16

# With one or two queries, MKL's product inside SDPA sums in an order that depends on how many
# sequences ride along; from four on it does not (tried with 1, 2 and 4 threads).
QUERIES_AT_LEAST = 8
# Scores that are held at once in bfloat16: 1 MiB of them stays in a core's own cache.
_SCORES_AT_ONCE = 2**19


@dataclass(frozen=True, eq=False)
class Boundaries:
    """Where the sequences of a packed batch begin and end.

    Attributes:
      runs: stretches of equal length, in order; they cover the batch.
      starts: int32 [n + 1] on the device, the cumulative lengths.
      queries: int32 [n + 1] on the device, 0, 1, 2, …: one query a sequence.
      longest: tokens of the longest sequence.
    """

    runs: tuple[Run, ...]
    starts: torch.Tensor
    queries: torch.Tensor
    longest: int


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    boundaries: Boundaries,
    *,
    first_tokens_only: bool,
) -> torch.Tensor:
    """Attend within each sequence.

    Args:
      query: [total_tokens, heads, head_size], or [n, heads, head_size] where
        `first_tokens_only`: one query a sequence, from its first token.
      key: [total_tokens, heads, head_size]; `value` likewise; any strides.
      boundaries: of the same packed batch.

    Returns:
      [rows of query, heads * head_size], contiguous.
    """
    if _is_for_varlen(query):
        return _attend_varlen(query, key, value, boundaries, first_tokens_only)
    way = _by_products if _is_for_products(query) else _by_torch
    context = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    for run in boundaries.runs:
        rows = run.sequences if first_tokens_only else run.tokens
        out = way(
            _heads_first(query[rows], run),
            _heads_first(key[run.tokens], run),
            _heads_first(value[run.tokens], run),
        )
        context[rows].unflatten(0, (run.count, -1)).copy_(out.transpose(1, 2))
    return context.flatten(1)


def _is_for_varlen(query: torch.Tensor) -> bool:
    """Whether FlashAttention takes it: on a GPU, in 16 bits, heads of a size that it knows."""
    head_size = query.shape[-1]
    return query.is_cuda and query.element_size() == 2 and head_size % 8 == 0 and head_size <= 256


def _is_for_products(query: torch.Tensor) -> bool:
    on_cpu_in_bf16 = query.dtype == torch.bfloat16 and query.device.type == "cpu"
    return on_cpu_in_bf16 and has_native_bf16() and not has_amx()


def _by_torch(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attention of sequences of one length: [count, heads, length, size] each, and the result."""
    queries = query.shape[2]
    if queries == 1:
        query = query.expand(-1, -1, QUERIES_AT_LEAST, -1)
    return F.scaled_dot_product_attention(query, key, value)[:, :, :queries]


def _by_products(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The same, as products of a few heads at a time, scores and weights in the inputs' type."""
    count, heads, queries, size = query.shape
    q, k, v = (x.reshape(count * heads, -1, size) for x in (query, key, value))
    out, nothing = torch.empty_like(q), q.new_empty(1, 1, 1)
    at_once = max(1, _SCORES_AT_ONCE // (queries * k.shape[1]))
    for some in (slice(i, i + at_once) for i in range(0, len(q), at_once)):
        scores = torch.baddbmm(nothing, q[some], k[some].transpose(1, 2), beta=0, alpha=size**-0.5)
        torch.bmm(torch.softmax(scores, dim=2, out=scores), v[some], out=out[some])
    return out.unflatten(0, (count, heads))


def _heads_first(rows: torch.Tensor, run: Run) -> torch.Tensor:
    """A view: [count * length, heads, size] -> [count, heads, length, size]."""
    return rows.unflatten(0, (run.count, -1)).transpose(1, 2)


def _attend_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    boundaries: Boundaries,
    first_tokens_only: bool,
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn  # a second or more, for GPUs alone

    out = varlen_attn(
        query,
        key,
        value,
        boundaries.queries if first_tokens_only else boundaries.starts,
        boundaries.starts,
        1 if first_tokens_only else boundaries.longest,
        boundaries.longest,
        **_one_order(query.device),
    )
    assert isinstance(out, torch.Tensor)
    return out.flatten(1)


@cache
def _one_order(device: torch.device) -> dict[str, Any]:
    """The option that keeps `varlen_attn` to one order of summation, whatever else is in the batch.

    Found by trying: torch 2.12 takes it for FlashAttention 3 alone and ROCm never; where it is not
    taken, FlashAttention 2 runs, which does not split a sequence's keys.
    """
    from torch.nn.attention.varlen import varlen_attn

    x = torch.zeros(1, 1, 64, dtype=torch.bfloat16, device=device)
    ends = torch.tensor([0, 1], dtype=torch.int32, device=device)
    option: dict[str, Any] = {"num_splits": 1}
    try:
        varlen_attn(x, x, x, ends, ends, 1, 1, **option)
    except torch.OutOfMemoryError:  # says nothing of the option, and must not be remembered
        raise
    except (TypeError, RuntimeError):
        return {}
    return option
