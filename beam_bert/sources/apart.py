"""What lies among the input and is none: the output, models and model stores."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

from beam_bert.slices.plan import FileEntry
from beam_bert.storage.paths import lies_in, resolved

# What an output keeps; all that is ours in a folder that holds input as well.
_OF_AN_OUTPUT = ("predictions", "rejects", "runs", "staging", "evaluation.json")
_WEIGHTS = (".safetensors", ".bin")
_GLOB = re.compile(r"[*?\[]")


def identity_of(file: FileEntry) -> str:
    """The file's one name."""
    return file.identity or file.path


def without(files: Iterable[FileEntry], pattern: str, apart: Sequence[str]) -> list[FileEntry]:
    """The files that are input: not those below the output or the model. What is left out is told.

    Where the input itself is looked for in the output's folder (`--input a.jsonl --output .`),
    only what an output keeps there is left out.

    Args:
      files: that the pattern names.
      pattern: a file, a folder or a glob.
      apart: the places as a person wrote them; a model store's may end in @version.
    """
    files = list(files)
    named = _GLOB.split(pattern, maxsplit=1)[0]
    base = resolved(named if named == pattern else named[: named.rfind("/") + 1] or ".")
    for place in apart:
        folder = resolved(place.partition("@")[0])
        ours = [folder]
        if lies_in(base, folder):
            ours = [f"{folder}/{name}" for name in _OF_AN_OUTPUT]
        kept = [file for file in files if not any(lies_in(identity_of(file), o) for o in ours)]
        _tell(len(files) - len(kept), pattern, place)
        files = kept
    return files


def without_models(paths: Sequence[str], pattern: str) -> list[str]:
    """Paths below a folder, without those of models and model stores in it: their JSON is no data.

    A folder with config.json and weights is a model, one with aliases and versions a store.
    """
    configs = {_folder(path) for path in paths if path.endswith("/config.json")}
    models = configs & {_folder(path) for path in paths if path.endswith(_WEIGHTS)}
    records = [path for path in paths if path.endswith(".json")]
    stores = {_folder(f) for path in records if (f := _folder(path)).endswith("/aliases")}
    stores &= {_folder(f) for path in records if (f := _folder(path)).endswith("/versions")}
    kept = [path for path in paths if not _is_below(path, models | stores)]
    if len(kept) < len(paths):
        _tell(len(paths) - len(kept), pattern, ", ".join(sorted(stores or models)))
    return kept


def _is_below(path: str, folders: Collection[str]) -> bool:
    if not folders:
        return False
    parts = path.split("/")
    return any("/".join(parts[:depth]) in folders for depth in range(1, len(parts)))


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


@lru_cache(maxsize=64)  # the launch and the pipeline list the same: it is told once
def _tell(count: int, pattern: str, place: str) -> None:
    if count:
        logging.getLogger(__name__).warning(
            "%s: %d files in %s are not input: left out", pattern, count, place
        )
