"""JSON values one by one, in Python: what is wrong with a line, and what type a value has."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

# Far below what makes Python's parser (about 1,000) or readers of the output fall over.
MAX_NESTING = 100
TOO_DEEP = f"nested more than {MAX_NESTING} deep"
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_INT64 = range(-(2**63), 2**63)
_KINDS = {str: "text", bool: "a boolean", int: "a number", float: "a number", list: "an array"}


@dataclass(frozen=True)
class Flaw:
    """What is wrong with a line; `certain` where no other parser needs to be asked."""

    reason: str
    message: str
    certain: bool = True


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
        if "integer string conversion" in str(error):  # Python's limit is 4,300 digits
            return Flaw("carried_type", "a number has too many digits", certain=False)
        # pyarrow takes more spellings of what is not a number.
        return Flaw("invalid_json", str(error), certain=b"nf" not in line and b"NaN" not in line)
    if not isinstance(value, dict):
        kind = _KINDS.get(type(value), "null")
        return Flaw("not_object", f"the line is {kind}, not an object")
    if into is not None:
        into[0][into[1]] = value
    for name, type_, kinds, is_text in checks:
        found = value.get(name)
        if found is None or not kinds:
            continue
        if type(found) in kinds and (kinds != (int,) or found in _INT64):
            continue
        if is_text:
            kind = _KINDS.get(type(found), "an object")
            return Flaw("not_text", f"column {name} holds {kind}, not text")
        return Flaw("carried_type", f"column {name} holds {_short(found)}, which is no {type_}")
    if any(_has_lone_surrogate(text) for text in value.values() if isinstance(text, str)):
        return Flaw("invalid_json", "half of a surrogate pair is no character")
    return None


def deeper_than_allowed(line: bytes) -> bool:
    """Whether brackets nest deeper than MAX_NESTING; those inside strings do not count."""
    if line.count(b"{") + line.count(b"[") <= MAX_NESTING:
        return False
    depth = 0
    for mark in re.findall(rb"[\[\]{}]", _STRING.sub(b"", line)):
        depth += 1 if mark in b"[{" else -1
        if depth > MAX_NESTING:
            return True
    return False


def as_text(value: Any) -> str | None:
    """A value of a column of mixed types: text as it is, anything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


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


def _has_lone_surrogate(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text) if not text.isascii() else False


def _short(value: Any) -> str:
    text = as_text(value) or ""
    return text if len(text) <= 60 else text[:57] + "..."


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
_PAIRS_DECODER = json.JSONDecoder(object_pairs_hook=list)
