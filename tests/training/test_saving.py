"""A model folder is put in place whole, and what a killed run left beside it goes away."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from beam_bert.training import saving
from beam_bert.training.saving import new_folder, put_in_place


def left_behind(folder: Path, hours: float) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"half")
    then = time.time() - hours * 3600
    os.utime(folder, (then, then))
    return folder


def save(target: Path, text: str) -> None:
    with new_folder(target) as made:
        (made / "config.json").write_text(text)
        put_in_place(made, target)


@pytest.mark.parametrize("can_swap", [True, False])
def test_a_model_takes_the_place_of_another_and_leaves_nothing_beside_it(
    can_swap: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_swap:  # macOS, and some network disks
        monkeypatch.setattr(saving, "_swap", lambda one, other: False)
    for text in ("one", "two"):
        save(tmp_path / "model", text)
        assert (tmp_path / "model" / "config.json").read_text() == text
        assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.skipif(sys.platform != "linux", reason="two folders are swapped on Linux alone")
def test_there_is_a_model_at_every_moment(tmp_path: Path) -> None:
    config = tmp_path / "model" / "config.json"
    save(tmp_path / "model", "0")
    missing, done = 0, threading.Event()

    def look() -> None:
        nonlocal missing
        while not done.is_set():
            missing += not config.exists()

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for number in range(300):
            save(tmp_path / "model", str(number))
    finally:
        done.set()
        watcher.join()
    assert missing == 0


def test_what_a_killed_run_left_is_removed_after_a_day(tmp_path: Path) -> None:
    save(tmp_path / "model", "one")
    old = left_behind(tmp_path / ".model.ab12cd_8", 25)
    running = left_behind(tmp_path / ".model.zzzzzzzz", 1)
    of_another = left_behind(tmp_path / ".model.v2.ab12cd_8", 25)
    of_the_user = left_behind(tmp_path / ".model.backup", 25)
    save(tmp_path / "model", "two")
    assert not old.exists()
    assert all(folder.is_dir() for folder in (running, of_another, of_the_user))


def test_a_model_that_a_kill_left_moved_aside_is_not_removed(tmp_path: Path) -> None:
    moved_aside = left_behind(tmp_path / ".model.ab12cd_8", 25)
    save(tmp_path / "model", "two")
    assert moved_aside.is_dir()
