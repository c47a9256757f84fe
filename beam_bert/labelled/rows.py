"""Read the rows to train on, by the readers of the inference jobs: labels are a carried column."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_bert.encoder.plan import Int64Array
from beam_bert.errors import InputError
from beam_bert.labelled.cells import CellReader, LabelColumn
from beam_bert.labelled.labels import NO_LABEL, Meaning, no_label_message
from beam_bert.labelled.parsing import LabelSettings
from beam_bert.settings.naming import named
from beam_bert.slices.batch import SliceBatch
from beam_bert.slices.plan import FileEntry, Slice, plan_units
from beam_bert.slices.schema import REJECT_SCHEMA, rejects_batch
from beam_bert.slices.token_arrays import TokenArrays
from beam_bert.sources import SourceSpec, cut_unit, inspect_source, list_files, read_slice
from beam_bert.sources.resolving import AskingSettings
from beam_bert.terminal import TERMINAL
from beam_bert.tokenization import DocumentTokenizer

BoolArray = npt.NDArray[np.bool_]

# What is tokenized at once: an Arrow array holds 2 GiB.
_TOKENIZED_CHARACTERS = 64 * 2**20


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows that were read: what they say and where they stood.

    Attributes:
      texts: one a row; `pairs` likewise, None without second segments.
      places: `file#row` of each.
      rejected: rows that could not be used.
      targets: see `beam_bert.labelled.labels.Meaning`; None where no labels were asked for.
      meaning: of the label column, likewise.
    """

    texts: list[str]
    pairs: list[str] | None
    places: list[str]
    rejected: int = 0
    targets: np.ndarray | None = None
    meaning: Meaning | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Int64Array) -> Rows:
        """Some of the rows, in the order given."""
        return replace(
            self,
            texts=[self.texts[i] for i in indices],
            pairs=None if self.pairs is None else [self.pairs[i] for i in indices],
            places=[self.places[i] for i in indices],
            targets=None if self.targets is None else self.targets[indices],
        )

    def without(self, indices: Int64Array) -> Rows:
        """The other rows."""
        return self.take(np.setdiff1d(np.arange(len(self)), indices))

    def content_keys(self) -> list[bytes]:
        """A digest of each row's text: equal where letters, digits and marks are, in any case."""
        pairs = self.pairs or [""] * len(self)
        return [content_key(text, pair) for text, pair in zip(self.texts, pairs, strict=True)]


@dataclass(frozen=True)
class LabelsWanted:
    """Which columns are labels, and how what they hold becomes targets.

    Attributes:
      columns: one, or one a label.
      settings: how they are to be understood.
      read: from the whole column to what its cells say.
    """

    columns: tuple[str, ...]
    settings: LabelSettings
    read: Callable[[LabelColumn], Meaning]


def read_rows(
    patterns: Sequence[str],
    spec: SourceSpec,
    *,
    labels: LabelsWanted | None,
    max_reject_rate: float,
    setting: str,
) -> Rows:
    """Read every usable row of the files, in the order of their paths.

    Args:
      patterns: as the inference jobs take them.
      spec: how to read; `keep_columns` is set here.
      labels: what a row must have beside its text; None: nothing.
      max_reject_rate: share of rows to go on without.
      setting: that named the patterns, for messages.

    Raises:
      InputError: nothing to read, no such column, a label that cannot be read, or more unusable
        rows than `max_reject_rate`.
    """
    files = list_files(patterns)
    columns = () if labels is None else labels.columns
    if both := set(columns) & set(spec.text_parts):
        raise InputError(f"column {min(both)!r} cannot be both text and label")
    label = "label_column" if len(columns) == 1 else "label_columns"
    asked = AskingSettings(kept=dict.fromkeys(columns, label))
    spec = inspect_source(files, replace(spec, keep_columns=columns), asked=asked)
    rows, rejects = _read_all(files, spec)
    total, meaning, targets = rows.num_rows + rejects.num_rows, None, None
    if labels is not None and rows.num_rows:
        cells = CellReader(files, spec, columns, class_names=not labels.settings.names).read(rows)
        column = LabelColumn()
        column.add(cells, places_of(rows))
        meaning = labels.read(column)
        targets, kept = meaning.targets(cells)
        has_label = np.isin(np.arange(len(cells)), kept)
        message = no_label_message(labels.settings.column)
        rejects = pa.concat_tables([rejects, unlabelled_rejects(rows, ~has_label, message)])
        rows = rows.filter(pa.array(has_label))
    check_rejects(rejects.num_rows, total, max_reject_rate, first_reject(rejects), setting)
    if rows.num_rows == 0:
        given = named(setting, " ".join(patterns))
        raise InputError(f"{given}: there is not one usable row")
    return Rows(
        texts=rows["text"].to_pylist(),
        pairs=rows["text_pair"].to_pylist() if spec.text_pair_column else None,
        places=places_of(rows),
        rejected=rejects.num_rows,
        targets=targets,
        meaning=meaning,
    )


def unlabelled_rejects(rows: pa.Table, lacking: BoolArray, message: str) -> pa.Table:
    """Rejects of the rows that have no label: filtered, since `take` joins what holds 2 GiB."""
    rejected = [
        slice_of(batch).reject(range(len(batch)), NO_LABEL, [message] * len(batch)).rejects
        for batch in rows.filter(pa.array(lacking)).to_batches()
    ]
    return pa.Table.from_batches(rejected, REJECT_SCHEMA)


