"""`ShardRecord`: what is known of a staged shard; written last, so it proves the shard whole."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache

from pydantic import Field, ValidationError

from beam_bert.sinks.run import TABLES, Document, PathPart, RunSpec, ShardFileName, Table
from beam_bert.storage.base import Storage, in_parallel
from beam_bert.storage.paths import resolved
from beam_bert.storage.places import open_storage


class SourceFile(Document):
    """What was read of one input file."""

    path: str = Field(description="The file as it was matched.")
    rows: int = Field(description="Rows read of it, used and rejected.")
    bytes: int = Field(description="Bytes read of it.")
    size: int = Field(default=0, description="Its size when it was listed.")
    version: str = Field(
        default="",
        description="Its generation on gs://, elsewhere the time of its last change in ns.",
    )
    lost: str = Field(
        default="",
        description="Why it, or the rest of it, could not be read: nobody knows how many rows.",
    )
    identity: str = Field(
        default="", description="Its one name, links and `..` resolved; empty: the path is it."
    )

    @property
    def resolved(self) -> str:
        """The file's one name; an older manifest holds the path as it was written alone."""
        return self.identity or resolved(self.path)


class ShardFile(Document):
    """One Parquet file as it was written."""

    name: ShardFileName = Field(description="File name, the same in staging and in the table.")
    rows: int = Field(description="Rows in the file.")
    bytes: int = Field(description="Size of the file.")
    crc32c: str = Field(description="CRC32C as Cloud Storage shows it: base64, big-endian.")


class Counts(Document):
    """The totals of a run or of a shard: rows_read = rows_predicted + rows_rejected."""

    rows_read: int = Field(default=0, description="Rows of all inputs.")
    rows_predicted: int = Field(default=0, description="Rows read that have a prediction.")
    rows_written: int = Field(
        default=0, description="Rows in predictions/: as many, or several of each one predicted."
    )
    rows_rejected: int = Field(default=0, description="Rows in rejects/.")
    files_lost: int = Field(
        default=0, description="Files that could not be read to their end; `inputs` says why."
    )
    rejects_by_reason: dict[str, int] = Field(
        default_factory=dict, description="Rejected rows by the stable code of what was wrong."
    )
    label_counts: dict[str, int] = Field(
        default_factory=dict, description="Predicted rows by label, where the task gives one."
    )


class ShardRecord(Counts):
    """One slice's result: its totals, its files and what was measured.

    All but `stats` is a function of the slice, the model and the settings.
    """

    name: PathPart = Field(description="Shard name without suffix.")
    key: str = Field(description="Key of the slice (see beam_bert.slices.plan.slice_key).")
    files: tuple[SourceFile, ...] = Field(
        default=(), description="What was read of each input file."
    )
    predictions: ShardFile | None = Field(
        default=None, description="None where no row was predicted."
    )
    rejects: ShardFile | None = Field(default=None, description="None where no row was rejected.")
    stats: dict[str, float] = Field(default_factory=dict, description="Sums over the slice.")

    def file(self, table: Table) -> ShardFile | None:
        """The shard's file in `table`."""
        return self.predictions if table == "predictions" else self.rejects


def record_path(run: RunSpec, name: str) -> str:
    """Path of a shard's record, relative to the output."""
    return f"{run.records}/{name}.json"


def find_record(run: RunSpec, slice_name: str) -> ShardRecord | None:
    """The record of a whole shard in staging, or None where it must be made.

    Whole: the record is there and its files have the recorded sizes (the commit checks crc32c).
    On gs:// staging is listed once a process, since most slices of a fresh run are not there and
    each question is a round trip; what another worker writes later is made again, the same.
    """
    storage, path = open_storage(run.output), record_path(run, slice_name)
    size_of: Callable[[str], int | None] = storage.size
    if storage.is_remote:
        with _listing_lock:  # the harness's threads would all list at once
            size_of = _list_staged(run.output, run.run_key, run.run_id).get
        if size_of(path) is None:
            return None
    record = _read_record(storage, path)
    if record is None:
        return None
    files = [(table, file) for table in TABLES if (file := record.file(table)) is not None]
    is_whole = all(
        size_of(f"{run.staged(table)}/{file.name}") == file.bytes for table, file in files
    )
    return record if is_whole else None


def write_record(storage: Storage, run: RunSpec, record: ShardRecord) -> None:
    """Write a shard's record; its files must be in place."""
    storage.write(record_path(run, record.name), record.model_dump_json().encode())


def staged_progress(run: RunSpec) -> tuple[int, int, int]:
    """Whole shards in staging, the rows and the bytes of input that they stand for.

    Cheap enough to ask every few seconds: each record is read once a process.
    """
    storage = open_storage(run.output)
    names = (file.name for file in storage.list_files(run.records))
    paths = [f"{run.records}/{n}" for n in names if n.endswith(".json") and n[0] != "."]
    known = _progress.setdefault((run.output, run.run_key), {})
    new = [path for path in paths if path not in known]
    read = in_parallel(lambda path: _read_record(storage, path), new, storage.parallelism)
    for path, record in zip(new, read, strict=True):
        if record is not None:
            known[path] = (record.rows_read, sum(file.bytes for file in record.files))
    counts = [known[path] for path in paths if path in known]
    return len(counts), sum(rows for rows, _ in counts), sum(size for _, size in counts)


_progress: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}
_listing_lock = threading.Lock()


def forget_listings() -> None:
    """Look anew: a launch in this process begins."""
    _list_staged.cache_clear()
    _progress.clear()


@lru_cache(maxsize=4)
def _list_staged(output: str, run_key: str, run_id: str) -> dict[str, int]:
    files = open_storage(output).list_files(f"staging/{run_key}")
    return {file.path: file.size for file in files}


def _read_record(storage: Storage, path: str) -> ShardRecord | None:
    data = storage.read(path)
    if data is None:
        return None
    try:
        return ShardRecord.model_validate_json(data)
    except ValidationError:  # an older version's: the shard is made again and replaces it
        return None
