"""What stands in a label column: one Python value a cell, the same from every format."""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_bert.slices.plan import FileEntry
from beam_bert.sources import SourceSpec
from beam_bert.sources.formats import format_of
from beam_bert.sources.opening import open_binary
from beam_bert.sources.parquet import PARQUET_ERRORS

# As Pandas writes and reads what is not there.
NULL_WORDS = frozenset({
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
    "N/A", "NA", "NULL", "NaN", "Nan", "None", "n/a", "nan", "none", "null",
})  # fmt: skip
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_PADDED = re.compile(r"[+-]?0\d")
_BYTES_AS_TEXT = re.compile(r"""b(['"]).*\1""", re.DOTALL)
_NUMBERS_IN_BRACKETS = re.compile(r"\[[\s\d.+-]*\d\s+[\s\d.+-]*\]")  # as numpy prints them
_WHOLE = Decimal(10) ** 18


@dataclass(frozen=True)
class Unreadable:
    """What cannot be a label, as a message shows it: a dict, bytes."""

    shown: str


class Cell(NamedTuple):
    """One cell.

    Attributes:
      value: None, a str, bool, int, float, Decimal, a tuple of these (a list), or `Unreadable`.
      delimited: whether it stood in CSV or TSV, which has no other null than a word.
    """

    value: Hashable
    delimited: bool = False


@dataclass
class LabelColumn:
    """The distinct cells of a column: how often each stands there, and where first."""

    counts: Counter[Cell] = field(default_factory=Counter)
    first: dict[Cell, str] = field(default_factory=dict)

    def add(self, cells: Sequence[Cell], places: Sequence[str]) -> None:
        """Count some more."""
        self.counts.update(cells)
        for cell, place in zip(cells, places, strict=True):
            self.first.setdefault(cell, place)


class CellReader:
    """Makes cells of label columns as `beam_bert.sources` reads them.

    Args:
      files: that are read.
      spec: how, resolved.
      columns: the label column; or several, each of a label, where 1 says that a row has it.
      class_names: whether names that a Parquet file carries for its numbers are put in.
    """

    def __init__(
        self,
        files: Iterable[FileEntry],
        spec: SourceSpec,
        columns: Sequence[str],
        *,
        class_names: bool = True,
    ) -> None:
        self._columns, self._places = columns, [spec.carried_from.index(c) for c in columns]
        formats = {file.path: format_of(file.path, spec) for file in files}
        self._delimited = {path for path, name in formats.items() if name in ("csv", "tsv")}
        mixed = set(columns) & set(spec.mixed)
        self._mixed = {path for path, name in formats.items() if name == "jsonl" and mixed}
        self._names: dict[str, tuple[str, ...]] = {}
        if class_names and len(columns) == 1:
            stored = [path for path, name in formats.items() if name == "parquet"]
            names_of = {path: class_names_of(path, columns[0]) for path in stored}
            self._names = {path: names for path, names in names_of.items() if names}

    def read(self, rows: pa.RecordBatch | pa.Table) -> list[Cell]:
        """The label cells of rows of `beam_bert.sources`."""
        columns = [_values(pc.struct_field(rows["carried"], [place])) for place in self._places]
        values: Iterable[Any] = columns[0]
        if len(columns) > 1:
            values = (
                None if any(is_blank(p) or p in NULL_WORDS for p in parts) else parts
                for parts in zip(*columns, strict=True)
            )
        cells = []
        for value, file in zip(values, rows["source_file"].to_pylist(), strict=True):
            if file in self._names:
                value = _named(value, self._names[file])
            elif file in self._mixed and value == "NaN":  # a bare one, beside strings
                value = None
            cells.append(Cell(value, file in self._delimited))
        return cells


def class_names_of(path: str, column: str) -> tuple[str, ...]:
    """The names that Hugging Face's `datasets` wrote into a Parquet file for a ClassLabel column.

    Empty where there are none. https://huggingface.co/docs/datasets/about_dataset_features
    """
    try:
        with open_binary(path) as file:
            metadata = pq.read_metadata(file).metadata or {}
    except PARQUET_ERRORS:
        return ()  # told where the file is read
    try:
        feature = json.loads(metadata[b"huggingface"])["info"]["features"][column]
        while not (isinstance(feature, dict) and feature.get("_type") == "ClassLabel"):
            # A list of them: Sequence and List have a feature; a list has it as its one item.
            feature = feature["feature"] if isinstance(feature, dict) else feature[0]
        return tuple(str(name) for name in feature["names"])
    except (ValueError, KeyError, IndexError, TypeError):  # another feature, or none
        return ()


