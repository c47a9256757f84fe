"""Patterns on gs:// become files, with as few and as small listings as they need."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from apache_beam.io.filesystem import FileSystem

from beam_bert.errors import InputError, NoFilesError
from beam_bert.slices.plan import FileEntry
from beam_bert.sources.folders import GLOB_CHARACTERS, is_hidden, nothing_matches, usable
from beam_bert.sources.formats import named_format
from beam_bert.sources.objects import bucket_of, entry_of, find_object

_NEIGHBOURS = 1_000  # a page: enough for a hint
# What `*` and nothing else means to the server what it means here.
_SIMPLE_GLOB = re.compile(r"[^?\[\]{}\\]*")


def list_gs(pattern: str) -> list[FileEntry]:
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
    if table := next((path for path in found if "/_delta_log/" in path), None):
        root = table.split("/_delta_log/")[0]
        raise InputError(f"{root} is a Delta table; write the rows that you mean as plain Parquet")
    files = usable((path for path in found if not path.endswith("/")), root=folder)
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
    return files


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
