"""Models that were downloaded, kept on this machine under their digest, and checked before use.

    <cache>/models/<digest>/        the model's files
    <cache>/models/<digest>.json    size, time of change and crc32c of each, when they were checked
    <cache>/models/<digest>.lock    held by the process that downloads; the others wait for it

A cached model is trusted where every file has the size and time of when its checksum was right: 20
µs a file, against a second for each gigabyte read. Where one differs (a copied cache, a touched
file, a full disk) all are read again; only the digest decides, and a damaged model is downloaded
anew.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from beam_bert.errors import ModelError
from beam_bert.models.digest import folder_checksums, is_model_file, model_digest


def cache_folder() -> Path:
    """Where downloaded models are kept: $BEAM_BERT_CACHE, else ~/.cache/beam_bert."""
    chosen = os.environ.get("BEAM_BERT_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "beam_bert"


def cached_model(digest: str, download: Callable[[Path], None]) -> Path:
    """The folder of the model with this digest; `download` fills an empty one where it is not here.

    Processes and threads that ask at once download once and get one folder.

    Raises:
      ModelError: what was downloaded has another digest, or the cache cannot be written.
    """
    folder = cache_folder() / "models" / digest
    if _is_as_checked(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{digest}.lock")):
            if not _is_as_checked(folder) and not _passes_check(folder, digest):
                _download(folder, digest, download)
    except OSError as error:
        raise ModelError(
            f"the model cache {folder.parent} cannot be written ({error.strerror}); make room, or "
            "set BEAM_BERT_CACHE to another folder"
        ) from error
    return folder


def _download(folder: Path, digest: str, download: Callable[[Path], None]) -> None:
    # A folder of its own until it is whole: a kill leaves rubbish beside, never a part.
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{digest}-"))
    try:
        (partial / "new").mkdir()
        download(partial / "new")
        checksums = folder_checksums(partial / "new")
        found = model_digest(checksums)
        if found != digest:
            raise ModelError(f"what was downloaded is version {found}, not {digest}")
        if folder.exists():
            folder.rename(partial / "damaged")
        (partial / "new").rename(folder)
        _remember(folder, checksums)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _passes_check(folder: Path, digest: str) -> bool:
    """Whether reading all files gives the digest; remembered, so that it is done once."""
    if not folder.is_dir():
        return False
    try:
        checksums = folder_checksums(folder)
    except ModelError:
        return False
    if model_digest(checksums) != digest:
        return False
    _remember(folder, checksums)
    return True


def _stats(folder: Path) -> dict[str, list[int]]:
    with os.scandir(folder) as entries:
        stats = {entry.name: entry.stat() for entry in entries if is_model_file(entry.name)}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def _remember(folder: Path, checksums: dict[str, str]) -> None:
    stats = _stats(folder)
    checked = {name: [*stats[name], checksum] for name, checksum in checksums.items()}
    path = folder.with_name(f"{folder.name}.json")
    with tempfile.NamedTemporaryFile("w", dir=folder.parent, delete=False) as file:
        json.dump(checked, file)
    Path(file.name).replace(path)


def _is_as_checked(folder: Path) -> bool:
    try:
        checked = json.loads(folder.with_name(f"{folder.name}.json").read_bytes())
        return model_digest(
            {name: checksum for name, (_, _, checksum) in checked.items()}
        ) == folder.name and {
            name: [size, time] for name, (size, time, _) in checked.items()
        } == _stats(folder)
    except (OSError, ValueError, AttributeError, TypeError):
        return False
