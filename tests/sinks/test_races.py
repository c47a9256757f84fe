"""Commits and launches that meet in one partition: what is told is what is there."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from beam_bert.errors import BeamBertError, RunFailed
from beam_bert.sinks import commit as commit_module
from beam_bert.sinks.commit import commit_run
from beam_bert.sinks.commit_journal import (
    CommitJournal,
    pending_commit_journals,
    roll_forward,
)
from beam_bert.sinks.manifest import read_manifest
from beam_bert.sinks.prepare import prepare_output
from beam_bert.sinks.records import ShardRecord
from beam_bert.sinks.run import RunSpec
from beam_bert.sinks.shards import write_shard
from beam_bert.storage.local import LocalStorage
from beam_bert.storage.places import open_storage
from tests.sinks.committed import doc_ids, snapshot
from tests.sinks.shard_factory import SCHEMA, make_batch, make_run, stage


def two_runs(output: str, **settings: object) -> list[tuple[RunSpec, list[ShardRecord]]]:
    """Other work (not another launch of the same) for one partition, staged."""
    runs = [make_run(output, run_id=f"run-{n}", run_key=f"work-{n}", **settings) for n in (1, 2)]
    return [
        (run, [write_shard(run, make_batch(ordinal, 3, 1), SCHEMA)])
        for ordinal, run in enumerate(runs)
    ]


def with_journal(run: RunSpec, records: list[ShardRecord]) -> CommitJournal:
    """The run, killed as soon as its journal stands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commit_module, "roll_forward", lambda *_: None)
        commit_run(run, records, SCHEMA)
    storage = open_storage(run.output)
    return next(j for j in pending_commit_journals(storage) if j.run.run_id == run.run_id)


def published(output: str) -> set[str]:
    return {name for name in snapshot(output) if name.startswith(("predictions/", "rejects/"))}


def files_of(output: str, run: RunSpec) -> set[str]:
    manifest = read_manifest(output, run.run_id)
    return {f.path for f in (*manifest.outputs, *manifest.rejects)} if manifest else set()


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_a_launch_decides_about_a_commit_that_is_being_withdrawn_holds(
    output: str, overwrite: bool
) -> None:
    """Two commits have seen each other, and a third launch finds the journals of both."""
    (one, records), (other, others) = two_runs(output, overwrite=overwrite)
    journals = [with_journal(one, records), with_journal(other, others)]
    third = make_run(output, run_id="run-3", run_key="work-3", partition="run_date=2026-11-24")
    prepared = prepare_output(third)

    done = []
    for journal in journals:
        try:
            roll_forward(open_storage(output), journal)
            done.append(journal.run)
        except RunFailed as error:
            assert "is committing into the same partition" in str(error)
    assert [run.run_id for run in done] == list(prepared.finished_runs) == ["run-2"]
    assert read_manifest(output, "run-1") is None
    assert published(output) == files_of(output, other)
    if overwrite:  # the next try of what was withdrawn
        commit_run(one, records, SCHEMA)
        assert published(output) == files_of(output, one)
    else:
        with pytest.raises(RunFailed, match="another run has committed into this partition"):
            commit_run(one, records, SCHEMA)


@pytest.mark.parametrize("overwrite", [False, True])
def test_commits_that_race_with_each_other_and_with_launches_tell_what_they_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    for name in ("create", "delete", "list_folders", "publish", "read"):
        monkeypatch.setattr(LocalStorage, name, _slowly(getattr(LocalStorage, name)))
    for seed in range(12):
        random.seed(seed)
        output = str(tmp_path / str(seed))
        works = two_runs(output, overwrite=overwrite)
        third = make_run(output, run_id="run-3", run_key="work-3", partition="run_date=2026-11-24")
        told: dict[str, bool] = {}

        def commit(run: RunSpec, records: list[ShardRecord], told: dict[str, bool] = told) -> None:
            try:
                commit_run(run, records, SCHEMA)
                told[run.run_id] = True
            except RunFailed:
                told[run.run_id] = False

        actions: list[Callable[[], object]] = [partial(commit, *work) for work in works]
        actions += [partial(prepare_output, third), partial(prepare_output, third)]
        _at_once(actions)
        for run, _ in works:
            assert told[run.run_id] == (read_manifest(output, run.run_id) is not None), seed
        made = [files_of(output, run) for run, _ in works if told[run.run_id]]
        assert published(output) in (made or [set()]), seed
        assert len(doc_ids(output) if made else []) == len(set(doc_ids(output) if made else []))


def _slowly(real: Callable) -> Callable:
    def slow(*args, **kwargs):  # type: ignore[no-untyped-def]
        time.sleep(random.choice((0, 0, 0.0005, 0.003)))
        return real(*args, **kwargs)

    return slow


def _at_once(actions: list[Callable[[], object]]) -> None:
    failed: list[BaseException] = []

    def work(action: Callable[[], object]) -> None:
        try:
            action()
        except BeamBertError as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed


@pytest.mark.parametrize("stalls_in", ["delete", "list_files", "create"])
def test_a_stalled_twin_of_an_older_run_leaves_a_later_runs_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stalls_in: str
) -> None:
    """A retry of run 1's commit wakes up when run 2 has published what run 0 had there."""
    output = str(tmp_path)
    old = make_run(output, run_id="run-0", run_key="work-0")
    commit_run(old, stage(old, [(3, 1), (4, 0)]), SCHEMA)
    run = make_run(output, overwrite=True)
    journal = with_journal(run, [write_shard(run, make_batch(5, rows=9), SCHEMA)])
    asleep, wake = threading.Event(), threading.Event()
    real = getattr(LocalStorage, stalls_in)

    def stall(*args, **kwargs):  # type: ignore[no-untyped-def]
        if not asleep.is_set():  # nobody but the twin has begun yet
            asleep.set()
            wake.wait()
        return real(*args, **kwargs)

    monkeypatch.setattr(LocalStorage, stalls_in, stall)
    outcome: list[object] = []
    twin = threading.Thread(
        target=lambda: outcome.append(roll_forward(open_storage(output), journal))
    )
    twin.start()
    asleep.wait()
    roll_forward(open_storage(output), journal)
    later = make_run(output, run_id="run-2", run_key="work-0", overwrite=True)
    commit_run(later, stage(later, [(3, 1), (4, 0)]), SCHEMA)
    before = snapshot(output)
    wake.set()
    twin.join()
    assert outcome == [read_manifest(output, run.run_id)], "it is committed, and says so"
    assert snapshot(output) == before
    assert published(output) == files_of(output, later)
