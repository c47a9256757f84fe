"""What a label is: the one rule for training, evaluation and the night.

A column is looked at as a whole (its distinct cells, `LabelColumn`), then each cell says labels of
a `Vocabulary`: one that training rows make, or a model's. docs/labels.md has a table of cases.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from beam_bert.errors import InputError, printable
from beam_bert.labelled.cells import (
    Cell,
    LabelColumn,
    as_index,
    as_seen,
    folded,
    number_of,
)
from beam_bert.labelled.parsing import LabelSettings, parse_labels
from beam_bert.settings.limits import LABEL_NAMES_BYTES
from beam_bert.settings.naming import named
from beam_bert.settings.training import LabelConfig
from beam_bert.sources.opening import read_text
from beam_bert.tasks.classification import REGRESSION, SINGLE_LABEL

NO_LABEL = "no_label"  # reason of rejects
_SHOWN = 5
_LABELS_SHOWN = 12


def no_label_message(column: str) -> str:
    """What is wrong with a row without one."""
    return f"there is no label (column {column})"


@dataclass(frozen=True)
class Meaning:
    """What every cell of a column says.

    Attributes:
      said: of each distinct cell, the numbers of its labels, or its value; None: nothing.
      vocabulary: whose labels they are.
      how: in words, how cells name them.
      notes: what a person should hear of, a line each.
    """

    said: Mapping[Cell, tuple[int, ...] | float | None]
    vocabulary: Vocabulary
    how: str
    notes: tuple[str, ...]

    def targets(self, cells: Sequence[Cell]) -> tuple[np.ndarray, np.ndarray]:
        """Targets of the rows that have a label, and which these are, int64 and rising.

        Targets are int64 [n] classes, float32 [n, labels] of 0 and 1, or float64 [n, 1] values.
        """
        of_rows = [self.said.get(cell) for cell in cells]
        kept = np.array([row for row, said in enumerate(of_rows) if said is not None], np.int64)
        labels: list[Any] = [of_rows[row] for row in kept]
        if self.vocabulary.problem_type == REGRESSION:
            return np.array(labels, np.float64)[:, None], kept
        if self.vocabulary.problem_type == SINGLE_LABEL:
            return np.array([label for (label,) in labels], np.int64), kept
        targets = np.zeros((len(labels), len(self.vocabulary.names)), np.float32)
        for target, numbers in zip(targets, labels, strict=True):
            target[list(numbers)] = 1
        return targets, kept

    def lines(self) -> list[str]:
        """The notes, and first the labels and how they are read: what a job says at its start."""
        if self.vocabulary.problem_type == REGRESSION:
            values = [said for said in self.said.values() if isinstance(said, float)]
            span = f"values from {min(values):g} to {max(values):g}" if values else "no value"
            return [span, *self.notes]
        names = self.vocabulary.names
        return [f"{len(names)} labels: {shown_names(names)}, {self.how}", *self.notes]


@dataclass(frozen=True)
class Vocabulary:
    """The labels there are, and how a cell may say them.

    A number says the label that is this number, however either is written. Only where no label is
    a number it is a place among a model's labels, and that is told.

    Attributes:
      names: in the order of the targets.
      problem_type: as in a Hugging Face config.
      settings: how the column is to be understood.
      aliases: other spellings of names, where training rows had some.
      of_model: whether the names are a model's, which has an order of its own.
      notes: what was found out on the way to the names.
    """

    names: tuple[str, ...]
    problem_type: str
    settings: LabelSettings
    aliases: Mapping[str, str] = field(default_factory=dict)
    of_model: bool = False
    notes: tuple[str, ...] = ()

    def read(self, column: LabelColumn, setting: str = "train") -> Meaning:
        """What the cells of a column say.

        Args:
          column: its cells.
          setting: that named the files, for messages.

        Raises:
          InputError: a cell cannot be read, or says a label that is none of the names.
        """
        parsed = parse_labels(
            column,
            self.settings,
            self.problem_type,
            self.names if self.of_model else (),
        )
        if parsed.problem_type == REGRESSION:
            values = {cell: _value(parts) for cell, parts in parsed.parts.items()}
            return Meaning(values, self, "", parsed.notes)
        numbers = {name: number for number, name in enumerate(self.names)}
        said: dict[Cell, tuple[int, ...] | float | None] = {}
        spelled: Counter[tuple[str, str]] = Counter()
        ways: Counter[str] = Counter()
        unknown: Counter[Hashable] = Counter()
        first_unknown = ""
        for cell, parts in parsed.parts.items():
            if parts is None:
                said[cell] = None
                continue
            names = []
            for part in parts:
                name, way = parsed.vector_name(part), "vectors of 0 and 1"
                if name is None:
                    name, way = self._find(part)
                if name is None or name not in numbers:
                    unknown[part if name is None else name] += column.counts[cell]
                    first_unknown = first_unknown or column.first[cell]
                    continue
                ways[way] += column.counts[cell]
                names.append(name)
                if isinstance(part, str) and way == "names" and part.strip() != name:
                    spelled[name, part.strip()] += column.counts[cell]
            said[cell] = tuple(dict.fromkeys(numbers[name] for name in names))
        if unknown:
            raise InputError(self._unknown(unknown, first_unknown, setting))
        notes = [*self.notes, *parsed.notes]
        notes += [
            f"{rows:,} rows of {named(setting)} have {other!r} for label {name!r}"
            for (name, other), rows in spelled.items()
            if other not in self.aliases
        ][:_SHOWN]
        return Meaning(said, self, self._how(ways), tuple(notes))

    def _find(self, part: Hashable) -> tuple[str | None, str]:
        """The name that a part of a cell says, and in which way."""
        given = self.settings.names
        number = number_of(part)
        if number is not None and given:
            place = as_index(number, len(given))
            return (None if place is None else given[place]), f"numbers of {named('label_names')}"
        text = str(part).strip()
        if text in self._exact:
            return text, "names" if number is None else "numbers"
        if number is not None and self._numbers:
            return self._numbers.get(number), "numbers"
        if number is not None:
            place = as_index(number, len(self.names)) if self.of_model else None
            return (None if place is None else self.names[place]), _PLACES
        known = self.aliases.get(text) or self._spellings.get(as_seen(text))
        return known or self._spellings.get(folded(text)), "names"

    @cached_property
    def _exact(self) -> frozenset[str]:
        return frozenset(self.names)

    @cached_property
    def _numbers(self) -> dict[Any, str]:
        names = {number_of(name): name for name in reversed(self.names)}
        return {number: name for number, name in names.items() if number is not None}

    @cached_property
    def _spellings(self) -> dict[str, str]:
        """Names by what they look like, and without case, where that is one name's alone."""
        names_of: dict[str, set[str]] = {}
        for name in self.names:
            for spelling in {as_seen(name), folded(name)}:
                names_of.setdefault(spelling, set()).add(name)
        return {spelling: min(names) for spelling, names in names_of.items() if len(names) == 1}

    def _how(self, ways: Counter[str]) -> str:
        if _PLACES not in ways:
            return " and ".join(ways) or "none of them in these rows"
        places = [f"{n} is {name}" for n, name in enumerate(self.names[:_SHOWN])]
        more = ", …" if len(self.names) > _SHOWN else ""
        return f"{' and '.join(ways)} ({printable(', '.join(places))}{more})"

    def _unknown(self, unknown: Counter[Hashable], first: str, setting: str) -> str:
        shown = ", ".join(repr(name) for name, _ in unknown.most_common(_SHOWN))
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        if self.settings.names and setting == "train":
            return (
                f"{first}: column {self.settings.column} holds {shown}{more}, not one of the "
                f"{len(self.settings.names)} numbers or names of {named('label_names')}"
            )
        if not self.of_model:
            return (
                f"{named(setting)} has labels that {named('train')} has not: {shown}{more}; the "
                f"first stands at {first}; mend them, or add training rows for them"
            )
        words = [str(name) for name in unknown]
        if not self.settings.separator and any(mark in w for w in words for mark in ",;|"):
            hint = f"; if a row has several, {named('label_separator')} parts them"
        else:
            near = difflib.get_close_matches(words[0], self.names, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]!r}?" if near else ""
        return (
            f"column {self.settings.column} has labels that the model has not: {shown}{more}; the "
            f"first stands at {first}{hint}; the model's are {shown_names(self.names)} (rows with "
            f"numbers: see {named('label_names')})"
        )


