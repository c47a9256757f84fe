"""A commit that is killed at every one of its steps, and finished by the next launch or retry."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from beam_bert.errors import BeamBertError
from beam_bert.sinks.commit import commit_run
from beam_bert.sinks.manifest import read_manifest
from beam_bert.sinks.prepare import prepare_output
from beam_bert.sinks.records import find_record
from beam_bert.sinks.run import RunSpec
from beam_bert.sinks.shards import write_shard
from beam_bert.storage.gcs import GcsStorage
from beam_bert.storage.local import LocalStorage
from beam_bert.storage.places import open_storage
from tests.sinks.committed import snapshot, table
from tests.sinks.shard_factory import SCHEMA, make_batch, make_run, stage, staged_records

OLD = [(6, 1), (4, 0), (0, 2)]
NEW = [(10, 1), (7, 0), (0, 3), (5, 2)]
MUTATIONS = ("write", "create", "publish", "delete")


class Killed(BaseException):
    """Not an Exception: nothing in the sinks may catch it, as nothing catches SIGKILL."""


class Process:
    """Counts the mutations of a place; dies at the n-th, before or after it took effect."""

    def __init__(self, patch: pytest.MonkeyPatch, kill_at: int | None, after: bool) -> None:
        self.mutations = 0
        self._dead = False
        self._lock = threading.Lock()
        self._kill_at = kill_at
        self._after = after
        for place in (LocalStorage, GcsStorage):
            for name in MUTATIONS:
                patch.setattr(place, name, self._counted(getattr(place, name)))

    def _counted(self, real: Callable) -> Callable:
        def mutate(*args):  # type: ignore[no-untyped-def]
            with self._lock:  # one after the other: the dead do not go on in other threads
                if self._dead:
                    raise Killed
                self.mutations += 1
                self._dead = self.mutations == self._kill_at
                if self._dead and not self._after:
                    raise Killed
                result = real(*args)
                if self._dead:
                    raise Killed
                return result

        return mutate


def killed(action: Callable[[], object], kill_at: int | None, after: bool) -> tuple[int, bool]:
    """Mutations that `action` made, and whether it was killed."""
    with pytest.MonkeyPatch.context() as patch:
        process = Process(patch, kill_at, after)
        try:
            action()
        except Killed:
            return process.mutations, True
        return process.mutations, False


def prepared(output: str) -> RunSpec:
    """An output that holds an older run, and the staged shards of a run that replaces it."""
    old = make_run(output, run_id="old", run_key="work-old")
    commit_run(old, [write_shard(old, make_batch(50 + i, *n), SCHEMA) for i, n in enumerate(OLD)],
               SCHEMA)  # fmt: skip
    run = make_run(output, overwrite=True)
    stage(run, NEW)
    write_shard(run, make_batch(99, rows=5), SCHEMA)  # of an older plan
    return run


def planned(run: RunSpec) -> list:
    """The run's records, made anew where they are not in staging."""
    records = []
    for ordinal, (rows, rejects) in enumerate(NEW):
        batch = make_batch(ordinal, rows, rejects)
        name = batch.slice.shard_name(batch.key)
        records.append(find_record(run, name) or write_shard(run, batch, SCHEMA))
    return records


def retry(run: RunSpec, records: list) -> None:
    """The runner runs the commit step again."""
    commit_run(run, records, SCHEMA)


def relaunch(run: RunSpec, records: list) -> None:
    """A person starts the same command again: another run_id, the same work."""
    again = run.model_copy(update={"run_id": "run-2"})
    found = prepare_output(again)
    if found.finished_run_id is None:
        commit_run(again, planned(again), SCHEMA)
    else:
        assert found.finished_run_id == run.run_id


def relaunch_without_overwrite(run: RunSpec, records: list) -> None:
    """The same, but the old output is in the way: refused, unless the commit had begun."""
    again = run.model_copy(update={"run_id": "run-2", "overwrite": False})
    try:
        found = prepare_output(again)
    except BeamBertError as error:
        assert "overwrite" in str(error)
        commit_run(run, records, SCHEMA)
    else:
        assert found.finished_run_id == run.run_id


def without_run_id(files: dict) -> dict:
    """The launch that finishes a commit may be another than the one that began it."""
    found = {}
    for path, content in files.items():
        if isinstance(content, dict):
            content = {**content, "run_id": "any"}
        found[path.replace("runs/run-2/", "runs/run-1/")] = content
    return found


