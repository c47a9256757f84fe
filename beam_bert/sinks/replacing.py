"""Old rows make way for new ones: what becomes of a file in a table whose sources are read again.

A shard may hold several small files, of which one has changed. Its rows of the others stay, in a
shard of their own: reading those files again would cost inference, and they may be gone by now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Set

import pyarrow as pa
import pyarrow.compute as pc

from beam_bert.errors import RunFailed
from beam_bert.sinks.manifest import OutputFile, Replaced
from beam_bert.sinks.run import RunSpec
from beam_bert.sinks.shards import stage_file
from beam_bert.sinks.stored_files import or_damaged, read_rows
from beam_bert.slices.schema import REJECT_SCHEMA
from beam_bert.storage.base import Storage


def replace_file(
    storage: Storage, run: RunSpec, file: OutputFile, read_again: Set[str], schema: pa.Schema
) -> Replaced:
    """Plan to take `file` out of its table; its rows of other sources are staged as a new file.

    The same file and sources give the same name and bytes, so this may be repeated.

    Args:
      storage: of the output.
      run: that is being committed.
      file: in either table.
      read_again: sources whose rows go; none: the file's columns alone are new.
      schema: of the predictions, as the run leaves them.

    Raises:
      RunFailed: the file has gone, or a value does not fit the columns.
      OutputError: it is damaged.
    """
    others = tuple(source for source in file.sources if source not in read_again)
    if file.sources and not others:
        return Replaced(path=file.path)
    rows = read_rows(storage, file.path)
    if others != file.sources:
        with or_damaged(storage.uri(file.path)):
            rows = rows.filter(pc.is_in(rows["source_file"], value_set=pa.array(others)))
        if rows.num_rows == 0:
            return Replaced(path=file.path)
    columns = schema if file.table == "predictions" else REJECT_SCHEMA
    made_of = (file.key, others, str(columns))
    try:
        return Replaced(
            path=file.path, kept=stage_again(storage, run, file, rows, columns, made_of, others)
        )
    except pa.ArrowException as error:
        raise RunFailed(
            f"{storage.uri(file.path)} does not go into the table's new columns ({error}); nothing "
            "was committed"
        ) from error


def stage_again(
    storage: Storage,
    run: RunSpec,
    first: OutputFile,
    rows: pa.Table,
    columns: pa.Schema,
    made_of: object,
    sources: tuple[str, ...],
    stored_bytes: int = 0,
) -> OutputFile:
    """Stage rows of committed files, the first of which is `first`, as a new file beside it.

    `made_of` is all that the rows hang on: the same gives the same name.
    """
    key = hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]
    name = f"{first.name.rsplit('-', 1)[0]}-{key}"
    arrays = [column.combine_chunks() for column in rows.columns]
    batch = pa.RecordBatch.from_arrays(arrays, schema=rows.schema)
    kept = stage_file(storage, run, first.table, name, batch, columns, stored_bytes)
    return OutputFile.of(kept, first.folder, key, sources)
