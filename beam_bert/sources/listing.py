"""Files, folders and globs become one sorted listing of `FileEntry`s, local or by URL."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from beam_bert.errors import InputError, NoFilesError, shown
from beam_bert.settings.paths import not_utf8, path_fault
from beam_bert.slices.plan import FileEntry
from beam_bert.sources.apart import identity_of, without
from beam_bert.sources.folders import (
    GLOB_CHARACTERS,
    has_hidden_name,
    is_hidden,
    nothing_matches,
    usable,
)
from beam_bert.sources.opening import file_systems, is_gs, is_url, translated
from beam_bert.sources.table_formats import refuse_parts, table_files
from beam_bert.storage.paths import resolved, without_scheme


def list_files(
    patterns: Sequence[str], apart: Sequence[str] = (), left_out: list[str] | None = None
) -> list[FileEntry]:
    """List what the patterns name: each file once, sorted by path.

    A pattern is a file, a glob (`**` crosses folders) or a folder, which is read with all its
    subfolders. Names that begin with `.` or `_` (`_SUCCESS`, `.crc`) are skipped unless a pattern
    names them so; in a folder that holds files with known suffixes, files with others are
    skipped too (a README beside the data).

    Args:
      patterns: what a person named.
      apart: the output and the model, whose files are not input; see `beam_bert.sources.apart`.
      left_out: gets the files of folders that are skipped since their names tell no format.

    Raises:
      InputError: a pattern matches nothing, a folder holds no usable file, or a file or folder
        may not be read.
    """
    if not patterns or not all(patterns):
        raise InputError("no input was given; name a file, a folder or a glob")
    entry_of: dict[str, FileEntry] = {}
    for pattern in map(without_scheme, patterns):
        if fault := path_fault(pattern):
            raise InputError(f"input {shown(pattern)}: {fault}; name a file, a folder or a glob")
        entries = (_list_url if is_url(pattern) else _list_local)(pattern, left_out)
        kept = without(entries, pattern, apart)
        if not kept:
            raise InputError(
                f"{pattern}: all that it names lies in {' or '.join(apart)}, which is not input"
            )
        for entry in kept:
            entry_of.setdefault(identity_of(entry), entry)
    return sorted(entry_of.values())


def _list_local(pattern: str, left_out: list[str] | None) -> list[FileEntry]:
    path = Path(pattern).expanduser()
    if path.is_dir() and (table := table_files(path)) is not None:
        return _local_entries(table)
    if path.is_dir():
        files = usable(_walk(path), root=str(path), left_out=left_out)
        if not files:
            raise NoFilesError(f"{pattern}: the folder holds no usable file")
    elif path.is_file():
        files = [str(path)]
    elif path.exists():
        raise InputError(f"{pattern} is neither a file nor a folder; write its content to a file")
    else:
        matches = list(_glob(str(path)))
        files = [
            match for match in matches if Path(match).is_file() and not is_hidden(match, pattern)
        ]
        if not files:
            begin = Path(GLOB_CHARACTERS.split(str(path), maxsplit=1)[0] + "x").parent
            is_glob = GLOB_CHARACTERS.search(pattern) and begin.is_dir()
            kind = NoFilesError if is_glob else InputError
            raise kind(nothing_matches(pattern, _local_neighbours(path), bool(matches)))
    refuse_parts(files, pattern)
    return _local_entries(files)


def _local_entries(files: Iterable[str]) -> list[FileEntry]:
    # By os and not pathlib, which takes four times as long for a folder of a million files.
    identity_of_folder = lru_cache(resolved)
    entries = []
    for file in files:
        if not os.access(file, os.R_OK):
            raise InputError(f"{file} may not be read; grant read permission: chmod +r {file}")
        path = os.path.normpath(file)
        folder, name = os.path.split(path)
        try:
            status = os.stat(file)  # noqa: PTH116
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}") from error
        is_link = os.path.islink(path)  # noqa: PTH114
        identity = resolved(path) if is_link else f"{identity_of_folder(folder).rstrip('/')}/{name}"
        if odd := next(filter(not_utf8, (path, identity)), None):
            raise InputError(f"{shown(odd)} {path_fault(odd)}")
        entries.append(FileEntry(path, status.st_size, str(status.st_mtime_ns), identity))
    return entries


def _walk(folder: Path) -> Iterable[str]:
    for parent, files in _folders(folder, has_hidden_name):
        # Broken links, sockets and pipes are no data (and opening a pipe waits for ever).
        begin = "" if Path(parent) == Path() else str(Path(parent))
        paths = (os.path.join(begin, name) for name in files)  # noqa: PTH118
        yield from filter(os.path.isfile, paths)


def _folders(top: Path, skipped: Callable[[str], bool]) -> Iterator[tuple[str, list[str]]]:
    """Each real folder from `top` on, once, with the names in it that are no folders.

    Links are followed when all that is reached without them was seen: a link to a folder above
    itself leads nowhere new, and a file has the path without links wherever it has one.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} may not be read: {error.strerror}") from error

    seen: set[tuple[int, int]] = set()
    tops = [str(top)]
    for start in tops:  # which grows
        for parent, folders, files in os.walk(start, onerror=refuse):
            status = Path(parent).stat()
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if not skipped(name))
            inside = [Path(parent, name) for name in folders]
            tops += [str(path) for path in inside if path.is_symlink()]
            yield parent, files


