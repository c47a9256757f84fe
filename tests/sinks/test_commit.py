from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_bert.errors import RunFailed
from beam_bert.sinks.commit import commit_run
from beam_bert.sinks.manifest import read_failure, read_manifest
from beam_bert.sinks.prepare import prepare_output
from beam_bert.sinks.records import ShardRecord, find_record
from beam_bert.sinks.shards import write_shard
from beam_bert.storage.base import crc32c_base64
from beam_bert.storage.places import open_storage
from tests.sinks.committed import doc_ids, snapshot, table
from tests.sinks.shard_factory import SCHEMA, make_batch, make_run, stage

PREDICTIONS = "predictions/run_date=2026-11-23"
REJECTS = "rejects/run_date=2026-11-23"


def names(output: str) -> list[str]:
    return sorted(snapshot(output))


def test_a_commit_leaves_the_table_the_rejects_the_manifest_and_nothing_else(output: str) -> None:
    run = make_run(output)
    manifest = commit_run(run, stage(run, [(10, 1), (0, 2), (7, 0)]), SCHEMA)

    assert names(output) == [
        f"{PREDICTIONS}/part-00000-0000-0000000000000000.parquet",
        f"{PREDICTIONS}/part-00002-0000-00000000000007d0.parquet",
        f"{REJECTS}/part-00000-0000-0000000000000000.parquet",
        f"{REJECTS}/part-00001-0000-00000000000003e8.parquet",
        "runs/run-1/manifest.json",
    ]
    assert table(output).num_rows == 17
    assert table(output, "rejects").num_rows == 3
    assert read_manifest(output, "run-1") == manifest


def test_a_local_output_has_no_leftover_folders(tmp_path: Path) -> None:
    run = make_run(tmp_path, partition="")
    prepare_output(run)
    commit_run(run, stage(run, [(3, 0)]), SCHEMA)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == [
        "predictions",
        "predictions/part-00000-0000-0000000000000000.parquet",
        "runs",
        "runs/run-1",
        "runs/run-1/manifest.json",
    ]


def test_the_manifest_tells_what_was_read_written_and_used(output: str) -> None:
    run = make_run(output)
    manifest = commit_run(run, stage(run, [(10, 1), (7, 0)]), SCHEMA)
    document = json.loads(open_storage(output).read("runs/run-1/manifest.json"))

    assert document["counts"] == {
        "rows_read": 18,
        "rows_predicted": 17,
        "rows_written": 17,
        "rows_rejected": 1,
        "files_lost": 0,
        "rejects_by_reason": {"bad_json": 1},
        "label_counts": {"negative": 7, "neutral": 5, "positive": 5},
    }
    assert document["inputs"] == [
        {
            "path": path,
            "rows": rows,
            "bytes": size,
            "size": 0,
            "version": "",
            "lost": "",
            "identity": "",
        }
        for path, rows, size in (("in/0-0.jsonl", 11, 1000), ("in/1-0.jsonl", 7, 700))
    ]
    for file in (*manifest.outputs, *manifest.rejects):
        data = open_storage(output).read(file.path)
        assert (len(data), crc32c_base64(data)) == (file.bytes, file.crc32c)
    assert [file.key for file in manifest.outputs] == [f"{0:016x}", f"{1000:016x}"]
    assert document["stats"] == {"inference_s": 1.0, "tokens": 170.0}
    assert (document["model"], document["config"]) == (run.model, run.config)
    assert {key: value for key, value in document["schema"][2].items() if key != "description"} == {
        "name": "label",
        "type": "string",
        "nullable": True,
    }
    assert all(column["description"] for column in document["schema"] if column["name"] != "stars")


def test_two_runs_over_the_same_input_write_the_same_bytes(new_output) -> None:
    first, second = new_output(), new_output()
    for output, order in ((first, 1), (second, -1)):
        run = make_run(output)
        records = [write_shard(run, make_batch(i, 50, 3), SCHEMA) for i in range(4)[::order]]
        commit_run(run, records, SCHEMA)
    assert snapshot(first) == snapshot(second)


