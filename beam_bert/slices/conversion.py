"""An array in another type, decided by the two types alone and never by the values.

Text of a value, wherever a column becomes text (an id, a column of several kinds, a type that not
every reader of the table knows):

    text        as it is
    UUID        its 36 characters
    bytes       hexadecimal digits
    durations   ISO 8601: PT86400.000001S, -PT1.5S; of an interval, P1M2DT3.5S
    lists, structs, maps    JSON, with all that JSON has no type for as text inside
    the rest    as Arrow writes it: 12, 1.5, true, 2026-11-27, 12:34:56.000001
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Metadata of a field that was renamed: the name that it has in the input.
INPUT_NAME = b"input_name"
INTERVAL = pa.month_day_nano_interval()
_STRING = pa.string()
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def is_text(type_: pa.DataType) -> bool:
    """Whether values of this type are strings."""
    return bool(
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_string_view(type_)
    )


def is_bytes(type_: pa.DataType) -> bool:
    """Whether values of this type are bytes, of any layout."""
    return bool(
        pa.types.is_binary(type_)
        or pa.types.is_large_binary(type_)
        or pa.types.is_binary_view(type_)
        or pa.types.is_fixed_size_binary(type_)
    )


def is_list(type_: pa.DataType) -> bool:
    """Whether values of this type are lists, of any layout; maps are not."""
    return bool(
        pa.types.is_list(type_)
        or pa.types.is_large_list(type_)
        or pa.types.is_fixed_size_list(type_)
        or pa.types.is_list_view(type_)
        or pa.types.is_large_list_view(type_)
    )


def is_uuid(type_: pa.DataType) -> bool:
    """Whether this is Arrow's type of UUIDs."""
    return bool(type_ == pa.uuid())


