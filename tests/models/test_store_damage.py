"""Hostile names, damaged and unwritable stores, and folders that are no models."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from beam_bert.errors import BeamBertError, ModelError, RunFailed
from beam_bert.models import ModelStore, fetch_model, resolve_model
from beam_bert.models.records import is_alias, is_version
from beam_bert.storage.base import Storage, is_safe_path
from beam_bert.storage.local import LocalStorage
from beam_bert.storage.places import open_storage

# Names


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../../etc",
        "/etc/passwd",
        "a\\b",
        "a\0b",
        "a/b",
        "",
        " ",
        ".hidden",
        "a" * 65,
        "ü",
        "a\n",
    ],
)
def test_a_hostile_alias_is_neither_set_nor_looked_up(tmp_path: Path, name: str) -> None:
    store = ModelStore(tmp_path)
    with pytest.raises(ModelError, match="neither an alias nor a version"):
        store.resolve(name)
    with pytest.raises(ModelError, match="cannot be an alias"):
        store.set_alias(name, "production", reason="why not")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["٠٠٠٠٠٠٠٩", "0000000９", "-0000009", "+0000009", " 0000009", "9"])
def test_what_is_no_number_of_a_move_moves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "aliases").mkdir()
    (tmp_path / f"aliases/{name}.json").write_text("{}")
    assert ModelStore(tmp_path).aliases() == {} and ModelStore(tmp_path).history() == []


@pytest.mark.parametrize(
    "name", ["s@..", "s@../x", "s@/etc", "s@a\\b", "s@a\0b", "s@", "@x", "s@a@.."]
)
def test_a_hostile_model_name_is_an_error(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError):
        resolve_model(name)


@pytest.mark.parametrize("location", ["", " ", "a\0b", "s3://bucket/store", "gs://", "http://x"])
def test_a_location_that_cannot_be_a_store_is_an_error(location: str) -> None:
    with pytest.raises(ModelError):
        ModelStore(location)


def test_only_plain_names_are_names() -> None:
    assert is_version("20261123T020000-ab12cd")
    assert not any(
        map(is_version, ["20261123T020000-AB12CD", "20261123T020000-ab12cd\n", "..", ""])
    )
    assert all(map(is_alias, ["production", "a", "A-b_c.d", "v1"]))
    assert not any(map(is_alias, ["1", "-a", "a/b", "a\n", "20261123T020000-ab12cd"]))
    assert is_safe_path("a/b.json")
    assert not any(
        map(is_safe_path, ["", "/a", "a/", "a//b", "../a", "a/..", "./a", "a\\b", "a\0"])
    )


# Folders that are not published


def _nothing_changed(store: ModelStore) -> None:
    assert not store.exists()
    assert not (Path(store.location) / "versions").exists()


def _refused(tmp_path: Path, folder: Path, message: str) -> None:
    store = ModelStore(tmp_path / "store")
    with pytest.raises(ModelError, match=message):
        store.publish(folder)
    _nothing_changed(store)


def test_a_folder_that_is_not_there_is_not_published(tmp_path: Path) -> None:
    _refused(tmp_path, tmp_path / "nowhere", "there is no such folder")
    _refused(tmp_path, Path("a\0b"), "there is no such folder")


def test_a_folder_without_a_config_is_not_published(tmp_path: Path, model: Path) -> None:
    (model / "config.json").unlink()
    _refused(tmp_path, model, "it has no config.json")


@pytest.mark.parametrize("text", ["{", "[]", "\x80"])
def test_a_config_that_is_not_json_is_not_published(tmp_path: Path, model: Path, text: str) -> None:
    (model / "config.json").write_text(text, encoding="latin-1")
    _refused(tmp_path, model, "config.json is not")


def test_pickled_weights_alone_are_not_published(tmp_path: Path, model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    _refused(tmp_path, model, r"only pickled weights \(pytorch_model.bin\), which can run code")


def test_an_adapter_is_not_published(tmp_path: Path, model: Path) -> None:
    (model / "adapter_config.json").write_text("{}")
    _refused(tmp_path, model, "LoRA adapter .*merge_and_unload")


def test_weights_that_git_lfs_has_not_fetched_are_not_published(
    tmp_path: Path, model: Path
) -> None:
    (model / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid 1")
    _refused(tmp_path, model, "model.safetensors is a Git LFS pointer.*git lfs pull")


def test_a_folder_without_weights_is_not_published(tmp_path: Path, model: Path) -> None:
    (model / "model.safetensors").unlink()
    _refused(tmp_path, model, "it has no weights; save the model as safetensors")


def test_weights_that_were_cut_short_are_not_published(tmp_path: Path, model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    _refused(tmp_path, model, "model.safetensors is damaged or cut short")


def test_a_weights_index_that_names_a_missing_file_is_not_published(
    tmp_path: Path, model: Path
) -> None:
    index = {"weight_map": {"weight": "model-00002-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    _refused(tmp_path, model, "names model-00002-of-00002.safetensors, not there")


def test_links_out_of_the_folder_are_not_published(tmp_path: Path, model: Path) -> None:
    (model / "passwords.txt").symlink_to("/etc/passwd")
    _refused(tmp_path, model, r"passwords.txt is a link to /etc/passwd, not in it; copy")
    (model / "passwords.txt").unlink()
    (model / "etc").symlink_to("/etc")
    _refused(tmp_path, model, "etc is a link to /etc, not in it")
    (model / "etc").unlink()
    (model / "self").symlink_to(".")
    _refused(tmp_path, model, "self is a link to a folder")
    (model / "self").unlink()
    (model / "loop").symlink_to("loop")
    _refused(tmp_path, model, "loop is a link to loop, not in it")


def test_names_that_end_elsewhere_on_other_machines_are_not_published(
    tmp_path: Path, model: Path
) -> None:
    for name in (b"a\\..\\evil.json", b"a\nb.json", b"\xff.json"):
        path = os.path.join(os.fsencode(model), name)  # noqa: PTH118 (Path has no bytes)
        with open(path, "w") as file:  # noqa: PTH123
            file.write("{}")
        _refused(tmp_path, model, "has a name not for others")
        os.unlink(path)  # noqa: PTH108


def test_what_is_no_file_is_not_published(tmp_path: Path, model: Path) -> None:
    os.mkfifo(model / "pipe.json")
    _refused(tmp_path, model, "pipe.json is not a regular file")


# Stores that cannot be written


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_without_write_permission_says_so(tmp_path: Path, model: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o500)
    with pytest.raises(ModelError, match="Permission denied; check the model store"):
        ModelStore(tmp_path / "store").publish(model)


def test_a_store_whose_place_is_a_file_says_so(tmp_path: Path, model: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    with pytest.raises(ModelError, match="check the model store and its permissions"):
        ModelStore(tmp_path / "store").publish(model)


def test_a_bucket_that_is_not_there_says_so(
    new_gs_location: Callable[[], str], model: Path
) -> None:
    new_gs_location()
    store = ModelStore("gs://no-such-bucket/store")
    with pytest.raises(BeamBertError, match="no-such-bucket"):
        store.publish(model)


def test_a_copy_that_differs_from_its_source_is_never_a_version(
    location: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ModelStore(location)
    kind = type(open_storage(location))
    real = kind.upload

    def damage(storage: Storage, source: Path, path: str) -> None:
        real(storage, source, path)
        if path.endswith(".safetensors"):
            storage.write(path, b"\0" * source.stat().st_size)

    monkeypatch.setattr(kind, "upload", damage)
    with pytest.raises(ModelError, match=r"model.safetensors has crc32c .*, its record says"):
        store.publish(model)
    assert open_storage(location).list_files("") == []
    assert store.versions() == []


def test_a_source_that_changes_while_it_is_read_is_never_a_version(
    location: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(open_storage(location))
    real = kind.upload

    def change(storage: Storage, source: Path, path: str) -> None:
        if source.name == "vocab.txt":
            source.write_text("[PAD]\n")
        real(storage, source, path)

    monkeypatch.setattr(kind, "upload", change)
    with pytest.raises(ModelError, match=r"vocab.txt has 6 bytes, its record says 12"):
        ModelStore(location).publish(model)
    assert open_storage(location).list_files("") == []


# Stores that were damaged


@pytest.fixture
def published(tmp_path: Path, model: Path) -> tuple[ModelStore, Path]:
    """A local store with a model in production, and the model's folder."""
    store = ModelStore(tmp_path / "store")
    version = store.publish(model).version
    store.promote(version, reason="first")
    return store, Path(store.folder(version))


