"""What cannot be a local path, told before a system call fails on it."""

from __future__ import annotations

import os

_NAME_BYTES = 255
_PATH_BYTES = 4_000


def path_fault(text: str) -> str | None:
    """Why a text cannot be a local path; None where it can, or is a URL."""
    if "\0" in text:
        return "has a NUL in it"
    if "://" in text:
        return None
    try:
        path = os.fsencode(text)
    except UnicodeEncodeError:
        return "has half of a surrogate pair in it"
    if len(path) > _PATH_BYTES or max(map(len, path.split(b"/"))) > _NAME_BYTES:
        return "is longer than the name of a file may be"
    if text.startswith("~") and os.path.expanduser(text) == text:  # noqa: PTH111 (theirs raises)
        return f"there is no user {text.split('/')[0]}"
    return None
