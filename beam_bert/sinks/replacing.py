"""Old rows make way for new ones: what becomes of a file in a table whose sources are read again.

A shard may hold several small files, of which one has changed. Its rows of the others stay, in a
shard of their own: reading those files again would cost inference, and they may be gone by now.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Set

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_bert.errors import RunFailed
from beam_bert.sinks.manifest import OutputFile, Replaced
from beam_bert.sinks.run import TABLES, RunSpec
from beam_bert.sinks.shards import stage_file
from beam_bert.slices.schema import REJECT_SCHEMA
from beam_bert.storage import Storage


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
    """
    others = tuple(source for source in file.sources if source not in read_again)
    if file.sources and not others:
        return Replaced(path=file.path)
    data = storage.read(file.path)
    if data is None:
        raise RunFailed(
            f"{storage.uri(file.path)} was removed by somebody else; nothing was committed, run "
            "again: the shards in staging are used again"
        )
    rows = pq.read_table(io.BytesIO(data))
    if others != file.sources:
        rows = rows.filter(pc.is_in(rows["source_file"], value_set=pa.array(others)))
        if rows.num_rows == 0:
            return Replaced(path=file.path)
    (table,) = (table for table in TABLES if file.path.startswith(f"{table}/"))
    columns = schema if table == "predictions" else REJECT_SCHEMA
    made_of = (file.key, others, str(columns))
    key = hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]
    name = f"{file.name.rsplit('-', 1)[0]}-{key}"
    batch = pa.RecordBatch.from_arrays(
        [column.combine_chunks() for column in rows.columns], schema=rows.schema
    )
    try:
        kept = stage_file(storage, run, table, name, batch, columns)
    except pa.ArrowException as error:
        raise RunFailed(
            f"{storage.uri(file.path)} does not go into the table's new columns ({error}); nothing "
            "was committed"
        ) from error
    return Replaced(
        path=file.path,
        kept=OutputFile(
            path=f"{file.folder}/{kept.name}",
            key=key,
            sources=others,
            **kept.model_dump(exclude={"name"}),
        ),
    )
