"""Which files of a folder or glob are data, and what to say where there are none."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from beam_bert.settings.naming import named
from beam_bert.sources.apart import without_models
from beam_bert.sources.formats import named_format
from beam_bert.terminal import TERMINAL

GLOB_CHARACTERS = re.compile(r"[*?\[]")
_told: set[tuple[str, int]] = set()


def has_hidden_name(path: str) -> bool:
    """Whether the last part of a path begins with `.` or `_`."""
    return path[path.rfind("/") + 1 :].startswith(("_", "."))


def is_hidden(path: str, pattern: str) -> bool:
    """Whether what a glob matched begins with `.` or `_`, and the glob does not."""
    return has_hidden_name(path) and not has_hidden_name(pattern)


def usable(files: Iterable[str], root: str, left_out: list[str] | None = None) -> list[str]:
    """Files of a folder that are data: not hidden at any level, with known suffixes if any have.

    Those that are skipped for their suffix are told, and added to `left_out`.
    """
    files = without_models(list(files), root)
    shown = [
        file
        for file in files
        if not any(has_hidden_name(part) for part in file[len(root) :].strip("/").split("/"))
    ]
    known = [file for file in shown if named_format(file)]
    if known and len(known) < len(shown):
        skipped = sorted(file for file in shown if not named_format(file))
        _tell_skipped(root, skipped)
        if left_out is not None:
            left_out += skipped
    return known or shown


def _tell_skipped(root: str, files: list[str]) -> None:
    """Say once a process which files of a folder are left out, since their names tell no format."""
    if (root, len(files)) in _told:
        return
    _told.add((root, len(files)))
    names = ", ".join(sorted(file[len(root) :].strip("/") for file in files)[:3])
    TERMINAL.warn(
        f"{root}: {len(files):,} files are left out, since their names tell no format: {names}"
        f"{', …' if len(files) > 3 else ''}; name them and their {named('format')} in a run "
        "of their own"
    )


def nothing_matches(pattern: str, neighbours: Sequence[str], only_hidden: bool = False) -> str:
    """What to say of a pattern without files, and which of its neighbours may have been meant."""
    if only_hidden:
        return f"{pattern} matches only folders and hidden files; name a folder itself to read it"
    names = {path[path.rstrip("/").rfind("/") + 1 :]: path for path in neighbours}
    wanted = pattern[pattern.rstrip("/").rfind("/") + 1 :]
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(names[name] for name in near)}?" if near else ""
    return f"{pattern} matches no file{hint}"
