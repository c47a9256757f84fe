"""Weights by name: of a network, or kept from an earlier moment of one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights as they are now, whatever becomes of those given."""
    return {name: weight.detach().clone() for name, weight in weights.items()}


@torch.no_grad()
def put(parameters: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Make these parameters be the weights of the same names; none is put that is not given."""
    for name, weight in weights.items():
        parameters[name].copy_(weight)


def same_shapes(parameters: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> bool:
    """Whether the weights are of that network: code that changed may have cut it otherwise."""
    shapes = {name: weight.shape for name, weight in weights.items()}
    return shapes == {name: parameter.shape for name, parameter in parameters.items()}


def finite(outputs: np.ndarray) -> np.ndarray:
    """The same; raises FloatingPointError where some of it are no numbers: weights ran away."""
    if not np.isfinite(outputs).all():
        raise FloatingPointError("a network's outputs are no numbers")
    return outputs
