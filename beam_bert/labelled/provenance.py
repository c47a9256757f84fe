"""Where the training text came from, and whether it may be used: `data.yaml` and its check.

sources:
  - path: banking/*.csv          # of files beside data.yaml, or their whole path or URL
    origin: https://github.com/PolyAI-LDN/task-specific-datasets
    licence: CC-BY-4.0           # an SPDX name, or "own"
    date: 2020-03-10
    sha256: …                    # optional: then the file must have it
"""

from __future__ import annotations

import datetime
import fnmatch
import json
import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from beam_bert.errors import InputError, shortened
from beam_bert.labelled.rows import sha256_of
from beam_bert.settings.naming import named
from beam_bert.slices.plan import FileEntry
from beam_bert.sources.yaml_files import parse_yaml, read_yaml

DEFAULT_NAME = "data.yaml"
UNKNOWN_LICENCE = "unknown"


class DeclaredSource(BaseModel):
    """One entry of data.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(min_length=1)
    origin: str = Field(min_length=1)
    licence: str = Field(min_length=1)
    date: datetime.date
    sha256: str | None = None


class _DataFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[DeclaredSource, ...]


@dataclass(frozen=True)
class SourceRecord:
    """A file that a model was trained on.

    Attributes:
      path: where it was read.
      use: the setting that named it.
      origin, licence, date: as declared; None where they were not.
      sha256: of its bytes.
      size: bytes.
      allowed: whether the licence is one of those allowed.
    """

    path: str
    use: str
    origin: str | None
    licence: str | None
    date: str | None
    sha256: str
    size: int
    allowed: bool


def check_sources(
    files: Sequence[tuple[str, FileEntry]],
    *,
    declared_in: str | None,
    allowed: Iterable[str],
    accept_unlicensed: bool,
) -> list[SourceRecord]:
    """Look up every file's declaration, compute its digest, and refuse what is not licensed.

    Args:
      files: each with the flag that named it.
      declared_in: the YAML file; None: data.yaml beside each file, or in the folder above.
      allowed: licences.
      accept_unlicensed: go on all the same.

    Raises:
      InputError: a file has no declaration or no allowed licence (and that is not accepted), its
        digest is not the declared one, or the YAML file is not as it should be.
    """
    names = {_plain(licence): licence for licence in allowed}
    read: dict[str, list[DeclaredSource]] = {}
    records = []
    declared = [(*_declaration(file.path, declared_in, read), use, file) for use, file in files]
    undeclared = [(where, file.path) for where, source, _, file in declared if source is None]
    if undeclared and not accept_unlicensed:
        raise _undeclared(undeclared, {place for place, sources in read.items() if sources})
    for where, source, use, file in declared:
        digest = sha256_of(file.path)
        if source is not None and source.sha256 not in (None, digest):
            raise InputError(
                f"{file.path} has sha256 {digest}, and {where} declares {source.sha256}: "
                "it is not the file that was declared"
            )
        licence = None if source is None else names.get(_plain(source.licence))
        if source is not None and licence is None and not accept_unlicensed:
            raise InputError(
                f"{file.path} has licence {source.licence!r} in {where}, which is not one of those "
                f"allowed ({', '.join(names.values())}); leave it out, add it to "
                f"{named('allowed_licences')}, or say {named('accept_unlicensed')}"
            )
        records.append(
            SourceRecord(
                path=file.path,
                use=use,
                size=file.size,
                sha256=digest,
                origin=source.origin if source else None,
                licence=licence or (source.licence if source else None),
                date=source.date.isoformat() if source else None,
                allowed=licence is not None,
            )
        )
    return records


def _undeclared(files: Sequence[tuple[str, str]], begun: Collection[str]) -> InputError:
    """The error that names all files without declaration, with the YAML that they lack.

    Args:
      files: each with the YAML file that should declare it.
      begun: YAML files that declare others already.
    """
    blocks = []
    places = list(dict.fromkeys(where for where, _ in files))
    for place in places:
        paths = [path for where, path in files if where == place]
        lines = [f"# below `sources:` in {place}" if place in begun else f"# {place}"]
        lines += [] if place in begun else ["sources:"]
        for path in dict.fromkeys(paths):
            folder = place[: place.rfind("/") + 1]
            inner = path.removeprefix(folder) if folder else path
            lines += [
                f"  - path: {json.dumps(inner, ensure_ascii=False)}",
                "    origin: TODO   # a URL, a contract, a team",
                "    licence: TODO  # an SPDX name such as CC-BY-4.0, or own",
                "    date: TODO     # when it was collected, YYYY-MM-DD",
            ]
        blocks.append("\n".join(lines))
    names = list(dict.fromkeys(path for _, path in files))
    more = f" and {len(names) - 3:,} more files" if len(names) > 3 else ""
    are = "is" if len(names) == 1 else "are"
    error = InputError(
        f"{', '.join(names[:3])}{more} {are} not declared in {' or '.join(places)}: add path, "
        f"origin, licence and date there, or say {named('accept_unlicensed')}"
    )
    error.to_paste = "\n".join(blocks)
    return error


def card_licence(card: str) -> str:
    """The licence that a model card's metadata names, or several with commas between them.

    https://huggingface.co/docs/hub/repositories-licenses
    """
    front_matter = re.match(r"\ufeff?---\r?\n(.*?)\r?\n---\s*(\n|\Z)", card, flags=re.DOTALL)
    try:
        metadata = parse_yaml(front_matter[1], "card", InputError) if front_matter else None
    except InputError:
        metadata = None
    if not isinstance(metadata, dict):
        return UNKNOWN_LICENCE
    licence = metadata.get("license")
    if licence == "other":
        licence = metadata.get("license_name")
    several = licence if isinstance(licence, list) else [licence]
    names = ", ".join(
        " ".join(licence_name.split()) for licence_name in several if isinstance(licence_name, str)
    )
    return UNKNOWN_LICENCE if names.casefold() in ("", "other", "not declared") else names


def unallowed_licences(licences: str, allowed: Iterable[str]) -> list[str]:
    """Those of one or several licences, with commas between them, that are not allowed."""
    names = {_plain(name) for name in allowed}
    return [
        licence for licence in map(str.strip, licences.split(",")) if _plain(licence) not in names
    ]


def data_yaml(records: Sequence[SourceRecord]) -> str:
    """The sources as a data.yaml, digests included: it goes with the model."""
    sources = [asdict(record) for record in records]
    for source in sources:
        del source["size"], source["allowed"]
    return yaml.safe_dump({"sources": sources}, sort_keys=False, allow_unicode=True)


def _declaration(
    path: str, declared_in: str | None, read: dict[str, list[DeclaredSource]]
) -> tuple[str, DeclaredSource | None]:
    """The file that should declare `path`, and what it says."""
    folder = path[: path.rfind("/") + 1] or "./"
    above = folder.rstrip("/")
    above = above[: above.rfind("/") + 1] or "./"
    places = [declared_in] if declared_in else [folder + DEFAULT_NAME, above + DEFAULT_NAME]
    for place in places:
        if place not in read:
            read[place] = _read(place, required=declared_in is not None)
        for source in read[place]:
            if _matches(path, source.path, place):
                return place, source
    return next((place for place in places if read[place]), places[0]), None


def _matches(path: str, pattern: str, place: str) -> bool:
    """Whether a declared path or glob is that of the file.

    Both are relative to the YAML file. A path may also be whole, as it is given to the command; a
    glob may not: `*.csv` would license all of the folder that the command happens to run in.
    """
    beside = place[: place.rfind("/") + 1] + pattern
    if not pattern.startswith(("/", "~")) and "://" not in pattern and set("*?[") & set(pattern):
        return _fits(path, beside)
    return any(_fits(path, written) for written in (pattern, beside))


def _fits(path: str, pattern: str) -> bool:
    """As a shell would: a `*` stays in its folder, or one line would license all that is below."""
    if "://" not in path:
        path, pattern = (
            str(Path(path).absolute()),
            str(Path(os.path.expanduser(pattern)).absolute()),  # noqa: PTH111 (theirs raises)
        )
    parts, patterns = path.split("/"), pattern.split("/")
    return path == pattern or (
        len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))
    )


def _read(place: str, *, required: bool) -> list[DeclaredSource]:
    name = named("data", place) if required else place
    values = read_yaml(place, name, InputError, or_none=not required)
    if values is None and not required:
        return []
    try:
        return list(_DataFile.model_validate(values or {}).sources)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "sources"
        raise InputError(
            f"{place}: {shortened(where)}: {first['msg']}; it needs `sources:`, each with path, "
            "origin, licence and date (2020-03-10), sha256 if you like"
        ) from None


def _plain(licence: str) -> str:
    """A licence's name without case and separators: CC BY 4.0 is CC-BY-4.0."""
    return re.sub(r"[^a-z0-9.]", "", licence.casefold())
