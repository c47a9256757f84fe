"""Open a file for reading, local or by URL; Beam is imported for URLs alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, BinaryIO, cast

from beam_bert.errors import InputError


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
    """
    if not is_url(path):
        return Path(path).open("rb")
    from apache_beam.io.filesystem import CompressionTypes

    try:
        opened = file_systems().open(
            path, "application/octet-stream", compression_type=CompressionTypes.UNCOMPRESSED
        )
        opened.read(0)
    except Exception as error:
        raise translated(error, path) from error
    return cast(BinaryIO, opened)


def translated(error: Exception, path: str) -> Exception:
    """A remote file system's error as the built-in one that means the same, where there is one."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    code = getattr(error, "code", None)
    if isinstance(error, OSError) and not isinstance(error, BlockingIOError):
        return error
    if code == 404 or "NotFound" in text or "404" in text:
        return FileNotFoundError(2, "no such object", path)
    if code in (401, 403) or "Forbidden" in text or "403" in text:
        return PermissionError(13, "access denied", path)
    if "DefaultCredentialsError" in text:
        return InputError(
            f"{path}: no Google credentials; run: gcloud auth application-default login"
        )
    if "Unable to get filesystem" in text:
        return InputError(
            f"{path}: no file system for this kind of URL; for gs:// install beam-bert[gcp]"
        )
    return error
