"""The digest over a model's files that is its version wherever they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from beam_bert.errors import ModelError
from beam_bert.storage.base import crc32c_of_file
from beam_bert.storage.model_files import is_model_file


def model_digest(checksums: Mapping[str, str]) -> str:
    """12 hex digits over the names and crc32c of a model's files."""
    return hashlib.sha256(repr(sorted(checksums.items())).encode()).hexdigest()[:12]


def file_checksum(path: Path) -> str:
    """Base64 crc32c of a file, as Google Cloud Storage shows it.

    Raises:
      ModelError: the file cannot be read.
    """
    try:
        return crc32c_of_file(path)
    except OSError as error:
        raise ModelError(f"model file {path} cannot be read: {error.strerror}") from None


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
