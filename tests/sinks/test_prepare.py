from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from beam_bert.errors import OutputError, RunFailed
from beam_bert.sinks.commit import commit_run
from beam_bert.sinks.commit_journal import pending_commit_journals
from beam_bert.sinks.prepare import prepare_output
from beam_bert.sinks.run import RunSpec, partition_levels
from beam_bert.sinks.shards import write_shard
from beam_bert.storage.places import open_storage
from tests.sinks.committed import snapshot
from tests.sinks.shard_factory import SCHEMA, make_batch, make_run, stage


def test_a_fresh_output_is_ready_and_left_untouched(output: str) -> None:
    found = prepare_output(make_run(output))
    assert (found.staged_shards, found.finished_run_id, found.other_staging) == (0, None, ())
    assert snapshot(output) == {}


def test_committed_output_is_in_the_way_unless_overwrite_or_another_partition(output: str) -> None:
    run = make_run(output)
    commit_run(run, stage(run, [(3, 1)]), SCHEMA)
    again = make_run(output, run_id="run-2", run_key="work-2")
    with pytest.raises(OutputError, match=r"part-00000.*overwrite .*or another partition"):
        prepare_output(again)
    prepare_output(again.model_copy(update={"overwrite": True}))
    prepare_output(again.model_copy(update={"partition": "run_date=2026-11-24"}))
    assert [name for name in snapshot(output) if "staging" in name] == []


def test_rejects_alone_are_committed_output_too(output: str) -> None:
    run = make_run(output)
    commit_run(run, stage(run, [(3, 1)]), SCHEMA)
    storage = open_storage(output)
    for file in storage.list_files("predictions"):
        storage.delete(file.path)
    with pytest.raises(OutputError, match="rejects/"):
        prepare_output(make_run(output, run_id="run-2"))


def test_staged_work_is_counted_and_that_of_others_is_named(output: str) -> None:
    stage(make_run(output), [(3, 1), (4, 0)])
    stage(make_run(output, run_key="given-up"), [(3, 1)])
    found = prepare_output(make_run(output, run_id="run-2"))
    assert found.staged_shards == 2
    assert found.other_staging == (open_storage(output).uri("staging/given-up"),)


@pytest.mark.parametrize(
    "partition",
    [
        "..",
        "../run_date=1",
        "run_date=1/..",
        "run_date=1/../../x=2",
        "/run_date=1",
        "run_date=1/",
        "run_date=1//lang=en",
        "/etc",
        "run_date",
        "run_date=",
        "=1",
        "run_date=..",
        "run_date=.",
        "run_date=a=b",
        "run_date=a\\..\\b",
        "run_date=a%2Fb",
        "run_date=a\nb",
        "run_date=a\0",
        "run_date=a ",
        "_run_date=1",
        ".run_date=1",
        "run-date=1",
        "run_date=1/RUN_DATE=2",
        "run_date=*",
        "run_date=" + "x" * 250,
        "gs://bucket/x=1",
    ],
)
def test_a_malformed_partition_is_refused_before_anything_is_written(
    tmp_path: Path, partition: str
) -> None:
    run = make_run(tmp_path / "out", partition=partition)
    with pytest.raises(OutputError, match="partition=") as caught:
        prepare_output(run)
    with pytest.raises(OutputError):
        write_shard(run, make_batch(0, 1), SCHEMA)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=40))
def test_no_partition_leaves_the_table(partition: str) -> None:
    try:
        levels = partition_levels(partition)
    except OutputError:
        return
    path = Path("/out/predictions", *levels)
    assert os.path.normpath(path) == str(path)
    assert all("=" in level and not level.startswith((".", "_")) for level in levels)


@pytest.mark.parametrize("field", ["run_id", "run_key"])
@pytest.mark.parametrize("value", ["", "..", "a/b", "/a", ".hidden", "a b", "a\n"])
def test_run_names_cannot_leave_their_folders(field: str, value: str) -> None:
    with pytest.raises(ValidationError):
        make_run("out", **{field: value})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("run_date=1", ""),
        ("", "run_date=1"),
        ("run_date=1", "lang=en"),
        ("run_date=1", "run_date=1/lang=en"),
        ("run_date=1/lang=en", "run_date=1"),
        ("run_date=1/lang=en", "run_date=2/region=eu"),
        ("run_date=1/lang=en", "run_date=2/Lang=en"),
        ("run_date=1", "run_date=2/lang=en"),
        ("run_date=1/lang=en", "run_date=2"),
    ],
)
def test_partitions_with_other_keys_do_not_fit_one_table(
    output: str, first: str, second: str
) -> None:
    run = make_run(output, partition=first)
    commit_run(run, stage(run, [(3, 1)]), SCHEMA)
    other = make_run(output, run_id="run-2", run_key="work-2", partition=second, overwrite=True)
    with pytest.raises(OutputError, match="does not fit"):
        prepare_output(other)


def test_an_output_below_a_file_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(OutputError, match=r"cannot \w+ .*: .*; check .*output") as caught:
            prepare_output(make_run(output))
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_without_permission_is_a_one_line_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match=r"Permission denied; check .*output"):
            prepare_output(make_run(tmp_path / "out"))
    finally:
        tmp_path.chmod(0o700)


def test_a_read_only_place_is_a_one_line_error() -> None:
    with pytest.raises(OutputError, match=r"check .*output and its permissions"):
        prepare_output(make_run("/proc/beam_bert"))


def test_other_schemes_are_refused() -> None:
    with pytest.raises(OutputError, match="s3://bucket/x: only local folders and gs://"):
        prepare_output(make_run("s3://bucket/x"))


def test_a_bucket_that_does_not_exist_is_a_one_line_error(new_gs_output) -> None:
    new_gs_output()
    with pytest.raises(OutputError, match=r"gs://no-such-bucket/x/.*your rights on the bucket"):
        prepare_output(make_run("gs://no-such-bucket/x"))
    with pytest.raises(OutputError, match="no bucket"):
        prepare_output(make_run("gs://"))


def test_a_bucket_itself_can_be_the_output(new_gs_output) -> None:
    bucket = "/".join(new_gs_output().split("/")[:3])
    run = make_run(bucket, partition="bucket_alone=1")
    prepare_output(run)
    commit_run(run, stage(run, [(3, 1)]), SCHEMA)
    assert [f.path for f in open_storage(bucket).list_files("predictions")] == [
        "predictions/bucket_alone=1/part-00000-0000-0000000000000000.parquet"
    ]


def test_a_killed_commit_whose_shards_are_gone_says_what_to_remove(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    records = stage(run, [(3, 1)])
    storage = open_storage(str(tmp_path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("beam_bert.sinks.commit.roll_forward", lambda *_: None)
        commit_run(run, records, SCHEMA)
    assert [journal.run.run_id for journal in pending_commit_journals(storage)] == ["run-1"]
    storage.delete(f"{run.staged('predictions')}/{records[0].predictions.name}")

    with pytest.raises(RunFailed, match=r"part-00000.* is missing .*remove .*commit.json") as error:
        prepare_output(make_run(tmp_path, run_id="run-2"))
    assert "\n" not in str(error.value)


def test_a_run_spec_is_frozen_and_refuses_unknown_fields() -> None:
    with pytest.raises(ValidationError):
        make_run("out").run_id = "other"  # type: ignore[misc]  # the point of the test
    with pytest.raises(ValidationError):
        RunSpec(run_id="a", run_key="b", output="out", colour="red")
