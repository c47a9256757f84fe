"""`prepare_output`: what is settled about the output before any work is done."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from beam_bert.errors import OutputError
from beam_bert.settings.naming import named
from beam_bert.sinks.commit_journal import (
    Withdrawn,
    foreign_files,
    pending_commit_journals,
    roll_forward,
)
from beam_bert.sinks.records import forget_listings
from beam_bert.sinks.run import TABLES, RunSpec, partition_levels
from beam_bert.storage.base import Storage
from beam_bert.storage.places import open_storage


@dataclass(frozen=True)
class PreparedOutput:
    """What a launch found in its output.

    Attributes:
      staged_shards: whole shards of this very work, left by an earlier launch: not made again.
      finished_run_id: an earlier launch of this very work was killed inside its commit, which is
        finished now; its manifest stands. Compare its inputs and stop, there may be nothing to do.
      finished_runs: every run whose commit was finished now, also in other partitions.
      other_staging: staging folders of other, uncommitted work; delete them when they are given up.
    """

    staged_shards: int = 0
    finished_run_id: str | None = None
    finished_runs: tuple[str, ...] = ()
    other_staging: tuple[str, ...] = ()


def prepare_output(run: RunSpec) -> PreparedOutput:
    """Check that `run` may write its output, and finish the commits that were killed.

    Raises:
      OutputError: the partition is malformed or does not fit the others, the place cannot be
        written, or the partition holds committed files and neither `overwrite` nor `incremental`
        is set (unless a killed launch of this very work put them there, see
        `PreparedOutput.finished_run_id`).
      RunFailed: a killed commit cannot be finished; the message says what to remove.
    """
    partition_levels(run.partition)
    storage = open_storage(run.output)
    _probe(storage, run)
    forget_listings()
    finished = []
    for journal in pending_commit_journals(storage):
        with suppress(Withdrawn):  # there is a rival
            roll_forward(storage, journal)
            finished.append(journal)
    own = [journal.run.run_id for journal in finished if journal.run.run_key == run.run_key]
    _check_levels(storage, run)
    is_apart = not run.overwrite and not run.incremental and not own
    if is_apart and (foreign := foreign_files(storage, run, None)):
        raise OutputError(
            f"{storage.uri(foreign[0].path)} ({len(foreign)} such): the partition holds committed "
            f"output; give {named('overwrite')} to replace it, {named('incremental')} to add to "
            f"it, or another {named('partition')}"
        )
    return PreparedOutput(
        staged_shards=sum(file.name.endswith(".json") for file in storage.list_files(run.records)),
        finished_run_id=own[0] if own else None,
        finished_runs=tuple(journal.run.run_id for journal in finished),
        other_staging=tuple(
            storage.uri(f"staging/{name}")
            for name in storage.list_folders("staging")
            if name != run.run_key
        ),
    )


def clean_staging(output: str, prepared: PreparedOutput) -> None:
    """Remove what other, uncommitted work has left in staging: nobody must be at it any more.

    Raises:
      OutputError, RunFailed: it cannot be removed.
    """
    storage = open_storage(output)
    for place in prepared.other_staging:
        folder = f"staging/{place.rsplit('/', 1)[-1]}"
        storage.delete_all(file.path for file in storage.list_files(folder))
    storage.prune("staging")


def _probe(storage: Storage, run: RunSpec) -> None:
    """Write and remove a file, as the commit will have to."""
    probe = f"{run.staging}/probe-{run.run_id}"
    storage.write(probe, b"beam_bert was here to see whether it may write")
    storage.delete(probe)
    storage.prune("staging")


def _check_levels(storage: Storage, run: RunSpec) -> None:
    """One table has the same keys on every way down, else readers refuse it or invent nulls."""
    keys = _keys(partition_levels(run.partition))
    for table in TABLES:
        for file in storage.list_files(table):
            *folders, name = file.path.split("/")[1:]
            if name.endswith(".parquet") and _keys(folders) != keys:
                place = storage.uri("/".join([table, *folders]))
                raise OutputError(
                    f"{named('partition', run.partition)} does not fit {place}: all partitions of "
                    f"a table have the same keys, here {', '.join(_keys(folders)) or 'none'}; use "
                    f"those or another {named('output')}"
                )


def _keys(folders: list[str]) -> list[str]:
    return [level.split("=")[0] for level in folders]
