"""Small files become larger ones: no row is lost, doubled or changed, whenever it is killed."""

from __future__ import annotations

import io
import shutil
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from beam_bert.errors import OutputError
from beam_bert.jobs.commands import run_command
from beam_bert.sinks.commit import commit_run
from beam_bert.sinks.committed_files import read_committed_files
from beam_bert.sinks.compacting import compact, plan_groups
from beam_bert.sinks.manifest import OutputFile
from beam_bert.sinks.replacing import replace_file
from beam_bert.sinks.shards import GROUP_BYTES, row_group_rows, write_shard
from beam_bert.sinks.table_schema import read_table
from beam_bert.storage.places import open_storage
from tests.sinks.committed import doc_ids, snapshot, table
from tests.sinks.shard_factory import SCHEMA, make_batch, make_run, stage
from tests.sinks.test_kill import killed


def night(output: str, number: int, first: int, files: int) -> None:
    """A night of `files` shards in a partition of its own."""
    run = make_run(
        output, run_id=f"run-{number}", run_key=f"work-{number}", partition=f"night={number}"
    )

    batches = [make_batch(first + each, rows=4 + each, rejects=1) for each in range(files)]
    commit_run(run, [write_shard(run, batch, SCHEMA) for batch in batches], SCHEMA)


def nights(output: str) -> list[str]:
    """Two nights; the documents that they hold."""
    night(output, 1, 0, 3)
    night(output, 2, 10, 2)
    return doc_ids(output)


def folders(output: str) -> list[str]:
    storage = open_storage(output)
    files = [*storage.list_files("predictions"), *storage.list_files("rejects")]
    return sorted(file.path.rsplit("/", 1)[0] for file in files)


def test_each_partition_has_one_file_with_the_same_rows(output: str) -> None:
    ids = nights(output)
    rejects = table(output, "rejects").num_rows
    schema = table(output).schema
    manifest = compact(output)
    assert manifest is not None and len(manifest.replaced) == 10
    assert folders(output) == [
        f"{name}/night={number}" for name in ("predictions", "rejects") for number in (1, 2)
    ]
    assert doc_ids(output) == ids
    assert table(output).schema.equals(schema, check_metadata=True)
    assert table(output, "rejects").num_rows == rejects
    assert compact(output) is None, "a second time there is nothing to do"
    held = read_committed_files(output)
    assert sorted(held.shards) == sorted(
        {each.kept.path for each in manifest.replaced if each.kept}
    )
    sources = [source for each in held.shards.values() for source in each.sources]
    assert sorted(sources) == sorted([f"in/{i}-0.jsonl" for i in (0, 1, 2, 10, 11)] * 2)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_any_step_it_is_finished_and_no_row_comes_twice(
    tmp_path: Path, after: bool
) -> None:
    night(str(tmp_path / "before"), 1, 0, 3)
    counter = iter(range(10_000))

    def prepared() -> str:
        return str(shutil.copytree(tmp_path / "before", tmp_path / f"out-{next(counter)}"))

    output = prepared()
    ids = doc_ids(output)
    steps, _ = killed(partial(compact, output), None, after)
    expected = tables(output)
    assert steps >= 12
    for step in range(1, steps + 1):
        output = prepared()
        assert killed(partial(compact, output), step, after)[1]
        seen = doc_ids(output) if any(open_storage(output).list_files("predictions")) else []
        assert len(seen) == len(set(seen)), f"killed at step {step}: rows twice"
        compact(output)
        assert tables(output) == expected, f"killed at step {step} of {steps}"
        assert doc_ids(output) == ids
        assert not open_storage(output).list_files("staging")


def tables(output: str) -> dict[str, object]:
    return {path: data for path, data in snapshot(output).items() if not path.startswith("runs/")}


def test_another_run_meanwhile_has_its_way(tmp_path: Path) -> None:
    output = str(tmp_path)
    nights(output)
    _, was_killed = killed(lambda: compact(output), 3, False)  # staging its files
    assert was_killed
    night(output, 3, 20, 2)
    ids = doc_ids(output)
    compact(output)
    assert doc_ids(output) == ids and len(folders(output)) == 6


