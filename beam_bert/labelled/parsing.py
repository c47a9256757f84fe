"""From a column's cells to the parts that each says: one label, several, a vector, or a value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from beam_bert.errors import InputError
from beam_bert.labelled.cells import (
    NULL_WORDS,
    Cell,
    LabelColumn,
    Unreadable,
    is_blank,
    is_structured,
    list_in,
    number_of,
)
from beam_bert.settings.naming import named
from beam_bert.tasks.classification import MULTI_LABEL, REGRESSION, SINGLE_LABEL

PROBLEM_TYPES = {
    "single_label": SINGLE_LABEL,
    "multi_label": MULTI_LABEL,
    "regression": REGRESSION,
}
# Squares of values, summed over rows, must stay below float32's 3e38.
LARGEST_VALUE = 1e15
_TRUTH = {"0": 0, "1": 1, "false": 0, "true": 1, "0.0": 0, "1.0": 1}

Parts = tuple[Hashable, ...]


@dataclass(frozen=True)
class LabelSettings:
    """How the label column is to be understood.

    Attributes:
      column: its name, for messages.
      problem_type: key of `PROBLEM_TYPES`, or "auto".
      separator: parts the labels of one row.
      names: name of label 0, 1, 2, … where the rows have numbers or vectors.
      columns: names of the columns, where each is of a label and holds 0 or 1.
      keep_nulls: whether NaN, None, … are labels in CSV.
      blank_is_none: whether an empty cell says that none of several labels applies.
    """

    column: str
    problem_type: str = "auto"
    separator: str | None = None
    names: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    keep_nulls: bool = False
    blank_is_none: bool = False


@dataclass(frozen=True)
class ParsedLabels:
    """What each distinct cell says, before anybody knows which labels there are.

    Attributes:
      problem_type: as in a Hugging Face config.
      parts: of each cell; None: it says nothing. Of a vector, the places that have a 1; of a
        regression, one float.
      vector_names: of the places of vectors; empty where cells are none.
      notes: what a person should hear of.
    """

    problem_type: str
    parts: Mapping[Cell, Parts | None]
    vector_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def vector_name(self, part: Hashable) -> str | None:
        """The name of a vector's place; None where cells are no vectors."""
        return self.vector_names[part] if self.vector_names and isinstance(part, int) else None


def parse_labels(
    column: LabelColumn,
    settings: LabelSettings,
    problem_type: str | None = None,
    known: Sequence[str] = (),
) -> ParsedLabels:
    """Understand a column by all its cells together.

    Args:
      column: the cells.
      settings: what the user says of them.
      problem_type: of the model that they are for; None: as the settings or the cells say.
      known: the labels of that model, in its order.

    Raises:
      InputError: a cell cannot be read so; it names the first.
    """
    given = PROBLEM_TYPES.get(settings.problem_type)
    return _Parser(column, settings, problem_type or given, known).parsed()


