"""Linear layers in 8 bits: a scale for each output channel and one for each token.

A token's scale comes from its own values alone, and int8 sums are exact, so a row's bits do not
depend on the rows beside it. The scheme is that of LLM.int8() (Dettmers et al. 2022,
arXiv:2208.07339) without its outlier columns, and with a zero point for each token: what leaves a
norm or GELU is far from symmetric, and half of the range would go to values that do not occur.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

from beam_bert.encoder.int8_rows import rescale_rows, round_rows
from beam_bert.encoder.linear import Linear

_TINY = 1e-30  # a row of zeros has a scale, too
# qlinear_pointwise's last arguments: no bias, the output's scale and zero point and type, nothing
# applied to it.
_PLAIN_FLOAT32: tuple[Any, ...] = (None, 1.0, 0, torch.float32, "none", [], "none")


class Int8Linear(Linear):
    """oneDNN's uint8 x int8 product on a CPU, float32 outside.

    Args:
      weight: float32 [out_features, in_features].
      bias: float32 [out_features].
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        rounded, self._scales = quantize_weight(weight, exact_products())
        self._weight = prepack(rounded)
        self._sums = (rounded.sum(dim=1) * self._scales).numpy()
        self._bias = bias.contiguous().numpy()

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """See `Linear`; x is float32."""
        return self._product(x, gelu=False)

    def activated(self, x: torch.Tensor, activation: str | None) -> torch.Tensor:
        """See `Linear`: GELU is applied where the product is scaled."""
        if activation == "gelu":
            return self._product(x, gelu=True)
        return super().activated(x, activation)

    def _product(self, x: torch.Tensor, *, gelu: bool) -> torch.Tensor:
        rounded = torch.empty(x.shape, dtype=torch.uint8)
        scales, zero_points = np.empty((2, len(x)), np.float32)
        round_rows(x.contiguous().numpy(), rounded.numpy(), scales, zero_points)
        y = multiply(rounded, self._weight, self._scales)
        rescale_rows(y.numpy(), scales, zero_points, self._bias, self._sums, gelu)
        return y


def prepack(weight: torch.Tensor) -> torch.Tensor:
    """Weights int8 [out_features, in_features] in oneDNN's own layout."""
    packed: torch.Tensor = torch.ops.onednn.qlinear_prepack(weight, None)
    return packed


def multiply(x: torch.Tensor, packed: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """oneDNN's product of x uint8 [rows, in_features] and packed weights, exact before scaling.

    Args:
      x: as it is, without scale and zero point.
      packed: of `prepack`.
      scales: float32 [out_features].

    Returns:
      float32 [rows, out_features].
    """
    zero_points = torch.zeros(len(scales), dtype=torch.int64)
    y: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
        x, 1.0, 0, packed, scales, zero_points, *_PLAIN_FLOAT32
    )
    return y


@cache
def exact_products() -> str:
    """Which int8 weights this machine multiplies exactly with uint8 inputs, found by trying.

    With VNNI (AVX-512 or AVX) "all". AVX2 adds the products of neighbours in 16 bits, which
    saturate: there "pairs" are exact, as long as two neighbours of one sign sum to 128 at most;
    else "half", -64 to 64.
    """
    x = torch.full((8, 64), 255, dtype=torch.uint8)
    for name, largest, neighbour in (("all", 127, 127), ("pairs", 127, 1)):
        rows = torch.tensor([[largest, neighbour], [neighbour, largest], [-largest, -neighbour]])
        weight = rows.repeat(16, 32).to(torch.int8)
        y = multiply(x, prepack(weight), torch.ones(len(weight)))
        if torch.equal(y, x.float() @ weight.float().t()):
            return name
    return "half"


def quantize_weight(weight: torch.Tensor, exact: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Round `weight` float32 [out, in] to int8 [out, in] and float32 scales [out].

    `exact` is of `exact_products`. For "pairs" each channel takes the number of levels that leaves
    the least squared error: more of them are finer, and clip more pairs.
    """
    peak = weight.abs().amax(dim=1, keepdim=True).clamp_min_(_TINY)
    if exact != "pairs" or weight.shape[1] % 2:
        scales = peak / (127 if exact == "all" else 64)
        return (weight / scales).round_().to(torch.int8), scales[:, 0]
    best = torch.full_like(peak, torch.inf)
    rounded, scales = torch.empty_like(weight), torch.empty_like(peak)
    for levels in (64, 80, 96, 112, 127):
        candidate = _clip_pairs((weight / (peak / levels)).round_())
        error = (candidate * (peak / levels) - weight).square_().sum(dim=1, keepdim=True)
        is_better = error < best
        best = torch.where(is_better, error, best)
        rounded = torch.where(is_better, candidate, rounded)
        scales = torch.where(is_better, peak / levels, scales)
    return rounded.to(torch.int8), scales[:, 0]


def _clip_pairs(rounded: torch.Tensor) -> torch.Tensor:
    """Move neighbours of one sign towards zero, both alike, until they sum to 128 at most."""
    left, right = rounded[:, 0::2], rounded[:, 1::2]
    excess = (left + right).abs_().sub_(128).clamp_min_(0)
    excess *= left * right > 0
    sign = left.sign()
    left -= sign * (excess / 2).ceil()
    right -= sign * (excess / 2).floor()
    return rounded
