"""Models that lie on gs:// are downloaded once a machine, and what is kept is checked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from beam_bert.errors import BeamBertError, ModelError, RunFailed
from beam_bert.models import ModelStore, ResolvedModel, fetch_model, resolve_model
from beam_bert.models.cache import cache_key, cached_model
from beam_bert.models.digest import folder_checksums, model_digest
from beam_bert.storage.base import crc32c_base64
from beam_bert.storage.gcs import GcsStorage

MODEL_FILES = ["config.json", "model.safetensors", "vocab.txt"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BEAM_BERT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were downloaded, in the order of their ends."""
    names: list[str] = []
    real = GcsStorage.download

    def download(storage: GcsStorage, path: str, target: Path) -> None:
        real(storage, path, target)
        names.append(path)

    monkeypatch.setattr(GcsStorage, "download", download)
    return names


@pytest.fixture
def resolved(new_gs_location: Callable[[], str], model: Path, cache: Path) -> ResolvedModel:
    store = ModelStore(new_gs_location())
    store.promote(store.publish(model).version, reason="first")
    return resolve_model(f"{store.location}@production")


def is_whole(folder: Path, resolved: ResolvedModel) -> bool:
    return model_digest(folder_checksums(folder)) == resolved.version


def test_a_model_is_downloaded_once_and_kept_under_its_digest(
    resolved: ResolvedModel, cache: Path, downloads: list[str]
) -> None:
    folder = fetch_model(resolved)
    assert folder == cache / key_of(resolved)
    assert (sorted(downloads), is_whole(folder, resolved)) == (MODEL_FILES, True)
    assert fetch_model(resolved) == folder
    assert len(downloads) == 3
    assert sorted(path.name for path in cache.iterdir()) == [
        key_of(resolved),
        f"{key_of(resolved)}.json",
        f"{key_of(resolved)}.lock",
    ]


def key_of(resolved: ResolvedModel) -> str:
    return cache_key(resolved.version, resolved.location.split("/versions/")[0])


def test_a_model_of_another_place_with_the_same_digest_is_downloaded(cache: Path) -> None:
    """Its checksums can be forged by whoever may write there."""
    checksums = {"config.json": crc32c_base64(b"{}")}
    folders = [
        cached_model(
            model_digest(checksums), lambda folder: _write(folder / "config.json"), f"gs://{name}"
        )
        for name in ("mine", "theirs")
    ]
    assert len(set(folders)) == 2 and all(len(folder.name) == 64 for folder in folders)


def _write(path: Path) -> None:
    path.write_bytes(b"{}")


def test_the_same_model_under_another_name_is_not_downloaded_again(
    resolved: ResolvedModel, model: Path, downloads: list[str]
) -> None:
    fetch_model(resolved)
    store = ModelStore(resolved.name.split("@")[0])
    again = store.publish(model, notes="the same files")
    fetch_model(resolve_model(f"{store.location}@{again.version}"))
    assert len(downloads) == 3


def _truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def _flip(folder: Path) -> None:
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)


def _remove(folder: Path) -> None:
    (folder / "vocab.txt").unlink()


def _add(folder: Path) -> None:
    (folder / "added_tokens.json").write_text("{}")


@pytest.mark.parametrize("damage", [_truncate, _flip, _remove, _add])
def test_a_damaged_copy_is_downloaded_again(
    resolved: ResolvedModel, downloads: list[str], damage: Callable[[Path], None]
) -> None:
    folder = fetch_model(resolved)
    damage(folder)
    assert not is_whole(folder, resolved)
    assert is_whole(fetch_model(resolved), resolved)
    assert len(downloads) == 6


def test_files_with_other_times_are_read_again_but_not_downloaded(
    resolved: ResolvedModel, cache: Path, downloads: list[str]
) -> None:
    folder = fetch_model(resolved)
    os.utime(folder / "vocab.txt", (0, 0))
    note = cache / f"{key_of(resolved)}.json"
    before = note.read_bytes()
    assert fetch_model(resolved) == folder
    assert note.read_bytes() != before
    note.unlink()  # a cache that came with the machine's image
    assert fetch_model(resolved) == folder
    note.write_text("{")
    assert fetch_model(resolved) == folder
    assert len(downloads) == 3


def test_threads_that_ask_at_once_download_once(
    resolved: ResolvedModel, downloads: list[str]
) -> None:
    with ThreadPoolExecutor(6) as workers:
        folders = set(workers.map(fetch_model, [resolved] * 6))
    assert len(folders) == 1
    assert is_whole(folders.pop(), resolved)
    assert len(downloads) == 3


def test_processes_that_ask_at_once_download_once(resolved: ResolvedModel) -> None:
    script = (
        "import sys; from beam_bert.models import ResolvedModel, fetch_model\n"
        "from beam_bert.storage.gcs import GcsStorage; real = GcsStorage.download\n"
        # One write: print() makes two, which threads that download at once would interleave.
        "def download(*args): sys.stdout.write('downloaded\\n'); real(*args)\n"
        "GcsStorage.download = download; print('ready', flush=True); sys.stdin.readline()\n"
        "print(fetch_model(ResolvedModel(*sys.argv[1:])))"
    )
    arguments = [resolved.name, resolved.location, resolved.version]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    lines = [line for worker in workers for line in worker.communicate("\n")[0].splitlines()]
    assert lines.count("downloaded") == 3
    assert len(lines) == 5
    assert is_whole(Path(lines[-1]), resolved)


@pytest.mark.parametrize("wrong", ["short", "failing"])
def test_a_download_that_goes_wrong_leaves_nothing_behind(
    resolved: ResolvedModel, cache: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    def download(storage: GcsStorage, path: str, target: Path) -> None:
        if wrong == "failing" and path == "vocab.txt":
            raise RunFailed("cannot read gs://…: no answer")
        target.write_bytes(b"")

    with monkeypatch.context() as patch:
        patch.setattr(GcsStorage, "download", download)
        with pytest.raises(BeamBertError, match=r"changed while the job ran|no answer"):
            fetch_model(resolved)
    assert [path.name for path in cache.iterdir()] == [f"{key_of(resolved)}.lock"]
    assert is_whole(fetch_model(resolved), resolved)


def test_a_cache_that_cannot_be_written_says_what_to_do(
    resolved: ResolvedModel, cache: Path
) -> None:
    cache.parent.write_text("not a folder")
    with pytest.raises(ModelError, match=r"cannot be written .*set BEAM_BERT_CACHE"):
        fetch_model(resolved)
