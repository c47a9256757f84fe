"""Open a file for reading, local or by URL; Beam is imported for URLs alone."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from beam_bert.errors import BeamBertError, InputError
from beam_bert.storage import require_gs


def is_url(path: str) -> bool:
    """Whether Beam's FileSystems has to open it; `file://` counts as a URL."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path) is not None


def file_systems() -> Any:
    """Beam's FileSystems, imported late: local files and `--help` need no Beam."""
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


def open_binary(path: str) -> BinaryIO:
    """The file's stored bytes, seekable, never unpacked.

    Raises:
      FileNotFoundError, PermissionError: also where a remote file system says so in its own way.
      InputError: a URL of a file system that is not installed.
      RunFailed: there is no way to Cloud Storage from here.
    """
    if not is_url(path):
        return Path(path).open("rb")
    require_gs(path)
    from apache_beam.io.filesystem import CompressionTypes

    try:
        opened = file_systems().open(
            path, "application/octet-stream", compression_type=CompressionTypes.UNCOMPRESSED
        )
        opened.read(0)
    except Exception as error:
        raise translated(error, path) from error
    return cast(BinaryIO, opened)


def read_text(path: str) -> str:
    """The whole of a small UTF-8 file that a person named, such as a configuration.

    Raises:
      OSError: it cannot be read, for whatever reason a remote file system has.
      UnicodeDecodeError: it is not UTF-8.
      InputError, RunFailed: as open_binary.
    """
    if not is_url(path):
        return Path(path).expanduser().read_text(encoding="utf-8")
    try:
        with open_binary(path) as file:
            return file.read().decode()
    except (OSError, UnicodeDecodeError, BeamBertError):
        raise
    except Exception as error:
        raise OSError(" ".join(str(error).split())[:300]) from error


def translated(error: Exception, path: str) -> Exception:
    """A remote file system's error as the built-in one that means the same, where there is one."""
    for found in _all_of(error):
        name, code = type(found).__name__, getattr(found, "code", None)
        if isinstance(found, FileNotFoundError) or name == "NotFound" or code == 404:
            return FileNotFoundError(errno.ENOENT, "no such object", path)
        if isinstance(found, PermissionError) or name == "Forbidden" or code in (401, 403):
            return PermissionError(errno.EACCES, "access denied", path)
        if name == "DefaultCredentialsError":
            return InputError(
                f"{path}: no Google credentials; run: gcloud auth application-default login"
            )
        if "Unable to get filesystem" in str(found):
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