@dataclass
class _Parser:
    column: LabelColumn
    settings: LabelSettings
    type: str | None
    known: Sequence[str]
    notes: list[str] = field(default_factory=list)

    def parsed(self) -> ParsedLabels:
        cells = self._present()
        absent = dict.fromkeys(self.column.counts.keys() - cells.keys())
        vector_names: tuple[str, ...] = ()
        if self.type == REGRESSION:
            parts = {cell: self._value(cell) for cell in cells}
        elif self.settings.columns:
            vectors = {cell: self._flags(cell) for cell in cells}
            parts, vector_names = self._ones(vectors), self.settings.columns
        else:
            lists, typed = self._lists(cells)
            if typed and _are_vectors(list(lists.values())):
                vector_names = self._vector_names(lists)
                parts = self._ones(lists)
            else:
                parts = {cell: self._checked(cell, lists[cell], typed) for cell in lists}
            if self.type is None and not vector_names:
                self.type = MULTI_LABEL if typed or self.settings.separator else SINGLE_LABEL
        if self.type is None:
            one = all(len(said) == 1 for said in parts.values())
            self.type = SINGLE_LABEL if one else MULTI_LABEL
        if self.type == SINGLE_LABEL:
            for cell, said in parts.items():
                if len(said) != 1:
                    self._refuse(cell, self._not_one_label())
        if self.settings.blank_is_none and self.type == MULTI_LABEL:
            blank = [
                cell for cell in absent if isinstance(cell.value, str) and is_blank(cell.value)
            ]
            parts |= dict.fromkeys(blank, ())
            absent = {cell: None for cell in absent if cell not in parts}
        return ParsedLabels(self.type, {**absent, **parts}, vector_names, tuple(self.notes))

    def _present(self) -> dict[Cell, Hashable]:
        """The cells that say something, and what."""
        filled = {c: c.value for c in self.column.counts if not is_blank(c.value)}
        if self.settings.keep_nulls:
            return filled
        nulls = [
            cell
            for cell, value in filled.items()
            if cell.delimited and isinstance(value, str) and value.strip() in NULL_WORDS
            and value.strip() not in self.known
        ]  # fmt: skip
        if not nulls or len(nulls) == len(filled):
            return filled
        rows = Counter({str(c.value).strip(): self.column.counts[c] for c in nulls})
        shown = ", ".join(f"{word} ({count:,})" for word, count in rows.most_common(4))
        self.notes.append(
            f"warning: {rows.total():,} rows have {shown} for a label: taken for no label; "
            f"{named('keep_null_labels')} keeps them"
        )
        return {cell: value for cell, value in filled.items() if cell not in nulls}

    def _lists(self, cells: dict[Cell, Hashable]) -> tuple[dict[Cell, Parts], bool]:
        """The parts of each cell, and whether the cells are lists (by type, or as JSON)."""
        separator = self.settings.separator
        if separator and self.type != SINGLE_LABEL:
            return {cell: self._split(cell, separator) for cell in cells}, False
        lists = {cell: value for cell, value in cells.items() if isinstance(value, tuple)}
        texts = {
            cell: value
            for cell, value in cells.items()
            if isinstance(value, str) and value.strip() not in self.known
        }
        if self.settings.problem_type != "single_label":
            as_json = {cell: list_in(text) for cell, text in texts.items()}
            lists |= {cell: value for cell, value in as_json.items() if value is not None}
            if lists and (alone := [cell for cell in cells if cell not in lists]):
                one = next(iter(lists))
                self._refuse(
                    alone[0],
                    f"beside a list, {_shown(one.value)} at {self.column.first[one]}: write every "
                    f"cell as a JSON list, or part labels by {named('label_separator')}",
                )
            self._refuse_structures(texts.keys() - lists.keys())
        if lists:
            return lists, True
        return {cell: (value,) for cell, value in cells.items()}, False

    def _refuse_structures(self, cells: set[Cell]) -> None:
        for cell in self.column.first:
            if cell in cells and is_structured(str(cell.value)):
                self._refuse(
                    cell,
                    'not a label: write a list as JSON, ["a", "b"], or part labels by '
                    + named("label_separator")
                    + self._single_hint(),
                )
        if self.type is not None:
            return
        texts = {cell: str(cell.value) for cell in cells}
        for mark in "|;,":
            marked = {cell for cell, text in texts.items() if mark in text}
            if not marked:
                continue
            parts = Counter(p.strip() for text in texts.values() for p in set(text.split(mark)))
            recurs = all(parts[p.strip()] > 1 for c in marked for p in texts[c].split(mark))
            if mark == "|" or recurs:
                first = next(cell for cell in self.column.first if cell in marked)
                self._refuse(
                    first,
                    f"several labels, it seems: say {named('label_separator')} '{mark}'"
                    + self._single_hint(),
                )

    def _single_hint(self) -> str:
        one = named("problem_type", "single_label")
        return "" if self.known else f"; if it is one label, say {one}"

    def _split(self, cell: Cell, separator: str) -> Parts:
        if isinstance(cell.value, tuple):
            return cell.value
        return tuple(part for part in str(cell.value).split(separator) if part.strip())

    def _checked(self, cell: Cell, parts: Parts, is_list: bool) -> Parts:
        """The parts, if each can be a label."""
        for part in parts:
            if isinstance(part, (tuple, Unreadable)):
                self._refuse(cell, "which no label can be; write names or numbers")
            if is_blank(part):
                self._refuse(cell, "with a null in it")
            number = number_of(part)
            if isinstance(part, float) and number is None:
                self._refuse(cell, "which is no finite number")
            if is_list and number is not None and number % 1:
                self._refuse(cell, "probabilities or amounts, not labels")
        return parts

    def _flags(self, cell: Cell) -> Parts:
        """A vector from the cells of several columns."""
        assert isinstance(cell.value, tuple)
        flags = [_TRUTH.get(str(value).strip().lower()) for value in cell.value]
        for name, flag, value in zip(self.settings.columns, flags, cell.value, strict=True):
            if flag is None:
                self._refuse(cell, f"and {value!r} in column {name} is neither 0 nor 1")
        return tuple(flags)

    def _ones(self, vectors: Mapping[Cell, Parts]) -> dict[Cell, Parts]:
        return {
            cell: tuple(place for place, value in enumerate(vector) if value)
            for cell, vector in vectors.items()
        }

    def _vector_names(self, lists: Mapping[Cell, Parts]) -> tuple[str, ...]:
        names = self.settings.names or tuple(self.known)
        first = next(cell for cell in self.column.first if cell in lists)
        width = len(lists[first])
        if not names:
            self._refuse(
                first,
                f"a vector of 0 and 1 for {width} labels without names: say "
                f"{named('label_names', 'FILE')}, a name a line",
            )
        if width != len(names):
            self._refuse(first, f"a vector for {width} labels, and there are {len(names)} names")
        return names

    def _value(self, cell: Cell) -> Parts:
        number = number_of(cell.value)
        if number is None:
            finite = not (isinstance(cell.value, float) and not np.isfinite(cell.value))
            why = ", and the model is a regression" if self.known else ""
            self._refuse(cell, f"not a {'' if finite else 'finite '}number{why}")
        value = float(number)
        if abs(value) > LARGEST_VALUE:
            self._refuse(
                cell,
                f"beyond {LARGEST_VALUE:g}, the largest value that a model in float32 can learn; "
                "scale the column, or mend the row",
            )
        return (value,)

    def _not_one_label(self) -> str:
        if self.known:
            return (
                "but the model gives each text one label; evaluate a multi-label model, or keep "
                "one label a row"
            )
        return f"not one label; see {named('problem_type', 'multi_label')}"

    def _refuse(self, cell: Cell, why: str) -> NoReturn:
        raise InputError(
            f"{self.column.first[cell]}: column {self.settings.column} holds "
            f"{_shown(cell.value)}, {why}"
        )


def _shown(value: Hashable) -> str:
    if isinstance(value, Unreadable):
        return value.shown
    text = repr(list(value)) if isinstance(value, tuple) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _are_vectors(lists: Sequence[Parts]) -> bool:
    """Whether lists are of one length and of nothing but 0 and 1: places, not names."""
    return (
        len({len(parts) for parts in lists}) == 1
        and len(lists[0]) > 1
        and all(not isinstance(v, (str, tuple)) and v in (0, 1) for parts in lists for v in parts)
    )
