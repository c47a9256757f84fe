"""A commit that has begun: its journal, and `roll_forward`, which finishes it from any point.

The journal holds the finished manifest. Whoever finds it, a retry of the step or the next launch,
does the same: decide, once and for all, whether the commit goes forward or is withdrawn; then
remove what is replaced, publish, write the manifest, drop staging (the journal last). Each step may
be repeated.

Two different runs may not publish into one partition at once: rows would be doubled. Both have
their journals before anybody decides about either, so that at least one decision sees the other.
The decision is a file that can be created only once, so that nobody publishes what another one has
withdrawn, and nobody withdraws what is being published.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable

from pydantic import Field, model_validator
from typing_extensions import Self

from beam_bert.errors import BeamBertError, OutputError, RunFailed, one_line
from beam_bert.settings.naming import named
from beam_bert.sinks.committed_files import committed_runs
from beam_bert.sinks.manifest import (
    Manifest,
    OutputFile,
    manifest_of,
    read_document,
)
from beam_bert.sinks.run import (
    TABLES,
    Document,
    PathPart,
    RunSpec,
    Table,
    decoded_schema,
    failure_path,
    manifest_path,
)
from beam_bert.sinks.table_schema import check_columns, read_table
from beam_bert.storage.base import Storage, StoredFile, in_parallel

logger = logging.getLogger(__name__)


class Withdrawn(RunFailed):
    """A commit was given up before anything was published; its shards in staging stay."""


class Decision(Document):
    """What becomes of a commit that has begun."""

    forward: bool = Field(description="Whether it is finished; else it was withdrawn.")
    reason: str = Field(default="", description="Why it was withdrawn.")


class CommitJournal(Document):
    """What a begun commit will have done in the end."""

    run: RunSpec = Field(description="The run that is being committed.")
    manifest: Manifest = Field(description="Its manifest, as it will be written.")
    runs_before: tuple[str, ...] = Field(
        default=(), description="The committed runs that the manifest builds upon."
    )
    attempt: PathPart = Field(
        default_factory=lambda: uuid.uuid4().hex,
        description="Names this journal: a run that was withdrawn may try again.",
    )

    @property
    def decision(self) -> str:
        """The file that says, once there, whether this commit goes forward."""
        return f"{self.run.staging}/decision-{self.attempt}.json"

    @model_validator(mode="after")
    def _is_of_one_run(self) -> Self:
        """Whoever finds a journal does what it says: it may touch its own run's places alone."""
        run, manifest = self.run, self.manifest
        if (run.run_id, run.run_key, run.partition) != (
            manifest.run_id,
            manifest.run_key,
            manifest.partition,
        ):
            raise ValueError("its manifest is another run's")
        if manifest.replaced and not run.has_whole_table:
            raise ValueError("only an incremental run, or one with new columns, replaces files")
        for table in TABLES:
            folder = run.published(table)
            files = manifest.outputs if table == "predictions" else manifest.rejects
            if strange := next((file.path for file in files if file.folder != folder), None):
                raise ValueError(f"{strange!r} is not in {folder}")
        return self

    def files(self, table: Table) -> tuple[OutputFile, ...]:
        """The files that this run brings into `table`."""
        manifest = self.manifest
        own = manifest.outputs if table == "predictions" else manifest.rejects
        # Several old files may be one now.
        kept = {file.kept.path: file.kept for file in manifest.replaced if file.kept is not None}
        return (*own, *(file for path, file in kept.items() if path.startswith(f"{table}/")))


def read_commit_journal(storage: Storage, path: str) -> CommitJournal | None:
    """The journal at `path`, None where there is none.

    Raises:
      OutputError: it is damaged, or asks for what its run has no business with.
    """
    journal = read_document(storage, path, CommitJournal)
    if journal is not None and journal.run.journal != path:
        raise OutputError(
            f"{storage.uri(path)} is the journal of {journal.run.run_key}, which is another "
            "folder; remove it"
        )
    return journal


