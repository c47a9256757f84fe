"""What this process has done so far, for a display beside the pipeline."""

from __future__ import annotations

import threading


class LiveCounts:
    """Documents read and predicted, their bytes and windows, added up by the workers' threads.

    Only a local, single-process run can see them grow; they are a display, never the totals.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.rows_read = 0
        self.bytes_read = 0
        self.documents = 0.0
        self.windows = 0

    def add_read(self, rows: int, bytes_: int) -> None:
        """A slice was read."""
        with self._lock:
            self.rows_read += rows
            self.bytes_read += bytes_

    def add_documents(self, documents: float, windows: int = 0) -> None:
        """Documents went through the model (fractions, since windows finish one by one)."""
        with self._lock:
            self.documents += documents
            self.windows += windows


LIVE = LiveCounts()
