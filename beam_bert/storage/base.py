"""The few operations that sinks and model store need of a place: a folder or a gs:// prefix.

Paths are relative to the place, with '/'. What is written becomes visible whole or not at all, and
every mutation may be repeated: that is all the safety of commits and promotions rests on.
"""

from __future__ import annotations

import base64
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import TypeVar

import google_crc32c

from beam_bert.errors import InputError, OutputError, RunFailed, UserError
from beam_bert.settings.naming import named
from beam_bert.storage.regular_files import open_regular

T = TypeVar("T")
R = TypeVar("R")

_READ_BYTES = 1 << 20
# What no path of ours has in it: it would end elsewhere on some machine.
_HOSTILE = re.compile(r"[\\\x00-\x1f\x7f]")


def is_safe_path(path: str) -> bool:
    """Whether a relative path, with '/', stays below the folder that it is joined to."""
    parts = path.split("/")
    return not _HOSTILE.search(path) and all(part not in ("", ".", "..") for part in parts)


@dataclass(frozen=True)
class Wording:
    """How the errors of a place speak to the person who named it.

    Attributes:
      place: what it is to them: a setting that names it, or other words.
      error: what is raised for what they can mend.
      again: what running the same command again does, after a failure that they cannot.
    """

    place: str
    error: type[UserError]
    again: str

    @property
    def name(self) -> str:
        """What the place is to the caller: `--output` on the command line, `output` elsewhere."""
        return named(self.place)


OUTPUT = Wording(
    place="output",
    error=OutputError,
    again="run the same command again: whole shards in staging are not made again",
)


INPUT = Wording(
    place="the input",
    error=InputError,
    again="run the same command again: whole shards in staging are not made again",
)


@dataclass(frozen=True)
class StoredFile:
    """One file of a listing.

    Attributes:
      path: relative to the place.
      size: in bytes, as stored.
      version: another one where the file was replaced: on gs:// the generation.
      encoding: on gs:// its Content-Encoding, else "": "gzip" or another where the stored bytes are
        packed, whatever the name says, "gzip,gzip" where they are so twice.
      crc32c: of the stored bytes, on gs://.
    """

    path: str
    size: int
    version: str = field(default="", compare=False)
    encoding: str = ""
    crc32c: str = ""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]


class Storage(ABC):
    """A place for files, which no call leaves: neither by a path's name nor by a link.

    Raises its wording's error (no place, no rights, a path that leaves it) or RunFailed (full).
    """

    parallelism: int
    is_remote: bool

    @abstractmethod
    def uri(self, path: str) -> str:
        """Where a person finds `path`."""

    @abstractmethod
    def read(self, path: str) -> bytes | None:
        """The whole file; None where there is none."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """Bytes of the file; None where there is none."""

    @abstractmethod
    def list_files(self, folder: str, *, recursive: bool = True) -> list[StoredFile]:
        """The files below `folder` ("": the place itself), by path; none where it is not there."""

    @abstractmethod
    def list_folders(self, folder: str) -> list[str]:
        """Names of the folders directly below `folder`, sorted."""

    @abstractmethod
    def checksum(self, file: StoredFile) -> str | None:
        """crc32c of a listed file, unpacked; None where it has gone."""

    def checksums(self, folder: str, names: Collection[str]) -> dict[str, str]:
        """crc32c of those of `names` that stand directly in `folder`."""
        wanted = set(names)
        files = [file for file in self.list_files(folder, recursive=False) if file.name in wanted]
        values = in_parallel(self.checksum, files, self.parallelism)
        return {file.name: crc for file, crc in zip(files, values, strict=True) if crc is not None}

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Make `path` hold `data`, at once; whatever it held is replaced."""

    @abstractmethod
    def create(self, path: str, data: bytes) -> bool:
        """As `write`, but False, and nothing changed, where `path` exists."""

    @abstractmethod
    def upload(self, source: Path, path: str) -> None:
        """As `write`, with the bytes of a local file, however large."""

    @abstractmethod
    def download(self, path: str, target: Path) -> None:
        """Copy `path`, which exists, into the local file `target`."""

    @abstractmethod
    def publish(self, source: str, target: str) -> bool:
        """Make `target` hold what `source` holds (which may be gone then); False: no `source`."""

    @abstractmethod
    def delete(self, path: str, version: str = "") -> None:
        """Remove a file; one that is gone already is fine.

        With a version, only what a listing has shown so: another one that took its place stays.
        """

    @abstractmethod
    def prune(self, folder: str) -> None:
        """Remove `folder` and those below it where they are empty (gs:// has no folders)."""

    def delete_all(self, paths: Iterable[str]) -> None:
        """Remove many files."""
        in_parallel(self.delete, paths, self.parallelism)


def crc32c_base64(data: bytes) -> str:
    """CRC32C of `data` as Cloud Storage shows it: base64 of the four big-endian bytes."""
    return crc32c_text(google_crc32c.Checksum(data))


def crc32c_text(checksum: google_crc32c.Checksum) -> str:
    """A CRC32C in the same way."""
    return base64.b64encode(checksum.digest()).decode()


def crc32c_of_file(path: Path) -> str:
    """The same of a local file; raises OSError as `open_regular`."""
    checksum = google_crc32c.Checksum()
    with open_regular(path) as file:
        for _ in checksum.consume(file, _READ_BYTES):
            pass
    return crc32c_text(checksum)


def wrong_bytes(url: str, came: str, stored: str) -> RunFailed:
    """What to raise where bytes came, several times, that are not those that are stored."""
    return RunFailed(
        f"{url}: the bytes that came have crc32c {came}, what is stored has {stored}; {INPUT.again}"
    )


def in_thread(call: Callable[[], T]) -> Future[T]:
    """What `call` returns or raises, in a thread that keeps no process alive."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(call())
        except BaseException as error:  # raised again where it is waited for
            result.set_exception(error)

    Thread(target=run, daemon=True).start()
    return result


def in_parallel(function: Callable[[T], R], items: Iterable[T], workers: int) -> list[R]:
    """`function` of every item, in order; the first error stops what has not begun."""
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
