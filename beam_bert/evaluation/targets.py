"""Labels as they stand in rows become targets for a model whose labels are fixed. Pure."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from beam_bert.errors import InputError
from beam_bert.evaluation.metrics import Array
from beam_bert.labelled.labels import as_name, is_missing
from beam_bert.tasks.classification import REGRESSION, SINGLE_LABEL

_SHOWN = 5
_LABELS_SHOWN = 12


@dataclass(frozen=True)
class TargetReader:
    """How the label column is to be understood, for one model.

    A label is written as one of the model's names, or as a number: of a line of `names` where
    those are given, else of the model's own labels.

    Attributes:
      column: its name, for messages.
      labels: the model's, in the order of its logits.
      problem_type: the model's.
      separator: parts the labels of one row.
      names: name of label 0, 1, 2, … as the rows number them.

    Raises:
      InputError: one of `names` is none of the model's labels.
    """

    column: str
    labels: tuple[str, ...]
    problem_type: str
    separator: str | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        strangers = [name for name in self.names if name not in self.labels]
        if strangers and self.problem_type != REGRESSION:
            raise InputError(
                f"--label_names names {strangers[0]!r}, which is none of the model's labels "
                f"({_shown(self.labels)})"
            )

    def read(self, values: Sequence[Any], places: Sequence[str]) -> tuple[Array, Array]:
        """Targets of the rows that have one.

        Args:
          values: the label column; a string, number, list, or None.
          places: where each row stands, for messages.

        Returns:
          The targets (see `beam_bert.evaluation.metrics`) and the rows that they are of, int64,
          rising: rows whose label is null or blank are left out.

        Raises:
          InputError: a value cannot be understood, or is none of the model's labels.
        """
        rows = [row for row, value in enumerate(values) if not is_missing(value)]
        kept = np.array(rows, np.int64)
        if self.problem_type == REGRESSION:
            return np.array([self._value(values[row], places[row]) for row in rows]), kept
        numbers = {label: number for number, label in enumerate(self.labels)}
        named = [self._names(values[row], places[row]) for row in rows]
        unknown = Counter(name for names in named for name in names if name not in numbers)
        if unknown:
            first = next(
                places[row]
                for row, names in zip(rows, named, strict=True)
                if any(name in unknown for name in names)
            )
            raise InputError(self._unknown(unknown, first))
        if self.problem_type == SINGLE_LABEL:
            return np.array([numbers[names[0]] for names in named], np.int64), kept
        targets = np.zeros((len(rows), len(self.labels)), np.float32)
        for target, names in zip(targets, named, strict=True):
            target[[numbers[name] for name in names]] = 1
        return targets, kept

    def _names(self, value: Any, place: str) -> list[str]:
        """The labels of one row: one, or any number where the model gives several."""
        if isinstance(value, (list, tuple)):
            parts = list(value)
        elif self.separator and self.problem_type != SINGLE_LABEL:
            parts = [part for part in str(value).split(self.separator) if part.strip()]
        else:
            parts = [value]
        if any(is_missing(part) for part in parts) or any(isinstance(p, dict) for p in parts):
            raise InputError(f"{place}: column {self.column} holds {value!r}, not labels")
        if self.problem_type == SINGLE_LABEL and len(parts) != 1:
            raise InputError(
                f"{place}: column {self.column} holds {value!r}, but the model gives each text "
                "one label; evaluate a multi-label model, or keep one label a row"
            )
        return [self._name(part) for part in parts]

    def _name(self, value: Any) -> str:
        if isinstance(value, bool):
            text = next((t for t in self.labels if t.lower() == str(value).lower()), str(value))
        else:
            text = as_name(value)
        if text.isdecimal() and (self.names or not self._has_numbers):
            known = self.names or self.labels
            return known[int(text)] if int(text) < len(known) else text
        return text

    @property
    def _has_numbers(self) -> bool:
        """Whether numbers are names here: star 0 of a model of stars 1 to 5 is not its star 1."""
        return any(label.isdecimal() for label in self.labels)

    def _value(self, value: Any, place: str) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not np.isfinite(number):
            raise InputError(
                f"{place}: column {self.column} holds {value!r}, not a number, and the model is a "
                "regression"
            )
        return number

    def _unknown(self, unknown: Counter[str], first: str) -> str:
        shown = ", ".join(repr(name) for name, _ in unknown.most_common(_SHOWN))
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        hint = ""
        if not self.separator and any(mark in name for name in unknown for mark in ",;|"):
            hint = "; if a row has several, --label_separator parts them"
        else:
            near = difflib.get_close_matches(next(iter(unknown)), self.labels, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]!r}?" if near else hint
        return (
            f"column {self.column} has labels that the model has not: {shown}{more}; the first "
            f"stands at {first}{hint}; the model's are {_shown(self.labels)} (rows with numbers: "
            "see --label_names)"
        )


def _shown(labels: Sequence[str]) -> str:
    more = f", … ({len(labels)} in all)" if len(labels) > _LABELS_SHOWN else ""
    return ", ".join(labels[:_LABELS_SHOWN]) + more