def test_a_damaged_version_is_neither_used_nor_promoted(
    published: tuple[ModelStore, Path],
) -> None:
    store, folder = published
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for damaged, message in (
        (whole[:-1], r"has 4,0\d\d bytes, its record says"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "has crc32c .*, its record says"),
        (None, "is missing"),
    ):
        weights.unlink()
        if damaged is not None:
            weights.write_bytes(damaged)
        with pytest.raises(ModelError, match=rf"model.safetensors {message}") as caught:
            resolve_model(f"{store.location}@production")
        assert folder.name in str(caught.value)
        with pytest.raises(ModelError, match=message):
            store.promote(folder.name, reason="again")
        weights.write_bytes(whole)
    resolve_model(f"{store.location}@production")


def test_a_damaged_version_is_not_rolled_back_to(
    published: tuple[ModelStore, Path], model: Path
) -> None:
    store, folder = published
    store.promote(store.publish(model, notes="next").version, reason="second")
    (folder / "vocab.txt").write_text("")
    with pytest.raises(ModelError, match=r"vocab.txt has 0 bytes"):
        store.rollback(reason="back")
    assert len(store.history()) == 2


def test_a_half_written_version_is_invisible(published: tuple[ModelStore, Path]) -> None:
    store, folder = published
    half = folder.with_name("20260101T000000-abcdef")
    shutil.copytree(folder, half)
    assert [record.version for record in store.versions()] == [folder.name]
    for action in (store.resolve, lambda name: store.promote(name, reason="half")):
        with pytest.raises(ModelError, match="was never finished: its upload was cut short"):
            action(half.name)


