"""The first rows of the input alone (`--limit`): found at launch, then the same on every worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from beam_bert.slices.batch import SliceBatch
from beam_bert.slices.plan import FileEntry, plan_units
from beam_bert.sources.cutting import cut_unit
from beam_bert.sources.reading import read_slice
from beam_bert.sources.spec import SourceSpec


def first_rows(files: Sequence[FileEntry], spec: SourceSpec, limit: int) -> SourceSpec:
    """The same source cut after `limit` rows, in the order of the listing.

    Reads the input up to there, once. Rejected rows are rows, too.

    Returns:
      `spec` with `row_limits`: each file that is still read, and the number of the row that is the
      first not to be.
    """
    ends: dict[str, int | None] = {}
    left = limit
    for unit in plan_units(files, spec.slice_bytes):
        for slice_ in cut_unit(unit, spec):
            for batch in read_slice(slice_, spec, ""):
                for file in batch.files:
                    if left <= 0:
                        return replace(spec, row_limits=tuple(ends.items()))
                    rows = np.sort(_rows_of(batch, file.path))
                    # What stands for a whole file has no number: it counts, and ends nothing.
                    numbered = rows[rows >= 0]
                    cut = left - (len(rows) - len(numbered))
                    ends[file.path] = None if len(numbered) < cut else _end(numbered, cut)
                    left -= len(rows)
    return replace(spec, row_limits=tuple(ends.items()))


def _end(numbered: np.ndarray, count: int) -> int:
    return int(numbered[count - 1]) + 1 if count > 0 else 0


def within(batch: SliceBatch, spec: SourceSpec) -> SliceBatch:
    """The batch without the rows that lie behind the limit."""
    if spec.row_limits is None:
        return batch
    ends = dict(spec.row_limits)
    rows = batch.rows.filter(_kept(batch.rows, ends))
    rejects = batch.rejects.filter(_kept(batch.rejects, ends))
    cut = replace(batch, rows=rows, rejects=rejects)
    files = tuple(replace(file, rows=len(_rows_of(cut, file.path))) for file in batch.files)
    return replace(cut, files=files)


def _rows_of(batch: SliceBatch, path: str) -> np.ndarray:
    """Numbers of a file's rows, used and rejected; -1 for what stands for the file as a whole."""
    numbers = [
        table["source_row"].fill_null(-1).to_numpy()[_is_of(table, path)]
        for table in (batch.rows, batch.rejects)
    ]
    return np.concatenate(numbers)


def _is_of(table: pa.RecordBatch, path: str) -> np.ndarray:
    return np.array([name == path for name in table["source_file"].to_pylist()], bool)


def _kept(table: pa.RecordBatch, ends: dict[str, int | None]) -> pa.Array:
    origins = zip(table["source_file"].to_pylist(), table["source_row"].to_pylist(), strict=True)
    kept = [
        path in ends and (ends[path] is None or row is None or row < ends[path])
        for path, row in origins
    ]
    return pa.array(kept, pa.bool_())
