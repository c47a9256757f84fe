"""What a power cut must not undo: the bytes first, then the name, then the folder that holds it.

A rename without these may leave an empty file under the new name, or the old one (see fsync(2)).
"""

from __future__ import annotations

import errno
import os
from itertools import takewhile
from pathlib import Path

_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EROFS, errno.EBADF}


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, and have the disk keep their names."""
    missing = list(takewhile(lambda place: not place.exists(), (folder, *folder.parents)))
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync_names(place.parent)


def sync_names(folder: Path) -> None:
    """Have the disk keep what the folder's files are called now."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:  # another run has removed it already
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Have the disk keep what a file holds."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the disk keep all files of a folder, what they hold and what they are called."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            sync_folder(path)
        else:
            sync_file(path)
    sync_names(folder)


def move(source: Path, target: Path) -> None:
    """Give a synced file or folder the name `target`, which a file there loses; kept by the disk.

    Raises:
      OSError: as `os.replace`.
    """
    source.replace(target)
    sync_names(target.parent)
