"""A cache that others may write to: what they left there is not taken without a look."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from beam_bert.errors import ConfigError, ModelError
from beam_bert.models.cache import cache_folder, cached_model
from beam_bert.models.digest import folder_checksums, model_digest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BEAM_BERT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache/models").mkdir(parents=True)
    (tmp_path / "cache/models").chmod(0o1777)
    return tmp_path / "cache" / "models"


@pytest.fixture
def digest(model: Path) -> str:
    return model_digest(folder_checksums(model))


@pytest.fixture
def downloads() -> list[Path]:
    return []


@pytest.fixture
def fetch(model: Path, digest: str, downloads: list[Path]) -> Callable[[], Path]:
    def download(folder: Path) -> None:
        downloads.append(folder)
        shutil.copytree(model, folder, dirs_exist_ok=True)

    return lambda: cached_model(digest, download)


def _forge(folder: Path, model: Path) -> None:
    """Another model under that digest, with a record that says it was checked."""
    shutil.copytree(model, folder)
    checked = {}
    for name, checksum in folder_checksums(folder).items():
        found = (folder / name).stat()
        checked[name] = [found.st_size, found.st_mtime_ns, checksum]
    (folder / "vocab.txt").write_bytes(b"evil"[:1] * checked["vocab.txt"][0])
    os.utime(folder / "vocab.txt", ns=(0, checked["vocab.txt"][1]))
    folder.with_name(f"{folder.name}.json").write_text(json.dumps(checked))


def _open_to_group(path: Path) -> None:
    path.chmod(path.stat().st_mode | stat.S_IWGRP)


def _open_to_all(path: Path) -> None:
    path.chmod(path.stat().st_mode | stat.S_IWOTH)


@pytest.mark.parametrize("where", ["folder", "record", "file"])
@pytest.mark.parametrize("opened", [_open_to_group, _open_to_all])
def test_what_others_could_write_is_checked_again_by_content(
    cache: Path,
    model: Path,
    digest: str,
    fetch: Callable[[], Path],
    where: str,
    opened: Callable[[Path], None],
) -> None:
    _forge(cache / digest, model)
    paths = {"folder": digest, "record": f"{digest}.json", "file": f"{digest}/vocab.txt"}
    opened(cache / paths[where])
    assert model_digest(folder_checksums(fetch())) == digest


def test_what_another_user_made_is_checked_again_by_content_each_time(
    cache: Path,
    model: Path,
    digest: str,
    fetch: Callable[[], Path],
    downloads: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(model, cache / digest)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert fetch() == cache / digest and not downloads
    assert not (cache / f"{digest}.json").exists()
    shutil.rmtree(cache / digest)
    _forge(cache / digest, model)
    assert model_digest(folder_checksums(fetch())) == digest
    assert len(downloads) == 1


@pytest.mark.parametrize("what", ["folder", "file", "record"])
def test_a_link_in_place_of_what_is_kept_is_not_followed(
    cache: Path, model: Path, digest: str, fetch: Callable[[], Path], tmp_path: Path, what: str
) -> None:
    other = tmp_path / "other"
    _forge(cache / digest, model)
    path = {
        "folder": cache / digest,
        "file": cache / digest / "vocab.txt",
        "record": cache / f"{digest}.json",
    }[what]
    path.rename(other)
    before = _contents(other)
    path.symlink_to(other)
    folder = fetch()
    assert model_digest(folder_checksums(folder)) == digest
    assert not folder.is_symlink() and not (folder / "vocab.txt").is_symlink()
    assert _contents(other) == before


def _contents(path: Path) -> dict[str, bytes]:
    paths = [path, *path.rglob("*")] if path.is_dir() else [path]
    return {str(each): each.read_bytes() for each in paths if each.is_file()}


def test_a_lock_that_is_a_link_empties_nothing(
    cache: Path, digest: str, fetch: Callable[[], Path], tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (cache / f"{digest}.lock").symlink_to(victim)
    with pytest.raises(ModelError, match=r"model cache .* cannot be written .*BEAM_BERT_CACHE"):
        fetch()
    (cache / f"{digest}.lock").unlink()
    (cache / f"{digest}.lock").symlink_to(tmp_path / "not-there")
    with pytest.raises(ModelError, match="cannot be written"):
        fetch()
    assert victim.read_bytes() == b"precious" and not (tmp_path / "not-there").exists()


def test_a_pipe_or_nonsense_in_the_cache_is_neither_waited_for_nor_trusted(
    cache: Path, model: Path, digest: str, fetch: Callable[[], Path]
) -> None:
    shutil.copytree(model, cache / digest)
    os.mkfifo(cache / digest / "more.json")
    os.mkfifo(cache / f"{digest}.json")
    assert model_digest(folder_checksums(fetch())) == digest
    (cache / f"{digest}.json").write_text("[" * 100_000)
    assert model_digest(folder_checksums(fetch())) == digest


def test_what_is_kept_is_ours_alone_to_write_and_then_read_but_once(
    cache: Path, model: Path, digest: str, fetch: Callable[[], Path], downloads: list[Path]
) -> None:
    old = os.umask(0)
    try:
        folder = fetch()
    finally:
        os.umask(old)
    for path in (folder, *folder.iterdir(), cache / f"{digest}.json"):
        assert not path.stat().st_mode & 0o022
    (folder / "vocab.txt").chmod(0)  # not read again
    os.utime(folder / "vocab.txt", ns=(0, (folder / "vocab.txt").stat().st_mtime_ns))
    assert fetch() == folder and len(downloads) == 1


@pytest.mark.parametrize(
    ("place", "pattern"),
    [
        ("~nosuchuser_/cache", "there is no user ~nosuchuser_"),
        ("gs://bucket/cache", "is no local folder"),
        ("x" * 5_000, "is longer than"),
    ],
)
def test_a_cache_that_can_be_no_folder_is_one_line(
    place: str, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEAM_BERT_CACHE", place)
    with pytest.raises(ConfigError, match=pattern) as caught:
        cache_folder()
    assert len(str(caught.value)) < 300


def test_a_tilde_in_the_cache_s_place_is_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BEAM_BERT_CACHE", "~/models")
    assert cache_folder() == tmp_path / "models"
    monkeypatch.delenv("BEAM_BERT_CACHE")
    assert cache_folder() == tmp_path / ".cache/beam_bert"
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # a user without a home
    with pytest.raises(ConfigError, match="BEAM_BERT_CACHE"):
        cache_folder()
