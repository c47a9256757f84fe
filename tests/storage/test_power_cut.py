"""A power cut loses what was not synced: bytes that are in no file yet, names in no folder yet."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from beam_bert.models import ModelStore
from beam_bert.models.cache import cached_model
from beam_bert.models.digest import folder_checksums, model_digest
from beam_bert.storage.places import open_storage
from beam_bert.training import saving
from beam_bert.training.checkpoint import TrainingState, write_state


class Disk:
    """What a disk would hold after a power cut, seen by the calls of `os` that reach it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: dict[int, tuple[int, int]] = {}  # inode: size and time of what was synced
        self.folders: dict[int, dict[str, int]] = {}  # inode: the names that were synced
        fsync = os.fsync

        def note(descriptor: int) -> None:
            fsync(descriptor)
            found = os.fstat(descriptor)
            if stat.S_ISDIR(found.st_mode):
                names = {entry.name: entry.inode() for entry in os.scandir(descriptor)}
                self.folders[found.st_ino] = names
            else:
                self.files[found.st_ino] = (found.st_size, found.st_mtime_ns)

        monkeypatch.setattr(os, "fsync", note)
        for name in ("replace", "rename", "link"):
            monkeypatch.setattr(os, name, self._bytes_first(getattr(os, name)))
        monkeypatch.setattr(saving, "_swap", self._bytes_first(saving._swap))

    def _bytes_first(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(source: Any, target: Any, *more: Any, **named: Any) -> Any:
            lost = self.lost(Path(source))
            assert not lost, f"a power cut after {call.__name__} to {target} leaves without: {lost}"
            return call(source, target, *more, **named)

        return checked

    def lost(self, place: Path) -> list[str]:
        """What of `place`, and below it, a power cut would take away now."""
        found = place.stat()
        if place.is_file():
            same = self.files.get(found.st_ino) == (found.st_size, found.st_mtime_ns)
            return [] if same else [f"the bytes of {place.name}"]
        names = self.folders.get(found.st_ino, {})
        lost = []
        for path in place.iterdir():
            if path.suffix == ".lock":
                continue
            if names.get(path.name) != path.stat().st_ino:
                lost.append(f"the name {path.name}")
            lost += self.lost(path)
        return lost


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def weights(value: float) -> TrainingState:
    return TrainingState({"parameter/w": torch.full((4,), value)}, {"step": 1})


def test_a_checkpoint_and_the_one_that_replaces_it(root: Path, disk: Disk) -> None:
    for value in (1.0, 2.0):
        write_state(root / "work" / "key", "key", weights(value))
        assert disk.lost(root) == []


@pytest.mark.parametrize("can_swap", [True, False])
def test_a_saved_model_and_the_one_that_replaces_it(
    can_swap: bool, root: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_swap:
        monkeypatch.setattr(saving, "_swap", lambda one, other: False)
    for text in ("one", "two"):
        with saving.new_folder(root / "models" / "mine") as made:
            (made / "config.json").write_text(text)
            saving.put_in_place(made, root / "models" / "mine")
        assert disk.lost(root) == []


def test_a_published_version_and_its_alias(root: Path, disk: Disk, bert: Path) -> None:
    store = ModelStore(root / "new" / "store")
    record = store.publish(bert)
    assert disk.lost(root) == []
    store.promote(record.version, reason="first")
    assert disk.lost(root) == []


def test_a_model_in_the_cache_and_what_says_that_it_is_whole(
    root: Path, disk: Disk, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEAM_BERT_CACHE", str(root / "cache"))
    model = open_storage(str(bert))

    def download(folder: Path) -> None:
        for path in bert.iterdir():
            model.download(path.name, folder / path.name)

    cached_model(model_digest(folder_checksums(bert)), download, "gs://a/b")
    assert disk.lost(root) == []


def test_a_file_of_an_output(root: Path, disk: Disk, tmp_path: Path) -> None:
    output = open_storage(str(root / "new" / "output"))
    output.write("a/b/written", b"1")
    output.create("c/created", b"2")
    (tmp_path / "source").write_bytes(b"3")
    output.upload(tmp_path / "source", "d/uploaded")
    output.publish("a/b/written", "e/f/published")
    assert disk.lost(root) == []
