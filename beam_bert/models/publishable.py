"""What of a folder may be published: a whole model in Hugging Face layout, without pickles."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from beam_bert.errors import ModelError, shortened, shown
from beam_bert.models.digest import file_checksum
from beam_bert.models.records import PublishedFile
from beam_bert.settings.limits import CONFIG_JSON_BYTES, INDEX_BYTES
from beam_bert.settings.paths import not_utf8, path_fault
from beam_bert.storage.base import is_safe_path
from beam_bert.storage.model_files import PICKLES, not_a_model_file, why_no_model
from beam_bert.storage.regular_files import read_json

_TRAINER_STATE = re.compile(r"checkpoint-\d+")


@dataclass(frozen=True)
class Publishable:
    """A file to publish: where it is here, and what its record will say."""

    source: Path
    record: PublishedFile


def publishable_files(folder: Path) -> list[Publishable]:
    """The files of a model's folder, by path, checked; left out: hidden files, pickles and the
    `checkpoint-<n>` folders of a training.

    Raises:
      ModelError: it is not a folder, holds no whole model, only pickled weights, a name that is
        not portable, or a link to somewhere else.
    """
    if path_fault(str(folder)) or not folder.is_dir():
        raise ModelError(f"cannot publish {shown(str(folder))}: there is no such folder")
    root = folder.resolve()
    paths = dict(_walk(root, root))
    _check_config(folder, paths)
    _check_weights(folder, paths)
    return [
        Publishable(
            source,
            PublishedFile(path=path, size=source.stat().st_size, crc32c=file_checksum(source)),
        )
        for path, source in sorted(paths.items())
    ]


def _walk(root: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise ModelError(f"cannot publish {root}: {folder}: {error.strerror}") from None
    for entry in entries:
        here = Path(entry.path)
        path = here.relative_to(root).as_posix()
        if entry.name.startswith(".") or entry.name.lower().endswith(PICKLES):
            continue
        if not is_safe_path(path) or not_utf8(path):
            raise ModelError(f"cannot publish {root}: its file {path!r} has a name not for others")
        if entry.is_symlink() and not _stays_below(root, here):
            raise ModelError(
                f"cannot publish {root}: {path} is a link to {here.readlink()}, not in it; "
                "copy the folder with `cp -rL` first"
            )
        if entry.is_dir():
            if entry.is_symlink():
                raise ModelError(f"cannot publish {root}: {path} is a link to a folder")
            if not _TRAINER_STATE.fullmatch(entry.name):
                yield from _walk(root, here)
        elif here.exists() and stat.S_ISREG(here.stat().st_mode):
            yield path, here
        else:
            raise ModelError(f"cannot publish {root}: {path} is not a regular file")


def _stays_below(root: Path, link: Path) -> bool:
    try:
        return link.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):  # to nowhere, or to itself
        return False


def _check_config(folder: Path, paths: dict[str, Path]) -> None:
    if problem := why_no_model([path.name for path in folder.iterdir()]):
        raise ModelError(f"cannot publish {folder}: it {problem}")
    if "config.json" not in paths:
        raise ModelError(f"cannot publish {folder}: it has no config.json, so it is not a model")
    try:
        config = read_json(paths["config.json"], CONFIG_JSON_BYTES)
    except (OSError, ValueError) as error:
        why = not_a_model_file(paths["config.json"]) or f"is not JSON: {error}"
        raise ModelError(f"cannot publish {folder}: config.json {why}") from None
    if not isinstance(config, dict):
        raise ModelError(f"cannot publish {folder}: config.json is not a JSON object")


def _check_weights(folder: Path, paths: dict[str, Path]) -> None:
    from safetensors import SafetensorError, safe_open

    weights = {path for path in paths if path.endswith(".safetensors") and "/" not in path}
    if not weights:
        raise ModelError(
            f"cannot publish {folder}: it has no weights; save the model as safetensors "
            "(save_pretrained does)"
        )
    for path in sorted(weights):
        try:
            with safe_open(paths[path], framework="np"):  # reads the header, checks the length
                pass
        except (SafetensorError, OSError) as error:
            why = not_a_model_file(paths[path]) or f"is damaged or cut short ({error})"
            raise ModelError(f"cannot publish {folder}: {path} {why}") from None
    index = paths.get("model.safetensors.index.json")
    if index is None:
        return
    try:
        named = set(read_json(index, INDEX_BYTES)["weight_map"].values())
        missing = sorted(map(str, named - weights))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(f"cannot publish {folder}: {index.name} is not a weights index") from None
    if missing:
        name = shortened(missing[0])
        raise ModelError(f"cannot publish {folder}: {index.name} names {name}, not there")
