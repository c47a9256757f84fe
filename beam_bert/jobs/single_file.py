"""`--output FILE.parquet|.csv|.jsonl|-`: the rows of a run as one file, for small results.

The run is a run like any other, into a dataset beside the file (hidden, so that a run that was
killed goes on); what it committed is then written in one piece under the name that was asked for.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import date, time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_bert.errors import ConfigError, OutputError
from beam_bert.settings.inference import JobConfig
from beam_bert.settings.naming import named
from beam_bert.sinks.run import TABLES
from beam_bert.storage.base import Storage
from beam_bert.storage.places import open_storage

STDOUT = "-"
SUFFIXES = (".parquet", ".csv", ".jsonl")


def is_single(output: str) -> bool:
    """Whether an output names one file (or stdout) and not a dataset."""
    return output == STDOUT or output.endswith(SUFFIXES)


def dataset_of(config: JobConfig) -> JobConfig:
    """The settings of the run that makes the rows: the same, into a dataset beside the file.

    Raises:
      ConfigError: settings that only a dataset can have.
      OutputError: the file is there already and `--overwrite` was not given.
    """
    for name in ("partition", "incremental"):
        if getattr(config, name):
            raise ConfigError(f"{named(name)} is for a dataset; {config.output} is one file")
    if config.output == STDOUT:
        place = tempfile.mkdtemp(prefix="beam_bert-")
    else:
        folder, name = _split(config.output)
        if not config.overwrite and open_storage(folder).size(name) is not None:
            raise OutputError(
                f"{config.output} is there already: give {named('overwrite')} to replace it"
            )
        place = f"{folder}/.{name}.run"
    return config.model_copy(update={"output": place, "overwrite": True})


def write(config: JobConfig, place: str) -> list[str]:
    """Write what a run committed at `place` as the one file, and its rejects beside it.

    Returns:
      Where they are.
    """
    storage = open_storage(place)
    written = []
    with tempfile.TemporaryDirectory(prefix="beam_bert-") as scratch:
        for table in TABLES:
            paths = [file.path for file in storage.list_files(table)]
            if not paths:
                continue  # nothing was rejected
            batches = _batches(storage, paths, Path(scratch))
            if config.output == STDOUT:
                out = sys.stdout if table == "predictions" else sys.stderr
                for batch in batches:
                    out.writelines(_json_lines(batch))
                out.flush()
                continue
            target = config.output if table == "predictions" else _rejects_name(config.output)
            local = Path(scratch) / f"whole{Path(target).suffix}"
            _write_local(batches, local)
            folder, name = _split(target)
            open_storage(folder).upload(local, name)
            written.append(target)
    if storage.is_remote:
        storage.delete_all(file.path for file in storage.list_files(""))
    else:
        shutil.rmtree(place)
    return written


def _split(output: str) -> tuple[str, str]:
    folder, _, name = output.rpartition("/")
    return folder or ("/" if output.startswith("/") else "."), name


def _rejects_name(output: str) -> str:
    stem, dot, suffix = output.rpartition(".")
    return f"{stem}.rejects{dot}{suffix}"


def _batches(storage: Storage, paths: list[str], scratch: Path) -> Iterator[pa.RecordBatch]:
    """The rows of all shards, in the order of the input."""
    for path in paths:
        local = scratch / "shard.parquet"
        storage.download(path, local)
        with pq.ParquetFile(local) as file:
            if not file.num_row_groups:
                yield pa.RecordBatch.from_pylist([], schema=file.schema_arrow)
            yield from file.iter_batches()


def _write_local(batches: Iterator[pa.RecordBatch], path: Path) -> None:
    if path.suffix == ".parquet":
        first = next(batches)
        with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
            writer.write_batch(first)
            for batch in batches:
                writer.write_batch(batch)
    elif path.suffix == ".csv":
        import csv

        with path.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out)
            for number, batch in enumerate(batches):
                if number == 0:
                    writer.writerow(batch.schema.names)
                rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
                writer.writerows([_cell(value) for value in row] for row in rows)
    else:
        with path.open("w", encoding="utf-8") as out:
            for batch in batches:
                out.writelines(_json_lines(batch))


def _json_lines(batch: pa.RecordBatch) -> Iterator[str]:
    for row in batch.to_pylist():
        yield json.dumps(_plain(row), ensure_ascii=False, allow_nan=False) + "\n"


def _cell(value: Any) -> Any:
    """A value as a CSV has it: what is made of parts as JSON."""
    plain = _plain(value)
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, dict | list | bool) else plain


def _plain(value: Any) -> Any:
    """A value as JSON has it; numbers that JSON has not become null."""
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    if value is None or isinstance(value, str | int):
        return value
    return value.isoformat() if isinstance(value, date | time) else str(value)
