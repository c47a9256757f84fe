"""`SliceBatch`: the one element that flows through the pipeline, a whole slice at a time.

It carries the slice's usable rows and, beside them, what could not be used, so the totals are
balanced at every step: `rows_read == len(rows) + len(rejects)`, always.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_bert.slices.plan import Slice
from beam_bert.slices.schema import rejects_batch


@dataclass(frozen=True)
class SliceBatch:
    """One slice on its way: its rows, its rejects and what was measured so far.

    Attributes:
      slice: the unit of work that this is.
      key: the shard's key (see `beam_bert.slices.plan.slice_key`).
      rows: usable rows; the columns depend on the step (see `beam_bert.slices.schema`).
      rejects: rows with `beam_bert.slices.schema.REJECT_SCHEMA`.
      files: rows read (used and rejected) of each source file, and its bytes.
      stats: sums over the slice, such as tokens or seconds; merged into the run's totals.
      documents: documents that `rows` stand for, where a task makes several rows of one; None:
        a row is a document.
    """

    slice: Slice
    key: str
    rows: pa.RecordBatch
    rejects: pa.RecordBatch
    files: tuple[FileRead, ...] = ()
    stats: Mapping[str, float] = field(default_factory=dict)
    documents: int | None = None

    def __len__(self) -> int:
        """Usable documents."""
        return int(self.rows.num_rows) if self.documents is None else self.documents

    @property
    def rows_read(self) -> int:
        """Rows of the input that this slice stands for."""
        return len(self) + int(self.rejects.num_rows)

    def with_rows(self, rows: pa.RecordBatch, **stats: float) -> SliceBatch:
        """The same slice with other columns, same rows in the same order; `stats` are added."""
        if rows.num_rows != self.rows.num_rows:
            raise ValueError(f"a step turned {self.rows.num_rows} rows into {rows.num_rows}")
        return replace(self, rows=rows, stats={**self.stats, **stats})

    def with_rows_of(
        self, rows: pa.RecordBatch, owners: npt.NDArray[np.int64], **stats: float
    ) -> SliceBatch:
        """The same documents as one or more rows each: the last step of a task that needs several.

        Args:
          rows: what they become.
          owners: int64 [rows], the row of this batch that each stands for; every one has some.
        """
        if not np.array_equal(np.unique(owners), np.arange(len(self))):
            raise ValueError(f"a step lost some of {len(self)} documents")
        return replace(self, rows=rows, documents=len(self), stats={**self.stats, **stats})

    def take(self, indices: npt.NDArray[np.int64]) -> SliceBatch:
        """The rows at `indices` alone: a sample, whose totals do not balance any more."""
        return replace(self, rows=self.rows.take(pa.array(indices, pa.int64())))

    def reject(self, indices: Sequence[int], reason: str, messages: Sequence[str]) -> SliceBatch:
        """Move the rows at `indices` to the rejects, their text as `raw`."""
        if len(indices) == 0:
            return self
        bad = self.rows.take(pa.array(indices, pa.int64()))
        moved = rejects_batch(
            {
                "source_file": row["source_file"],
                "source_row": row["source_row"],
                "doc_id": row["doc_id"],
                "reason": reason,
                "message": message,
                "raw": row["text"].encode(),
            }
            for row, message in zip(
                bad.select(["source_file", "source_row", "doc_id", "text"]).to_pylist(),
                messages,
                strict=True,
            )
        )
        keep = np.ones(self.rows.num_rows, dtype=bool)
        keep[np.asarray(indices)] = False
        rejects = pa.concat_batches([self.rejects, moved])
        return replace(self, rows=self.rows.filter(pa.array(keep)), rejects=rejects)


@dataclass(frozen=True)
class FileRead:
    """What a slice read of one file: rows (used and rejected) and stored or unpacked bytes.

    `size`, `version` and `identity` are the listing's (`beam_bert.slices.plan.FileEntry`); `lost`
    says why the file, or its rest, could not be read: nobody knows how many rows are missing.
    """

    path: str
    rows: int
    bytes: int
    size: int = 0
    version: str = ""
    lost: str = ""
    identity: str = ""