def pending_commit_journals(storage: Storage) -> list[CommitJournal]:
    """Every commit below the output that has begun and is not over."""
    paths = [f"staging/{run_key}/commit.json" for run_key in storage.list_folders("staging")]
    journals = in_parallel(
        lambda path: read_commit_journal(storage, path), paths, storage.parallelism
    )
    return [journal for journal in journals if journal is not None]


def foreign_files(storage: Storage, run: RunSpec, manifest: Manifest | None) -> list[StoredFile]:
    """Parquet files directly in the run's partition, both tables, that `manifest` does not name."""
    ours = {file.path for file in (*manifest.outputs, *manifest.rejects)} if manifest else set()
    return [
        file
        for table in TABLES
        for file in storage.list_files(run.published(table), recursive=False)
        if file.name.endswith(".parquet") and file.path not in ours
    ]


def roll_forward(storage: Storage, journal: CommitJournal) -> Manifest:
    """Finish a begun commit; safe to repeat, to kill, and to run twice at once.

    Raises:
      Withdrawn: it was given up, by whoever decided first.
      RunFailed: a shard is neither in staging nor in its place, or the partition holds files of
        another run (which would double rows).
    """
    run, manifest = journal.run, journal.manifest
    decision = _decide(storage, journal)
    foreign = [] if run.incremental else foreign_files(storage, run, manifest)
    old = [*foreign, *_replaced_files(storage, manifest)]
    # A twin may have finished while we slept, and a later run own what was listed. Until there is a
    # manifest no other run may publish, so what was listed before this look is nobody else's; and
    # if it is replaced after it, another version than the listed one is not deleted.
    if committed := manifest_of(storage, run.run_id):
        sweep(storage, run)
        return committed
    if not decision.forward:
        _drop_journal(storage, journal)
        raise Withdrawn(decision.reason)
    if foreign and not run.overwrite:
        raise RunFailed(
            f"{storage.uri(foreign[0].path)} ({len(foreign)} such) was put into the partition by "
            f"another run; remove it, or give run {run.run_id} up by removing "
            f"{storage.uri(run.staging)}"
        )
    # Before the new ones, so that no reader ever counts a row twice; it may miss some meanwhile.
    in_parallel(lambda file: storage.delete(file.path, file.version), old, storage.parallelism)
    for table in TABLES:
        _publish(storage, journal, table)
    storage.delete(failure_path(run.run_id))
    if not storage.create(manifest_path(run.run_id), manifest.to_json()):
        manifest = manifest_of(storage, run.run_id) or manifest  # by a twin of this commit
    sweep(storage, run, [file.path for file in manifest.replaced])
    return manifest


def _decide(storage: Storage, journal: CommitJournal) -> Decision:
    """Whether the commit goes forward: the first who asks decides, and all others do as it says."""
    decision = read_document(storage, journal.decision, Decision)
    if decision is None and manifest_of(storage, journal.run.run_id) is not None:
        return Decision(forward=True)
    if decision is None:
        reason = _obstacle(storage, journal)
        decision = Decision(forward=not reason, reason=reason)
        if not storage.create(journal.decision, decision.model_dump_json().encode()):
            # None: it went forward, and is swept up already.
            decision = read_document(storage, journal.decision, Decision) or Decision(forward=True)
    return decision


