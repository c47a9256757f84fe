"""Patterns on gs:// become files, with as few and as small listings as they need."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

from apache_beam.io.filesystem import FileSystem

from beam_bert.errors import InputError, NoFilesError
from beam_bert.slices.plan import FileEntry
from beam_bert.sources.folders import GLOB_CHARACTERS, is_hidden, nothing_matches, usable
from beam_bert.sources.formats import named_format
from beam_bert.sources.objects import bucket_of, entry_of, find_object
from beam_bert.sources.table_formats import refuse_remote

_LOG = re.compile(r"/(_delta_log|\.hoodie|metadata)/")
_LEVELS = 4  # of folders (partitions) that a table's files may lie below its root
_LOGS = 100  # of a table's log or metadata: enough to tell it by
_NEIGHBOURS = 1_000  # a page: enough for a hint
# What `*` and nothing else means to the server what it means here.
_SIMPLE_GLOB = re.compile(r"[^?\[\]{}\\]*")


def list_gs(pattern: str, left_out: list[str] | None = None) -> list[FileEntry]:
    """The objects that a URL names: one of that very name, a glob's, or those of a folder.

    Raises:
      InputError: it names none, or they may not be listed.
      RunFailed: Cloud Storage does not answer as it should.
    """
    if not pattern.endswith("/") and (exact := find_object(pattern)) is not None:
        return [exact]
    if GLOB_CHARACTERS.search(pattern):
        return _list_glob(pattern)
    folder = pattern if pattern.endswith("/") else f"{pattern}/"
    found = {file.path: file for file in _below(folder)}
    for root in _table_roots(found):
        refuse_remote(root, [path[len(root) :] for path in found if path.startswith(root)])
    paths = (path for path in found if not path.endswith("/"))
    files = usable(paths, root=folder, left_out=left_out)
    if found and not files:
        raise NoFilesError(f"{pattern}: the folder holds no usable file")
    if not files:
        # A folder without objects is not there at all; a file that is not there is a mistake.
        kind = InputError if named_format(pattern) else NoFilesError
        raise kind(nothing_matches(pattern, _neighbours(pattern)))
    return [found[path] for path in files]


def _list_glob(pattern: str) -> list[FileEntry]:
    if pattern.endswith("/"):
        pattern += "*"
    begin = GLOB_CHARACTERS.split(pattern, maxsplit=1)[0]
    is_match = re.compile(FileSystem.translate_pattern(pattern)).match
    options = {}
    if "**" in pattern:
        pass
    elif "/" not in pattern[len(begin) :]:
        options["delimiter"] = "/"  # the server does not go into folders
    elif _SIMPLE_GLOB.fullmatch(pattern):
        options["match_glob"] = bucket_of(pattern)[1]
    files: list[FileEntry] = []
    others: list[str] = []
    for file in _below(begin, **options):
        if file.path.endswith("/"):
            continue
        if is_match(file.path) and not is_hidden(file.path, pattern):
            files.append(file)
        elif len(others) < _NEIGHBOURS:
            others.append(file.path)
    if not files:
        only_hidden = any(map(is_match, others))
        raise NoFilesError(nothing_matches(pattern, others or _neighbours(begin), only_hidden))
    if table_file := next((f.path for f in files if named_format(f.path) == "parquet"), None):
        _refuse_table(table_file)
    return files


def _table_roots(paths: Iterable[str]) -> list[str]:
    """Where roots of tables may be: above the folders in which these keep their logs."""
    return sorted({path[: found.start() + 1] for path in paths if (found := _LOG.search(path))})


def _refuse_table(url: str) -> None:
    """Raise InputError where a file lies in a table: three small requests a folder above it."""
    bucket, name = bucket_of(url)
    for _ in range(min(name.count("/"), _LEVELS)):
        name = name[: name.rstrip("/").rfind("/") + 1]
        names = []
        for log in ("_delta_log/", ".hoodie/", "metadata/"):
            for files, _ in itertools.islice(bucket.pages(name + log, max_results=_LOGS), 1):
                names += [file.path[len(name) :] for file in files]
        refuse_remote(bucket.uri(name), names)


def _below(url: str, **options: str) -> Iterator[FileEntry]:
    """The objects whose URL begins so."""
    bucket, prefix = bucket_of(url)
    for files, _ in bucket.pages(prefix, **options):
        for file in files:
            yield entry_of(bucket.uri(file.path), file)


def _neighbours(url: str) -> list[str]:
    """What stands in the folder of a URL that names nothing, one page of it."""
    bucket, name = bucket_of(url)
    folder = name[: name.rfind("/") + 1]
    pages = bucket.pages(folder, delimiter="/", max_results=_NEIGHBOURS)
    return [
        bucket.uri(path)
        for files, folders in itertools.islice(pages, 1)
        for path in (*(file.path for file in files), *folders)
    ]
