"""What stands in an output, local or gs://, for comparison."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq

from beam_bert.storage.places import open_storage


def snapshot(output: str) -> dict[str, object]:
    """Every file below `output`; documents without the times at which they were written."""
    storage = open_storage(output)
    found: dict[str, object] = {}
    for folder in ("predictions", "rejects", "runs", "staging"):
        for file in storage.list_files(folder):
            data = storage.read(file.path)
            if file.path.endswith(".json"):
                document = json.loads(data)
                for time in ("committed_at", "failed_at"):
                    document.pop(time, None)
                found[file.path] = document
            else:
                found[file.path] = data
    return found


def table(output: str, name: str = "predictions") -> pa.Table:
    """All rows of a table, read as plain files."""
    storage = open_storage(output)
    files = [file.path for file in storage.list_files(name)]
    return pa.concat_tables(pq.read_table(io.BytesIO(storage.read(path))) for path in files)


def doc_ids(output: str) -> list[str]:
    """The document of every predicted row, sorted: a doubled row shows."""
    return sorted(table(output).column("doc_id").to_pylist())