def number_of(value: Hashable) -> Decimal | None:
    """The number that a value is or spells, exactly; None: it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, Decimal)):
        return Decimal(value)
    if isinstance(value, float):
        return Decimal(repr(value)) if np.isfinite(value) else None
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return Decimal(value.strip())
    return None


def number_name(number: Decimal) -> str:
    """How a number is written as a label: a whole one has no decimals, whoever made it a float."""
    if abs(number) < _WHOLE:
        whole = number == number.to_integral_value()
        return str(int(number)) if whole else format(number.normalize(), "f")
    return str(number)


def is_padded(value: Hashable) -> bool:
    """Whether a number is written with zeros before it, as codes are: 007."""
    return isinstance(value, str) and _PADDED.match(value.strip()) is not None


def is_blank(value: Hashable) -> bool:
    """Whether there is nothing to see."""
    return value is None or (isinstance(value, str) and not as_seen(value))


def as_seen(text: str) -> str:
    """A text as it looks: composed, without what has no width, single blanks."""
    plain = unicodedata.normalize("NFC", text)
    if not plain.isascii():
        plain = "".join(c for c in plain if unicodedata.category(c) != "Cf" and c != "\ufe0f")
    return " ".join(plain.split())


def folded(text: str) -> str:
    """A text without case and variants of form; equal for spellings of one word."""
    plain = unicodedata.normalize("NFKC", as_seen(text)).casefold()
    return " ".join(unicodedata.normalize("NFKC", plain).split())


def list_in(text: str) -> tuple[Hashable, ...] | None:
    """The JSON list that a text is; None: it is none."""
    if not text.lstrip().startswith("["):
        return None
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    value = as_value(parsed)
    return value if isinstance(value, tuple) else None


def is_structured(text: str) -> bool:
    """Whether a text looks like a list, a dict, a set or bytes that something printed."""
    text = text.strip()
    if _BYTES_AS_TEXT.fullmatch(text) or _NUMBERS_IN_BRACKETS.fullmatch(text):
        return True
    if text[:1] + text[-1:] not in ("[]", "{}", "()"):
        return False
    try:
        # A bracketed word, (none), is a name; only commas and quotes make a list of it.
        return isinstance(ast.literal_eval(text), (list, dict, set, tuple))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text[0] != "(" and ("," in text or ":" in text)


def as_value(value: Any) -> Hashable:
    """A value of JSON or Arrow as a cell has it."""
    if isinstance(value, (list, tuple)):
        return tuple(as_value(item) for item in value)
    if isinstance(value, float) and np.isnan(value):
        return None
    if value is None or isinstance(value, (str, bool, int, float, Decimal)):
        return value
    if isinstance(value, (dict, bytes)):
        return Unreadable(str(value)[:60])
    return str(value)  # dates and times


def _values(array: pa.Array | pa.ChunkedArray) -> list[Hashable]:
    plain: list[Any] = array.to_pylist()
    leaf = array.type
    while pa.types.is_nested(leaf) and leaf.num_fields == 1:
        leaf = leaf.field(0).type
    if pa.types.is_float16(leaf) or pa.types.is_float32(leaf):
        return [as_value(_shortest(value, leaf.to_pandas_dtype())) for value in plain]
    return list(map(as_value, plain))


def _shortest(value: Any, dtype: Any) -> Any:
    """A narrow float as it was written: 0.1, not the 0.10000000149 that float64 makes of it."""
    if isinstance(value, list):
        return [_shortest(item, dtype) for item in value]
    return float(str(dtype(value))) if isinstance(value, float) else value


def _named(value: Hashable, names: Sequence[str]) -> Hashable:
    """The name of a ClassLabel's number, in lists too; -1 stands for none."""
    if isinstance(value, tuple):
        return tuple(_named(item, names) for item in value)
    number = number_of(value)
    if number == -1:
        return None
    return value if number is None or (i := as_index(number, len(names))) is None else names[i]


def as_index(number: Decimal, count: int) -> int | None:
    """A number as a place in `count` things; None: it is none."""
    is_place = 0 <= number < count and number == number.to_integral_value()
    return int(number) if is_place else None
