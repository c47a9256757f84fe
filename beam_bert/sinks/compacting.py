"""`compact`: the small files of a table become fewer, larger ones, in a commit of their own.

Shards are as large as slices, so that a kill costs little; warehouses want files of tens of
megabytes. So this comes afterwards, and goes through the journal as any commit does: the manifest
of a compaction says what each file's rows are in now, an incremental run goes on as before, and a
kill loses nothing. What is merged follows from names and sizes alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pyarrow as pa

from beam_bert.errors import OutputError
from beam_bert.settings.limits import COMPACTED_MIB
from beam_bert.sinks.commit import finish_commit
from beam_bert.sinks.commit_journal import CommitJournal, pending_commit_journals, roll_forward
from beam_bert.sinks.committed_files import committed_runs, read_committed_files
from beam_bert.sinks.manifest import (
    Manifest,
    OutputFile,
    Replaced,
    describe_columns,
    utc_now,
)
from beam_bert.sinks.records import Counts
from beam_bert.sinks.replacing import stage_again
from beam_bert.sinks.run import RunFacts, RunSpec, encoded_schema, new_run_id
from beam_bert.sinks.stored_files import or_damaged, read_rows
from beam_bert.sinks.table_schema import read_table
from beam_bert.slices.schema import REJECT_SCHEMA
from beam_bert.storage.base import Storage
from beam_bert.storage.places import open_storage

Group = tuple[OutputFile, ...]


def compact(
    output: str,
    target_bytes: int = COMPACTED_MIB << 20,
    versions: dict[str, str] | None = None,
) -> Manifest | None:
    """Merge neighbouring files of each partition up to a size; commits that were killed first.

    Args:
      output: folder or gs:// prefix of the whole output.
      target_bytes: files are merged as long as they have no more together.
      versions: of the software, for the manifest.

    Returns:
      what was committed; None: there was nothing to merge.

    Raises:
      OutputError: nothing was ever committed there, or the tables hold files of no run, or
        a damaged one.
      RunFailed: another run was committed meanwhile, or a file has gone; nothing was changed.
    """
    storage = open_storage(output)
    for pending in pending_commit_journals(storage):
        roll_forward(storage, pending)
    runs_before = tuple(committed_runs(storage))
    if not runs_before:
        raise OutputError(f"{output} holds no committed run; give the folder that a job wrote into")
    table = read_table(storage, "", overwrite=False)
    groups = plan_groups(read_committed_files(output).shards.values(), target_bytes)
    if table.schema is None or not groups:
        return None
    work = repr([[file.path for file in group] for group in groups])
    run_key = hashlib.sha256(work.encode()).hexdigest()[:16]
    run = RunSpec(
        run_id=new_run_id(run_key),
        run_key=run_key,
        output=output,
        partition="",
        incremental=True,
        job="compact",
        config={"target_bytes": target_bytes},
        versions=versions or {},
        started_at=utc_now(),
    )
    replaced = [each for group in groups for each in _merge(storage, run, group, table.schema)]
    manifest = Manifest(
        **run.model_dump(include={*RunFacts.model_fields}),
        committed_at=utc_now(),
        counts=Counts(),
        inputs=(),
        outputs=(),
        rejects=(),
        replaced=tuple(replaced),
        schema=describe_columns(table.schema),
        arrow_schema=encoded_schema(table.schema),
    )
    journal = CommitJournal(run=run, manifest=manifest, runs_before=runs_before)
    return finish_commit(storage, journal)


def plan_groups(files: Iterable[OutputFile], target_bytes: int) -> list[Group]:
    """Neighbours in one folder that have up to `target_bytes` together, two or more of them."""
    groups: list[list[OutputFile]] = []
    for file in sorted(files, key=lambda each: each.path):
        last = groups[-1] if groups else []
        total = sum(each.bytes for each in last) + file.bytes
        if last and last[0].folder == file.folder and total <= target_bytes:
            last.append(file)
        else:
            groups.append([file])
    return [tuple(group) for group in groups if len(group) > 1]


def _merge(storage: Storage, run: RunSpec, group: Group, schema: pa.Schema) -> list[Replaced]:
    """Stage one file with the rows of all; the same files give the same name and bytes."""
    first = group[0]
    columns = schema if first.table == "predictions" else REJECT_SCHEMA
    parts = [read_rows(storage, file.path) for file in group]
    made_of = [file.key for file in group]
    sources = tuple(dict.fromkeys(source for file in group for source in file.sources))
    stored = sum(file.bytes for file in group)
    with or_damaged(storage.uri(first.path)):
        rows = pa.concat_tables(parts, promote_options="default")
        merged = stage_again(storage, run, first, rows, columns, made_of, sources, stored)
    return [Replaced(path=file.path, kept=merged) for file in group]
