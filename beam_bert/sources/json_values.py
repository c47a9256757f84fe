"""JSON values one by one, in Python: what is wrong with a line, and what type a value has."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from beam_bert.slices.conversion import json_text, not_finite

# Far below what makes Python's parser (about 1,000) or readers of the output fall over.
MAX_NESTING = 100
TOO_DEEP = f"nested more than {MAX_NESTING} deep"
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_MAX_DIGITS = 4_000  # Python's limit is 4,300
_INT64 = range(-(2**63), 2**63)
_KINDS = {str: "text", bool: "a boolean", int: "a number", float: "a number", list: "an array"}


@dataclass(frozen=True)
class Flaw:
    """What is wrong with a line; `certain` where no other parser needs to be asked."""

    reason: str
    message: str
    certain: bool = True

    @property
    def told(self) -> tuple[str, str]:
        """Reason and message."""
        return self.reason, self.message


_PYTHON_KINDS: dict[pa.DataType, tuple[type, ...]] = {
    pa.string(): (str,),
    pa.large_string(): (str,),
    pa.bool_(): (bool,),
    pa.int64(): (int,),
    pa.float64(): (int, float),
}


class _DuplicateKeyError(ValueError):
    """An object names a key twice."""


class Check(NamedTuple):
    """Which Python values of a column pyarrow's parser takes; none said: left to that parser."""

    name: str
    type: pa.DataType
    kinds: tuple[type, ...]
    is_text: bool


def checks_of(types: Mapping[str, pa.DataType], text_columns: Collection[str]) -> list[Check]:
    """A check for each column."""
    return [
        Check(name, type_, _PYTHON_KINDS.get(type_, ()), name in text_columns)
        for name, type_ in types.items()
    ]


def flaw_of(
    line: bytes,
    checks: Iterable[Check] = (),
    into: tuple[dict[int, dict[str, Any]], int] | None = None,
) -> Flaw | None:
    """What is wrong with a line that should be an object with values for these columns.

    Args:
      line: no deeper than MAX_NESTING.
      checks: by `checks_of`.
      into: where to keep the parsed object, and under which index.
    """
    try:
        value = _DECODER.decode(line.decode())
    except _DuplicateKeyError as error:
        return Flaw("duplicate_key", str(error), certain=_doubles_a_column(line, checks))
    except RecursionError:
        return Flaw("invalid_json", TOO_DEEP)
    except ValueError as error:
        # pyarrow takes more spellings of what is not a number.
        return Flaw("invalid_json", str(error), certain=b"nf" not in line and b"NaN" not in line)
    if not isinstance(value, dict):
        kind = _KINDS.get(type(value), "null")
        return Flaw("not_object", f"the line is {kind}, not an object")
    if into is not None:
        into[0][into[1]] = value
    for name, type_, kinds, is_text in checks:
        member = value.get(name)
        if member is None or not kinds:
            continue
        if type(member) in kinds and (kinds != (int,) or member in _INT64):
            continue
        if is_text:
            kind = _KINDS.get(type(member), "an object")
            return Flaw("not_text", f"column {name} holds {kind}, not text")
        return Flaw("carried_type", f"column {name} holds {_short(member)}, which is no {type_}")
    if b"\\u" in line and has_lone_surrogate(value):
        return Flaw("invalid_json", "half of a surrogate pair is no character")
    return None


def deeper_than_allowed(line: bytes) -> bool:
    """Whether brackets nest deeper than MAX_NESTING; those inside strings do not count."""
    if line.count(b"{") + line.count(b"[") <= MAX_NESTING:
        return False
    depth = 0
    for mark in re.finditer(rb"[\[\]{}]", _STRING.sub(b"", line)):
        depth += 1 if mark[0] in b"[{" else -1
        if depth > MAX_NESTING:
            return True
    return False


def as_text(value: Any) -> str | None:
    """A value of a column of mixed types: text as it is, anything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return not_finite(value)
    return json_text(value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(f"the key {key!r} stands twice in one object")
            seen.add(key)
    return result


def _doubles_a_column(line: bytes, checks: Iterable[Check]) -> bool:
    """Whether the key that stands twice is one of the columns (pyarrow ignores other keys)."""
    pairs = _PAIRS_DECODER.decode(line.decode())
    keys = [key for key, _ in pairs]
    return any(keys.count(check.name) > 1 for check in checks)


def sampled(line: bytes) -> dict[str, Any] | None:
    """The object on a line; None where it is a reject when it is read."""
    if deeper_than_allowed(line):
        return None
    try:
        value = _SAMPLE_DECODER.decode(line.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or (b"\\u" in line and has_lone_surrogate(value)):
        return None
    return value


def has_lone_surrogate(value: Any) -> bool:
    """Whether a text in it, a key included, has half of a surrogate pair, which UTF-8 has not."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def bent_number(line: bytes, doubles: Mapping[str, pa.DataType]) -> str | None:
    """What is wrong with a line whose numbers do not survive as doubles; None: all of them do.

    Args:
      line: JSON, or not.
      doubles: the columns that hold doubles, at any depth.
    """
    try:
        value = _NUMBERS_DECODER.decode(line.decode())
    except (ValueError, RecursionError):
        return None  # found elsewhere
    if not isinstance(value, dict):
        return None
    for name, type_ in doubles.items():
        if (digits := _bent(value.get(name), type_)) is not None:
            return f"column {name} holds {_cut(digits)}, whose digits a double cannot hold"
    return None


def _bent(value: Any, type_: pa.DataType) -> str | None:
    if isinstance(value, _Number) and pa.types.is_float64(type_):
        double = float(value)
        is_whole = not any(mark in value for mark in ".eE")
        if math.isinf(double) or (is_whole and len(value) > 15 and int(double) != _int(value)):
            return str(value)
    elif isinstance(value, list) and pa.types.is_list(type_):
        return next((d for v in value if (d := _bent(v, type_.value_type)) is not None), None)
    elif isinstance(value, dict) and pa.types.is_struct(type_):
        members = (_bent(value.get(field.name), field.type) for field in type_)
        return next((digits for digits in members if digits is not None), None)
    return None


class _Number(str):
    """A number as it is written."""


def _int(digits: str) -> int:
    return int(digits) if len(digits) < 400 else 0


def _finite(digits: str) -> float | Digits:
    """A float, or where that would be infinite, its digits."""
    value = float(digits)
    return Digits(digits) if math.isinf(value) else value


def _exact(digits: str) -> int | Digits:
    """An integer, or where Python would not make one of them, its digits."""
    return int(digits) if len(digits) <= _MAX_DIGITS else Digits(digits)


class Digits(str):
    """A number that neither float nor int holds, as it is written."""


def _short(value: Any) -> str:
    return _cut(as_text(value) or "")


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_int=_exact)
_SAMPLE_DECODER = json.JSONDecoder(parse_float=_finite, parse_int=_exact)
_NUMBERS_DECODER = json.JSONDecoder(parse_int=_Number, parse_float=_Number)
_PAIRS_DECODER = json.JSONDecoder(object_pairs_hook=list)