def test_a_second_commit_of_the_same_run_changes_nothing(output: str) -> None:
    run = make_run(output)
    records = stage(run, [(10, 1), (7, 0)])
    manifest = commit_run(run, records, SCHEMA)
    before = snapshot(output)
    assert commit_run(run, records, SCHEMA) == manifest
    assert snapshot(output) == before


def test_a_record_that_is_delivered_twice_counts_once(output: str) -> None:
    run = make_run(output)
    records = stage(run, [(10, 1), (7, 0)])
    again = records[0].model_copy(update={"stats": {"tokens": 100.0, "inference_s": 9.0}})
    manifest = commit_run(run, [*records, again, records[1]], SCHEMA)
    assert manifest.counts.rows_read == 18
    assert table(output).num_rows == 17


def test_one_name_for_two_different_shards_fails_the_run(output: str) -> None:
    run = make_run(output)
    records = stage(run, [(10, 1)])
    other = records[0].model_copy(update={"label_counts": {"neutral": 10}})
    with pytest.raises(RunFailed, match="was made twice and differs"):
        commit_run(run, [*records, other], SCHEMA)


def test_one_slice_under_two_keys_fails_the_run_and_doubles_no_row(output: str) -> None:
    run = make_run(output)
    batch = make_batch(0, rows=5)
    records = [
        write_shard(run, dataclasses.replace(batch, key=key), SCHEMA)
        for key in ("a" * 16, "b" * 16)
    ]
    with pytest.raises(RunFailed, match=r"one slice was made twice .*give precision"):
        commit_run(run, records, SCHEMA)


@pytest.mark.parametrize(
    "change",
    [
        {"rows_read": 12},
        {"rows_predicted": 9},
        {"rows_written": 9},
        {"rows_written": 11},
        {"rows_rejected": 0},
        {"rejects_by_reason": {}},
        {"files": ()} | {"rows_read": 10},
    ],
    ids=lambda change: ",".join(change),
)
def test_books_that_do_not_balance_fail_before_anything_is_published(
    output: str, change: dict
) -> None:
    run = make_run(output)
    records = stage(run, [(10, 1), (7, 0)])
    records[0] = records[0].model_copy(update=change)
    staged = snapshot(output)

    with pytest.raises(RunFailed, match=r"shard part-00000-0000-0+: .*rows were read"):
        commit_run(run, records, SCHEMA)
    after = snapshot(output)
    assert after.pop("runs/run-1/failure.json")["reason"] == "totals"
    assert after == staged


def test_too_many_rejects_publish_nothing_and_say_why_and_where(output: str) -> None:
    run = make_run(output, max_reject_rate=0.05)
    records = stage(run, [(10, 3), (7, 0)])
    with pytest.raises(RunFailed) as caught:
        commit_run(run, records, SCHEMA)

    staged_rejects = open_storage(output).uri("staging/work-1/rejects")
    assert str(caught.value) == (
        "3 of 20 rows (15.00%) were rejected, max_reject_rate=0.05 allows 5.00%: bad_json 2, "
        f"empty_text 1; nothing was committed, see the rejects in {staged_rejects}"
    )
    failure = read_failure(output, "run-1")
    assert (failure.reason, failure.message) == ("reject_rate", str(caught.value))
    assert (failure.counts.rows_read, failure.counts.rows_rejected) == (20, 3)
    assert failure.staged_rejects == staged_rejects
    assert read_manifest(output, "run-1") is None
    assert [name for name in names(output) if name.startswith(("pred", "rej"))] == []

    more_patient = make_run(output, max_reject_rate=0.2)
    commit_run(more_patient, [find_record(more_patient, r.name) for r in records], SCHEMA)
    assert read_failure(output, "run-1") is None
    assert table(output).num_rows == 17


def test_as_many_rejects_as_allowed_are_fine(tmp_path: Path) -> None:
    run = make_run(tmp_path, max_reject_rate=0.25)
    assert commit_run(run, stage(run, [(3, 1)]), SCHEMA).counts.rows_rejected == 1
    strict = make_run(tmp_path, max_reject_rate=0, partition="run_date=2026-11-24", run_id="run-2")
    assert commit_run(strict, stage(strict, [(3, 0)]), SCHEMA).counts.rows_rejected == 0


