"""What a launch and its first pass over the input have fetched, kept for those who read it again.

To cut a large file its record ends must be counted, and its columns are looked at before that:
the same bytes, up to three times. Where one process does all of it they are fetched once, and wait
in a file without a name, which goes with the process. Workers on other machines keep nothing: they
read slices that others have counted.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from threading import Lock
from typing import IO

_MAX_BYTES = 16 << 30

Key = tuple[str, str]  # an object's URL and generation


class KeptBytes:
    """Ranges of objects in one file on the local disk; thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._file: IO[bytes] | None = None
        self._room = 0
        self._end = 0
        self._pieces: dict[Key, list[tuple[int, int, int]]] = {}  # start, stop, place in the file

    def begin(self) -> None:
        """Forget everything, and keep what is put from now on, up to half of the free disk."""
        with self._lock:
            self._pieces.clear()
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="beam_bert-")  # noqa: SIM115 - for good
            self._clear()

    def stop(self) -> None:
        """Keep nothing any more, as a process that did not look at the files before."""
        with self._lock:
            self._pieces.clear()
            if self._file is not None:
                self._file.close()
            self._file = None

    def _clear(self) -> None:
        assert self._file is not None
        self._file.truncate(0)
        self._end = 0
        self._room = min(_MAX_BYTES, shutil.disk_usage(tempfile.gettempdir()).free // 2)

    def put(self, key: Key, start: int, data: bytes) -> None:
        """Keep the bytes of an object from `start` on, if there is room."""
        with self._lock:
            if self._file is None or self._end + len(data) > self._room or not data:
                return
            try:
                os.pwrite(self._file.fileno(), data, self._end)
            except OSError:  # the disk is full: it will be fetched again
                self._room = 0
                return
            self._pieces.setdefault(key, []).append((start, start + len(data), self._end))
            self._end += len(data)

    def get(self, key: Key, start: int, stop: int, *, take: bool) -> bytes:
        """Bytes from `start` on, up to `stop`, if any are kept; taken ones are kept no longer."""
        with self._lock:
            pieces = self._pieces.get(key, [])
            index = next((i for i, (a, b, _) in enumerate(pieces) if a <= start < b), None)
            if index is None or self._file is None:
                return b""
            first, last, place = pieces[index]
            end = min(stop, last)
            data = os.pread(self._file.fileno(), end - start, place + start - first)
            if take:
                left = [(first, start, place), (end, last, place + end - first)]
                pieces[index : index + 1] = [piece for piece in left if piece[0] < piece[1]]
                if not pieces:
                    del self._pieces[key]
                if not self._pieces:
                    self._clear()
            return data

    def next_start(self, key: Key, start: int, stop: int) -> int:
        """Where the next kept bytes after `start` begin; `stop` if none do before it."""
        with self._lock:
            pieces = self._pieces.get(key, [])
            return min((first for first, _, _ in pieces if start < first < stop), default=stop)


KEPT = KeptBytes()
