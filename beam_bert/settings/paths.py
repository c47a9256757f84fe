"""What cannot be a local path, told before a system call fails on it."""

from __future__ import annotations

import os
import re

_NAME_BYTES = 255
_PATH_BYTES = 4_000
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # as os.fsdecode has such bytes


def not_utf8(path: str) -> bool:
    """Whether a local name has bytes that are not UTF-8: no table, page or JSON can hold it."""
    return _NOT_UTF8.search(path) is not None


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
    if not_utf8(text):
        name = next(filter(not_utf8, text.split("/")))
        shown = os.fsencode(name).decode(errors="backslashreplace")
        return (
            f"has a name in it that is not UTF-8 ({shown[:80]}); rename it: mv, or convmv -t utf8"
        )
    if len(path) > _PATH_BYTES or max(map(len, path.split(b"/"))) > _NAME_BYTES:
        return "is longer than the name of a file may be"
    if text.startswith("~") and os.path.expanduser(text) == text:  # noqa: PTH111 (theirs raises)
        return f"there is no user {text.split('/')[0]}"
    return None