def _value(parts: tuple[Hashable, ...] | None) -> float | None:
    return parts[0] if parts and isinstance(parts[0], float) else None


_PLACES = "numbers, taken for places among the model's labels"


def model_labels(names: tuple[str, ...], problem_type: str, settings: LabelSettings) -> Vocabulary:
    """The labels of a model that is there, in the order of its logits.

    Raises:
      InputError: the settings name labels that it has not, or columns for some of its own only.
    """
    vocabulary = Vocabulary(names, problem_type, settings, of_model=True)
    if problem_type == REGRESSION:
        return vocabulary
    setting = named("label_columns" if settings.columns else "label_names")
    given = settings.columns or settings.names
    if strangers := [name for name in given if name not in names]:
        raise InputError(
            f"{setting} names {strangers[0]!r}, which is none of the model's labels "
            f"({shown_names(names)})"
        )
    if settings.columns and (lacking := [name for name in names if name not in given]):
        raise InputError(f"{setting} has no column for the model's label {lacking[0]!r}")
    return vocabulary


def shown_names(names: Sequence[str]) -> str:
    """Names for a message, not all of many."""
    more = f", … ({len(names):,} in all)" if len(names) > _LABELS_SHOWN else ""
    return printable(", ".join(" ".join(name.split()) for name in names[:_LABELS_SHOWN])) + more


def read_label_names(path: str | None) -> tuple[str, ...]:
    """The lines of the file.

    Raises:
      InputError: it cannot be read, has an empty line, or a name twice.
    """
    if path is None:
        return ()
    try:
        lines = [line.strip() for line in read_text(path, LABEL_NAMES_BYTES).splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{named('label_names', path)} cannot be read: {error}") from None
    if not lines or "" in lines or len(set(lines)) < len(lines):
        raise InputError(
            f"{named('label_names', path)}: needs one name a line, none empty, none twice"
        )
    return tuple(lines)


def label_settings(config: LabelConfig) -> LabelSettings:
    """How the settings of finetune or evaluate say that labels are to be read.

    Raises:
      InputError: as `read_label_names`.
    """
    return LabelSettings(
        column=" ".join(config.columns_of_labels),
        problem_type=getattr(config, "problem_type", "auto"),
        separator=config.label_separator,
        names=read_label_names(config.label_names),
        columns=config.label_columns,
        keep_nulls=config.keep_null_labels,
        blank_is_none=config.blank_labels == "none",
    )


def labels_without_rows(targets: np.ndarray, names: Sequence[str]) -> list[str]:
    """Names of the classes that no row of `targets` (not of a regression) has."""
    if targets.ndim == 1:
        counts = np.bincount(targets, minlength=len(names))
    else:
        counts = targets.sum(axis=0)
    return [name for name, count in zip(names, counts, strict=True) if count == 0]