@pytest.mark.parametrize("sizes", [[], [(0, 0)], [(0, 2)]], ids=["none", "empty", "rejects-only"])
def test_a_run_without_predictions_leaves_a_table_that_opens(output: str, sizes: list) -> None:
    run = make_run(output, max_reject_rate=1)
    manifest = commit_run(run, stage(run, sizes), SCHEMA)
    assert [file.rows for file in manifest.outputs] == [0]
    assert table(output).num_rows == 0
    assert table(output).schema.names == SCHEMA.names


def test_a_shard_whose_bytes_changed_in_staging_fails_and_is_made_anew(output: str) -> None:
    run = make_run(output)
    records = stage(run, [(10, 1), (7, 0)])
    path = f"{run.staged('predictions')}/{records[0].predictions.name}"
    storage = open_storage(output)
    data = bytearray(storage.read(path))
    data[100] ^= 1
    storage.write(path, bytes(data))

    with pytest.raises(RunFailed, match=r"part-00000.* has crc32c .*will be made anew"):
        commit_run(run, records, SCHEMA)
    assert read_failure(output, "run-1").reason == "shard"
    prepare_output(run)
    assert find_record(run, records[0].name) is None
    assert find_record(run, records[1].name) == records[1]


def test_a_shard_that_is_gone_from_staging_fails_the_run(output: str) -> None:
    run = make_run(output)
    records = stage(run, [(10, 1), (7, 0)])
    open_storage(output).delete(f"{run.staged('rejects')}/{records[0].rejects.name}")
    with pytest.raises(RunFailed, match=r"rejects/part-00000.* is missing"):
        commit_run(run, records, SCHEMA)


def test_shards_of_an_older_plan_are_dropped_and_never_published(output: str) -> None:
    run = make_run(output)
    write_shard(run, make_batch(99, rows=5), SCHEMA)
    commit_run(run, stage(run, [(10, 1)]), SCHEMA)
    assert table(output).num_rows == 10
    assert not [name for name in names(output) if "part-00099" in name or "staging" in name]


def test_overwrite_replaces_the_partition_and_touches_no_other(output: str) -> None:
    for run in (
        make_run(output),
        make_run(output, run_id="run-2", run_key="work-2", partition="run_date=2026-11-24"),
    ):
        commit_run(run, stage(run, [(10, 1), (7, 2), (4, 0)]), SCHEMA)
    again = make_run(output, run_id="run-3", run_key="work-3", overwrite=True)
    prepare_output(again)
    manifest = commit_run(again, [write_shard(again, make_batch(8, rows=6), SCHEMA)], SCHEMA)

    assert [name for name in names(output) if name.startswith((PREDICTIONS, REJECTS))] == [
        file.path for file in manifest.outputs
    ]
    assert table(output).num_rows == 6 + 21


