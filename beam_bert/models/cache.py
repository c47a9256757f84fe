"""Models that were downloaded, kept on this machine under a key, and checked before use.

    <cache>/models/<key>/        the model's files
    <cache>/models/<key>.json    size, time of change and crc32c of each, when they were checked
    <cache>/models/<key>.lock    held by the process that downloads; the others wait for it

The key is a sha256 over the place that a model came from and its digest, which is made of the
checksums that Cloud Storage lists: whoever may write into one place could make files with the same
crc32c as those of another, and must not be taken for it.

A cached model is trusted where every file has the size and time of when its checksum was right: 20
µs a file, against a second for each gigabyte read. Where one differs (a copied cache, a touched
file, a full disk) all are read again; only the digest decides, and a damaged model is downloaded
anew.

A cache may be shared ($BEAM_BERT_CACHE). What another user made, or could write, is read again each
time, and a link in place of a folder or file is never followed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from beam_bert.errors import ConfigError, ModelError, shown
from beam_bert.models.digest import folder_checksums, model_digest
from beam_bert.settings.limits import INDEX_BYTES
from beam_bert.settings.paths import path_fault
from beam_bert.storage.durable import make_folder, move, sync_file, sync_folder
from beam_bert.storage.model_files import is_model_file
from beam_bert.storage.regular_files import read_regular

_WRITE_FOR_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def cache_folder() -> Path:
    """Where downloaded models are kept: $BEAM_BERT_CACHE, else ~/.cache/beam_bert.

    Raises:
      ConfigError: that is no local folder, or this user has no home.
    """
    chosen = os.environ.get("BEAM_BERT_CACHE") or "~/.cache/beam_bert"
    fault = "is no local folder" if "://" in chosen else path_fault(chosen)
    if fault is not None:
        raise ConfigError(f"the cache {shown(chosen)}: {fault}; set BEAM_BERT_CACHE to a folder")
    return Path(chosen).expanduser()


def cache_key(digest: str, place: str) -> str:
    """Name of a model in the cache: its digest, at that place."""
    return hashlib.sha256(repr((place, digest)).encode()).hexdigest()


def cached_model(digest: str, download: Callable[[Path], None], place: str = "") -> Path:
    """The folder of the model with this digest; `download` fills an empty one where it is not here.

    Processes and threads that ask at once download once and get one folder.

    Args:
      digest: of the model's files.
      download: fills a folder.
      place: where it downloads from: models of other places are others; "": of any.

    Raises:
      ModelError: what was downloaded has another digest, or the cache cannot be written.
    """
    folder = cache_folder() / "models" / (cache_key(digest, place) if place else digest)
    if _is_as_checked(folder, digest):
        return folder
    try:
        make_folder(folder.parent)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if not _is_as_checked(folder, digest) and not _passes_check(folder, digest):
                _download(folder, digest, download)
    except OSError as error:
        raise ModelError(
            f"the model cache {folder.parent} cannot be written ({error.strerror}); make room, or "
            "set BEAM_BERT_CACHE to another folder"
        ) from error
    return folder


def _download(folder: Path, digest: str, download: Callable[[Path], None]) -> None:
    # A folder of its own until it is whole: a kill leaves rubbish beside, never a part.
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}-"))
    try:
        new = partial / "new"
        new.mkdir()
        download(new)
        for path in (new, *new.iterdir()):
            path.chmod(path.stat().st_mode & ~_WRITE_FOR_OTHERS)
        checksums = folder_checksums(new)
        found = model_digest(checksums)
        if found != digest:
            raise ModelError(f"what was downloaded is version {found}, not {digest}")
        if os.path.lexists(folder):
            folder.rename(partial / "damaged")
        sync_folder(new)  # before what says that it is whole, and need not be read again
        move(new, folder)
        _remember(folder, checksums)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _passes_check(folder: Path, digest: str) -> bool:
    """Whether reading all files gives the digest; remembered where only we can change them."""
    try:
        if folder.is_symlink() or _files(folder) is None:
            return False
        checksums = folder_checksums(folder)
    except (OSError, ModelError):
        return False
    if model_digest(checksums) != digest:
        return False
    if _is_ours(folder):
        _remember(folder, checksums)
    return True


def _files(folder: Path) -> dict[str, os.stat_result] | None:
    """The model's files by name; None where one is no regular file, such as a link."""
    with os.scandir(folder) as entries:
        stats = {e.name: e.stat(follow_symlinks=False) for e in entries if is_model_file(e.name)}
    return stats if all(stat.S_ISREG(info.st_mode) for info in stats.values()) else None


def _is_ours(path: Path) -> bool:
    """Whether `path`, itself and no link, is this user's, and others cannot write it."""
    info = path.lstat()
    return (
        not stat.S_ISLNK(info.st_mode)
        and info.st_uid == os.geteuid()
        and not info.st_mode & _WRITE_FOR_OTHERS
    )


def _stats(folder: Path) -> dict[str, list[int]]:
    files = _files(folder) or {}
    return {name: [info.st_size, info.st_mtime_ns] for name, info in files.items()}


def _remember(folder: Path, checksums: dict[str, str]) -> None:
    stats = _stats(folder)
    checked = {name: [*stats[name], checksum] for name, checksum in checksums.items()}
    path = folder.with_name(f"{folder.name}.json")
    with tempfile.NamedTemporaryFile("w", dir=folder.parent, delete=False) as file:
        json.dump(checked, file)
    sync_file(Path(file.name))
    move(Path(file.name), path)


def _is_as_checked(folder: Path, digest: str) -> bool:
    record = folder.with_name(f"{folder.name}.json")
    try:
        if not _is_ours(folder) or not _is_ours(record):
            return False
        checked = json.loads(read_regular(record, INDEX_BYTES))
        return (
            model_digest({name: checksum for name, (_, _, checksum) in checked.items()}) == digest
            and {name: [size, time] for name, (size, time, _) in checked.items()} == _stats(folder)
            and all(_is_ours(folder / name) for name in checked)
        )
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return False
