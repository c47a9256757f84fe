"""`commit_run`: the last step of a run, once over all of its records.

Count, judge, verify, then write the journal. Up to there nothing outside staging was touched; from
there on it is withdrawn as a whole, or goes forward (see `beam_bert.sinks.commit_journal`).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Set

import pyarrow as pa

from beam_bert.errors import BeamBertError, RunFailed
from beam_bert.settings.naming import named
from beam_bert.sinks.commit_journal import (
    CommitJournal,
    Withdrawn,
    foreign_files,
    read_commit_journal,
    roll_forward,
    sweep,
)
from beam_bert.sinks.committed_files import (
    committed_runs,
    read_committed_files,
)
from beam_bert.sinks.manifest import (
    Manifest,
    OutputFile,
    Replaced,
    describe_columns,
    read_manifest,
    utc_now,
    write_failure,
)
from beam_bert.sinks.records import Counts, ShardRecord
from beam_bert.sinks.replacing import replace_file
from beam_bert.sinks.run import TABLES, RunFacts, RunSpec, Table, encoded_schema
from beam_bert.sinks.shards import stage_file
from beam_bert.sinks.table_schema import (
    CommittedTable,
    check_columns,
    read_table,
    same_columns,
)
from beam_bert.sinks.totals import (
    Totals,
    check_lost_files,
    check_reject_rate,
    close_totals,
)
from beam_bert.slices.schema import all_nullable
from beam_bert.storage.base import Storage, in_parallel
from beam_bert.storage.places import open_storage

_REWRITERS = 4  # each holds one shard in memory, or two


def commit_run(run: RunSpec, records: Iterable[ShardRecord], schema: pa.Schema) -> Manifest:
    """Publish a run: check its totals, move its shards into the table, write the manifest last.

    Safe to run twice, at once, and after a kill at any point. Staged shards that are not among
    `records` (an older plan's) are dropped with staging and never published.

    Args:
      run: the run.
      records: every shard of the run, in any order; a record delivered twice counts once.
      schema: the output schema, for the manifest and for the empty shard of a run without rows.

    Raises:
      RunFailed: the totals do not balance, too many rejects, a shard that is missing or
        differs from its record, another run in the same partition. Nothing was published, and
        runs/<run_id>/failure.json says why.
      OutputError: the place cannot be written.
    """
    storage = open_storage(run.output)
    schema = all_nullable(schema)
    pending = read_commit_journal(storage, run.journal)
    if pending is not None:
        with contextlib.suppress(Withdrawn):  # by a launch that found it; this is another try
            manifest = roll_forward(storage, pending)
            if pending.run.run_id == run.run_id:
                return manifest
    committed = read_manifest(run.output, run.run_id)
    if committed is not None:
        sweep(storage, run)
        return committed
    journal = _judge(storage, run, records, schema)
    return finish_commit(storage, journal)


def finish_commit(storage: Storage, journal: CommitJournal) -> Manifest:
    """Begin a commit that was judged, and finish it, or its twin's.

    Raises:
      RunFailed: another run is committing the same work, or was committed meanwhile.
    """
    run = journal.run
    while not storage.create(run.journal, journal.model_dump_json(by_alias=True).encode()):
        twin = read_commit_journal(storage, run.journal)
        if twin is None:  # gone again: the twin is done, or was withdrawn
            if (committed := read_manifest(run.output, run.run_id)) is not None:
                return committed
        elif twin.run.run_id == run.run_id:
            journal = twin
            break
        else:
            raise _failed(
                run,
                "concurrent_run",
                f"run {twin.run.run_id} is committing the same work; wait for it, its output is "
                f"this run's: {storage.uri(run.published('predictions'))}",
            )
    try:
        return roll_forward(storage, journal)
    except Withdrawn as error:
        raise _failed(run, "concurrent_run", str(error)) from None


def _judge(
    storage: Storage, run: RunSpec, records: Iterable[ShardRecord], schema: pa.Schema
) -> CommitJournal:
    """The checks that stand before the journal; a refusal leaves failure.json."""
    counts = None
    reason = "totals"
    try:
        totals = close_totals(records)
        counts = totals.counts
        reason = "lost_files"
        check_lost_files(totals, run.max_lost_files)
        reason = "reject_rate"
        check_reject_rate(totals, run.max_reject_rate, storage.uri(run.staged("rejects")))
        reason = "shard"
        for table in TABLES:
            _verify(storage, run, table, totals)
        reason = "columns"
        runs_before = tuple(committed_runs(storage))
        committed = read_table(storage, run.partition, run.overwrite)
        check_columns(committed, run, schema)
        reason = "partition"
        manifest = _manifest(storage, run, totals, schema)
        if (
            not run.incremental
            and (foreign := foreign_files(storage, run, manifest))
            and not run.overwrite
        ):
            raise RunFailed(
                "another run has committed into this partition meanwhile: "
                f"{storage.uri(foreign[0].path)}; give {named('overwrite')} or another "
                f"{named('partition')}: the shards in staging are used again"
            )
        if not same_columns(committed.schema, schema):
            reason = "columns"
        replaced = _replaced(storage, run, manifest, committed, schema)
        manifest = manifest.model_copy(update={"replaced": replaced})
    except RunFailed as error:
        raise _failed(run, reason, str(error), counts) from error
    return CommitJournal(run=run, manifest=manifest, runs_before=runs_before)


def _replaced(
    storage: Storage, run: RunSpec, manifest: Manifest, table: CommittedTable, schema: pa.Schema
) -> tuple[Replaced, ...]:
    """What becomes of earlier files: rows of files read again go, other columns are made the run's.

    A file that this run made itself, the very same, stays.
    """
    due: dict[str, tuple[OutputFile, Set[str]]] = {}
    if run.incremental:
        ours = {file.path for file in (*manifest.outputs, *manifest.rejects)}
        held = read_committed_files(run.output).holding(manifest.inputs)
        due = {file.path: (file, sources) for file, sources in held if file.path not in ours}
    if not same_columns(table.schema, schema):
        due = {file.path: (file, frozenset()) for file in table.files} | due
    files = [due[path] for path in sorted(due)]
    return tuple(
        in_parallel(lambda file: replace_file(storage, run, *file, schema), files, _REWRITERS)
    )


def _failed(run: RunSpec, reason: str, message: str, counts: Counts | None = None) -> RunFailed:
    try:
        write_failure(run, reason, message, counts)
    except BeamBertError as error:
        message = f"{message} (and failure.json could not be written: {error})"
    return RunFailed(message)


def _verify(storage: Storage, run: RunSpec, table: Table, totals: Totals) -> None:
    """Every recorded file stands in staging, or in its place already, with its crc32c."""
    files = {file.name: file for record in totals.records if (file := record.file(table))}
    staged = storage.checksums(run.staged(table), files.keys())
    wrong = [name for name, file in files.items() if staged.get(name) != file.crc32c]
    if not wrong:
        return
    placed = storage.checksums(run.published(table), wrong)
    for name in wrong:
        if placed.get(name) == files[name].crc32c:
            continue
        path = f"{run.staged(table)}/{name}"
        fault = f"has crc32c {staged[name]}" if name in staged else "is missing"
        # Without its record the shard is made again by the next launch.
        storage.delete(f"{run.records}/{name.removesuffix('.parquet')}.json")
        raise RunFailed(
            f"{storage.uri(path)} {fault}, its record says {files[name].crc32c}; "
            "nothing was committed, run again: this shard will be made anew"
        )


def _manifest(storage: Storage, run: RunSpec, totals: Totals, schema: pa.Schema) -> Manifest:
    outputs = _outputs(run, "predictions", totals)
    if not outputs:
        outputs = (_empty_shard(storage, run, schema),)
    return Manifest(
        **run.model_dump(include={*RunFacts.model_fields}),
        committed_at=utc_now(),
        counts=totals.counts,
        inputs=totals.inputs,
        outputs=outputs,
        rejects=_outputs(run, "rejects", totals),
        stats=totals.stats,
        schema=describe_columns(schema),
        arrow_schema=encoded_schema(schema),
    )


def _outputs(run: RunSpec, table: Table, totals: Totals) -> tuple[OutputFile, ...]:
    folder = run.published(table)
    return tuple(
        OutputFile.of(file, folder, record.key, tuple(source.path for source in record.files))
        for record in totals.records
        if (file := record.file(table)) is not None
    )


def _empty_shard(storage: Storage, run: RunSpec, schema: pa.Schema) -> OutputFile:
    """One shard without rows, so that the table of a run without predictions still opens."""
    key = hashlib.sha256(run.run_key.encode()).hexdigest()[:16]
    rows = pa.RecordBatch.from_pylist([], schema=schema)
    file = stage_file(storage, run, "predictions", f"part-00000-0000-{key}", rows, schema)
    return OutputFile.of(file, run.published("predictions"), key)
