"""JSON values one by one, in Python: what is wrong with a line, and what type a value has."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_bert.slices.conversion import json_text, not_finite

# Far below what makes Python's parser (about 1,000) or readers of the output fall over.
MAX_NESTING = 100
TOO_DEEP = f"nested more than {MAX_NESTING} deep"
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_MAX_DIGITS = 4_000  # Python's limit is 4,300
_INT64 = range(-(2**63), 2**63)
# Errors that the byte at their place decides, whatever stands behind it.
_DECIDED_THERE = (
    "Expecting property name",
    "Expecting ':' delimiter",
    "Expecting ',' delimiter",
    "Extra data",
)
VALUE_STARTS = b'{["-0123456789tfnNI'
_ONE_DIGIT = bytes.maketrans(b"23456789", b"11111111")
_UNKNOWN = -2
_MAX_LONE = 32  # flaws that nearly no other line shares: then no more are compared


class Digits(str):
    """A number that neither float nor int holds, as it is written."""


_KINDS = {
    str: "text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    Digits: "a number",
    list: "an array",
}


@dataclass(frozen=True)
class Flaw:
    """What is wrong with a line.

    Attributes:
      certain: no other parser needs to be asked.
      beginning: bytes of the line's beginning that decide it, whatever follows; None: all of it.
    """

    reason: str
    message: str
    certain: bool = True
    beginning: int | None = None

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
MISFIT = Flaw("carried_type", "a value does not fit its column's type")


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


def flaws_of(
    lines: pa.Array, find: Callable[[int], Flaw | None]
) -> tuple[npt.NDArray[np.int64], list[tuple[str, str]]]:
    """What is wrong with some lines; what equal lines and equal beginnings share is found once.

    Args:
      lines: binary [lines].
      find: flaw of the line at an index, by `flaw_of`.

    Returns:
      number of each line's flaw (int64 [lines]; -1: it has none), reasons and messages by number.
    """
    encoded = lines.dictionary_encode()
    distinct, places = encoded.dictionary, encoded.indices.to_numpy()
    firsts = np.zeros(len(distinct), np.int64)
    firsts[places[::-1]] = np.arange(len(lines))[::-1]
    spelled = _in_one_digit(distinct)
    flaws: list[tuple[str, str]] = []
    numbers = np.full(len(distinct), _UNKNOWN)
    lone = 0
    for i in range(len(distinct)):
        if numbers[i] != _UNKNOWN:
            continue
        flaw = find(int(firsts[i]))
        numbers[i] = -1 if flaw is None else len(flaws)
        if flaw is None:
            continue
        flaws.append(flaw.told)
        if lone < _MAX_LONE:
            same = _sharing(distinct[i].as_py(), flaw, spelled, i) & (numbers == _UNKNOWN)
            numbers[same] = numbers[i]
            lone += int(np.count_nonzero(same)) < _MAX_LONE
    return numbers[places], flaws


def _in_one_digit(lines: pa.Array) -> pa.Array:
    """The lines with 1 for every digit but a number's first 0: a parser stops at the same place."""
    _, offsets, data = lines.buffers()
    spelled = np.frombuffer(data.to_pybytes().translate(_ONE_DIGIT), np.uint8).copy()
    is_digit = spelled - np.uint8(48) < 10
    inner = np.concatenate([[False], is_digit[:-1]]) & is_digit
    starts = np.frombuffer(offsets, np.int32)[: len(lines)]
    inner[starts[starts < len(inner)]] = False
    spelled[inner] = 49
    return pa.BinaryArray.from_buffers(
        pa.binary(), len(lines), [None, offsets, pa.py_buffer(spelled)]
    )


def _sharing(
    line: bytes, flaw: Flaw, spelled: pa.Array, place: int
) -> npt.NDArray[np.bool_] | bool:
    """Which lines must have the flaw of the one at `place`.

    Where an object ended before, its keys may double in one line and not in another.
    """
    if flaw.reason not in ("invalid_json", "not_object") or b"}" in line[: flaw.beginning]:
        return False
    own = spelled[place]
    if flaw.beginning is None:
        return np.asarray(pc.equal(spelled, own).to_numpy(zero_copy_only=False), bool)
    begin = own.as_py()[: flaw.beginning]
    return np.asarray(pc.starts_with(spelled, begin).to_numpy(zero_copy_only=False), bool)


def flaw_of(line: bytes, checks: Iterable[Check] = ()) -> tuple[Flaw | None, dict[str, Any]]:
    """What is wrong with a line that should be an object with values for these columns.

    Args:
      line: no deeper than MAX_NESTING.
      checks: by `checks_of`.

    Returns:
      the flaw, and the object where there is none.
    """
    try:
        value = _DECODER.decode(line.decode())
    except _DuplicateKeyError as error:
        flaw = Flaw("duplicate_key", str(error), certain=_doubles_a_column(line, checks))
        return flaw, {}
    except RecursionError:
        return Flaw("invalid_json", TOO_DEEP), {}
    except ValueError as error:
        # pyarrow takes more spellings of what is not a number.
        certain = b"nf" not in line and b"NaN" not in line
        return Flaw("invalid_json", str(error), certain, _deciding(error, line)), {}
    if not isinstance(value, dict):
        kind = _KINDS.get(type(value), "null")
        return Flaw("not_object", f"the line is {kind}, not an object"), {}
    for name, type_, kinds, is_text in checks:
        member = value.get(name)
        if not _misfits(member, type_):
            continue
        if not kinds:
            return MISFIT, {}
        if is_text:
            kind = _KINDS.get(type(member), "an object")
            return Flaw("not_text", f"column {name} holds {kind}, not text"), {}
        message = f"column {name} holds {_short(member)}, which is no {type_}"
        return Flaw("carried_type", message), {}
    if b"\\u" in line and has_lone_surrogate(value):
        return Flaw("invalid_json", "half of a surrogate pair is no character"), {}
    return None, value


def _deciding(error: ValueError, line: bytes) -> int | None:
    """How much of the line decides an error of the parser; None: all of it, or it is not known."""
    if not isinstance(error, json.JSONDecodeError) or error.pos == len(error.doc):
        return None
    decides = len(error.doc[: error.pos + 1].encode())
    # With what follows these may be a value, or go on with a number.
    open_ = VALUE_STARTS if error.msg == "Expecting value" else b".eE"
    is_there = error.msg == "Expecting value" or error.msg.startswith(_DECIDED_THERE)
    return decides if is_there and line[decides - 1] not in open_ else None


def _misfits(value: Any, type_: pa.DataType) -> bool:
    """Whether pyarrow's parser refuses a value of a column; of other types it is to be asked."""
    if value is None:
        return False
    if kinds := _PYTHON_KINDS.get(type_):
        return type(value) not in kinds or (kinds == (int,) and value not in _INT64)
    if pa.types.is_list(type_):
        return not isinstance(value, list) or any(_misfits(v, type_.value_type) for v in value)
    if pa.types.is_struct(type_):
        return not isinstance(value, dict) or any(
            _misfits(value.get(field.name), field.type) for field in type_
        )
    return False


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


def _short(value: Any) -> str:
    return _cut(as_text(value) or "")


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_int=_exact)
_SAMPLE_DECODER = json.JSONDecoder(parse_float=_finite, parse_int=_exact)
_NUMBERS_DECODER = json.JSONDecoder(parse_int=_Number, parse_float=_Number)
_PAIRS_DECODER = json.JSONDecoder(object_pairs_hook=list)