def kill_everywhere(
    new_output: Callable[[], str], finish: Callable, after: bool, stride: int = 1
) -> None:
    expected_output = new_output()
    run = prepared(expected_output)
    records = planned(run)
    steps, was_killed = killed(lambda: commit_run(run, records, SCHEMA), None, after)
    assert not was_killed
    assert steps >= 20
    expected = without_run_id(snapshot(expected_output))
    assert table(expected_output).num_rows == 22
    assert (
        sorted(p.split("/")[0] for p in expected)
        == ["predictions"] * 3 + ["rejects"] * 3 + ["runs"] * 2
    )

    for step in range(1, steps + 1, stride):
        output = new_output()
        run = prepared(output)
        records = planned(run)
        _, was_killed = killed(lambda r=run, x=records: commit_run(r, x, SCHEMA), step, after)
        assert was_killed
        published = {f.name for f in open_storage(output).list_files("predictions")}
        old = {name for name in published if name.startswith("part-0005")}
        assert not old or old == published, f"killed at step {step}: old and new rows at once"
        finish(run, records)
        assert without_run_id(snapshot(output)) == expected, f"killed at step {step} of {steps}"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("finish", [retry, relaunch, relaunch_without_overwrite])
def test_a_local_commit_killed_at_any_step_is_finished(
    tmp_path: Path, finish: Callable, after: bool
) -> None:
    outputs = iter(range(10_000))
    kill_everywhere(lambda: str(tmp_path / f"out-{next(outputs)}"), finish, after)


@pytest.mark.parametrize(
    ("gs_server", "finish", "after", "stride"),
    [("emulator", retry, True, 1), ("emulator", relaunch, False, 4), ("fake_gcs", retry, True, 4)],
    indirect=["gs_server"],
)
def test_a_gs_commit_killed_at_any_step_is_finished(
    new_gs_output: Callable[[], str], finish: Callable, after: bool, stride: int
) -> None:
    kill_everywhere(new_gs_output, finish, after, stride)


def test_finishing_a_killed_commit_may_be_killed_at_any_step_too(tmp_path: Path) -> None:
    counter = iter(range(10_000))

    def half_done() -> RunSpec:
        run = prepared(str(tmp_path / f"out-{next(counter)}"))
        records = planned(run)
        killed(lambda: commit_run(run, records, SCHEMA), 5, False)
        return run

    run = half_done()
    steps, _ = killed(lambda: prepare_output(run), None, False)
    expected = snapshot(run.output)
    for step in range(1, steps + 1):
        run = half_done()
        assert killed(lambda r=run: prepare_output(r), step, False)[1]
        prepare_output(run)
        assert snapshot(run.output) == expected, f"killed at step {step} of {steps}"


def test_a_launch_finishes_the_commits_of_other_partitions_before_its_own_work(
    output: str,
) -> None:
    run = prepared(output)
    records = planned(run)
    killed(lambda: commit_run(run, records, SCHEMA), 8, False)
    assert read_manifest(output, run.run_id) is None

    other = make_run(output, run_id="run-9", run_key="work-9", partition="run_date=2026-11-24")
    found = prepare_output(other)
    assert found.finished_runs == ("run-1",)
    assert found.finished_run_id is None
    assert read_manifest(output, run.run_id).counts.rows_predicted == 22


def test_shards_of_a_killed_run_are_found_by_the_next_launch(output: str) -> None:
    run = make_run(output)
    batches = [make_batch(i, rows=4, rejects=1) for i in range(3)]
    for step in range(1, 10):
        killed(lambda: [write_shard(run, batch, SCHEMA) for batch in batches], step, False)
        again = run.model_copy(update={"run_id": f"run-{step}"})
        staged = prepare_output(again).staged_shards
        assert staged == min(3, (step - 1) // 3)
        for batch in batches:
            record = find_record(again, batch.slice.shard_name(batch.key))
            assert record is None or record.rows_read == 5
    commit_run(run, [write_shard(run, batch, SCHEMA) for batch in batches], SCHEMA)
    assert table(output).num_rows == 12


SLOW_COMMIT = """
import sys, time
from beam_bert.sinks.commit import commit_run
from beam_bert.sinks.run import RunSpec
from beam_bert.storage.local import LocalStorage
from tests.sinks.shard_factory import SCHEMA, staged_records

publish = LocalStorage.publish
LocalStorage.publish = lambda *args: (time.sleep(0.01), publish(*args))[1]
run = RunSpec.model_validate_json(sys.argv[1])
commit_run(run, staged_records(run), SCHEMA)
"""


def test_sigkill_in_the_middle_of_a_real_commit_loses_and_doubles_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path, partition="")
    stage(run, [(3, 1)] * 80)
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_COMMIT, run.model_dump_json()],
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    published = tmp_path / "predictions"
    while process.poll() is None and not published.exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(list(published.glob("*.parquet")))
    assert before < 80, "the kill came too late to test anything"
    assert read_manifest(str(tmp_path), "run-1") is None

    found = prepare_output(run)
    assert found.finished_run_id == "run-1"
    assert table(str(tmp_path)).num_rows == 240
    assert table(str(tmp_path), "rejects").num_rows == 80
    assert staged_records(run) == []
    assert not (tmp_path / "staging").exists()
