"""What this process has done so far, for a display beside the pipeline, and the time it took."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class LiveCounts:
    """Documents read, predicted and their bytes, added up by the workers' threads.

    Only a local, single-process run can see them grow; they are a display, never the books.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.rows_read = 0
        self.bytes_read = 0
        self.documents = 0.0

    def add_read(self, rows: int, bytes_: int) -> None:
        """A slice was read."""
        with self._lock:
            self.rows_read += rows
            self.bytes_read += bytes_

    def add_documents(self, documents: float) -> None:
        """Documents went through the model (fractions, since windows finish one by one)."""
        with self._lock:
            self.documents += documents


LIVE = LiveCounts()


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
        found: list[float] = []
        entered = self._change(1)
        try:
            yield found
        finally:
            found.append(self._change(-1) - entered)

    def _change(self, threads: int) -> float:
        with self._lock:
            now = time.perf_counter()
            if self._threads:
                self._each += (now - self._changed) / self._threads
            self._changed = now
            self._threads += threads
            return self._each