def test_neighbours_of_one_folder_are_merged_up_to_the_size() -> None:
    def file(path: str, size: int) -> OutputFile:
        return OutputFile(path=f"predictions/{path}.parquet", rows=1, bytes=size, crc32c="", key="")

    files = [file(f"n=1/p{i}", size) for i, size in enumerate((30, 30, 50, 100, 10))]
    files += [file("n=2/p0", 10), file("n=2/p1", 10), file("p0", 10)]
    groups = [[each.path.split("/", 1)[1] for each in group] for group in plan_groups(files, 100)]
    assert groups == [["n=1/p0.parquet", "n=1/p1.parquet"], ["n=2/p0.parquet", "n=2/p1.parquet"]]
    assert plan_groups(reversed(files), 100) == plan_groups(files, 100)


def test_row_groups_are_as_large_as_warehouses_advise() -> None:
    assert row_group_rows(1_000_000, 10 << 20) == 1_000_000
    assert row_group_rows(1_000_000, 2 * GROUP_BYTES) == 500_000
    assert row_group_rows(60_000) == 60_000


def test_a_merged_file_is_written_as_any_other(tmp_path: Path) -> None:
    nights(str(tmp_path))
    compact(str(tmp_path))
    storage = open_storage(str(tmp_path))
    for file in storage.list_files("predictions"):
        metadata = pq.read_metadata(io.BytesIO(storage.read(file.path) or b""))
        assert metadata.num_row_groups == 1
        chunks = [metadata.row_group(0).column(each) for each in range(metadata.num_columns)]
        assert {each.compression for each in chunks} == {"ZSTD"}
        # The merged files have the same row numbers: no dictionary for that.
        encodings = {each.path_in_schema: each.encodings for each in chunks}
        assert "DELTA_BINARY_PACKED" in encodings["source_row"]


def test_what_is_no_output_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OutputError, match="no committed run"):
        compact(str(tmp_path))
    assert run_command("compact", [str(tmp_path)], "beam-bert compact") == 2
    assert run_command("compact", [str(tmp_path), "--target_mib=0"], "beam-bert compact") == 2
    error = capsys.readouterr().err
    assert "no committed run" in error and "--target_mib=0" in error and "Traceback" not in error


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path, partition="")
    commit_run(run, stage(run, [(4, 1), (5, 1)]), SCHEMA)
    assert run_command("compact", [str(tmp_path)], "beam-bert compact") == 0
    assert "4 files are 2 now" in capsys.readouterr().out
    assert run_command("compact", [str(tmp_path)], "beam-bert compact") == 0
    assert "nothing to merge" in capsys.readouterr().out


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + b"\0" * 999 + b"PAR1", b"{}"])
def test_a_damaged_file_of_a_table_is_one_line_and_nothing_changes(
    tmp_path: Path, data: bytes
) -> None:
    nights(str(tmp_path))
    damaged = next((tmp_path / "predictions/night=1").iterdir())
    damaged.write_bytes(data)
    before = {path for path in tmp_path.rglob("*.parquet") if "staging" not in path.parts}
    with pytest.raises(OutputError, match=rf"{damaged.name} is damaged, or was changed by hand"):
        compact(str(tmp_path))
    old = read_table(open_storage(str(tmp_path)), "", overwrite=False)
    with pytest.raises(OutputError, match=rf"{damaged.name} is damaged, or was changed by hand"):
        old.fits_doubles("stars")
    again = make_run(tmp_path, run_id="run-3", run_key="work-3", partition="night=1")
    file = read_committed_files(str(tmp_path)).shards[str(damaged.relative_to(tmp_path))]
    with pytest.raises(OutputError, match=rf"{damaged.name} is damaged, or was changed by hand"):
        replace_file(open_storage(str(tmp_path)), again, file, set(), SCHEMA)
    assert before == {path for path in tmp_path.rglob("*.parquet") if "staging" not in path.parts}