def _glob(pattern: str) -> Iterator[str]:
    """As `glob.glob`, whose `**` walks for ever where folders link to each other."""
    # `**/**` is `**`; each of fifty would walk all folders below each that the one before names.
    given = pattern.split("/")
    parts = [each for i, each in enumerate(given) if each != "**" or given[i - 1 : i] != ["**"]]
    if "**" not in parts:
        yield from glob.iglob(pattern)  # noqa: PTH207 - takes absolute patterns
        return
    place = parts.index("**")
    tops = glob.glob("/".join([*parts[:place], ""])) if place else [""]  # noqa: PTH207
    rest = "/".join(parts[place + 1 :]) or "*"
    for top in sorted(tops):
        for folder, _ in _folders(Path(top), lambda name: name.startswith(".")):
            below = "" if (folder, top) == (".", "") else f"{glob.escape(folder)}/"
            yield from _glob(f"{below}{rest}")


def _local_neighbours(path: Path) -> list[str]:
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        return [str(folder / name) for name in sorted(os.listdir(folder))]  # noqa: PTH208
    except OSError:
        return []


def _list_url(pattern: str, left_out: list[str] | None) -> list[FileEntry]:
    """Match through Beam; a URL without wildcards may be an object or a folder."""
    if is_gs(pattern):
        from beam_bert.sources.bucket_listing import list_gs  # local runs do without google.cloud

        return list_gs(pattern, left_out)
    if GLOB_CHARACTERS.search(pattern):
        matched = _match(pattern)
        files = [
            path for path in matched if not path.endswith("/") and not is_hidden(path, pattern)
        ]
    else:
        matched = {} if pattern.endswith("/") else _match(pattern)
        files = [path for path in matched if path == pattern]
        if not files:
            folder = pattern.rstrip("/") + "/"
            matched = _match(folder + "**")
            paths = (path for path in matched if not path.endswith("/"))
            files = usable(paths, root=folder, left_out=left_out)
            if matched and not files:
                raise InputError(f"{pattern}: the folder holds no usable file")
    if not files:
        raise InputError(nothing_matches(pattern, []))
    return [matched[path] for path in files]


def _match(pattern: str) -> dict[str, FileEntry]:
    try:
        return {file.path: file for file in _matches(pattern)}
    except Exception as error:
        meant = translated(error, pattern)
        if isinstance(meant, InputError):
            raise meant from error
        if isinstance(meant, FileNotFoundError):
            return {}
        reason = " ".join(str(meant).split())
        raise InputError(f"{pattern} cannot be listed: {reason}") from error


def _matches(pattern: str) -> Iterator[FileEntry]:
    results: list[Any] = file_systems().match([pattern])
    for metadata in (file for result in results for file in result.metadata_list):
        changed = metadata.last_updated_in_seconds
        yield FileEntry(metadata.path, int(metadata.size_in_bytes), str(changed) if changed else "")
