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
    """The threads that torch may use here, a micro-batch each; for all models together.

    How many there are is found once, where they are first asked for: torch's number is a thread's
    own, and a thread that begins while another one's was changed begins with that.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 0
        self._pool: ThreadPoolExecutor | None = None

    @property
    def count(self) -> int:
        """How many there are: as many as torch's at first, up to `MOST_THREADS`."""
        with self._lock:
            return self._count()

    @contextmanager
    def open(self) -> Iterator[Executor]:
        """What runs `count` things at once, for any number of callers; their own threads stay."""
        with self._lock:
            if self._pool is None:
                self._pool = self._started()
            pool = self._pool
        yield pool

    def _count(self) -> int:
        self._threads = self._threads or torch.get_num_threads()
        return min(self._threads, MOST_THREADS)

    def _started(self) -> ThreadPoolExecutor:
        count, own = self._count(), torch.get_num_threads()
        share = self._threads // count
        all_there = threading.Barrier(count + 1)
        pool = ThreadPoolExecutor(count, "micro-batch", _begin, (share,))
        for _ in range(count):
            pool.submit(all_there.wait)
        all_there.wait()
        torch.set_num_threads(own)  # what a thread sets, those that begin later would begin with
        return pool


def _begin(threads: int) -> None:
    """Have this thread compute on so many."""
    torch.get_num_threads()  # torch takes its number for a new thread at the first use, after which
    torch.set_num_threads(threads)  # what is set here stays


CPU_THREADS = CpuThreads()
