"""A place has one name, however it was written."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit


def without_scheme(place: str) -> str:
    """A local path for file:///path, any other place as it is."""
    return unquote(urlsplit(place).path) if place.startswith("file://") else place


def resolved(place: str) -> str:
    """The one name of a file or folder: no link, `..`, `~` or file:// in it, and no slash behind.

    Objects have no other names than their own.
    """
    place = without_scheme(place)
    if "://" in place:
        return place.rstrip("/")
    try:
        return str(Path(place).expanduser().resolve())
    except (OSError, ValueError, RuntimeError):  # a name that no file can have; links in a ring
        return place


def lies_in(place: str, folder: str) -> bool:
    """Whether a resolved place is a folder or lies below it."""
    return place == folder or place.startswith(folder.rstrip("/") + "/")
