"""`SourceSpec`: what to read and how, fixed before the run and shipped to every worker."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Protocol

import pyarrow as pa

from beam_bert.slices.conversion import is_list, is_text

Format = Literal["text", "jsonl", "csv", "tsv", "parquet"]

_NO_COLUMNS = pa.schema([])
DEFAULT_SLICE_BYTES = 4 << 20
DEFAULT_MAX_DOCUMENT_BYTES = 16 << 20


class ReadingSettings(Protocol):
    """What every job's settings say about its files."""

    format: Literal["auto"] | Format
    encoding: str
    delimiter: str | None
    quoting: bool | None
    quote_char: str
    escape_char: str | None
    column_names: tuple[str, ...] | None
    max_document_bytes: int


@dataclass(frozen=True)
class SourceSpec:
    """What to read: the user's wishes, then what `inspect_source` found out about the files.

    Attributes:
      format: of every file, or "auto": by each file's name.
      text_columns: the document; several are joined with one space, empty ones left out.
      text_pair_column: second segment of a two-segment model.
      id_column: becomes doc_id as a string; where null or empty, doc_id is <file>#<row>.
      keep_columns: columns to copy; None: all but the text (a `doc_id` that is the id is not
        doubled).
      keep_text: carry the text columns as well.
      text_unit: for plain text, a document a line or a document a file.
      column_names: names of the columns of CSV and TSV files that have no header.
      encoding: Python's name of an encoding; "auto": UTF-8, or UTF-16 and UTF-32 by their mark.
      delimiter: what stands between two fields of CSV or TSV; None: as the format has it, and where
        that is "auto" too, as the file's first lines show.
      quoting: whether quotes quote fields; None: yes for CSV, no for TSV.
      quote_char: that quote.
      escape_char: takes its meaning from the character behind it; None: there is none.
      slice_bytes: size of the slices into which a large file is cut; of what a compressed one
        unpacks to, at most so much becomes one shard.
      max_document_bytes: UTF-8 size of the largest text that is used.
      max_lost_files: files that may be lost; more, seen at launch, are an error. None: any number.

    Resolved at launch, so that every shard has the same schema:
      carried: schema of the carried columns under their output names, in the types that they have
        in the output; None: not resolved yet.
      carried_from: source column of each field of `carried`.
      read_types: type in which each of them is read; none: as in `carried`.
      mixed: source columns that hold several kinds of values: strings as they are, anything
        else as JSON text.
      id_type: type in which the id column is read.
      row_limits: files that are read and, for each, the first row that is not; None: all rows of
        all files.
      partitions: schema of the keys of Hive-style folders (`dt=2024-01-01/`), under their names
        in the paths.
      untyped: source columns of which the sample shows nothing but nulls.
      finer: source columns whose sample holds times that microseconds do not hold exactly.
    """

    format: Literal["auto"] | Format = "auto"
    text_columns: tuple[str, ...] = ("text",)
    text_pair_column: str | None = None
    id_column: str | None = None
    keep_columns: tuple[str, ...] | None = None
    keep_text: bool = False
    text_unit: Literal["line", "file"] = "line"
    column_names: tuple[str, ...] | None = None
    encoding: str = "auto"
    delimiter: str | None = None
    quoting: bool | None = None
    quote_char: str = '"'
    escape_char: str | None = None
    slice_bytes: int = DEFAULT_SLICE_BYTES
    max_document_bytes: int = DEFAULT_MAX_DOCUMENT_BYTES
    max_lost_files: int | None = None
    carried: pa.Schema | None = None
    carried_from: tuple[str, ...] = ()
    read_types: tuple[pa.DataType, ...] = ()
    mixed: tuple[str, ...] = ()
    id_type: pa.DataType | None = None
    row_limits: tuple[tuple[str, int | None], ...] | None = None
    partitions: pa.Schema = _NO_COLUMNS
    untyped: tuple[str, ...] = ()
    finer: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: ReadingSettings, **others: Any) -> SourceSpec:
        """The wishes that all jobs have settings for, and others that some have."""
        names = ReadingSettings.__annotations__
        return cls(**{name: getattr(config, name) for name in names}, **others)

    @property
    def resolved(self) -> pa.Schema:
        """`carried`, once `inspect_source` has resolved it."""
        if self.carried is None:
            raise ValueError("SourceSpec.carried is not resolved: call inspect_source first")
        return self.carried

    @property
    def column_types(self) -> dict[str, pa.DataType]:
        """Columns that are read from the files, each with the type that its values must fit."""
        read = self.read_types or self.resolved.types
        types = {
            name: type_
            for name, type_ in zip(self.carried_from, read, strict=True)
            if name not in self.partitions.names
        }
        if self.id_column is not None:
            types.setdefault(self.id_column, self.id_type or pa.string())
        types |= {name: pa.string() for name in self.text_parts}
        return types

    def written_as(self, columns: pa.Schema) -> SourceSpec:
        """The same with the carried columns as the output has them, names and types."""
        read: list[pa.DataType] = []
        mixed = dict.fromkeys(self.mixed)
        for name, own, column in zip(self.carried_from, self.resolved, columns, strict=True):
            may_be_any = name in self.untyped
            if is_text(column.type) and (may_be_any or not is_text(own.type)):
                mixed[name] = None
            elif may_be_any:
                mixed.pop(name, None)
            at_once = is_text(column.type) or may_be_any or _reads_as(own.type, column.type)
            read.append(column.type if at_once else own.type)
        return replace(self, carried=columns, read_types=tuple(read), mixed=tuple(mixed))

    @property
    def text_parts(self) -> tuple[str, ...]:
        """Columns that must hold text: the text columns, then the pair column."""
        pair = () if self.text_pair_column is None else (self.text_pair_column,)
        return (*self.text_columns, *pair)

    def without_column_names(self) -> SourceSpec:
        """The same, reading each file's first record as its header."""
        return replace(self, column_names=None)

    def digest(self) -> bytes:
        """Digest of all that changes the rows read from given bytes."""
        wishes = [
            (field.name, str(getattr(self, field.name)))
            for field in fields(self)
            if field.name not in ("slice_bytes", "max_lost_files")
        ]
        return hashlib.sha256(repr(wishes).encode()).digest()


def _reads_as(own: pa.DataType, column: pa.DataType) -> bool:
    """Whether a parser of JSON may read values of `own` as the wider `column` at once."""
    if own == column:
        return True
    if is_list(own) and is_list(column):
        return _reads_as(own.value_type, column.value_type)
    if pa.types.is_struct(own) and pa.types.is_struct(column):
        theirs = {field.name: field.type for field in column}
        return all(
            field.name in theirs and _reads_as(field.type, theirs[field.name]) for field in own
        )
    return bool(pa.types.is_integer(own) and pa.types.is_floating(column))
