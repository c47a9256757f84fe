"""An object on gs:// as a file of one generation: what is read is fetched, and no byte beyond."""

from __future__ import annotations

import io
from typing import Any

import google_crc32c
from typing_extensions import override

from beam_bert.storage.base import INPUT, StoredFile, crc32c_base64, crc32c_text, wrong_bytes
from beam_bert.storage.gcs import open_gcs_storage
from beam_bert.storage.kept_bytes import KEPT

_FETCHES = 3


class ObjectReader(io.RawIOBase):
    """A seekable raw file. Put an `io.BufferedReader` before it to fetch more at once.

    Read from end to end, the bytes are held against the object's listed checksum.

    Args:
      url: gs://bucket/name.
      file: as it was listed.
      keep: keep what is fetched for later readers on this machine.
    """

    def __init__(self, url: str, file: StoredFile, *, keep: bool = False) -> None:
        super().__init__()
        self.url = url
        bucket, _, self._path = url.removeprefix("gs://").partition("/")
        self._storage = open_gcs_storage(f"gs://{bucket}", INPUT)
        self._file = file
        self._keep = keep
        self._stop = file.size
        self._at = 0
        self._loaded = (0, b"")
        self._checksum = google_crc32c.Checksum()
        self._summed = 0

    def stop_at(self, stop: int) -> None:
        """End there: nothing beyond is fetched."""
        self._stop = min(stop, self._file.size)

    def load(self, start: int = 0) -> None:
        """Fetch all from `start` to the end now, in one request if nothing is kept, and hold it."""
        data = b""
        while start + len(data) < self._stop:
            data += self._fetched(start + len(data), self._stop)
        self._loaded = (start, data)

    @override
    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._stop)
        begin, held = self._loaded
        if self._at >= stop:
            return 0
        if begin <= self._at < begin + len(held):
            data = held[self._at - begin : stop - begin]
        else:
            data = self._fetched(self._at, stop)
        buffer[: len(data)] = data
        self._sum(data)
        self._at += len(data)
        return len(data)

    def _fetched(self, start: int, stop: int) -> bytes:
        """At least one byte from `start` on, and all up to `stop` where nothing is kept."""
        key = (self.url, self._file.version)
        if kept := KEPT.get(key, start, stop):
            return kept
        stop = KEPT.next_start(key, start, stop)
        whole = start == 0 and stop == self._file.size and self._file.crc32c
        for _ in range(_FETCHES):
            data = self._storage.read_range(self._path, start, stop, self._file.version)
            if not whole or crc32c_base64(data) == self._file.crc32c:
                break
        if self._keep:
            KEPT.put(key, start, data)
        return data

    def _sum(self, data: bytes) -> None:
        if self._at != self._summed or not self._file.crc32c:
            return
        self._checksum.update(data)
        self._summed += len(data)
        if self._summed == self._file.size:
            crc32c = crc32c_text(self._checksum)
            if crc32c != self._file.crc32c:
                KEPT.forget((self.url, self._file.version))
                raise wrong_bytes(self.url, crc32c, self._file.crc32c)

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    @override
    def tell(self) -> int:
        return self._at

    @override
    def seekable(self) -> bool:
        return True

    @override
    def readable(self) -> bool:
        return True
