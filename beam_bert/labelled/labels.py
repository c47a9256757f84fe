"""Labels as they stand in the rows become targets: classes, sets of classes, or values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from beam_bert.errors import InputError
from beam_bert.settings.limits import LABEL_NAMES_BYTES
from beam_bert.sources.opening import read_text
from beam_bert.tasks.classification import MULTI_LABEL, REGRESSION, SINGLE_LABEL

PROBLEM_TYPES = {
    "single_label": SINGLE_LABEL,
    "multi_label": MULTI_LABEL,
    "regression": REGRESSION,
}
NO_LABEL = "no_label"  # reason of rejects
_SHOWN = 5


def is_missing(label: Any) -> bool:
    """Whether a row that has this in its label column has no label: null, blank, NaN (Pandas)."""
    return (
        label is None
        or (isinstance(label, str) and not label.strip())
        or (isinstance(label, float) and np.isnan(label))
    )


def no_label_message(column: str) -> str:
    """What is wrong with such a row."""
    return f"there is no label (column {column})"


def as_name(label: Any) -> str:
    """A label's name: a whole number has no decimals, though Pandas made it a float."""
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label).strip()


@dataclass(frozen=True)
class LabelReader:
    """How the label column is to be understood.

    Attributes:
      column: its name, for messages.
      problem_type: key of `PROBLEM_TYPES`, or "auto".
      separator: parts the labels of one row.
      names: name of label 0, 1, 2, … where the rows have numbers.
    """

    column: str
    problem_type: str = "auto"
    separator: str | None = None
    names: tuple[str, ...] = ()

    def resolved_type(self, labels: pa.Array) -> str:
        """One of the values of `PROBLEM_TYPES`."""
        if self.problem_type != "auto":
            return PROBLEM_TYPES[self.problem_type]
        return MULTI_LABEL if self.separator or _is_list(labels.type) else SINGLE_LABEL

    def read(self, labels: pa.Array, places: Sequence[str], problem_type: str) -> list[Any]:
        """The value of each row, none of them missing: a str, a list of str without doubles, or
        a float.

        Raises:
          InputError: a row has no label of that kind; it names the first.
        """
        one = {
            SINGLE_LABEL: self._single,
            MULTI_LABEL: self._several,
            REGRESSION: self._value,
        }[problem_type]
        values = []
        for place, raw in zip(places, labels.to_pylist(), strict=True):
            try:
                values.append(one(raw))
            except ValueError as error:
                raise InputError(f"{place}: column {self.column} {error}") from None
        return values

    def _single(self, raw: Any) -> str:
        if isinstance(raw, (list, dict)):
            raise ValueError(f"holds {raw!r}, not one label; see --problem_type multi_label")
        return self._name(raw)

    def _several(self, raw: Any) -> list[str]:
        if isinstance(raw, list):
            parts = raw
        elif self.separator:
            parts = [part for part in str(raw).split(self.separator) if part.strip()]
        else:
            parts = [raw]
        if any(is_missing(part) for part in parts):
            raise ValueError(f"holds {raw!r}, with a null in it")
        return list(dict.fromkeys(self._name(part) for part in parts))

    def _value(self, raw: Any) -> float:
        try:
            value = float(raw)
        except (TypeError, ValueError):
            raise ValueError(f"holds {raw!r}, not a number") from None
        if not np.isfinite(value):
            raise ValueError(f"holds {raw!r}, not a finite number")
        return value

    def _name(self, raw: Any) -> str:
        name = as_name(raw)
        if not self.names:
            return name
        if not name.isdecimal() or int(name) >= len(self.names):
            raise ValueError(
                f"holds {name!r}, not one of the {len(self.names)} numbers of --label_names"
            )
        return self.names[int(name)]


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
        raise InputError(f"--label_names {path} cannot be read: {error}") from None
    if not lines or "" in lines or len(set(lines)) < len(lines):
        raise InputError(f"--label_names {path}: needs one name a line, none empty, none twice")
    return tuple(lines)


def label_names(values: Sequence[Any], problem_type: str, places: Sequence[str]) -> tuple[str, ...]:
    """Names of the classes in training values, sorted (numbers by value).

    Raises:
      InputError: there is one class only, or a class has one example only.
    """
    if problem_type == REGRESSION:
        if len(set(values)) < 2:
            raise InputError(f"every row has the value {values[0]:g}; there is nothing to learn")
        return ("value",)
    examples = Counter(name for value in values for name in _as_list(value))
    if len(examples) == 0:
        raise InputError("no row has a label; there is nothing to learn")
    if len(examples) == 1 and problem_type == SINGLE_LABEL:
        raise InputError(
            f"every row has the label {next(iter(examples))!r}; training needs two classes or more"
        )
    single = sorted(name for name, count in examples.items() if count == 1)
    if single:
        where = next(p for p, v in zip(places, values, strict=True) if single[0] in _as_list(v))
        more = f" (and {len(single) - 1} other labels)" if len(single) > 1 else ""
        raise InputError(
            f"label {single[0]!r}{more} has one example only, {where}: nothing is left to check it "
            "on; add examples, or take the row out"
        )
    if all(name.isdecimal() for name in examples):
        return tuple(sorted(examples, key=lambda name: (int(name), name)))
    return tuple(sorted(examples))


def labels_without_rows(targets: np.ndarray, names: Sequence[str]) -> list[str]:
    """Names of the classes that no row of `targets` (not of a regression) has."""
    if targets.ndim == 1:
        counts = np.bincount(targets, minlength=len(names))
    else:
        counts = targets.sum(axis=0)
    return [name for name, count in zip(names, counts, strict=True) if count == 0]


def as_targets(
    values: Sequence[Any], names: Sequence[str], problem_type: str, places: Sequence[str], flag: str
) -> np.ndarray:
    """Targets: int64 [n] classes, float32 [n, labels] of 0 and 1, or float32 [n, 1] values.

    Raises:
      InputError: a label is none of `names`.
    """
    if problem_type == REGRESSION:
        return np.array(values, np.float32)[:, None]
    number = {name: i for i, name in enumerate(names)}
    unknown = Counter(name for value in values for name in _as_list(value) if name not in number)
    if unknown:
        shown = ", ".join(repr(name) for name, _ in unknown.most_common(_SHOWN))
        first = next(
            p for p, v in zip(places, values, strict=True) if unknown.keys() & set(_as_list(v))
        )
        raise InputError(
            f"{flag} has labels that --train has not: {shown}; the first stands at {first}; "
            "mend them, or add training rows for them"
        )
    if problem_type == SINGLE_LABEL:
        return np.array([number[value] for value in values], np.int64)
    targets = np.zeros((len(values), len(names)), np.float32)
    for row, value in enumerate(values):
        targets[row, [number[name] for name in value]] = 1
    return targets


def _as_list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _is_list(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(type_)
        or pa.types.is_large_list(type_)
        or pa.types.is_fixed_size_list(type_)
    )
