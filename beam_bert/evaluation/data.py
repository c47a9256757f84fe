"""Labelled rows, by the readers of the inference jobs: label and slices are carried columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from beam_bert.errors import InputError
from beam_bert.settings.evaluation import EvaluateConfig
from beam_bert.slices.batch import SliceBatch
from beam_bert.slices.plan import FileEntry, plan_units
from beam_bert.sources import SourceSpec, cut_unit, inspect_source, list_files, read_slice
from beam_bert.sources.formats import named_format
from beam_bert.sources.resolving import AskingSettings, columns_of

LANGUAGE = "language"
# Small enough for a bar that moves and few texts in memory, large enough to sort by length.
SLICE_BYTES = 2**18
POSITION = "position"  # column with a row's place in its batch, which outlives rejects


@dataclass(frozen=True)
class LabelledSource:
    """The files of an evaluation, and how to read them.

    Attributes:
      files: the listing.
      spec: resolved; its carried columns are the labels', the slices' and the language's.
      label_columns, slice_columns, language_column: their names; no language: None.
    """

    files: list[FileEntry]
    spec: SourceSpec
    label_columns: tuple[str, ...]
    slice_columns: tuple[str, ...]
    language_column: str | None

    def batches(self) -> Iterator[SliceBatch]:
        """Every slice, in the order of the listing, its rows with `POSITION`."""
        for unit in plan_units(self.files, self.spec.slice_bytes):
            for slice_ in cut_unit(unit, self.spec):
                for batch in read_slice(slice_, self.spec, ""):
                    positions = pa.array(np.arange(len(batch)), pa.int64())
                    yield batch.with_rows(batch.rows.append_column(POSITION, positions))

    def column(self, rows: pa.RecordBatch, name: str) -> pa.Array:
        """A carried column."""
        return rows["carried"].field(self.spec.carried_from.index(name))


def open_source(config: EvaluateConfig) -> LabelledSource:
    """List the files and find the columns.

    Raises:
      InputError: nothing to read, or a column that was named is in no file.
    """
    files = list_files(config.input, apart=(config.output, config.model))
    wished = SourceSpec.of(
        config,
        text_columns=config.text_column,
        text_pair_column=config.text_pair_column,
        id_column=config.id_column,
        slice_bytes=SLICE_BYTES,
        max_lost_files=0,
    )
    columns = set(columns_of(files, wished)) - set(wished.text_parts)
    if not columns and all(named_format(file.path) in (None, "text") for file in files):
        raise InputError(
            f"{files[0].path} is plain text, which has no labels; give CSV, TSV, JSON lines or "
            "Parquet with a label column"
        )
    slices = config.slices or ()
    language = config.language_column or (LANGUAGE if LANGUAGE in columns else None)
    labels = config.columns_of_labels
    asked_for = dict.fromkeys(labels, "label_column" if config.label_column else "label_columns")
    asked_for |= {name: "slices" for name in slices if name not in asked_for}
    if language:
        asked_for.setdefault(language, "language_column")
    spec = replace(wished, keep_columns=tuple(asked_for))
    spec = inspect_source(files, spec, asked=AskingSettings(kept=asked_for, lost=None))
    return LabelledSource(files, spec, labels, slices, language)
