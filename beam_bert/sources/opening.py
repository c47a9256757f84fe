"""Open a file for reading, local or by URL; Beam is imported for URLs alone."""

from __future__ import annotations

import errno
import io
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from beam_bert.errors import BeamBertError, InputError
from beam_bert.slices.plan import FileEntry
from beam_bert.sources.lost import ChangedFileError
from beam_bert.storage.paths import without_scheme
from beam_bert.storage.regular_files import read_regular

_GZIP_ROOM = 64 << 10  # what little text is packed may be longer than it
AHEAD_BYTES = 8 << 20


def is_url(path: str) -> bool:
    """Whether Beam's FileSystems has to open it; `file://` counts as a URL."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path) is not None


def is_gs(path: str) -> bool:
    """Whether it lies on Cloud Storage, which `beam_bert.storage` reads; other URLs are Beam's."""
    return path.startswith("gs://")


def file_systems() -> Any:
    """Beam's FileSystems, imported late: local files and `--help` need no Beam."""
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


def open_binary(path: str) -> BinaryIO:
    """The file's stored bytes as they are now, seekable, never unpacked.

    Raises:
      FileNotFoundError, PermissionError: also where a remote file system says so in its own way.
      InputError: a URL of a file system that is not installed, or no credentials.
      RunFailed: Cloud Storage does not answer as it should.
    """
    if is_gs(path):
        from beam_bert.sources.objects import found_object

        return open_listed(found_object(path))
    return open_listed(FileEntry(path, 0))


def open_listed(
    file: FileEntry, stop: int | None = None, ahead: int = AHEAD_BYTES, keep: bool = False
) -> BinaryIO:
    """The stored bytes of a file of the listing, of no other version than the listed one.

    Args:
      file: as listed.
      stop: nothing is fetched beyond it.
      ahead: on gs://, bytes that are fetched at once; 0: what is asked for, as it is asked for.
      keep: on gs://, keep what is fetched for the next readers on this machine.

    Raises:
      ChangedFileError: it has changed since it was listed; reading may raise that as well.
      Exception: as `open_binary`; those of remote files when they are read.
    """
    if is_gs(file.path):
        from beam_bert.sources.objects import ListedObject  # local runs do without google.cloud

        reader = ListedObject(file, keep=keep)
        if stop is not None:
            reader.stop_at(stop)
        size = min(ahead, file.size + 1)
        return cast(BinaryIO, io.BufferedReader(reader, size) if ahead else reader)
    if not is_url(file.path):
        opened = Path(file.path).open("rb")  # noqa: SIM115 - the caller closes it
        try:
            check_unchanged(file, opened)
        except ChangedFileError:
            opened.close()
            raise
        return opened
    return _open_with_beam(file.path)


def check_unchanged(file: FileEntry, opened: BinaryIO) -> None:
    """What was read of a local file up to now is of the version that was listed.

    Raises:
      ChangedFileError: it may not be.
    """
    if is_url(file.path) or not file.version:
        return
    status = os.fstat(opened.fileno())
    if (status.st_size, str(status.st_mtime_ns)) != (file.size, file.version):
        raise ChangedFileError(
            f"{file.path} had {file.size} bytes when it was listed and has {status.st_size} now"
            if status.st_size != file.size
            else f"{file.path} was written after it was listed"
        )


def load_listed(file: FileEntry) -> BinaryIO:
    """As `open_listed`, of a small file on gs:// that is fetched now, in one request."""
    from beam_bert.sources.objects import ListedObject

    reader = ListedObject(file)
    reader.load()
    return cast(BinaryIO, reader)


def _open_with_beam(path: str) -> BinaryIO:
    from apache_beam.io.filesystem import CompressionTypes

    try:
        opened = file_systems().open(
            path, "application/octet-stream", compression_type=CompressionTypes.UNCOMPRESSED
        )
        opened.read(0)
    except Exception as error:
        raise translated(error, path) from error
    return cast(BinaryIO, opened)


def read_text(path: str, most_bytes: int) -> str:
    """The whole of a small UTF-8 file that a person named, such as a configuration.

    Raises:
      OSError: it cannot be read, for whatever reason a remote file system has, is no regular file
        or larger than `most_bytes`.
      UnicodeDecodeError: it is not UTF-8.
      InputError, RunFailed: as open_binary.
    """
    path = without_scheme(path)
    if not is_url(path):
        return read_regular(os.path.expanduser(path), most_bytes).decode()  # noqa: PTH111 (raises)
    try:
        with open_binary(path) as file:
            data = file.read(most_bytes + _GZIP_ROOM)
        if is_gs(path) and data.startswith(b"\x1f\x8b"):  # stored with Content-Encoding: gzip
            unpacker = zlib.decompressobj(wbits=31)
            data = unpacker.decompress(data, most_bytes + 1)
            if not unpacker.eof and len(data) <= most_bytes:
                raise OSError(
                    errno.EINVAL, "its Content-Encoding is gzip, its bytes end early", path
                )
        if len(data) > most_bytes:
            raise OSError(errno.EINVAL, f"larger than {most_bytes:,} bytes", path)
        return data.decode()
    except (OSError, UnicodeDecodeError, BeamBertError):
        raise
    except Exception as error:
        raise OSError(" ".join(str(error).split())[:300]) from error


def translated(error: Exception, path: str) -> Exception:
    """A remote file system's error as the built-in one that means the same, where there is one."""
    for cause in _all_of(error):
        name, code = type(cause).__name__, getattr(cause, "code", None)
        if isinstance(cause, FileNotFoundError) or name == "NotFound" or code == 404:
            return FileNotFoundError(errno.ENOENT, "no such object", path)
        if isinstance(cause, PermissionError) or name == "Forbidden" or code in (401, 403):
            return PermissionError(errno.EACCES, "access denied", path)
        if name == "DefaultCredentialsError":
            return InputError(
                f"{path}: no Google credentials; run: gcloud auth application-default login"
            )
        if "Unable to get filesystem" in str(cause):
            return InputError(
                f"{path}: no file system for this kind of URL; for gs:// install beam-bert[gcp]"
            )
    return error


def _all_of(error: BaseException) -> Iterator[BaseException]:
    """The error and those inside: Beam's BeamIOError holds one for each path, or a cause."""
    yield error
    details = getattr(error, "exception_details", None)
    for inside in details.values() if isinstance(details, dict) else ():
        if isinstance(inside, BaseException):
            yield from _all_of(inside)
    if error.__cause__ is not None:
        yield from _all_of(error.__cause__)
