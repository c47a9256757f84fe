"""Linear layers in float8 on a GPU: a scale for each token and one for each output channel."""

from __future__ import annotations

import torch

from beam_bert.encoder.linear import Linear
from beam_bert.errors import ConfigError

_TINY = 1e-30  # a row of zeros has a scale, too


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
