"""No call of a storage leaves its root: neither by a path's name nor by a link."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from beam_bert.errors import OutputError
from beam_bert.storage.base import Storage
from beam_bert.storage.places import open_storage
from beam_bert.storage.regular_files import read_regular

CALLS: dict[str, Callable[[Storage, str, Path], object]] = {
    "read": lambda place, path, _: place.read(path),
    "size": lambda place, path, _: place.size(path),
    "list_files": lambda place, path, _: place.list_files(path),
    "list_folders": lambda place, path, _: place.list_folders(path),
    "checksums": lambda place, path, _: place.checksums(path, ["secret"]),
    "write": lambda place, path, _: place.write(path, b"evil"),
    "create": lambda place, path, _: place.create(path, b"evil"),
    "upload": lambda place, path, ours: place.upload(ours, path),
    "download": lambda place, path, ours: place.download(path, ours),
    "publish from": lambda place, path, _: place.publish(path, "ours"),
    "publish to": lambda place, path, _: place.publish("ours", path),
    "delete": lambda place, path, _: place.delete(path),
}


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    folder = tmp_path / "canary"
    (folder / "below").mkdir(parents=True)
    (folder / "secret").write_bytes(b"secret")
    (folder / "below/secret").write_bytes(b"secret")
    return folder


@pytest.mark.parametrize("call", CALLS)
def test_no_call_leaves_a_place_by_a_name(new_output, call: str, canary: Path) -> None:
    ours = canary.with_name("ours")
    ours.write_bytes(b"ours")
    before = _tree(canary)
    output = new_output()
    place = open_storage(output)
    place.write("ours", b"ours")
    absolute = [] if output.startswith("gs://") else [str(canary / "secret")]
    above = [f"{up}{canary.name}/secret" for up in ("../", "a/../../", "./../", "..//")]
    for path in [*absolute, *above, "..", ".", "a//b", "a/", "a\0b", "a\\..\\b", "a\nb", "/"]:
        with pytest.raises(OutputError) as caught:
            CALLS[call](place, path, ours)
        assert "\n" not in str(caught.value)
    assert (_tree(canary), ours.read_bytes()) == (before, b"ours")


@pytest.mark.parametrize("call", CALLS)
def test_no_call_follows_a_link_out_of_a_place(tmp_path: Path, call: str, canary: Path) -> None:
    ours = tmp_path / "ours"
    ours.write_bytes(b"ours")
    before = _tree(canary)
    place = open_storage(str(tmp_path / "out"))
    place.write("a/ours", b"ours")
    place.write("ours", b"ours")
    for link, target in {
        "folder": canary,
        "a/above": "../../canary",
        "file": canary / "secret",
        "twice": "a/above/below",
        "dangling": canary / "not-there",
    }.items():
        (tmp_path / "out" / link).symlink_to(target)
    for path in ["folder/secret", "folder", "a/above/secret", "file", "twice/secret", "dangling"]:
        with pytest.raises(OutputError, match=r"is a link out of .*out, to .*canary"):
            CALLS[call](place, path, ours)
    assert (_tree(canary), ours.read_bytes()) == (before, b"ours")
    assert {"below", "secret"} == {path.name for path in canary.iterdir()}


def test_a_place_that_is_a_link_and_links_within_it_are_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    place = open_storage(str(tmp_path / "out"))
    place.write("a/x", b"one")
    (tmp_path / "disk/y").symlink_to("a/x")
    (tmp_path / "disk/a/loop").symlink_to("..")
    assert place.read("y") == b"one"
    assert [file.path for file in place.list_files("")] == ["a/x", "y"]
    assert place.list_folders("") == ["a"]
    (tmp_path / "disk/self").symlink_to("self")
    with pytest.raises(OutputError, match="cannot read"):
        place.read("self")
    place.delete("a/x")
    place.prune("a")
    assert (tmp_path / "disk/a").is_dir()


@pytest.mark.parametrize("call", ["read", "download", "upload", "checksums"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, call: str) -> None:
    place = open_storage(str(tmp_path))
    os.mkfifo(tmp_path / "secret")
    with pytest.raises(OutputError, match="not a regular file"):
        CALLS[call](place, "" if call == "checksums" else "secret", tmp_path / "secret")


def test_what_has_no_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_bert.storage.local.RUN_DOCUMENT_BYTES", 1_000)
    place = open_storage(str(tmp_path))
    place.write("a", bytes(1_000))
    place.write("b", bytes(1_001))
    assert place.read("a") == bytes(1_000)
    with pytest.raises(OutputError, match="larger than 1,000 bytes"):
        place.read("b")
    with pytest.raises(OutputError, match="not a regular file"):
        open_storage("/dev").read("zero")


def test_a_small_file_takes_its_own_size_in_memory_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"x" * 100_000)
    tracemalloc.start()
    try:
        assert len(read_regular(tmp_path / "a.json", 2**30)) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()
    assert read_regular("/proc/self/status", 2**20).startswith(b"Name:")  # which has no size
    with pytest.raises(OSError, match="larger than 99,999"):
        read_regular(tmp_path / "a.json", 99_999)
