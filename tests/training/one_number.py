"""The smallest network that can be trained."""

from __future__ import annotations

import torch
from torch import nn


class OneNumber(nn.Module):
    """A network of one number, which starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.zeros(1))

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        return {"number": self.number}

    def depth_of(self, name: str) -> int:
        return 0

    @property
    def value(self) -> float:
        return float(self.number.detach())
