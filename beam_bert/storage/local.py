"""Local folders for the sinks: temporary name, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock
from typing_extensions import override

from beam_bert.errors import RunFailed
from beam_bert.settings.limits import RUN_DOCUMENT_BYTES
from beam_bert.storage.base import (
    OUTPUT,
    Storage,
    StoredFile,
    Wording,
    crc32c_of_file,
    is_safe_path,
)
from beam_bert.storage.durable import make_folder, move, sync_names
from beam_bert.storage.regular_files import open_regular, read_regular

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_READ_BYTES = 1 << 20
_ATTEMPTS = 5


def _version(stat: os.stat_result) -> str:
    """What another file under the same name would not have."""
    return f"{stat.st_ino}-{stat.st_mtime_ns}"


class LocalStorage(Storage):
    """A local folder: temporary name, fsync, `os.replace`."""

    parallelism = 4
    is_remote = False

    def __init__(self, root: Path, wording: Wording = OUTPUT) -> None:
        self._root = root
        self._wording = wording

    @override
    def uri(self, path: str) -> str:
        return str(self._root / path)

    def _at(self, path: str) -> Path:
        """Where `path` is; refused where its name or a link on its way leaves the root."""
        place = self._root / path
        if path and not is_safe_path(path):
            raise self._wording.error(f"{self.uri(path)!r} leaves {self._root}: it is not touched")
        real = os.path.realpath(place)
        if Path(real).is_relative_to(os.path.realpath(self._root)):
            return place
        raise self._wording.error(
            f"{self.uri(path)} is a link out of {self._root}, to {real}; it is not followed: "
            "remove it, and run again"
        )

    @override
    def read(self, path: str) -> bytes | None:
        with self._explained("read", path):
            try:
                return read_regular(self._at(path), RUN_DOCUMENT_BYTES)
            except FileNotFoundError:
                return None

    @override
    def size(self, path: str) -> int | None:
        with self._explained("read", path):
            try:
                return self._at(path).stat().st_size
            except FileNotFoundError:
                return None

    @override
    def list_files(self, folder: str, *, recursive: bool = True) -> list[StoredFile]:
        with self._explained("list", folder):
            return sorted(self._walk(self._at(folder), recursive), key=lambda file: file.path)

    def _walk(self, folder: Path, recursive: bool) -> Iterator[StoredFile]:
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            return
        for entry in entries:
            path = Path(entry.path)
            relative = path.relative_to(self._root).as_posix()
            if entry.is_symlink():
                self._at(relative)
            if entry.is_dir():
                if recursive and not entry.is_symlink():  # what it leads to is listed there
                    yield from self._walk(path, recursive)
                continue
            with contextlib.suppress(FileNotFoundError):  # a racing commit may have moved it
                stat = entry.stat()
                yield StoredFile(relative, stat.st_size, _version(stat))

    @override
    def list_folders(self, folder: str) -> list[str]:
        with self._explained("list", folder):
            try:
                return sorted(
                    entry.name
                    for entry in os.scandir(self._at(folder))
                    if entry.is_dir(follow_symlinks=False)
                )
            except FileNotFoundError:
                return []

    @override
    def checksum(self, file: StoredFile) -> str | None:
        with self._explained("read", file.path):
            try:
                return crc32c_of_file(self._at(file.path))
            except FileNotFoundError:
                return None

    @override
    def write(self, path: str, data: bytes) -> None:
        with self._explained("write", path), self._temporary(path, data) as temporary:
            move(temporary, self._at(path))

    @override
    def create(self, path: str, data: bytes) -> bool:
        # A hard link is the one local operation that is both exclusive and shows a whole file.
        with self._explained("write", path), self._temporary(path, data) as temporary:
            try:
                self._at(path).hardlink_to(temporary)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                # FAT and some FUSE: exclusive among the processes of this machine.
                lock = temporary.with_name(f".{Path(path).name}.lock")
                with FileLock(lock):
                    if self._at(path).exists():
                        return False
                    temporary.replace(self._at(path))
                    lock.unlink(missing_ok=True)
            sync_names(temporary.parent)
        return True

    @override
    def upload(self, source: Path, path: str) -> None:
        with (
            self._explained("write", path),
            open_regular(source) as file,
            self._temporary(path, file) as temporary,
        ):
            move(temporary, self._at(path))

    @override
    def download(self, path: str, target: Path) -> None:
        with (
            self._explained("read", path),
            open_regular(self._at(path)) as file,
            target.open("wb") as copy,
        ):
            shutil.copyfileobj(file, copy, _READ_BYTES)

    @override
    def publish(self, source: str, target: str) -> bool:
        source_path, target_path = self._at(source), self._at(target)
        with self._explained("write", target):
            for _ in range(_ATTEMPTS):
                make_folder(target_path.parent)
                try:
                    move(source_path, target_path)
                except FileNotFoundError:
                    if not source_path.exists():
                        return False
                else:
                    return True
        raise self._wording.error(
            f"cannot write {self.uri(target)}: its folder is removed again and again"
        )

    @override
    def delete(self, path: str, version: str = "") -> None:
        with self._explained("delete", path), contextlib.suppress(FileNotFoundError):
            place = self._at(path)
            if not version or _version(place.stat()) == version:
                place.unlink()

    @override
    def prune(self, folder: str) -> None:
        for name in self.list_folders(folder):
            self.prune(f"{folder}/{name}")
        with contextlib.suppress(OSError):  # not empty, or gone: both are as they should be
            self._at(folder).rmdir()

    @contextlib.contextmanager
    def _temporary(self, path: str, data: bytes | BinaryIO) -> Iterator[Path]:
        """A whole, synced file beside `path` under a name of its own, gone afterwards."""
        target = self._at(path)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            with self._open_new(temporary) as file:
                if isinstance(data, bytes):
                    file.write(data)
                else:
                    shutil.copyfileobj(data, file, _READ_BYTES)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _open_new(self, path: Path) -> BinaryIO:
        for attempt in range(_ATTEMPTS):  # another run's prune may remove the folder in between
            make_folder(path.parent)
            try:
                return path.open("xb")
            except FileNotFoundError:
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError

    @contextlib.contextmanager
    def _explained(self, action: str, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what, reason = f"cannot {action} {self.uri(path)}", error.strerror or str(error)
            if error.errno in _FULL:
                again = self._wording.again
                raise RunFailed(f"{what}: {reason}; make room and {again}") from error
            raise self._wording.error(
                f"{what}: {reason}; check {self._wording.name} and its permissions"
            ) from error
