"""What this process has done so far, for a display beside the pipeline."""

from __future__ import annotations

import threading

from beam_bert.errors import RunFailed


class LiveCounts:
    """Documents read and predicted, their bytes and windows, added up by the workers' threads.

    Only a local, single-process run can see them grow; they are a display, never the totals.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.stopped = False  # somebody stops the run: what is counted next is the last of it
        self.rows_read = 0
        self.bytes_read = 0
        self.documents = 0.0
        self.windows = 0

    def add_read(self, rows: int, bytes_: int) -> None:
        """A slice was read; raises RunFailed where the run is stopped."""
        self._go_on()
        with self._lock:
            self.rows_read += rows
            self.bytes_read += bytes_

    def add_documents(self, documents: float, windows: int = 0) -> None:
        """Documents went through the model (fractions, since windows finish one by one).

        Raises:
          RunFailed: the run is stopped.
        """
        self._go_on()
        with self._lock:
            self.documents += documents
            self.windows += windows

    def _go_on(self) -> None:
        if self.stopped:
            raise RunFailed("the run was stopped")


LIVE = LiveCounts()
