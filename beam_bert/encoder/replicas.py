"""The same model on every GPU of a machine, so that one process keeps all of them busy."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Generic, Protocol, TypeVar

import torch


def devices_of(device: str) -> list[str]:
    """Every GPU that torch sees, where `device` leaves open which; else `device` itself."""
    count = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    return [f"cuda:{number}" for number in range(count)] if count > 1 else [device]


class OnDevice(Protocol):
    """Something that computes on one device."""

    @property
    def device(self) -> str:
        """ "cpu", "cuda" or "cuda:1"."""


Model = TypeVar("Model", bound=OnDevice)


class Replicas(Generic[Model]):
    """Models that answer alike; threads that compute at once are spread over them.

    Args:
      models: one for each device.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self._models = tuple(models)
        self._callers = [0] * len(self._models)
        self._lock = threading.Lock()

    @contextmanager
    def least_busy(self) -> Iterator[Model]:
        """The model that the fewest threads are using, for as long as the body runs."""
        with self._lock:
            number = min(range(len(self._models)), key=self._callers.__getitem__)
            self._callers[number] += 1
        model = self._models[number]
        # Kernels that are compiled at run time go to the thread's current device.
        on_its_device = (
            torch.cuda.device(model.device) if model.device.startswith("cuda:") else nullcontext()
        )
        try:
            with on_its_device:
                yield model
        finally:
            with self._lock:
                self._callers[number] -= 1