def _obstacle(storage: Storage, journal: CommitJournal) -> str:
    """Why a commit that nobody has decided about cannot go forward; empty where it can.

    A run that is incremental, or changes the table's columns, has all of it for its partition.
    """
    run = journal.run
    for rival in pending_commit_journals(storage):
        same_place = rival.run.partition == run.partition or run.has_whole_table
        if not (same_place or rival.run.has_whole_table) or rival.run.run_key == run.run_key:
            continue
        decision = read_document(storage, rival.decision, Decision)
        is_withdrawn = decision is not None and not decision.forward
        if not is_withdrawn and manifest_of(storage, rival.run.run_id) is None:
            return (
                f"run {rival.run.run_id} is committing into the same partition; wait for it, then "
                f"give {named('overwrite')} or another {named('partition')}: the shards in staging "
                "are used again"
            )
    if committed_runs(storage) == list(journal.runs_before):
        return ""
    if run.has_whole_table:
        return (
            "another run was committed meanwhile; nothing was committed, run again: the shards in "
            "staging are used again"
        )
    if not run.overwrite and (foreign := foreign_files(storage, run, journal.manifest)):
        return (
            "another run has committed into this partition meanwhile: "
            f"{storage.uri(foreign[0].path)}; give {named('overwrite')} or another "
            f"{named('partition')}: the shards in staging are used again"
        )
    try:
        table = read_table(storage, run.partition, run.overwrite)
        check_columns(table, run, decoded_schema(journal.manifest.arrow_schema))
    except RunFailed as error:
        return str(error)
    return ""


def _drop_journal(storage: Storage, journal: CommitJournal) -> None:
    """Make room for the next attempt; a journal that stands in the place of this one stays."""
    files = {file.path: file for file in storage.list_files(journal.run.staging, recursive=False)}
    stored = files.get(journal.run.journal)
    current = read_commit_journal(storage, journal.run.journal)
    if stored is not None and current is not None and current.attempt == journal.attempt:
        storage.delete(stored.path, stored.version)


def _replaced_files(storage: Storage, manifest: Manifest) -> list[StoredFile]:
    """The files that the manifest takes out of the tables, as they stand there now."""
    paths = {file.path for file in manifest.replaced}
    folders = sorted({path.rsplit("/", 1)[0] for path in paths})
    return [
        file
        for folder in folders
        for file in storage.list_files(folder, recursive=False)
        if file.path in paths
    ]


def sweep(storage: Storage, run: RunSpec, replaced: Iterable[str] = ()) -> None:
    """Remove what a finished commit leaves; where that fails the next launch does it."""
    folders = {path.rsplit("/", 1)[0] for path in replaced}
    try:
        drop_staging(storage, run)
        for folder in sorted(folders | {run.published(table) for table in TABLES}):
            storage.prune(folder)
    except BeamBertError as error:
        logger.warning(
            "run %s is committed, but not swept up behind: %s", run.run_id, one_line(error)
        )


def _publish(storage: Storage, journal: CommitJournal, table: Table) -> None:
    run = journal.run
    files = journal.files(table)
    placed = {
        f"{folder}/{name}": crc32c
        for folder in {file.folder for file in files}
        for name, crc32c in storage.checksums(
            folder, [file.name for file in files if file.folder == folder]
        ).items()
    }

    def place(file: OutputFile) -> None:
        if storage.publish(f"{run.staged(table)}/{file.name}", file.path):
            return
        # Gone from staging: a twin has just published it, or is done, and a later run replaced it.
        crc32c = storage.checksums(file.folder, [file.name]).get(file.name)
        if crc32c != file.crc32c and manifest_of(storage, run.run_id) is None:
            raise RunFailed(
                f"{storage.uri(file.path)} is missing and its staged shard is gone; remove "
                f"{storage.uri(run.journal)} and run again: whole shards are not made again"
            )

    missing = [file for file in files if placed.get(file.path) != file.crc32c]
    in_parallel(place, missing, storage.parallelism)


def drop_staging(storage: Storage, run: RunSpec) -> None:
    """Remove the run's staging folder: records first (they promise shards), the journal last."""
    paths = [file.path for file in storage.list_files(run.staging)]
    storage.delete_all(path for path in paths if path.startswith(f"{run.records}/"))
    storage.delete_all(
        path for path in paths if not path.startswith(f"{run.records}/") and path != run.journal
    )
    storage.delete(run.journal)
    storage.prune("staging")
