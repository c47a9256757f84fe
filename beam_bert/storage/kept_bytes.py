"""What a launch and its first pass over the input have fetched, kept for those who read it again.

To cut a large file its record ends must be counted, and its columns are looked at before that:
the same bytes, up to three times. The processes of one machine fetch them once: they wait in a file
without a name, which goes with the launch that made it and the workers that it started. Workers on
other machines keep nothing: they read slices that others have counted.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from threading import RLock
from typing import IO

_MAX_BYTES = 16 << 30
# How the processes that a launch starts find its file.
_VARIABLE = "BEAM_BERT_KEPT_BYTES"
# Before each piece: digest of its object, first byte, length; of no length: forget that object.
_HEADER = struct.Struct("<32sQQ")

Key = tuple[str, str]  # an object's URL and generation


class KeptBytes:
    """Ranges of objects, one after another in a file on the local disk.

    Several threads and processes may use it at once.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._file: IO[bytes] | None = None
        self._room = 0
        self._known = 0  # how far the file was looked through
        self._pieces: dict[bytes, list[tuple[int, int, int]]] = {}  # start, stop, place in the file

    def begin(self) -> None:
        """Forget everything, and keep what is put from now on, up to half of the free disk."""
        with self._lock:
            self.stop()
            file = tempfile.TemporaryFile(prefix="beam_bert-")  # noqa: SIM115 - for good
            self._room = min(_MAX_BYTES, shutil.disk_usage(tempfile.gettempdir()).free // 2)
            self._file, inode = file, os.fstat(file.fileno()).st_ino
            place = f"/proc/{os.getpid()}/fd/{file.fileno()}"
            os.environ[_VARIABLE] = f"{self._room}:{inode}:{place}"

    def stop(self) -> None:
        """Keep nothing any more, as a process that did not look at the files before."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file, self._known = None, 0
            self._pieces.clear()
            os.environ.pop(_VARIABLE, None)

    def put(self, key: Key, start: int, data: bytes) -> None:
        """Keep the bytes of an object from `start` on, if there is room."""
        if data:
            self._append(key, start, data)

    def forget(self, key: Key) -> None:
        """Keep nothing of an object any more, in any process: it was wrong."""
        self._append(key, 0, b"")

    def get(self, key: Key, start: int, stop: int) -> bytes:
        """Bytes from `start` on, up to `stop`, if any are kept."""
        with self._lock:
            for first, last, place in self._pieces_of(key):
                if self._file is not None and first <= start < last:
                    size = min(stop, last) - start
                    return os.pread(self._file.fileno(), size, place + start - first)
        return b""

    def next_start(self, key: Key, start: int, stop: int) -> int:
        """Where the next kept bytes after `start` begin; `stop` if none do before it."""
        with self._lock:
            pieces = self._pieces_of(key)
        return min((first for first, _, _ in pieces if start < first < stop), default=stop)

    def _append(self, key: Key, start: int, data: bytes) -> None:
        with self._lock, self._alone() as file:
            if file is None:
                return
            end = os.fstat(file).st_size
            if end + len(data) > self._room:
                return
            header = _HEADER.pack(_digest(key), start, len(data))
            try:
                whole = os.pwrite(file, header + data, end) == _HEADER.size + len(data)
            except OSError:
                whole = False
            if not whole:  # the disk is full: it will be fetched again
                os.ftruncate(file, end)

    def _pieces_of(self, key: Key) -> list[tuple[int, int, int]]:
        with self._alone() as file:
            while file is not None and self._known < os.fstat(file).st_size:
                header = os.pread(file, _HEADER.size, self._known)
                digest, start, length = _HEADER.unpack(header)
                place = self._known + _HEADER.size
                if length:
                    self._pieces.setdefault(digest, []).append((start, start + length, place))
                else:
                    self._pieces.pop(digest, None)
                self._known = place + length
        return self._pieces.get(_digest(key), [])

    @contextlib.contextmanager
    def _alone(self) -> Iterator[int | None]:
        """The file, which no other process writes to meanwhile; None: nothing is kept."""
        if self._file is None:
            self._open_that_of_the_launch()
        if self._file is None:
            yield None
            return
        file = self._file.fileno()
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield file
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)

    def _open_that_of_the_launch(self) -> None:
        room, _, told = os.environ.get(_VARIABLE, "").partition(":")
        inode, _, place = told.partition(":")
        with contextlib.suppress(OSError, ValueError):
            file = open(place, "r+b", buffering=0)  # noqa: SIM115, PTH123 - for good; may be ""
            status = os.fstat(file.fileno())
            # The launch may have closed it: that number may be any other file by now.
            if (status.st_ino, status.st_nlink) == (int(inode), 0):
                self._file, self._room = file, int(room)
                return
            file.close()
        os.environ.pop(_VARIABLE, None)


def _digest(key: Key) -> bytes:
    return hashlib.sha256("\n".join(key).encode(errors="surrogateescape")).digest()


KEPT = KeptBytes()
