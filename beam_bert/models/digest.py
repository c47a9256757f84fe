"""The digest over a model's files that is its version wherever they lie."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

import google_crc32c

from beam_bert.errors import ModelError
from beam_bert.storage import is_model_file, open_regular

_READ_BYTES = 2**20


def model_digest(checksums: Mapping[str, str]) -> str:
    """12 hex digits over the names and crc32c of a model's files."""
    return hashlib.sha256(repr(sorted(checksums.items())).encode()).hexdigest()[:12]


def file_checksum(path: Path) -> str:
    """Base64 crc32c of a file, as Google Cloud Storage shows it.

    Raises:
      ModelError: the file cannot be read.
    """
    checksum = google_crc32c.Checksum()
    try:
        with open_regular(path) as file:
            for _ in checksum.consume(file, _READ_BYTES):
                pass
    except OSError as error:
        raise ModelError(f"model file {path} cannot be read: {error.strerror}") from None
    return base64.b64encode(checksum.digest()).decode()


def folder_checksums(folder: Path) -> dict[str, str]:
    """Name and crc32c of each file of the model in `folder`.

    Raises:
      ModelError: the folder or one of the files cannot be read.
    """
    try:
        names = sorted(path.name for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise ModelError(f"model folder {folder} cannot be read: {error.strerror}") from None
    return {name: file_checksum(folder / name) for name in names if is_model_file(name)}
