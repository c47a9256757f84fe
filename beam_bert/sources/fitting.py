"""Make arrays fit the types that were resolved at launch, and tell which values do not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_bert.sources.bisect import refused
from beam_bert.sources.json_values import as_text

_CAST_ERRORS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError)


def plain_type(type_: pa.DataType) -> pa.DataType:
    """The type of the values themselves: without dictionary, run-end or extension around them."""
    if isinstance(type_, pa.BaseExtensionType):
        return plain_type(type_.storage_type)
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return plain_type(type_.value_type)
    if pa.types.is_struct(type_):
        return pa.struct([field.with_type(plain_type(field.type)) for field in type_])
    if pa.types.is_list(type_):
        return pa.list_(type_.value_field.with_type(plain_type(type_.value_type)))
    if pa.types.is_large_list(type_):
        return pa.large_list(type_.value_field.with_type(plain_type(type_.value_type)))
    return type_


def is_text(type_: pa.DataType) -> bool:
    """Whether a column of this type can hold documents (one of nulls can: each is rejected)."""
    return bool(
        pa.types.is_string(type_)
        or pa.types.is_large_string(type_)
        or pa.types.is_string_view(type_)
        or pa.types.is_binary(type_)  # Impala, Hive and old Spark do not say that it is text
        or pa.types.is_large_binary(type_)
        or pa.types.is_null(type_)
    )


def holds_doubles(type_: pa.DataType) -> bool:
    """Whether values of the type have a double in them, at any depth."""
    if pa.types.is_list(type_):
        return holds_doubles(type_.value_type)
    if pa.types.is_struct(type_):
        return any(holds_doubles(field.type) for field in type_)
    return bool(pa.types.is_float64(type_))


def id_texts(array: pa.Array) -> pa.Array:
    """Values as ids: text as it is, whole numbers by their digits, anything else as JSON."""
    return fitted(array, pa.string(), as_json=True)[0]


def fitted(
    array: pa.Array, type_: pa.DataType, *, as_json: bool = False
) -> tuple[pa.Array, list[int]]:
    """The array in that type, null where a value does not fit, and the indices of these.

    With `as_json`, a value that has no cast to a string becomes JSON text.
    """
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if array.type == type_ and _is_sound(array):
        return array, []
    if pa.types.is_floating(array.type) and pa.types.is_string(type_):
        return _digits(array), []
    cast = _cast(array, type_)
    if cast is not None:
        return cast, []
    if as_json and pa.types.is_string(type_):
        try:
            return pa.array([as_text(value) for value in array.to_pylist()], type_), []
        except UnicodeError:
            pass
    bad = refused(
        list(range(len(array))),
        lambda some: _cast(array.take(pa.array(some, pa.int64())), type_) is not None,
    )
    keep = np.ones(len(array), bool)
    keep[bad] = False
    places = np.cumsum(keep) - 1
    good = _cast(array.filter(pa.array(keep)), type_)
    if good is None:
        return pa.nulls(len(array), type_), list(range(len(array)))
    return good.take(pa.array(places, mask=~keep)), bad


def valid_text(array: pa.Array) -> tuple[pa.Array, list[int]]:
    """A text column as strings, null where the bytes are not UTF-8, and the indices of these."""
    return fitted(array, pa.string())


def _digits(array: pa.Array) -> pa.Array:
    """Floating-point numbers as text; whole ones without the exponent that pyarrow would write."""
    doubles = array.cast(pa.float64())
    whole = pc.and_(pc.equal(doubles, pc.trunc(doubles)), pc.less(pc.abs(doubles), 2.0**53))
    whole = pc.fill_null(whole, False)
    integers = pc.if_else(whole, doubles, 0.0).cast(pa.int64()).cast(pa.string())
    return pc.if_else(whole, integers, array.cast(pa.string()))


def _cast(array: pa.Array, type_: pa.DataType) -> pa.Array | None:
    try:
        cast = array.cast(type_)
    except _CAST_ERRORS:
        return None
    return cast if _is_sound(cast) else None


def _is_sound(array: pa.Array) -> bool:
    """Whether all strings in it are UTF-8: Parquet readers take them on trust."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True
