"""Read the rows to train on, by the readers of the inference jobs: labels are a carried column."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_bert.encoder.plan import Int32Array, Int64Array
from beam_bert.errors import InputError
from beam_bert.labelled.labels import NO_LABEL, is_missing, no_label_message
from beam_bert.slices.batch import SliceBatch
from beam_bert.slices.plan import FileEntry, Slice, plan_units
from beam_bert.slices.schema import rejects_batch
from beam_bert.slices.token_arrays import TokenArrays
from beam_bert.sources import SourceSpec, cut_unit, inspect_source, list_files, read_slice
from beam_bert.tokenization import DocumentTokenizer

# What is tokenized at once: an Arrow array holds 2 GiB.
_TOKENIZED_CHARACTERS = 64 * 2**20


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows that were read: what they say and where they stood.

    Attributes:
      texts: one a row; `pairs` likewise, None without second segments.
      labels: the label column as read; None where none was asked for.
      places: `file#row` of each.
      files: what was read.
      rejected: rows that could not be used.
    """

    texts: list[str]
    pairs: list[str] | None
    labels: pa.Array | None
    places: list[str]
    files: tuple[FileEntry, ...]
    rejected: int = 0

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Int64Array) -> Rows:
        """Some of the rows, in the order given."""
        return Rows(
            texts=[self.texts[i] for i in indices],
            pairs=None if self.pairs is None else [self.pairs[i] for i in indices],
            labels=None if self.labels is None else self.labels.take(pa.array(indices, pa.int64())),
            places=[self.places[i] for i in indices],
            files=self.files,
            rejected=self.rejected,
        )

    def content_keys(self) -> list[bytes]:
        """A digest of each row's text: equal where letters, digits and marks are, in any case."""
        pairs = self.pairs or [""] * len(self)
        return [content_key(text, pair) for text, pair in zip(self.texts, pairs, strict=True)]


@dataclass(frozen=True, eq=False)
class Tokens:
    """Sequences end to end, as the encoder takes them.

    Attributes:
      input_ids: int32 [total_tokens], special tokens included.
      offsets: int64 [n + 1].
      first_lengths: int32 [n], tokens of the first segment; None: there is no second.
    """

    input_ids: Int32Array
    offsets: Int64Array
    first_lengths: Int32Array | None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int64Array:
        """int64 [n], tokens of each sequence."""
        return np.diff(self.offsets)


def read_rows(
    patterns: Sequence[str],
    spec: SourceSpec,
    *,
    label_column: str | None,
    max_reject_rate: float,
    flag: str,
) -> Rows:
    """Read every usable row of the files, in the order of their paths.

    Args:
      patterns: as the inference jobs take them.
      spec: how to read; `keep_columns` is set here.
      label_column: carried along as the label.
      max_reject_rate: share of rows to go on without.
      flag: the flag that named the patterns, for messages.

    Raises:
      InputError: nothing to read, no such column, or more unusable rows than `max_reject_rate`.
    """
    files = list_files(patterns)
    if label_column is not None and label_column in spec.text_parts:
        raise InputError(f"column {label_column!r} cannot be both text and label")
    keep_columns = () if label_column is None else (label_column,)
    try:
        spec = inspect_source(files, replace(spec, keep_columns=keep_columns))
    except InputError as error:
        raise InputError(str(error).replace("--keep_columns", "--label_column")) from None
    rows, rejected = read_documents(
        files, spec, max_reject_rate=max_reject_rate, flag=flag, label_column=label_column
    )
    if rows.num_rows == 0:
        raise InputError(f"{flag} {' '.join(patterns)}: there is not one usable row")
    rows_of_files = zip(
        rows["source_file"].to_pylist(), rows["source_row"].to_pylist(), strict=True
    )
    return Rows(
        texts=rows["text"].to_pylist(),
        pairs=rows["text_pair"].to_pylist() if spec.text_pair_column else None,
        labels=pc.struct_field(rows["carried"], [0]).combine_chunks() if keep_columns else None,
        places=[f"{file}#{row}" for file, row in rows_of_files],
        files=tuple(files),
        rejected=rejected,
    )