def test_an_unfinished_version_is_cleared_away_after_two_days(
    location: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, store = open_storage(location), ModelStore(location)
    finished = store.publish(model, notes="finished")
    storage.write("versions/20200101T000000-abcdef/config.json", b"{}")
    storage.write("versions/29990101T000000-abcdef/config.json", b"{}")
    storage.write("versions/somebodys/config.json", b"{}")
    store.publish(model, notes="another")
    folders = storage.list_folders("versions")
    assert "20200101T000000-abcdef" not in folders
    assert {"29990101T000000-abcdef", "somebodys", finished.version} <= set(folders)
    store.verify(finished)


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"files": [{"path": "../../x"}]}', "\0"])
def test_a_damaged_record_is_named(published: tuple[ModelStore, Path], text: str) -> None:
    store, folder = published
    folder.with_name(f"{folder.name}.json").write_text(text)
    with pytest.raises(ModelError, match=rf"{folder.name}.json is damaged \("):
        store.resolve("production")
    (Path(store.location) / "aliases" / "00000001.json").write_text(text)
    with pytest.raises(ModelError, match=r"00000001.json is damaged \("):
        store.aliases()


def test_a_record_cannot_point_out_of_its_version(published: tuple[ModelStore, Path]) -> None:
    store, folder = published
    path = folder.with_name(f"{folder.name}.json")
    record = json.loads(path.read_text())
    record["files"][0]["path"] = "../../../secret.json"
    path.write_text(json.dumps(record))
    with pytest.raises(ModelError, match=r"is damaged .*not a relative path below"):
        store.resolve("production")


def test_a_version_that_is_a_link_to_elsewhere_is_not_used(
    published: tuple[ModelStore, Path], tmp_path: Path
) -> None:
    store, folder = published
    shutil.move(folder, tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=r"is a link out of .*, to .*elsewhere"):
        resolve_model(f"{store.location}@production")


def test_an_alias_whose_version_is_gone_says_so(published: tuple[ModelStore, Path]) -> None:
    store, folder = published
    folder.with_name(f"{folder.name}.json").unlink()
    with pytest.raises(ModelError, match=rf"is {folder.name}, whose record is gone"):
        store.resolve("production")


def test_leftovers_of_killed_writes_are_overlooked(published: tuple[ModelStore, Path]) -> None:
    store, folder = published
    for name in ("aliases/.00000002.json.0f.tmp", "versions/.x.json.0f.tmp", "aliases/x.json"):
        (Path(store.location) / name).write_text("{")
    assert store.aliases() == {"production": folder.name}
    assert len(store.versions()) == 1


@pytest.mark.parametrize(
    ("code", "expected", "message"),
    [
        (errno.ENOSPC, RunFailed, "No space left on device; make room and run the same"),
        (errno.EACCES, ModelError, "Permission denied; check the model store"),
    ],
)
def test_a_full_or_forbidden_disk_leaves_the_store_as_it_was(
    published: tuple[ModelStore, Path],
    other_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    expected: type[BeamBertError],
    message: str,
) -> None:
    store, _ = published
    before = LocalStorage(Path(store.location)).list_files("")

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("beam_bert.storage.local.os.fsync", refuse)
    version = store.resolve("production").version
    with pytest.raises(expected, match=message):
        store.publish(other_model)
    with pytest.raises(expected, match=message):
        store.set_alias("candidate", version, reason="why not")
    assert LocalStorage(Path(store.location)).list_files("") == before


def test_a_local_version_that_changes_under_a_job_stops_it(
    published: tuple[ModelStore, Path],
) -> None:
    store, folder = published
    resolved = resolve_model(f"{store.location}@production")
    save_file({}, folder / "model.safetensors")
    with pytest.raises(ModelError, match="changed while the job ran"):
        fetch_model(resolved)


@pytest.mark.parametrize("name", ["a\0b", "~nosuchuser_/x", "x" * 300, "a/" * 3_000, "\ud800"])
def test_what_cannot_be_a_path_is_no_model_and_no_store(name: str, tmp_path: Path) -> None:
    for use in (resolve_model, ModelStore, lambda _: ModelStore(tmp_path).publish(name)):
        with pytest.raises(ModelError) as caught:
            use(name)
        assert len(str(caught.value)) < 400
    with pytest.raises(ModelError):
        resolve_model(f"{name}@production")
