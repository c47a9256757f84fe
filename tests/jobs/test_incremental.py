"""An incremental run reads what is new or changed, and rows are neither lost nor doubled."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_bert.jobs.commands import run_command
from beam_bert.sinks.commit import commit_run
from beam_bert.sinks.prepare import prepare_output
from beam_bert.sinks.run import RunSpec
from beam_bert.sinks.shards import write_shard
from beam_bert.slices.plan import FileEntry
from beam_bert.sources import list_files, reading
from beam_bert.sources.opening import open_listed
from beam_bert.storage.local import LocalStorage
from beam_bert.storage.places import open_storage
from tests.jobs.test_run import ROWS, run, shards, table, write_jsonl
from tests.sinks.committed import table as committed_table
from tests.sinks.shard_factory import SCHEMA, make_batch, make_run

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


def test_a_file_that_could_not_be_read_one_night_is_read_the_next(
    tmp_path: Path, inputs: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tests may run as root, who may read anything: so the answer is given here."""
    out = tmp_path / "out"

    def refuse(file: FileEntry, *args: Any) -> Any:
        if file.path.endswith("b.jsonl"):
            raise PermissionError(file.path)
        return open_listed(file, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "open_listed", refuse)
        assert run(inputs, out, bert, WAY, "--max_lost_files=1", "--slice_bytes=1") == 0
    shown = capsys.readouterr()
    assert "unreadable_file" in shown.out and "were not read to their end" in shown.err
    assert ids(out) == sorted(row["id"] for row in ROWS[:5])
    assert run(inputs, out, bert, WAY, "--max_lost_files=1", "--slice_bytes=1") == 0
    assert ids(out) == sorted(row["id"] for row in ROWS[:10])
    assert not (out / "rejects").exists()
    capsys.readouterr()
    assert run(inputs, out, bert, WAY, "--max_lost_files=1", "--slice_bytes=1") == 0
    assert "nothing to do" in capsys.readouterr().out