def test_files_that_are_not_parquet_survive_an_overwrite(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    commit_run(run, stage(run, [(10, 0)]), SCHEMA)
    note = tmp_path / PREDICTIONS / "README.txt"
    note.write_text("mine")
    again = make_run(tmp_path, run_id="run-2", run_key="work-2", overwrite=True)
    commit_run(again, stage(again, [(0, 0)]), SCHEMA)
    assert note.read_text() == "mine"


def test_a_partition_that_was_filled_meanwhile_fails_the_run_without_doubling_rows(
    output: str,
) -> None:
    slow = make_run(output)
    records = stage(slow, [(10, 1)])
    fast = make_run(output, run_id="run-2", run_key="work-2")
    commit_run(fast, [write_shard(fast, make_batch(5, rows=3), SCHEMA)], SCHEMA)

    with pytest.raises(RunFailed, match="another run has committed into this partition"):
        commit_run(slow, records, SCHEMA)
    assert table(output).num_rows == 3
    assert read_failure(output, "run-1").reason == "partition"
    commit_run(make_run(output, overwrite=True), records, SCHEMA)
    assert table(output).num_rows == 10


def test_two_launches_of_the_same_work_share_staging_and_both_succeed(output: str) -> None:
    first, second = make_run(output), make_run(output, run_id="run-2")
    records = stage(first, [(10, 1), (7, 0)])
    assert stage(second, [(10, 1), (7, 0)]) == records
    commit_run(first, records, SCHEMA)
    commit_run(second, records, SCHEMA)
    assert table(output).num_rows == 17
    assert read_manifest(output, "run-2").outputs == read_manifest(output, "run-1").outputs


def test_racing_commits_of_one_run_end_as_one(new_output) -> None:
    expected = new_output()
    run = make_run(expected)
    commit_run(run, stage(run, [(20, 2)] * 8), SCHEMA)
    for _ in range(3):
        output = new_output()
        run = make_run(output)
        records = stage(run, [(20, 2)] * 8)
        results, errors = _at_once([lambda r=run, x=records: commit_run(r, x, SCHEMA)] * 3)
        assert errors == []
        assert len({manifest.committed_at for manifest in results}) == 1
        assert snapshot(output) == snapshot(expected)


def test_racing_commits_of_two_runs_into_one_partition_never_double_rows(new_output) -> None:
    for _ in range(4):
        output = new_output()
        runs = [make_run(output), make_run(output, run_id="run-2", run_key="work-2")]
        batches = [make_batch(1, rows=5), make_batch(2, rows=5)]
        records = [write_shard(r, b, SCHEMA) for r, b in zip(runs, batches, strict=True)]
        committed, errors = _at_once(
            [
                lambda run=run, record=record: commit_run(run, [record], SCHEMA)
                for run, record in zip(runs, records, strict=True)
            ]
        )
        assert len(committed) <= 1
        assert all(isinstance(error, RunFailed) for error in errors), errors
        rows = [name for name in names(output) if name.startswith(PREDICTIONS)]
        assert len(rows) == len(committed)


def _at_once(actions: list) -> tuple[list, list[BaseException]]:
    barrier = threading.Barrier(len(actions))
    results: list = []
    errors: list[BaseException] = []

    def work(action) -> None:  # type: ignore[no-untyped-def]
        barrier.wait()
        try:
            results.append(action())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results, errors


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), max_size=6),
    seed=st.integers(0, 1000),
)
def test_rows_read_are_rows_published_whatever_the_order_and_repetition(
    sizes: list[tuple[int, int]], seed: int
) -> None:
    with tempfile.TemporaryDirectory() as output:
        run = make_run(output, max_reject_rate=1)
        records = stage(run, sizes)
        delivered = records + [r for r in records if random.Random(seed).random() < 0.5]
        random.Random(seed).shuffle(delivered)
        manifest = commit_run(run, delivered, SCHEMA)

        assert manifest.counts.rows_read == sum(rows + rejects for rows, rejects in sizes)
        assert table(output).num_rows == manifest.counts.rows_predicted
        assert len(set(doc_ids(output))) == sum(rows for rows, _ in sizes)
        assert sum(file.rows for file in manifest.rejects) == sum(r for _, r in sizes)


def test_many_thousand_records_fit_into_the_books_and_a_manifest() -> None:
    from beam_bert.sinks.commit import _manifest
    from beam_bert.sinks.totals import close_totals

    batch = make_batch(0, 3)
    with tempfile.TemporaryDirectory() as output:
        run = make_run(output)
        record = write_shard(run, batch, SCHEMA)
        records = (_renamed(record, i) for i in range(20_000))
        manifest = _manifest(open_storage(output), run, close_totals(records), SCHEMA)
    assert manifest.counts.rows_read == 60_000
    assert len(manifest.outputs) == 20_000
    assert len(manifest.to_json()) < 13 * 2**20


def _renamed(record: ShardRecord, ordinal: int) -> ShardRecord:
    file = record.predictions.model_copy(update={"name": f"part-{ordinal}.parquet"})
    return record.model_copy(update={"name": f"part-{ordinal}", "predictions": file})


def test_the_json_schemas_for_the_docs_describe_every_field() -> None:
    command = [sys.executable, "-m", "beam_bert.sinks"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True)
    assert printed.stderr == ""
    manifest = json.loads(printed.stdout)["manifest.json"]
    assert "schema" in manifest["properties"]
    for name, field in manifest["properties"].items():
        assert field.get("description"), name
