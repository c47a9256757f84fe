"""Sources are declared and licensed, or the run stops."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

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
    assert "train.csv is not declared in" in capfd.readouterr().err
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