def read_documents(
    files: Sequence[FileEntry],
    spec: SourceSpec,
    *,
    max_reject_rate: float,
    flag: str,
    label_column: str | None = None,
) -> tuple[pa.Table, int]:
    """Every usable row of the files, as `beam_bert.sources` gives them, and how many were not.

    A table, whose columns may hold more than the 2 GiB of one array.

    Args:
      files: to read.
      spec: how.
      max_reject_rate: share of rows to go on without.
      flag: the flag that named the files, for messages.
      label_column: the one column carried along, without which no row is usable.

    Raises:
      InputError: more unusable rows than `max_reject_rate`.
    """
    batches = [
        batch
        for unit in plan_units(files, spec.slice_bytes)
        for slice_ in cut_unit(unit, spec)
        for batch in read_slice(slice_, spec, "")
    ]
    if label_column is not None:
        batches = [_reject_unlabelled(batch, label_column) for batch in batches]
    rejects = pa.Table.from_batches([batch.rejects for batch in batches])
    rows = pa.Table.from_batches([batch.rows for batch in batches])
    check_rejects(rejects, rows.num_rows + rejects.num_rows, max_reject_rate, flag)
    return rows, rejects.num_rows


def _reject_unlabelled(batch: SliceBatch, column: str) -> SliceBatch:
    labels = batch.rows["carried"].field(0).to_pylist()
    lacking = [row for row, label in enumerate(labels) if is_missing(label)]
    return batch.reject(lacking, NO_LABEL, [no_label_message(column)] * len(lacking))


def check_rejects(rejects: pa.Table, rows_read: int, max_reject_rate: float, flag: str) -> None:
    """Raise InputError, naming the first one, where more rows are unusable than may be."""
    if rejects.num_rows <= max_reject_rate * rows_read:
        return
    first = rejects.slice(0, 1).to_pylist()[0]
    row = "" if first["source_row"] is None else f"#{first['source_row']}"
    raise InputError(
        f"{flag}: {rejects.num_rows} of {rows_read} rows cannot be used, the first is "
        f"{first['source_file']}{row}: {first['message']}; mend them, or raise --max_reject_rate "
        f"(now {max_reject_rate:g}) to go on without them"
    )


def tokenize_rows(rows: Rows, tokenizer: DocumentTokenizer) -> Tokens:
    """Token ids of every row, cut to the tokenizer's `max_length`.

    Raises:
      InputError: the tokenizer drops every character of a text.
    """
    parts, ends = [], np.cumsum([len(text) for text in rows.texts])
    first = 0
    while first < len(rows):
        begun = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, begun + _TOKENIZED_CHARACTERS, "right")))
        parts.append(_tokenized(rows, slice(first, last), tokenizer))
        first = last
    lengths = [np.diff(part.offsets) for part in parts]
    firsts = [part.first_lengths for part in parts if part.first_lengths is not None]
    return Tokens(
        np.concatenate([part.ids for part in parts], dtype=np.int32),
        np.concatenate([[0], np.cumsum(np.concatenate(lengths))]),
        np.concatenate(firsts, dtype=np.int32) if firsts else None,
    )


def _tokenized(rows: Rows, some: slice, tokenizer: DocumentTokenizer) -> TokenArrays:
    places = rows.places[some]
    columns = {
        "doc_id": pa.array(places, pa.string()),
        "text": pa.array(rows.texts[some], pa.string()),
        "source_file": pa.array([""] * len(places), pa.string()),
        "source_row": pa.array(np.arange(len(places))),
    }
    if rows.pairs is not None:
        columns["text_pair"] = pa.array(rows.pairs[some], pa.string())
    whole = SliceBatch(Slice(0, ()), "", pa.RecordBatch.from_pydict(columns), rejects_batch([]))
    result = tokenizer.tokenize(whole)
    if result.rejects.num_rows:
        first = result.rejects.slice(0, 1).to_pylist()[0]
        raise InputError(f"{first['doc_id']}: {first['message']}; remove the row")
    return TokenArrays.of(result.rows)


def sha256_of(path: str) -> str:
    """Digest of a file's bytes as they lie."""
    from beam_bert.sources.opening import open_binary

    digest = hashlib.sha256()
    with open_binary(path) as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def content_key(text: str, pair: str = "") -> bytes:
    """A digest of a text, or two: equal where letters, digits and marks are, in any case."""
    parts = [" ".join(unicodedata.normalize("NFKC", t).casefold().split()) for t in (text, pair)]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()