def rebuilt(type_: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """The type with `change` made to it, and then to all that is inside; layouts of lists stay."""
    type_ = change(type_)
    if pa.types.is_struct(type_):
        return pa.struct([member.with_type(rebuilt(member.type, change)) for member in type_])
    if pa.types.is_map(type_):
        fields = (type_.key_field, type_.item_field)
        return pa.map_(*(member.with_type(rebuilt(member.type, change)) for member in fields))
    if not is_list(type_):
        return type_
    item = type_.value_field.with_type(rebuilt(type_.value_type, change))
    if pa.types.is_fixed_size_list(type_):
        return pa.list_(item, type_.list_size)
    makers = {
        pa.types.is_large_list: pa.large_list,
        pa.types.is_list_view: pa.list_view,
        pa.types.is_large_list_view: pa.large_list_view,
    }
    return next((make for of, make in makers.items() if of(type_)), pa.list_)(item)


def in_microseconds(type_: pa.DataType) -> pa.DataType:
    """The type with timestamps of nanoseconds as such of microseconds."""

    def coarser(timestamp: pa.DataType) -> pa.DataType:
        is_fine = pa.types.is_timestamp(timestamp) and timestamp.unit == "ns"
        return pa.timestamp("us", timestamp.tz) if is_fine else timestamp

    return rebuilt(type_, coarser)


def leaves(type_: pa.DataType) -> list[pa.DataType]:
    """The types without parts inside the type, in the order of Parquet's columns."""
    if pa.types.is_map(type_):
        inner = [type_.key_type, type_.item_type]
    elif is_list(type_):
        inner = [type_.value_type]
    elif pa.types.is_struct(type_):
        inner = [member.type for member in type_]
    else:
        return [type_]
    return [leaf for part in inner for leaf in leaves(part)]


def converted(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """The array in that type.

    Raises:
      pa.ArrowException: a value does not fit, or there is no way from one type to the other.
    """
    own = array.type
    if own == type_:
        return array
    if array.null_count == len(array):
        return pa.nulls(len(array), type_)
    if pa.types.is_dictionary(own):
        return converted(array.dictionary_decode(), type_)
    if pa.types.is_run_end_encoded(own):
        return converted(pc.run_end_decode(array), type_)
    if is_text(type_) and not is_text(own):
        return _texts(array).cast(type_)
    if isinstance(array, pa.ExtensionArray):
        return converted(array.storage, type_)
    if type_ == INTERVAL:
        return _each(array, _interval_of, INTERVAL)
    if pa.types.is_map(own) and is_list(type_):
        return converted(_entries(array), type_)
    if is_list(own) and is_list(type_):
        return _converted_lists(array, type_)
    if pa.types.is_struct(own) and pa.types.is_struct(type_):
        return _converted_structs(array, type_)
    return array.cast(type_)


def json_text(value: Any) -> str:
    """A value of JSON's kinds (or NaN and infinities, which become strings) as JSON."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"))


def not_finite(value: float) -> str:
    """What stands in a text for a number that JSON does not have."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return not_finite(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


def _texts(array: pa.Array) -> pa.Array:
    """Values that are no strings as strings; see the module's docstring."""
    own = array.type
    if is_uuid(own):
        return _each(array.storage, _uuid_text)
    if isinstance(array, pa.ExtensionArray):
        return converted(array.storage, pa.string())
    if is_bytes(own):
        return _each(array, bytes.hex)
    if pa.types.is_duration(own):
        ticks = _TICKS[own.unit]
        return _each(array.cast(pa.int64()), lambda count: duration_text(count, ticks))
    if own == INTERVAL:
        return _each(array, lambda value: interval_text(*value))
    if pa.types.is_nested(own):
        return _each(converted(array, _json_type(own)), json_text)
    return _digits(array) if pa.types.is_floating(own) else array.cast(pa.string())


def _digits(array: pa.Array) -> pa.Array:
    """Floating-point numbers as text; whole ones without the exponent that pyarrow would write."""
    doubles = array.cast(pa.float64())
    whole = pc.and_(pc.equal(doubles, pc.trunc(doubles)), pc.less(pc.abs(doubles), 2.0**53))
    whole = pc.fill_null(whole, False)
    integers = pc.if_else(whole, doubles, 0.0).cast(pa.int64()).cast(pa.string())
    texts = pc.if_else(whole, integers, array.cast(pa.string()))
    if pc.all(pc.is_finite(doubles.drop_null())).as_py():
        return texts
    names = {"nan": "NaN", "-nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    return _each(texts, lambda text: names.get(text, text))


def _each(array: pa.Array, of: Callable[[Any], Any], type_: pa.DataType = _STRING) -> pa.Array:
    values = [None if value is None else of(value) for value in array.to_pylist()]
    return pa.array(values, type_)


def _interval_of(value: bytes) -> tuple[int, int, int]:
    """Parquet's INTERVAL: unsigned months, days, milliseconds."""
    months, days, milliseconds = struct.unpack("<III", value)
    return months, days, milliseconds * 10**6


def _uuid_text(value: bytes) -> str:
    digits = value.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def duration_text(count: int, ticks_a_second: int) -> str:
    """A duration by ISO 8601, in seconds: exact, whatever its unit."""
    sign, count = ("-", -count) if count < 0 else ("", count)
    return f"{sign}PT{_seconds(count, ticks_a_second)}S"


def interval_text(months: int, days: int, nanoseconds: int) -> str:
    """An interval of calendar months, days and time by ISO 8601; each part has its own sign."""
    parts = f"{months}M" if months else ""
    parts += f"{days}D" if days else ""
    if nanoseconds or not parts:
        sign = "-" if nanoseconds < 0 else ""
        parts += f"T{sign}{_seconds(abs(nanoseconds), 10**9)}S"
    return f"P{parts}"


def _seconds(count: int, ticks: int) -> str:
    whole, rest = divmod(count, ticks)
    digits = len(str(ticks)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0") if rest else str(whole)


def _json_type(type_: pa.DataType) -> pa.DataType:
    """The same with everything that JSON has no type for as text, lists of the plain layout."""

    def of_json(part: pa.DataType) -> pa.DataType:
        part = with_plain_lists(part)
        if pa.types.is_floating(part):
            return pa.float64()
        known = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_null, pa.types.is_nested)
        return part if any(is_kind(part) for is_kind in known) else pa.string()

    return rebuilt(type_, of_json)


def with_plain_lists(type_: pa.DataType) -> pa.DataType:
    """A map as a list of structs of key and value, other lists as lists; not what is inside."""
    if pa.types.is_map(type_):
        return pa.list_(pa.struct([type_.key_field, type_.item_field]))
    return pa.list_(type_.value_field) if is_list(type_) else type_


def _entries(array: pa.Array) -> pa.Array:
    """Maps as lists of structs with the fields key and value."""
    return array.cast(with_plain_lists(array.type))


def _converted_lists(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """Lists with converted items; a slice of a longer array, and nulls over items, included."""
    sizes = pc.fill_null(pc.list_value_length(array), 0)
    offsets = np.zeros(len(array) + 1, np.int64)
    np.cumsum(sizes.to_numpy(zero_copy_only=False), out=offsets[1:])
    items = converted(pc.list_flatten(array), type_.value_type)
    mask = array.is_null() if array.null_count else None
    fields = {"type": pa.list_(type_.value_field), "mask": mask}
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), items, **fields)
    return lists if lists.type == type_ else lists.cast(type_)


def _converted_structs(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """Structs field by field, by name or by the name in the input; what is missing is null."""
    place_of = {member.name: place for place, member in reversed(list(enumerate(array.type)))}
    columns = array.flatten()
    converted_members = []
    for field in type_:
        own = (field.metadata or {}).get(INPUT_NAME, b"").decode()
        place = place_of.get(field.name, place_of.get(own))
        missing = place is None
        column = pa.nulls(len(array), field.type) if missing else columns[place]
        converted_members.append(converted(column, field.type))
    mask = array.is_null() if array.null_count else None
    return pa.StructArray.from_arrays(converted_members, fields=list(type_), mask=mask)


def with_nulls(type_: pa.DataType) -> pa.DataType:
    """The type with nulls allowed wherever values lie inside it."""

    def loosened(part: pa.DataType) -> pa.DataType:
        if pa.types.is_struct(part):
            return pa.struct([field.with_nullable(True) for field in part])
        if pa.types.is_map(part):
            return pa.map_(part.key_field, part.item_field.with_nullable(True))
        if pa.types.is_fixed_size_list(part):
            return pa.list_(part.value_field.with_nullable(True), part.list_size)
        if pa.types.is_list(part):
            return pa.list_(part.value_field.with_nullable(True))
        return part

    return rebuilt(type_, loosened)
