"""`python -m pipelines.models`: what people and schedulers read of a store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from beam_bert.models import ModelStore
from pipelines.models import main


@pytest.fixture
def store(location: str, model: Path) -> ModelStore:
    """A store with two versions, the first in production."""
    store = ModelStore(location)
    first = store.publish(
        model, metrics={"accuracy": 0.91234567, "rows": 500}, notes="[red] one\x1b]0;x\x07"
    )
    store.publish(model, parent=first.version)
    store.promote(first.version, reason="the [bold]first[/bold]")
    return store


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_list_shows_every_version_and_what_points_at_it(
    store: ModelStore, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "list", store.location)
    assert (code, err) == (0, "")
    header, *lines = out.splitlines()
    assert header.split() == ["version", "aliases", "published", "size", "parent", "metrics"]
    assert len(lines) == 2
    (production,) = (line for line in lines if "production" in line)
    assert store.aliases()["production"] in production
    assert "accuracy 0.9123, rows 500" in production


def test_list_as_json_holds_versions_aliases_and_history(
    store: ModelStore, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "list", store.location, "--json")
    listed = json.loads(out)
    assert code == 0
    assert listed["aliases"] == store.aliases()
    assert [each["version"] for each in listed["versions"]] == [
        record.version for record in store.versions()
    ]
    assert listed["history"][0]["reason"] == "the [bold]first[/bold]"


def test_show_tells_all_of_the_version_in_production(
    store: ModelStore, capsys: pytest.CaptureFixture[str]
) -> None:
    record = store.resolve("production")
    code, out, _ = run(capsys, "show", store.location)
    assert code == 0
    for shown in (
        record.version,
        record.digest,
        store.folder(record.version),
        "[red] one",
        "the [bold]first[/bold]",
        *(file.crc32c for file in record.files),
    ):
        assert shown in out
    code, out, _ = run(capsys, "show", store.location, record.version, "--json")
    shown = json.loads(out)
    assert (code, shown["version"], shown["aliases"]) == (0, record.version, ["production"])
    assert [move["action"] for move in shown["history"]] == ["promote"]


def test_promote_and_rollback_say_what_changed(
    store: ModelStore, capsys: pytest.CaptureFixture[str]
) -> None:
    one = store.aliases()["production"]
    (two,) = (record.version for record in store.versions() if record.version != one)
    code, out, _ = run(capsys, "promote", store.location, two, "--reason", "better")
    assert (code, out) == (0, f"production: {two} (was {one})\nprevious: {one} (was not set)\n")
    code, out, _ = run(capsys, "promote", store.location, two, "--reason", "better", "--json")
    assert (code, json.loads(out)["changed"]) == (0, False)
    code, out, _ = run(capsys, "promote", store.location, two, "--reason", "better")
    assert (code, out) == (0, f"production: {two} (as it was)\nprevious: {one} (as it was)\n")
    code, out, _ = run(capsys, "rollback", store.location, "--reason", "worse", "--json")
    moved = json.loads(out)
    assert (code, moved["changed"], moved["reason"]) == (0, True, "worse")
    assert moved["aliases"] == store.aliases() == {"production": one, "previous": two}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["list", "nowhere"], "nowhere: there is no model store"),
        (["show", "STORE", "prodution"], "it has production; did you mean production?"),
        (["show", "store@production"], "store@production: give the store alone (store)"),
        (["show", "STORE", "../x"], "neither an alias nor a version"),
        (["promote", "STORE", "20260101T000000-abcdef", "--reason", "x"], "has no version"),
        (["promote", "STORE", "production"], "required: --reason"),
        (["promote", "STORE", "production", "--reason", " "], "needs a reason"),
        (["rollback", "STORE", "--reason", "x"], "no previous version to go back to"),
        (["rollback", "STORE", "--reason", "x", "--why"], "unrecognized arguments: --why"),
        (["demote", "STORE"], "invalid choice: 'demote'"),
        ([], "required: COMMAND"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    store: ModelStore, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    argv = [store.location if each == "STORE" else each for each in argv]
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


def test_a_lost_race_is_one_line_and_exit_code_1(
    store: ModelStore, capsys: pytest.CaptureFixture[str]
) -> None:
    versions = [record.version for record in store.versions()]
    (other,) = (version for version in versions if version != store.aliases()["production"])
    argv = ["promote", store.location, other, "--reason", "x", "--expected_current", "none"]
    code, out, err = run(capsys, *argv)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "not unset as expected" in err


def test_a_damaged_version_is_told_by_show(
    store: ModelStore, capsys: pytest.CaptureFixture[str]
) -> None:
    from beam_bert.storage.places import open_storage

    version = store.aliases()["production"]
    open_storage(store.location).write(f"versions/{version}/vocab.txt", b"[PAD]\n[UNk]\n")
    code, _, err = run(capsys, "show", store.location)
    assert code == 2
    assert "vocab.txt has crc32c" in err
