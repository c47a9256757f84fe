"""An incremental run reads what is new or changed, and rows are neither lost nor doubled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.test_job import ROWS, run, shards, table, write_jsonl

WAY = "--incremental"


def ids(output: Path) -> list[str]:
    return sorted(row["id"] for row in table(output))


def touch_later(path: Path) -> None:
    """A change within the clock's tick would be missed by any tool that looks at times."""
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    write_jsonl(folder / "a.jsonl", ROWS[:5])
    write_jsonl(folder / "b.jsonl", ROWS[5:10])
    return folder


def test_only_new_files_are_read_and_their_rows_join_the_table(
    tmp_path: Path, inputs: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(inputs, out, bert, WAY) == 0
    before = shards(out)
    write_jsonl(inputs / "c.jsonl", ROWS[10:12])
    capsys.readouterr()
    assert run(inputs, out, bert, WAY) == 0
    shown = capsys.readouterr().out.splitlines()
    assert next(line for line in shown if "rows read" in line).split("│")[2].strip() == "2"
    after = shards(out)
    assert before.items() <= after.items() and len(after) == len(before) + 1
    assert ids(out) == sorted(row["id"] for row in ROWS[:12])


def test_a_second_run_does_nothing_and_says_so(
    tmp_path: Path, inputs: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(inputs, out, bert, WAY) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert run(inputs, out, bert, WAY) == 0
    assert "nothing to do: all 2 files are done" in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert after == before


def test_a_changed_file_replaces_its_own_rows_and_no_others(
    tmp_path: Path, inputs: Path, bert: Path
) -> None:
    out = tmp_path / "out"
    assert run(inputs, out, bert, WAY, "--partition=run_date=2026-11-23") == 0
    write_jsonl(inputs / "a.jsonl", [ROWS[0], ROWS[20]])
    touch_later(inputs / "a.jsonl")
    assert run(inputs, out, bert, WAY, "--partition=run_date=2026-11-24") == 0
    rows = table(out)
    assert ids(out) == sorted(row["id"] for row in (ROWS[0], ROWS[20], *ROWS[5:10]))
    nights = {row["id"]: str(row["run_date"]) for row in rows}
    assert nights[ROWS[0]["id"]] == nights[ROWS[20]["id"]] == "2026-11-24"
    assert nights[ROWS[5]["id"]] == "2026-11-23"


def test_another_model_or_setting_reads_everything_again_and_doubles_nothing(
    tmp_path: Path, inputs: Path, bert: Path
) -> None:
    out = tmp_path / "out"
    assert run(inputs, out, bert, WAY) == 0
    assert run(inputs, out, bert, WAY, "--max_length=16") == 0
    assert ids(out) == sorted(row["id"] for row in ROWS[:10])
    assert len(list(out.glob("runs/*/manifest.json"))) == 2


def test_it_cannot_be_combined_with_overwriting(
    tmp_path: Path, inputs: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(inputs, tmp_path / "out", bert, WAY, "--overwrite") == 2
    assert "overwrite and incremental cannot be combined" in capsys.readouterr().err