def places_of(rows: pa.Table | pa.RecordBatch) -> list[str]:
    """`file#row` of each row."""
    pairs = zip(rows["source_file"].to_pylist(), rows["source_row"].to_pylist(), strict=True)
    return [f"{file}#{row}" for file, row in pairs]


def read_documents(
    files: Sequence[FileEntry], spec: SourceSpec, *, max_reject_rate: float, setting: str
) -> tuple[pa.Table, int]:
    """Every usable row of the files, as `beam_bert.sources` gives them, and how many were not.

    A table, whose columns may hold more than the 2 GiB of one array.

    Args:
      files: to read.
      spec: how.
      max_reject_rate: share of rows to go on without.
      setting: that named the files, for messages.

    Raises:
      InputError: more unusable rows than `max_reject_rate`.
    """
    rows, rejects = _read_all(files, spec)
    lost = rejects.filter(rejects["source_row"].is_null())
    if lost.num_rows:
        raise InputError(f"{named(setting)}: {lost['message'][0]}; mend the file, or leave it out")
    rejected = rejects.num_rows
    total = rows.num_rows + rejected
    check_rejects(rejected, total, max_reject_rate, first_reject(rejects), setting)
    return rows, rejected


def _read_all(files: Sequence[FileEntry], spec: SourceSpec) -> tuple[pa.Table, pa.Table]:
    batches = [
        batch
        for unit in plan_units(files, spec.slice_bytes)
        for slice_ in cut_unit(unit, spec)
        for batch in read_slice(slice_, spec, "")
    ]
    rejects = pa.Table.from_batches([batch.rejects for batch in batches])
    return pa.Table.from_batches([batch.rows for batch in batches]), rejects


def first_reject(rejects: pa.Table | pa.RecordBatch) -> str:
    """Where the first of the rejects stands, and what is wrong with it; "" where there is none."""
    for reject in rejects.slice(0, 1).to_pylist():
        row = "" if reject["source_row"] is None else f"#{reject['source_row']}"
        return f"{reject['source_file']}{row}: {reject['message']}"
    return ""


def check_rejects(
    rejected: int, rows_read: int, max_reject_rate: float, first: str, setting: str
) -> None:
    """Raise InputError, naming the first one, where more rows are unusable than may be."""
    if rejected > max_reject_rate * rows_read:
        raise InputError(
            f"{named(setting)}: {rejected:,} of {rows_read:,} rows cannot be used, the first is "
            f"{first}; mend or remove them, or raise {named('max_reject_rate')} (now "
            f"{max_reject_rate:g}) to go on without them"
        )


def slice_of(rows: pa.RecordBatch) -> SliceBatch:
    """Rows as a slice of no file."""
    return SliceBatch(Slice(0, ()), "", rows, rejects_batch([]))


def document_rows(
    ids: Sequence[str],
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    files: Sequence[str] | None = None,
) -> pa.RecordBatch:
    """Texts as document rows that carry nothing; `source_row` is the place of each among them."""
    columns = {
        "doc_id": pa.array(ids, pa.string()),
        "text": pa.array(texts, pa.string()),
        **({} if pairs is None else {"text_pair": pa.array(pairs, pa.string())}),
        "source_file": pa.array([""] * len(ids) if files is None else files, pa.string()),
        "source_row": pa.array(np.arange(len(ids)), pa.int64()),
        "carried": pa.Array.from_buffers(pa.struct([]), len(ids), [None]),
    }
    return pa.RecordBatch.from_pydict(columns)


def tokenize_rows(rows: Rows, tokenizer: DocumentTokenizer) -> tuple[TokenArrays, Int64Array, str]:
    """Token ids of the rows, cut to the tokenizer's `max_length`.

    Returns:
      The tokens, the rows that they are of (int64, rising), and where another stands and what is
      wrong with it: the tokenizer drops every character of some texts. "" where there is none.
    """
    parts, kept, flaws, ends = [], [], [], np.cumsum([len(text) for text in rows.texts])
    first = 0
    while first < len(rows):
        begun = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, begun + _TOKENIZED_CHARACTERS, "right")))
        part, used, flaw = _tokenized(rows, slice(first, last), tokenizer)
        parts.append(part)
        kept.append(used)
        flaws.append(flaw)
        first = last
        if first < len(rows):  # gigabytes, then: somebody waits for them
            TERMINAL.say(f"tokens made of {first:,} of {len(rows):,} texts")
    lengths = [np.diff(part.offsets) for part in parts]
    firsts = [part.first_lengths for part in parts if part.first_lengths is not None]
    tokens = TokenArrays.sequences(
        np.concatenate([part.ids for part in parts], dtype=np.int32),
        np.concatenate([[0], np.cumsum(np.concatenate(lengths))]),
        np.concatenate(firsts, dtype=np.int32) if firsts else None,
    )
    return tokens, np.concatenate(kept), next(filter(None, flaws), "")


def _tokenized(
    rows: Rows, some: slice, tokenizer: DocumentTokenizer
) -> tuple[TokenArrays, Int64Array, str]:
    places, pairs = rows.places[some], None if rows.pairs is None else rows.pairs[some]
    result = tokenizer.tokenize(slice_of(document_rows(places, rows.texts[some], pairs)))
    flaw = ""
    if result.rejects.num_rows:
        reject = result.rejects.slice(0, 1).to_pylist()[0]
        flaw = f"{reject['doc_id']}: {reject['message']}"
    kept = np.setdiff1d(np.arange(len(places)), result.rejects["source_row"].to_numpy())
    return TokenArrays.of(result.rows), kept + some.start, flaw


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
