"""Regular files only, and only so much of them: a pipe would wait for ever, a device never end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json

_MORE_BYTES = 2**16


def open_regular(path: str | Path) -> BinaryIO:
    """Open a local file for reading; what is no regular file is not waited for.

    Raises:
      OSError: it is a pipe, a device, a folder or a socket, or cannot be opened; also for a name
        that no file can have (a NUL in it).
    """
    try:
        # Without O_NONBLOCK a pipe would keep us here until somebody writes into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: str | Path, most_bytes: int) -> bytes:
    """The whole of a local file of `most_bytes` at most.

    Raises:
      OSError: as `open_regular`, or it is larger.
    """
    with open_regular(path) as file:
        # Room for so much is taken before it is read: its size, and more where it grows meanwhile.
        data = file.read(min(os.fstat(file.fileno()).st_size, most_bytes) + 1)
        while len(data) <= most_bytes and (more := file.read(_MORE_BYTES)):
            data += more
    if len(data) > most_bytes:
        raise OSError(errno.EINVAL, f"larger than {most_bytes:,} bytes", str(path))
    return data


def read_json(path: str | Path, most_bytes: int) -> Any:
    """The value in a local JSON file from outside.

    Raises:
      OSError: as `read_regular`.
      ValueError: it is not JSON; also for hundreds of levels (the parser of Python would run out
        of stack) and for halves of surrogate pairs (which no output could hold).
    """
    return from_json(read_regular(path, most_bytes))
