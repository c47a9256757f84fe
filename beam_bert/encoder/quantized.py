"""Linear layers in 8 bits: a scale for each output channel and one for each token.

A token's scale comes from its own values alone, and int8 sums are exact, so a row's bits do not
depend on the rows beside it. The scheme is that of LLM.int8() (Dettmers et al. 2022,
arXiv:2208.07339) without its outlier columns, and with a zero point for each token: what leaves a
norm or GELU is far from symmetric, and half of the range would go to values that do not occur.
"""

from __future__ import annotations

from functools import cache

import torch

from beam_bert.encoder.linear import Linear
from beam_bert.errors import ConfigError

_TINY = 1e-30  # a row of zeros has a scale, too
# 1.5 * 2^23: a float32 this large has no room for a fraction, so adding it rounds to the nearest
# integer and leaves that in the low bits. A third of what round() and .to(uint8) take.
_ROUNDING = 12_582_912.0
_ROWS_AT_ONCE = 256


class Int8Linear(Linear):
    """oneDNN's uint8 x int8 product on a CPU, float32 outside.

    Args:
      weight: float32 [out_features, in_features].
      bias: float32 [out_features].
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        rounded, self._scales = quantize_weight(weight, exact_products())
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._zero_points = torch.zeros(len(self._scales), dtype=torch.int64)
        self._sums = rounded.sum(dim=1) * self._scales
        self._bias = bias

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """See `Linear`; x is float32."""
        low, high = x.amin(1, keepdim=True).clamp_max_(0), x.amax(1, keepdim=True).clamp_min_(0)
        # 254, not 255: both ends are rounded, and what reaches 256 would come out as 0.
        scale = (high - low).clamp_min_(_TINY).div_(254)
        zero_point = low.div_(scale).round_().neg_()
        y: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            _round(x, scale.reciprocal(), zero_point + _ROUNDING),
            1.0,
            0,
            self._weight,
            self._scales,
            self._zero_points,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "none",
        )
        y = torch.addcmul(self._bias, y, scale, out=y)
        return torch.addcmul(y, scale.mul_(zero_point).neg_(), self._sums, out=y)


def _round(x: torch.Tensor, factor: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """The low bytes of x * factor + shift, for x [rows, features], the others [rows, 1].

    Some rows at a time, so that what lies between is written to the same few pages.
    """
    rounded = torch.empty(x.shape, dtype=torch.uint8)
    shifted = torch.empty((min(len(x), _ROWS_AT_ONCE), x.shape[1]))
    for start in range(0, len(x), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        here = torch.mul(x[rows], factor[rows], out=shifted[: len(x) - start]).add_(shift[rows])
        rounded[rows].copy_(here.view(torch.int32))
    return rounded


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
        count = len(weight)
        y = torch.ops.onednn.qlinear_pointwise(
            x,
            1.0,
            0,
            torch.ops.onednn.qlinear_prepack(weight, None),
            torch.ones(count),
            torch.zeros(count, dtype=torch.int64),
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "none",
        )
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


class Fp8Linear(Linear):
    """cuBLAS' float8 e4m3 product on a GPU with a scale a row on both sides, bfloat16 outside.

    The format is that of Micikevicius et al. 2022, arXiv:2209.05433.

    Raises:
      ConfigError: the product does not take weights of this shape.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        if any(size % 16 for size in weight.shape):
            raise ConfigError(
                f"precision fp8 takes layers whose sizes 16 divides, and this model has one of "
                f"{weight.shape[1]} x {weight.shape[0]}; use bf16"
            )
        self._weight, scales = _to_fp8(weight.float())
        self._scales = scales.t().contiguous()
        self._bias = bias.to(torch.bfloat16)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """See `Linear`; x is bfloat16."""
        rounded, scales = _to_fp8(x)
        y: torch.Tensor = torch._scaled_mm(
            rounded,
            self._weight.t(),
            scale_a=scales,
            scale_b=self._scales,
            bias=self._bias,
            out_dtype=torch.bfloat16,
            use_fast_accum=True,
        )
        return y


def _to_fp8(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of x in float8 e4m3, and their float32 scales [rows, 1]."""
    peak = torch.linalg.vector_norm(x, torch.inf, dim=1, keepdim=True).float()
    # In x's own type, so that no wider copy of x is made; what that rounds, the scale takes up.
    factor = (torch.finfo(torch.float8_e4m3fn).max / peak.clamp_min_(_TINY)).to(x.dtype)
    return (x * factor).to(torch.float8_e4m3fn), factor.float().reciprocal_()
