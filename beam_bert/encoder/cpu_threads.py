"""`CPU_THREADS`: the cores of a CPU, side by side, each with a micro-batch of its own.

Cores that share every product meet after each step, and all wait for the slowest; cores that each
have a micro-batch meet once a call. Each micro-batch is computed on one thread, so that the bits of
a forward do not depend on how many there are.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import torch

# Python hands out one operation at a time: with more micro-batches at once than this it would be
# what they wait for (a guess), so that beyond it each gets several threads.
MOST_THREADS = 16


class CpuThreads:
    """The threads that torch may use here, a micro-batch each; for all models together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._threads = 0  # torch's, while somebody has them
        self._pool: ThreadPoolExecutor | None = None
        self._shape = (0, 0)

    @property
    def count(self) -> int:
        """How many there are: as many as `torch.get_num_threads()`, up to `MOST_THREADS`."""
        with self._lock:
            return min(self._threads or torch.get_num_threads(), MOST_THREADS)

    @contextmanager
    def open(self) -> Iterator[Executor]:
        """What runs `count` things at once; meanwhile torch computes on one thread elsewhere."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._threads = torch.get_num_threads()
                count = min(self._threads, MOST_THREADS)
                self._take_pool(count, self._threads // count)
            pool = self._pool
        assert pool is not None
        try:
            yield pool
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    torch.set_num_threads(self._threads)
                    self._threads = 0

    def _take_pool(self, count: int, each: int) -> None:
        torch.set_num_threads(each)  # MKL has one number for the whole process, OpenMP a thread's
        if self._shape != (count, each):
            self._pool = ThreadPoolExecutor(count, "micro-batch", torch.set_num_threads, (each,))
            self._shape = count, each


CPU_THREADS = CpuThreads()
