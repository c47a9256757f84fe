"""A commit that has begun: its journal, and `roll_forward`, which finishes it from any point.

The journal holds the finished manifest. Once it is written the commit can only go forward, and
each step may be repeated: remove what is replaced, publish, write the manifest, drop staging (the
journal last). Whoever finds a journal, a retry of the step or the next launch, does the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from beam_bert.errors import BeamBertError, OutputError, RunFailed
from beam_bert.sinks.committed_files import committed_runs
from beam_bert.sinks.manifest import Manifest, OutputFile, parse_manifest, parse_run_document
from beam_bert.sinks.run import TABLES, RunSpec, Table, failure_path, manifest_path
from beam_bert.storage import Storage, in_parallel

logger = logging.getLogger(__name__)


class CommitJournal(BaseModel):
    """What a begun commit will have done in the end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: RunSpec = Field(description="The run that is being committed.")
    manifest: Manifest = Field(description="Its manifest, as it will be written.")
    runs_before: tuple[str, ...] = Field(
        default=(), description="Incremental: the committed runs that the manifest builds upon."
    )

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
        if manifest.replaced and not run.incremental:
            raise ValueError("only an incremental run replaces files of others")
        for table, files in (("predictions", manifest.outputs), ("rejects", manifest.rejects)):
            folder = run.published(table)
            if strange := next((file.path for file in files if file.folder != folder), None):
                raise ValueError(f"{strange!r} is not in {folder}")
        return self

    def files(self, table: Table) -> tuple[OutputFile, ...]:
        """The files that this run brings into `table`."""
        manifest = self.manifest
        own = manifest.outputs if table == "predictions" else manifest.rejects
        kept = (each.kept for each in manifest.replaced if each.kept is not None)
        return (*own, *(file for file in kept if file.path.startswith(f"{table}/")))


def read_commit_journal(storage: Storage, path: str) -> CommitJournal | None:
    """The journal at `path`, None where there is none.

    Raises:
      OutputError: it is damaged, or asks for what its run has no business with.
    """
    data = storage.read(path)
    if data is None:
        return None
    journal = parse_run_document(CommitJournal, data, storage.uri(path))
    if journal.run.journal != path:
        raise OutputError(
            f"{storage.uri(path)} is the journal of {journal.run.run_key}, which is another "
            "folder; remove it"
        )
    return journal


def pending_commit_journals(storage: Storage) -> list[CommitJournal]:
    """Every commit below the output that has begun and is not over."""
    paths = [f"staging/{run_key}/commit.json" for run_key in storage.list_folders("staging")]
    found = in_parallel(lambda path: read_commit_journal(storage, path), paths, storage.parallelism)
    return [journal for journal in found if journal is not None]


def foreign_files(storage: Storage, run: RunSpec, manifest: Manifest | None) -> list[str]:
    """Parquet files directly in the run's partition, both tables, that `manifest` does not name."""
    ours = {file.path for file in (*manifest.outputs, *manifest.rejects)} if manifest else set()
    return [
        file.path
        for table in TABLES
        for file in storage.list_files(run.published(table), recursive=False)
        if file.name.endswith(".parquet") and file.path not in ours
    ]


def roll_forward(storage: Storage, journal: CommitJournal) -> Manifest:
    """Finish a begun commit; safe to repeat, to kill, and to run twice at once.

    Raises:
      RunFailed: a shard is neither in staging nor in its place, or the partition holds files of
        another run (which would double rows).
    """
    run, manifest = journal.run, journal.manifest
    place = storage.uri(manifest_path(run.run_id))
    committed = storage.read(manifest_path(run.run_id))
    if committed is not None:
        # Only the sweeping is left: a later run may own the partition by now.
        _sweep(storage, run, ())
        return parse_manifest(committed, run.run_id, place)
    replaced = [each.path for each in manifest.replaced]
    foreign = [] if run.incremental else foreign_files(storage, run, manifest)
    if not builds_upon_all(storage, journal):
        raise RunFailed(
            f"another run was committed before the commit of run {run.run_id} was finished; give "
            f"that up by removing {storage.uri(run.staging)}, and run again"
        )
    if foreign and not run.overwrite:
        raise RunFailed(
            f"{storage.uri(foreign[0])} ({len(foreign)} such) was put into the partition by "
            f"another run; remove it, or give run {run.run_id} up by removing "
            f"{storage.uri(run.staging)}"
        )
    # Before the new ones, so that no reader ever counts a row twice; it may miss some meanwhile.
    storage.delete_all([*foreign, *replaced])
    for table in TABLES:
        _publish(storage, journal, table)
    storage.delete(failure_path(run.run_id))
    if not storage.create(manifest_path(run.run_id), manifest.to_json()):
        written = storage.read(manifest_path(run.run_id))  # by a twin of this commit
        manifest = parse_manifest(written, run.run_id, place) if written else manifest
    _sweep(storage, run, replaced)
    return manifest


def _sweep(storage: Storage, run: RunSpec, replaced: Iterable[str]) -> None:
    """Remove what a finished commit leaves; where that fails the next launch does it."""
    folders = {path.rsplit("/", 1)[0] for path in replaced}
    try:
        drop_staging(storage, run)
        for folder in sorted(folders | {run.published(table) for table in TABLES}):
            storage.prune(folder)
    except BeamBertError as error:
        logger.warning("run %s is committed, but not swept up behind: %s", run.run_id, error)


def builds_upon_all(storage: Storage, journal: CommitJournal) -> bool:
    """Whether an incremental run knew of every committed run when it chose what to supersede."""
    return not journal.run.incremental or committed_runs(storage) == list(journal.runs_before)


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
        # Gone from staging: a twin of this commit has just published it.
        found = storage.checksums(file.folder, [file.name]).get(file.name)
        if found != file.crc32c:
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
