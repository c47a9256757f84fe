"""Linear layers, one class a precision: the encoder asks for y = act(x W^T + b) + residual.

fp32 and bf16 on a CPU go through oneDNN with weights packed once, in its own layout. That is
faster than `F.linear`, and a row's bits do not depend on how many rows ride with it, which
`F.linear`'s (MKL's) do; `tests/encoder/test_precision.py` holds it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F

Activation = Callable[[torch.Tensor], torch.Tensor]


def _gelu(x: torch.Tensor) -> torch.Tensor:
    return torch.ops.aten.gelu_(x)


def _gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    return torch.ops.aten.gelu_(x, approximate="tanh")


# In place: a fresh [tokens, intermediate] tensor costs more in page faults than the arithmetic.
ACTIVATIONS: dict[str, Activation] = {
    "gelu": _gelu,  # Hendrycks and Gimpel 2016, arXiv:1606.08415
    "gelu_tanh": _gelu_tanh,
    "relu": torch.relu_,
    "tanh": torch.tanh_,
}


class Linear(ABC):
    """y = activation(x weight^T + bias) + residual, over packed rows."""

    @abstractmethod
    def product(self, x: torch.Tensor) -> torch.Tensor:
        """X weight^T + bias, for x [rows, in_features]: a new tensor [rows, out_features]."""

    def __call__(
        self,
        x: torch.Tensor,
        *,
        activation: str | None = None,
        residual: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Apply to x [rows, in_features]; returns [rows, out_features] of the same dtype.

        `activation` is a key of `ACTIVATIONS`; `residual` has the result's shape.
        """
        y = self.product(x)
        if activation is not None:
            y = ACTIVATIONS[activation](y)
        return y if residual is None else y.add_(residual)


class PlainLinear(Linear):
    """`F.linear`: every device, every dtype."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight, self._bias = weight, bias

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """See `Linear`."""
        return F.linear(x, self._weight, self._bias)


class PackedLinear(Linear):
    """oneDNN with prepacked weights: CPU, float32 or bfloat16."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 2048)
        self._bias = bias

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """See `Linear`."""
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self._bias, "none", [], "none"
        )
        return y


def make_linear(
    weight: torch.Tensor, bias: torch.Tensor, *, precision: str, device: torch.device
) -> Linear:
    """The linear layer of `precision` on `device`; weight [out, in] and bias [out] are float32."""
    dtype = compute_dtype(precision)
    weight, bias = weight.to(device, dtype), bias.to(device, dtype)
    if device.type == "cpu" and torch.backends.mkldnn.is_available() and _packs(dtype):
        return PackedLinear(weight, bias)
    return PlainLinear(weight, bias)


def compute_dtype(precision: str) -> torch.dtype:
    """Dtype of the hidden states between the products."""
    return torch.bfloat16 if precision in ("bf16", "fp8") else torch.float32


def _packs(dtype: torch.dtype) -> bool:
    # oneDNN refuses bf16 where the CPU has neither AVX-512 nor AVX-NE-CONVERT.
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def has_native_bf16() -> bool:
    """True where the CPU multiplies bf16 in hardware: AVX-512 BF16 or AMX."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def resolve_precision(precision: str, device: torch.device) -> str:
    """Turn "auto" into what `device` runs best: bf16 in hardware, else fp32.

    Raises:
      ValueError: the name is unknown, or this device does not run it.
    """
    if precision == "auto":
        return "bf16" if device.type == "cuda" or has_native_bf16() else "fp32"
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision {precision!r} is unknown; it is auto, fp32 or bf16")
    return precision
