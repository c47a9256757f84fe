"""Make arrays fit the types that were resolved at launch, and tell which values do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_bert.slices.conversion import converted, is_uuid, rebuilt
from beam_bert.sources.bisect import refused
from beam_bert.sources.utf8 import invalid_values

_CAST_ERRORS = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError)


def plain_type(type_: pa.DataType) -> pa.DataType:
    """The type of the values themselves: without dictionary, run-end or extension around them.

    UUIDs stay what they are: their bytes alone would no longer say how they are written.
    """
    return rebuilt(type_, _unwrapped)


def _unwrapped(type_: pa.DataType) -> pa.DataType:
    if is_uuid(type_):
        return type_
    if isinstance(type_, pa.BaseExtensionType):
        return _unwrapped(type_.storage_type)
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return _unwrapped(type_.value_type)
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
    """Values as ids (see `beam_bert.slices.conversion`), null where text is not UTF-8."""
    return fitted(array, pa.string())[0]


def fitted(
    array: pa.Array,
    type_: pa.DataType,
    convert: Callable[[pa.Array, pa.DataType], pa.Array] = converted,
) -> tuple[pa.Array, list[int]]:
    """The array in that type, null where a value does not fit, and the indices of these.

    Which text a value becomes depends on the types alone (`beam_bert.slices.conversion`), never
    on the values beside it.
    """
    if array.type == type_ and _is_sound(array):
        return array, []
    cast = _cast(array, type_, convert)
    if cast is not None:
        return cast, []
    bad = refused(
        list(range(len(array))),
        lambda some: _cast(array.take(pa.array(some, pa.int64())), type_, convert) is not None,
    )
    keep = np.ones(len(array), bool)
    keep[bad] = False
    new_places = np.cumsum(keep) - 1
    good = _cast(array.filter(pa.array(keep)), type_, convert)
    if good is None:
        return pa.nulls(len(array), type_), list(range(len(array)))
    return good.take(pa.array(new_places, mask=~keep)), bad


def valid_text(array: pa.Array) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """A text column as strings, null where the bytes are not UTF-8, and the indices of these."""
    # Not as `converted`: bytes in a column of texts are meant as characters.
    cast = _cast(array, pa.string(), pa.Array.cast)
    if cast is not None:
        return cast, np.array([], np.int64)
    bad = invalid_values(array)
    is_bad = np.zeros(len(array), bool)
    is_bad[bad] = True
    valid = pc.if_else(pa.array(is_bad), None, array.cast(pa.binary()))
    return valid.cast(pa.string()), bad


def _cast(
    array: pa.Array, type_: pa.DataType, convert: Callable[[pa.Array, pa.DataType], pa.Array]
) -> pa.Array | None:
    try:
        cast = convert(array, type_)
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
