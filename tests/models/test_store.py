"""What a model store does when all goes well, over a local folder and over gs://."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from beam_bert.errors import ConfigError, ModelError, StoreConflict
from beam_bert.models import ModelStore, fetch_model, resolve_model
from beam_bert.models.records import VersionRecord
from tests.models.model_folders import make_model


def test_a_published_model_is_listed_with_what_was_said_about_it(
    location: str, model: Path
) -> None:
    store = ModelStore(location)
    assert (store.exists(), store.versions(), store.aliases(), store.history()) == (
        False,
        [],
        {},
        [],
    )
    first = store.publish(model, metrics={"accuracy": 0.9}, notes="the first")
    second = store.publish(model, parent=first.version)

    assert store.versions() == sorted([first, second], key=lambda record: record.version)
    assert (first.metrics, first.notes, first.parent) == ({"accuracy": 0.9}, "the first", None)
    assert second.parent == first.version
    assert [file.path for file in first.files] == [
        "README.md",
        "config.json",
        "model.safetensors",
        "vocab.txt",
    ]
    assert first.size == sum(path.stat().st_size for path in model.iterdir())
    store.verify(first)


def test_the_same_model_has_the_same_digest_wherever_it_lies(location: str, model: Path) -> None:
    record = ModelStore(location).publish(model)
    here, there = resolve_model(str(model)), resolve_model(f"{location}@{record.version}")
    assert here.version == there.version == record.digest
    assert (here.store_version, here.shown_version) == (None, here.version)
    assert (there.store_version, there.shown_version) == (record.version, record.version)


def test_publishing_the_very_same_again_gives_the_version_that_is_there(
    location: str, model: Path, other_model: Path
) -> None:
    store = ModelStore(location)
    first = store.publish(model, metrics={"f1": 0.5, "classes": [1, 2]})
    assert store.publish(model, metrics={"f1": 0.5, "classes": [1, 2]}) == first
    assert store.publish(model, metrics={"f1": 0.6}).version != first.version
    assert store.publish(other_model, metrics={"f1": 0.5, "classes": [1, 2]}) != first
    assert len(store.versions()) == 3


def test_subfolders_come_along_and_pickles_hidden_files_and_training_states_do_not(
    location: str, model: Path
) -> None:
    for name in ("1_Pooling/config.json", "checkpoint-500/model.safetensors", ".git/config"):
        (model / name).parent.mkdir()
        (model / name).write_text("{}")
    (model / "training_args.bin").write_bytes(b"pickle")
    (model / "optimizer.pt").write_bytes(b"pickle")
    (model / "link.txt").symlink_to("vocab.txt")
    record = ModelStore(location).publish(model)
    assert [file.path for file in record.files] == [
        "1_Pooling/config.json",
        "README.md",
        "config.json",
        "link.txt",
        "model.safetensors",
        "vocab.txt",
    ]


def test_promoting_moves_production_to_previous_and_rolling_back_swaps_them(
    location: str, model: Path
) -> None:
    store = ModelStore(location)
    one, two, three = (store.publish(model, notes=str(n)).version for n in range(3))
    assert store.promote(one, reason="first").aliases == {"production": one}
    store.set_alias("candidate", two, reason="trained tonight")
    store.promote("candidate", reason="+0.01 accuracy", expected_current=one)
    assert store.aliases() == {"candidate": two, "previous": one, "production": two}
    assert store.resolve("production").version == two
    store.promote(three, reason="better still")
    store.rollback(reason="worse on\nemails", expected_current=three)
    assert store.aliases() == {"candidate": two, "previous": three, "production": two}
    store.rollback(reason="it was not the model")
    assert store.aliases()["production"] == three

    history = store.history()
    assert [(move.number, move.action, move.reason) for move in history] == [
        (1, "promote", "first"),
        (2, "set_alias", "trained tonight"),
        (3, "promote", "+0.01 accuracy"),
        (4, "promote", "better still"),
        (5, "rollback", "worse on emails"),
        (6, "rollback", "it was not the model"),
    ]
    assert history == sorted(history, key=lambda move: move.at)


def test_promoting_what_is_in_production_changes_nothing(location: str, model: Path) -> None:
    store = ModelStore(location)
    one, two = (store.publish(model, notes=str(n)).version for n in range(2))
    store.promote(one, reason="first")
    moved = store.promote(two, reason="second", expected_current=one)
    # As a job does that was killed after its promotion: what it expected is history by now.
    assert store.promote(two, reason="second", expected_current=one) == moved
    assert len(store.history()) == 2


def test_a_promotion_that_expects_something_else_is_refused(location: str, model: Path) -> None:
    other = "20260101T000000-abcdef"
    store = ModelStore(location)
    one, two = (store.publish(model, notes=str(n)).version for n in range(2))
    with pytest.raises(StoreConflict, match=f"production is not set, not {two} as expected"):
        store.promote(one, reason="first", expected_current=two)
    store.promote(one, reason="first", expected_current=None)
    with pytest.raises(StoreConflict, match=f"production is {one}, not unset as expected"):
        store.promote(two, reason="second", expected_current=None)
    with pytest.raises(StoreConflict, match=f"production is {one}, not {other} as expected"):
        store.promote(two, reason="second", expected_current=other)
    assert store.aliases() == {"production": one}


def test_a_version_and_an_alias_resolve_to_the_folder_of_the_version(
    location: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEAM_BERT_CACHE", str(tmp_path / "cache"))
    store = ModelStore(location)
    version = store.publish(model).version
    store.promote(version, reason="first")
    for name in (f"{location}@production", f"{location}@{version}"):
        resolved = resolve_model(name)
        assert (resolved.name, resolved.store_version) == (name, version)
        assert resolved.location == store.folder(version)
        folder = fetch_model(resolved)
        assert (folder / "config.json").read_bytes() == (model / "config.json").read_bytes()


def test_what_was_resolved_stays_when_the_alias_moves_on(location: str, model: Path) -> None:
    store = ModelStore(location)
    one, two = (store.publish(model, notes=str(n)).version for n in range(2))
    store.promote(one, reason="first")
    resolved = resolve_model(f"{location}@production")
    store.promote(two, reason="second")
    assert resolved.location == store.folder(one)
    assert resolve_model(f"{location}@{resolved.shown_version}").location == resolved.location


def test_transformers_loads_a_version_from_its_folder(tmp_path: Path, bert: Path) -> None:
    transformers = pytest.importorskip("transformers")
    store = ModelStore(str(tmp_path / "store"))
    folder = store.folder(store.publish(bert).version)
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    assert loaded.config.id2label == {0: "negative", 1: "neutral", 2: "positive"}
    assert len(transformers.AutoTokenizer.from_pretrained(folder)) > 100


def test_a_relative_location_and_one_with_a_slash_are_the_same_store(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    version = ModelStore("store/banking/").publish(model).version
    ModelStore(tmp_path / "store" / "banking").promote(version, reason="first")
    resolved = resolve_model("store/banking@production")
    assert resolved.location == str(tmp_path / "store" / "banking" / "versions" / version)


# What is not there


def test_a_missing_alias_lists_those_that_exist_and_the_nearest(location: str, model: Path) -> None:
    store = ModelStore(location)
    with pytest.raises(ModelError, match=r"banking: there is no model store"):
        store.resolve("production")
    version = store.publish(model).version
    with pytest.raises(ModelError, match=r"no alias 'production', nor any other; promote one"):
        store.resolve("production")
    store.promote(version, reason="first")
    store.set_alias("candidate", version, reason="second")
    expected = r"no alias 'prodution'; it has candidate, production; did you mean production\?"
    with pytest.raises(ModelError, match=expected):
        resolve_model(f"{location}@prodution")


def test_a_missing_version_names_the_nearest(location: str, model: Path) -> None:
    store = ModelStore(location)
    with pytest.raises(ModelError, match="there is no model store"):
        store.resolve("20260101T000000-abcdef")
    version = store.publish(model).version
    typo = version[:-1] + ("0" if version[-1] != "0" else "1")
    with pytest.raises(ModelError, match=f"has no version {typo}; it has {version}; did you mean"):
        store.resolve(typo)


def test_a_store_without_a_version_says_which_it_has(location: str, model: Path) -> None:
    store = ModelStore(location)
    store.promote(store.publish(model).version, reason="first")
    with pytest.raises(ModelError, match=r"is a model store, say which version: .*@production"):
        resolve_model(location)


def test_a_folder_with_an_at_in_its_name_is_a_folder(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model@production")
    assert resolve_model(str(folder)).store_version is None


def test_a_prefix_with_an_at_in_its_name_is_a_prefix(
    new_gs_location: Callable[[], str], model: Path
) -> None:
    store = ModelStore(new_gs_location())
    record = store.publish(model)
    from beam_bert.storage.places import open_storage

    prefix = f"{store.location}-flat@v2"
    for file in record.files:
        open_storage(prefix).upload(model / file.path, file.path)
    resolved = resolve_model(prefix)
    assert (resolved.location, resolved.version) == (prefix, record.digest)


def test_a_prefix_that_is_neither_model_nor_store_says_both(
    new_gs_location: Callable[[], str],
) -> None:
    location = new_gs_location()
    with pytest.raises(ModelError, match=rf"no config.json .*, nor a model store at {location}$"):
        resolve_model(f"{location}@production")
    with pytest.raises(ModelError, match=r"no config.json under that prefix$"):
        resolve_model(location)
    with pytest.raises(ModelError, match="no bucket"):
        resolve_model("gs://")


def test_rolling_back_without_a_previous_version_says_so(location: str, model: Path) -> None:
    store = ModelStore(location)
    store.promote(store.publish(model).version, reason="first")
    with pytest.raises(ModelError, match="no previous version to go back to"):
        store.rollback(reason="back")


def test_a_move_without_a_reason_is_refused(location: str, model: Path) -> None:
    store = ModelStore(location)
    version = store.publish(model).version
    with pytest.raises(ConfigError, match="promote needs a reason"):
        store.promote(version, reason=" \n")
    assert store.history() == []


def test_records_are_small_json_files_that_people_can_read(tmp_path: Path, model: Path) -> None:
    store = ModelStore(tmp_path)
    record = store.publish(model, metrics={"f1": 0.5})
    store.promote(record.version, reason="first")
    text = (tmp_path / "versions" / f"{record.version}.json").read_text()
    assert VersionRecord.model_validate_json(text) == record
    move = json.loads((tmp_path / "aliases" / "00000001.json").read_text())
    assert (move["reason"], move["aliases"]) == ("first", {"production": record.version})