def test_a_file_named_in_another_way_is_the_same_file(
    tmp_path: Path,
    inputs: Path,
    bert: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    monkeypatch.chdir(inputs)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(inputs)
    assert run("a.jsonl", out, bert, WAY) == 0
    manifest = next(out.glob("runs/*/manifest.json")).read_text()
    assert (
        '"path": "a.jsonl"' in manifest and f'"identity": "{inputs.resolve()}/a.jsonl"' in manifest
    )
    for way in ("../in/a.jsonl", str(inputs / "a.jsonl"), "../link/a.jsonl", "~/in/a.jsonl"):
        capsys.readouterr()
        assert run(way, "~/out", bert, WAY) == 0  # type: ignore[arg-type]
        assert "nothing to do" in capsys.readouterr().out, way
    # Changed and read by another name, its old rows go, whatever the rows call their file.
    write_jsonl(inputs / "a.jsonl", ROWS[:7])
    touch_later(inputs / "a.jsonl")
    assert run(f"file://{inputs}/a.jsonl", out, bert, WAY) == 0
    assert ids(out) == sorted(row["id"] for row in ROWS[:7])
    assert not (inputs / "~").exists()


def test_an_output_within_the_input_does_not_feed_on_itself(
    inputs: Path,
    bert: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(2):
        capsys.readouterr()
        assert run(inputs, inputs / "out", bert, WAY) == 0
        assert ids(inputs / "out") == sorted(row["id"] for row in ROWS[:10])
    assert "are not input" in caplog.text and "nothing to do" in capsys.readouterr().out


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


def test_rows_of_a_file_that_is_gone_by_now_stay_when_its_neighbour_changes(
    tmp_path: Path, inputs: Path, bert: Path
) -> None:
    """Both files are small, so one shard holds them."""
    out = tmp_path / "out"
    assert run(inputs, out, bert, WAY) == 0
    (shard,) = shards(out)
    (inputs / "b.jsonl").unlink()
    write_jsonl(inputs / "a.jsonl", ROWS[20:22])
    touch_later(inputs / "a.jsonl")
    assert run(inputs, out, bert, WAY) == 0
    assert shard not in shards(out)
    assert ids(out) == sorted(row["id"] for row in (*ROWS[5:10], *ROWS[20:22]))
    write_jsonl(inputs / "a.jsonl", ROWS[22:23])
    touch_later(inputs / "a.jsonl")
    assert run(inputs, out, bert, WAY) == 0
    assert ids(out) == sorted(row["id"] for row in (*ROWS[5:10], ROWS[22]))


def test_files_whose_shards_somebody_removed_are_read_again(
    tmp_path: Path, inputs: Path, bert: Path
) -> None:
    out = tmp_path / "out"
    assert run(inputs, out, bert, WAY, "--slice_bytes=100") == 0
    next((out / "predictions").glob("*.parquet")).unlink()
    assert len(ids(out)) < 10
    assert run(inputs, out, bert, WAY, "--slice_bytes=100") == 0
    assert ids(out) == sorted(row["id"] for row in ROWS[:10])


def test_a_table_with_files_of_no_run_is_refused_since_rows_might_come_twice(
    tmp_path: Path, inputs: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(inputs, out, bert, WAY) == 0
    (manifest,) = out.glob("runs/*/manifest.json")
    manifest.unlink()
    assert run(inputs, out, bert, WAY) == 2
    assert "is in no manifest" in capsys.readouterr().err


def test_on_gs_a_new_generation_is_a_change_and_new_metadata_is_none(
    new_gs_output: Callable[[], str], bert: Path, tmp_path: Path
) -> None:
    place = new_gs_output()
    storage = open_storage(place)
    content = write_jsonl(tmp_path / "a.jsonl", ROWS[:3]).read_bytes()
    storage.write("in/a.jsonl", content)
    storage.write("in/b.jsonl", content)
    before = list_files([f"{place}/in"])
    storage.write("in/a.jsonl", content)
    after = list_files([f"{place}/in"])
    assert before == after  # the plan does not look at generations
    assert [one.version == two.version for one, two in zip(before, after, strict=True)] == [
        False,
        True,
    ]
    assert all(file.version.isdecimal() for file in after)


class Killed(BaseException):
    """Not an Exception: nothing in the sinks may catch it, as nothing catches SIGKILL."""


@pytest.mark.parametrize("name", ["create", "delete", "publish"])
def test_an_incremental_commit_killed_at_any_step_is_finished_by_the_next_launch(
    tmp_path: Path, name: str
) -> None:
    """Two files in one shard; one of them is read again into another partition."""

    def first(place: Path) -> RunSpec:
        run = make_run(place, run_id="run-1", run_key="work-1", incremental=True)
        old = make_batch(0, rows=4, rejects=1)
        other = make_batch(1, rows=3)
        both = dataclasses.replace(
            old,
            rows=pa.concat_batches([old.rows, other.rows]),
            files=(*old.files, *other.files),
        )
        commit_run(run, [write_shard(run, both, SCHEMA)], SCHEMA)
        again = make_run(
            place, run_id="run-2", run_key="work-2", incremental=True, partition="run_date=2"
        )
        write_shard(again, make_batch(0, rows=6), SCHEMA)
        return again

    def second(run: RunSpec) -> None:
        batch = dataclasses.replace(make_batch(0, rows=6), key="f" * 16)
        commit_run(run, [write_shard(run, batch, SCHEMA)], SCHEMA)

    def killed_at(step: int, action: Callable[[], object]) -> bool:
        calls = 0
        real = getattr(LocalStorage, name)

        def count(*args: object) -> object:
            nonlocal calls
            calls += 1
            if calls >= step:
                raise Killed
            return real(*args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LocalStorage, name, count)
            try:
                action()
            except Killed:
                return True
        return False

    expected = first(tmp_path / "expected")
    second(expected)
    assert committed_table(expected.output).num_rows == 9
    wanted = sorted(committed_table(expected.output)["doc_id"].to_pylist())
    step = 1
    while True:
        run = first(tmp_path / f"{name}-{step}")
        was_killed = killed_at(step, lambda run=run: second(run))
        again = run.model_copy(update={"run_id": "run-3"})
        if was_killed and prepare_output(again).finished_run_id is None:
            second(again)
        found = sorted(committed_table(run.output)["doc_id"].to_pylist())
        assert found == wanted, f"killed at {name} number {step}"
        assert not (Path(run.output) / "staging").exists()
        if not was_killed:
            break
        step += 1
    assert step > 1


def test_after_a_compaction_a_changed_file_is_read_alone_and_its_old_rows_go(
    tmp_path: Path, inputs: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(inputs, out, bert, WAY, "--slice_bytes=1") == 0
    assert len(shards(out)) == 10
    assert run_command("compact", [str(out)], "beam-bert compact") == 0
    assert len(shards(out)) == 1 and ids(out) == sorted(row["id"] for row in ROWS[:10])
    assert run(inputs, out, bert, WAY, "--slice_bytes=1") == 0
    assert len(shards(out)) == 1, "nothing is new"
    for name, rows in (("a", ROWS[:3]), ("b", ROWS[7:10])):
        write_jsonl(inputs / f"{name}.jsonl", rows)
        touch_later(inputs / f"{name}.jsonl")
        capsys.readouterr()
        assert run(inputs, out, bert, WAY, "--slice_bytes=1") == 0
        shown = capsys.readouterr().out.splitlines()
        assert next(line for line in shown if "rows read" in line).split("│")[2].strip() == "3"
    assert ids(out) == sorted(row["id"] for row in ROWS[:3] + ROWS[7:10])
