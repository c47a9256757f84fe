"""JSON values one by one, in Python: what is wrong with a line, and what type a value has."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


class _DuplicateKeyError(ValueError):
    """An object names a key twice."""


def flaw_of(
    line: bytes,
    types: Mapping[str, pa.DataType],
    text_columns: Sequence[str] = (),
    into: tuple[dict[int, dict[str, Any]], int] | None = None,
) -> Flaw | None:
    """What is wrong with a line that should be an object whose columns have these types.

    Args:
      line: valid UTF-8, no deeper than MAX_NESTING.
      types: wanted types; only those of plain values are checked.
      text_columns: those of the columns that hold the text.
      into: where to keep the parsed object, and under which index.
    """
    try:
        value = json.loads(line.decode(), object_pairs_hook=_object)
    except _DuplicateKeyError as error:
        return Flaw("duplicate_key", str(error), certain=False)
    except RecursionError:
        return Flaw("invalid_json", TOO_DEEP)
    except ValueError as error:
        if "integer string conversion" in str(error):  # Python's limit is 4,300 digits
            return Flaw("carried_type", "a number has too many digits", certain=False)
        return Flaw("invalid_json", str(error), certain=False)
    if not isinstance(value, dict):
        kind = _KINDS.get(type(value), "null")
        return Flaw("not_object", f"the line is {kind}, not an object")
    if into is not None:
        into[0][into[1]] = value
    for name, type_ in types.items():
        found = value.get(name)
        if found is None or _fits(found, type_):
            continue
        kind = _KINDS.get(type(found), "an object")
        if name in text_columns:
            return Flaw("not_text", f"column {name} holds {kind}, not text")
        return Flaw("carried_type", f"column {name} holds {_short(found)}, which is no {type_}")
    if any(_has_lone_surrogate(text) for text in value.values() if isinstance(text, str)):
        return Flaw("invalid_json", "half of a surrogate pair is no character", certain=False)
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


def _fits(value: Any, type_: pa.DataType) -> bool:
    """Whether pyarrow's parser takes the value for the type; nested types are left to it."""
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return isinstance(value, str)
    if pa.types.is_boolean(type_):
        return isinstance(value, bool)
    if pa.types.is_int64(type_):
        return type(value) is int and value in _INT64
    if pa.types.is_float64(type_):
        return type(value) in (int, float)
    return True


def _has_lone_surrogate(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text) if not text.isascii() else False


def _short(value: Any) -> str:
    text = as_text(value) or ""
    return text if len(text) <= 60 else text[:57] + "..."
