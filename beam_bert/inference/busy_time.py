"""The time that the model was busy, whatever the number of threads that queue for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class SharedSeconds:
    """Seconds that threads spend in one place; what several spend there at once, they share.

    So that their sum is the time in which the place was busy, and not that of those who queued.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 0
        self._changed = 0.0
        self._each = 0.0  # of a thread that would have been there from the beginning

    @contextmanager
    def spent(self) -> Iterator[list[float]]:
        """The body's share, in the list that it is given, once it is done."""
        seconds: list[float] = []
        entered = self._change(1)
        try:
            yield seconds
        finally:
            seconds.append(self._change(-1) - entered)

    def _change(self, threads: int) -> float:
        with self._lock:
            now = time.perf_counter()
            if self._threads:
                self._each += (now - self._changed) / self._threads
            self._changed = now
            self._threads += threads
            return self._each
