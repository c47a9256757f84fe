"""Linear layers in the floating types: y = activation(x W^T + b) + residual.

On a CPU the bits of a row must not depend on the rows beside it, and which library is fastest
differs: oneDNN with weights packed once where there is AVX-512 (and for bf16 always), and MKL where
there is AVX2 alone, since oneDNN's float32 kernel is the slower one there. With AVX-512 oneDNN also
applies GELU and adds the residual while a tile of the product is at hand; with AVX2 its erf takes
several times as long as torch's (`benchmarks/engine.py --kernels` shows the products and GELU).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F


def _gelu(x: torch.Tensor) -> torch.Tensor:
    y: torch.Tensor = torch.ops.aten.gelu_(x)
    return y


def _gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    y: torch.Tensor = torch.ops.aten.gelu_(x, approximate="tanh")
    return y


# In place, since a fresh [tokens, intermediate] tensor costs more than the arithmetic.
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": _gelu,  # Hendrycks and Gimpel 2016, arXiv:1606.08415
    "gelu_tanh": _gelu_tanh,
    "relu": torch.relu_,
    "tanh": torch.tanh_,
}


class Linear(ABC):
    """One linear layer over packed rows."""

    @abstractmethod
    def product(self, x: torch.Tensor) -> torch.Tensor:
        """The product alone: x weight^T + bias, for x [rows, in_features], as a new tensor."""

    def activated(self, x: torch.Tensor, activation: str | None) -> torch.Tensor:
        """The product with a key of `ACTIVATIONS` applied to it, as a new tensor."""
        y = self.product(x)
        return y if activation is None else ACTIVATIONS[activation](y)

    def added(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """The product and `residual` [rows, out_features] summed, as a new tensor."""
        return self.product(x).add_(residual)

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
        if residual is not None and activation is None:
            return self.added(x, residual)
        y = self.activated(x, activation)
        return y if residual is None else y.add_(residual)


class PlainLinear(Linear):
    """`F.linear`: any device and dtype; on a GPU, cuBLAS."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight, self._bias = weight, bias

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """See `Linear`."""
        return F.linear(x, self._weight, self._bias)


class OneDnnLinear(Linear):
    """oneDNN with weights packed in its own layout: CPU, float32 or bfloat16."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 2048)
        self._bias = bias

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """See `Linear`."""
        return self._pointwise(x, "none")

    def activated(self, x: torch.Tensor, activation: str | None) -> torch.Tensor:
        """See `Linear`."""
        if activation == "gelu" and _fuses():
            return self._pointwise(x, "gelu")
        return super().activated(x, activation)

    def added(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """See `Linear`."""
        if not _fuses():
            return super().added(x, residual)
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            _enough_rows(x), _enough_rows(residual), self._weight, self._bias, "add"
        )
        return y[: x.shape[0]]

    def _pointwise(self, x: torch.Tensor, activation: str) -> torch.Tensor:
        y: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            _enough_rows(x), self._weight, self._bias, activation, [], "none"
        )
        return y[: x.shape[0]]


class MklLinear(Linear):
    """MKL's product: CPU, float32."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight, self._bias = weight.t().contiguous(), bias

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """See `Linear`."""
        return torch.addmm(self._bias, _enough_rows(x), self._weight)[: x.shape[0]]


@cache
def _fuses() -> bool:
    """Whether oneDNN applies what follows a product faster than torch does."""
    return bool(torch.cpu._is_avx512_supported())


def _enough_rows(x: torch.Tensor) -> torch.Tensor:
    """X, with rows of zeros below where it has so few that a library would sum in another order.

    MKL does where a thread gets one to three rows; from four rows a thread on, a row's bits are the
    same wherever it stands (tried: 1 to 16 threads, 1 to 2,048 rows, AVX2).
    """
    missing = max(64, 4 * torch.get_num_threads()) - x.shape[0]
    return x if missing <= 0 else F.pad(x, (0, 0, 0, missing))
