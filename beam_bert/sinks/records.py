"""`ShardRecord`: what is known of a staged shard; written last, so it proves the shard whole."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import lru_cache

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from beam_bert.sinks.run import TABLES, PathPart, RunSpec, ShardFileName, Table
from beam_bert.storage import Storage, in_parallel, open_storage
from beam_bert.storage.paths import resolved


class SourceFile(BaseModel):
    """What was read of one input file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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


class ShardFile(BaseModel):
    """One Parquet file as it was written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ShardFileName = Field(description="File name, the same in staging and in the table.")
    rows: int = Field(description="Rows in the file.")
    bytes: int = Field(description="Size of the file.")
    crc32c: str = Field(description="CRC32C as Cloud Storage shows it: base64, big-endian.")


class ShardRecord(BaseModel):
    """One slice's result: its totals, its files and what was measured.

    All but `stats` is a function of the slice, the model and the settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: PathPart = Field(description="Shard name without suffix.")
    key: str = Field(description="Key of the slice (see beam_bert.slices.plan.slice_key).")
    ordinal: int = Field(description="Place of the planned unit in the listing.")
    cut: int = Field(description="Segment within the unit.")
    piece: int = Field(default=0, description="Part of that, where it was cut further.")
    rows_read: int = Field(description="Rows that the source counted.")
    rows_predicted: int = Field(description="Rows read that have a prediction.")
    rows_written: int = Field(
        description="Rows in the predictions shard: as many, or several of each one predicted."
    )
    rows_rejected: int = Field(description="Rows in the rejects shard.")
    rejects_by_reason: dict[str, int] = Field(default_factory=dict)
    label_counts: dict[str, int] = Field(default_factory=dict)
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
    storage = open_storage(run.output)
    if storage.is_remote:
        sizes = _staged_sizes(run.output, run.run_key, run.run_id)
        if record_path(run, slice_name) not in sizes:
            return None
    else:
        sizes = None
    record = _read_record(storage, record_path(run, slice_name))
    if record is None:
        return None
    for table in TABLES:
        file = record.file(table)
        if file is None:
            continue
        path = f"{run.staged(table)}/{file.name}"
        if (sizes.get(path) if sizes is not None else storage.size(path)) != file.bytes:
            return None
    return record


def write_record(storage: Storage, run: RunSpec, record: ShardRecord) -> None:
    """Write a shard's record; its files must be in place."""
    storage.write(record_path(run, record.name), record.model_dump_json().encode())


def staged_progress(run: RunSpec) -> tuple[int, int, int]:
    """Whole shards in staging, the rows and the bytes of input that they stand for.

    Cheap enough to ask every few seconds: each record is read once a process.
    """
    storage = open_storage(run.output)
    paths = [file.path for file in storage.list_files(run.records) if _is_record(file.name)]
    known = _progress.setdefault((run.output, run.run_key), {})
    new = [path for path in paths if path not in known]
    for path, record in zip(new, _read_records(storage, new), strict=True):
        if record is not None:
            known[path] = (record.rows_read, sum(file.bytes for file in record.files))
    counts = [known[path] for path in paths if path in known]
    return len(counts), sum(rows for rows, _ in counts), sum(size for _, size in counts)


def staged_records(run: RunSpec) -> list[ShardRecord]:
    """Every record in staging, by name: also those of an older plan."""
    storage = open_storage(run.output)
    paths = [file.path for file in storage.list_files(run.records) if _is_record(file.name)]
    return [record for record in _read_records(storage, paths) if record is not None]


_progress: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}
_listing_lock = threading.Lock()


def forget_listings() -> None:
    """Look anew: a launch in this process begins."""
    _list_staged.cache_clear()
    _progress.clear()


def _staged_sizes(output: str, run_key: str, run_id: str) -> dict[str, int]:
    with _listing_lock:  # the harness's threads would all list at once
        return _list_staged(output, run_key, run_id)


@lru_cache(maxsize=4)
def _list_staged(output: str, run_key: str, run_id: str) -> dict[str, int]:
    files = open_storage(output).list_files(f"staging/{run_key}")
    return {file.path: file.size for file in files}


def _is_record(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")


def _read_records(storage: Storage, paths: Iterable[str]) -> list[ShardRecord | None]:
    return in_parallel(lambda path: _read_record(storage, path), paths, storage.parallelism)


def _read_record(storage: Storage, path: str) -> ShardRecord | None:
    data = storage.read(path)
    if data is None:
        return None
    try:
        return ShardRecord.model_validate_json(data)
    except ValidationError:  # an older version's: the shard is made again and replaces it
        return None
