"""Sources are declared and licensed, or the run stops."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from beam_bert.errors import InputError
from beam_bert.labelled.provenance import (
    UNKNOWN_LICENCE,
    SourceRecord,
    card_licence,
    check_sources,
)
from beam_bert.slices.plan import FileEntry
from pipelines.finetune import main

DECLARED = {
    "path": "*.csv",
    "origin": "https://example.org",
    "licence": "CC BY 4.0",
    "date": "2020-03-10",
}


@pytest.fixture
def run(tmp_path: Path, train_file: Path, encoder: Path) -> Callable[..., int]:
    """Fine-tune without accepting what is not licensed."""

    def run(*flags: str, **declared: str) -> int:
        if declared:
            (tmp_path / "data.yaml").write_text(yaml.safe_dump({"sources": [declared]}))
        usual = ["--train", str(train_file), "--label_column", "label", "--base", str(encoder)]
        usual += ["--output", str(tmp_path / "out"), "--layout", "folder", "--epochs", "1"]
        usual += ["--accept_base_license"] if "--base" not in flags else []
        return main([*usual, *flags])

    return run


def test_a_declared_source_is_written_down_with_its_digest(
    run: Callable[..., int], tmp_path: Path, train_file: Path
) -> None:
    assert run(**DECLARED) == 0
    digest = hashlib.sha256(train_file.read_bytes()).hexdigest()
    (source,) = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())["sources"]
    assert source["sha256"] == digest
    assert source["licence"] == "CC-BY-4.0"
    card = (tmp_path / "out" / "README.md").read_text()
    assert digest in card
    assert "accept_unlicensed was given" not in card


def test_a_source_that_is_not_declared_stops_the_run(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run() == 2
    error = capfd.readouterr().err
    assert "train.csv is not declared in" in error
    assert 'sources:\n  - path: "train.csv"\n    origin: TODO' in error
    assert run(**{**DECLARED, "path": "other.csv"}) == 2
    assert "train.csv is not declared in" in capfd.readouterr().err


def test_a_declaration_of_a_folder_does_not_license_the_folders_below(
    run: Callable[..., int], tmp_path: Path, train_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    below = tmp_path / "found" / "train.csv"
    below.parent.mkdir()
    below.write_bytes(train_file.read_bytes())
    assert run("--train", str(below), **DECLARED) == 2
    assert f"{below} is not declared in" in capfd.readouterr().err


def test_a_licence_that_is_not_allowed_stops_the_run_unless_it_is_accepted(
    run: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    forbidden = {**DECLARED, "licence": "CC-BY-NC-4.0"}
    assert run(**forbidden) == 2
    assert "has licence 'CC-BY-NC-4.0'" in capfd.readouterr().err
    assert run("--allowed_licences", "cc by nc 4.0", **forbidden) == 0
    assert run("--accept_unlicensed", "--overwrite", **forbidden) == 0
    assert "CC-BY-NC-4.0 (accepted as it is)" in (tmp_path / "out" / "README.md").read_text()


def test_another_file_than_the_one_declared_stops_the_run(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(**DECLARED, sha256="0" * 64) == 2
    assert "it is not the file that was declared" in capfd.readouterr().err


def test_a_declaration_that_lacks_a_field_says_which(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(path="*.csv", licence="MIT", date="2020-03-10") == 2
    assert "sources.0.origin: Field required" in capfd.readouterr().err


CARD = "---\nlicense: {licence}\n---\n# A base\n"


@pytest.fixture
def base(tmp_path: Path, encoder: Path) -> Callable[[str], str]:
    """The encoder with a card of its own."""

    def make(card: str) -> str:
        folder = tmp_path / "base"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(encoder, folder)
        if card:
            (folder / "README.md").write_text(card)
        return str(folder)

    return make


@pytest.mark.parametrize(
    ("card", "shown"),
    [
        (CARD.format(licence="cc-by-nc-4.0"), "licence cc-by-nc-4.0"),
        (CARD.format(licence="[mit, cc-by-nc-sa-4.0]"), "licence mit, cc-by-nc-sa-4.0"),
        ("---\nlicense: other\nlicense_name: llama3\n---\n", "licence llama3"),
        (CARD.format(licence="other"), "licence unknown (by its card)"),
        ("# no metadata\n", "licence unknown (by its card)"),
        ("---\n: [\n---\n", "licence unknown (by its card)"),
        ("", "licence unknown (by its card)"),
    ],
)
def test_a_base_whose_licence_is_not_allowed_must_be_accepted(
    run: Callable[..., int],
    base: Callable[[str], str],
    capfd: pytest.CaptureFixture[str],
    card: str,
    shown: str,
) -> None:
    folder = base(card)
    assert run("--base", folder, **DECLARED) == 2
    error = capfd.readouterr().err
    assert shown in error and "--accept_base_license" in error
    assert error.count("\n") == 1


def test_the_licence_of_the_base_is_told_kept_and_handed_on(
    run: Callable[..., int],
    base: Callable[[str], str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run("--base", base(CARD.format(licence="apache-2.0")), **DECLARED) == 0
    assert "licence apache-2.0" in capfd.readouterr().err
    nc = base(CARD.format(licence="cc-by-nc-4.0"))
    assert run("--base", nc, "--accept_unlicensed", "--overwrite", **DECLARED) == 2
    assert run("--base", nc, "--accept_base_license", "--overwrite", **DECLARED) == 0
    assert "warning: " in capfd.readouterr().err
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"Trained from: {nc} (version" in card and "licence cc-by-nc-4.0" in card
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["license_name"] == "CC-BY-4.0, cc-by-nc-4.0"
    assert metadata["base_model"] == nc
    training = json.loads((tmp_path / "out" / "training.json").read_text())
    assert training["base"]["licence"] == "cc-by-nc-4.0"
    # What is trained from this model in turn stands under it too.
    grandchild = ("--base", str(tmp_path / "out"), "--output", str(tmp_path / "next"))
    assert run(*grandchild, **DECLARED) == 2
    assert "licence CC-BY-4.0, cc-by-nc-4.0" in capfd.readouterr().err


def test_a_base_with_a_blank_in_its_name_is_named_whole(
    run: Callable[..., int], base: Callable[[str], str], tmp_path: Path
) -> None:
    folder = tmp_path / "my base"
    Path(base(CARD.format(licence="mit"))).rename(folder)
    assert run("--base", str(folder), **DECLARED) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["base_model"] == str(folder)


def test_a_glob_licenses_what_lies_beside_its_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "labels").mkdir()
    text = "sources:\n- {path: '*.csv', origin: o, licence: CC-BY-4.0, date: 2020-01-01}\n"
    (tmp_path / "labels" / "data.yaml").write_text(text)
    for name in ("mine.csv", "labels/a.csv"):
        (tmp_path / name).write_text("x")
    monkeypatch.chdir(tmp_path)

    def check(name: str) -> None:
        check_sources(
            [("train", FileEntry(name, 1))],
            declared_in="labels/data.yaml",
            allowed=["CC-BY-4.0"],
            accept_unlicensed=False,
        )

    check("labels/a.csv")
    with pytest.raises(InputError, match=r"mine\.csv is not declared"):
        check("mine.csv")


def test_all_files_without_declaration_are_told_at_once_with_the_yaml_that_they_lack(
    tmp_path: Path,
) -> None:
    names = ["a.csv", "b: c.csv", "deep/d.csv"]
    (tmp_path / "deep").mkdir()
    for name in (*names, "known.csv"):
        (tmp_path / name).write_text("text,label\na,b\n")
    files = [("train", FileEntry(str(tmp_path / name), 14)) for name in (*names, "known.csv")]
    declaration = tmp_path / "data.yaml"
    known = "sources:\n  - {path: known.csv, origin: o, licence: CC0-1.0, date: 2020-01-01}\n"
    declaration.write_text(known)

    def check() -> list[SourceRecord]:
        return check_sources(files, declared_in=None, allowed=["CC0-1.0"], accept_unlicensed=False)

    with pytest.raises(InputError) as error:
        check()
    assert all(f"{tmp_path / name}" in str(error.value) for name in names)
    assert "known.csv" not in str(error.value) + error.value.to_paste
    pasted = known + error.value.to_paste + "\n"
    for todo, value in (("origin", "o"), ("licence", "CC0-1.0"), ("date", "2020-01-01")):
        pasted = pasted.replace(f"{todo}: TODO", f"{todo}: {value}")
    declaration.write_text(pasted)
    assert [record.path for record in check()] == [file.path for _, file in files]
    declaration.unlink()
    with pytest.raises(InputError) as error:
        check()
    assert error.value.to_paste.count("  - path: ") == 4
    assert f"# {tmp_path}/deep/data.yaml" in error.value.to_paste


@pytest.mark.parametrize(
    "lines",
    [
        ["a: &a {x: 1}", *(f"b{i}: &b{i} {{<<: [*b{i}, *b{i}]}}" for i in range(40))],
        ["a: &a0 {x: 1}", *(f"b{i}: &a{i + 1} {{<<: [*a{i}, *a{i}]}}" for i in range(28))],
        ["n: 1" + ":0" * 500_000],
        ["[" * 100_000],
        ["license: !!python/object/apply:os.system [true]"],
        ["license: {a: b}"],
        ["license: 2024-13-45"],
    ],
)
def test_a_hostile_card_names_no_licence_and_takes_no_time(lines: list[str]) -> None:
    started = time.process_time()
    assert card_licence("\n".join(["---", *lines, "---", ""])) == UNKNOWN_LICENCE
    assert time.process_time() - started < 5  # a hang fails, a slow machine does not
