"""Infer Arrow types from sampled JSON values, as little as these say and no more.

Strings stay strings (pyarrow's own inference makes timestamps of some, in some files). Integers and
other numbers together are float64, if that holds all their digits. What has several kinds of
values, numbers that no type holds exactly, or nothing in the sample, has no type of its own: it is
read as text (see `SourceSpec.mixed`), so nothing that comes later is lost or rounded.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import pyarrow as pa

from beam_bert.sources.json_values import Digits

# Objects with more keys than this are maps from data to data, not records.
_MAX_STRUCT_FIELDS = 1_000
_INT64 = range(-(2**63), 2**63)
_EXACT_DOUBLES = range(-(2**53), 2**53 + 1)

Shape = Hashable


def shape_of(value: Any) -> Shape:
    """What the type depends on: a name, or a tuple of the shapes inside."""
    if value is None:
        return "null"
    if isinstance(value, Digits):
        return "long"
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "small" if value in _EXACT_DOUBLES else "int64" if value in _INT64 else "long"
    if isinstance(value, float):
        return "double"
    if isinstance(value, list):
        return ("list", *dict.fromkeys(shape_of(item) for item in value))
    return ("struct", *((key, shape_of(item)) for key, item in value.items()))


def type_of(shapes: Iterable[Shape]) -> pa.DataType | None:
    """The type that holds values of all these shapes; None: mixed, or nothing but nulls."""
    distinct = [shape for shape in dict.fromkeys(shapes) if shape != "null"]
    names = {shape[0] if isinstance(shape, tuple) else shape for shape in distinct}
    if names == {"string"}:
        return pa.string()
    if names == {"bool"}:
        return pa.bool_()
    if names and names <= {"small", "int64"}:
        return pa.int64()
    if names and names <= {"small", "double"}:
        return pa.float64()
    if names == {"list"}:
        return _list_type([shape for shape in distinct if isinstance(shape, tuple)])
    if names == {"struct"}:
        return _struct_type([shape for shape in distinct if isinstance(shape, tuple)])
    return None


def _inner_type(shapes: list[Shape]) -> pa.DataType | None:
    """The same inside a list or struct, where nothing but nulls is taken for text."""
    if all(shape == "null" for shape in shapes):
        return pa.string()
    return type_of(shapes)


def _list_type(lists: list[tuple[Any, ...]]) -> pa.DataType | None:
    items = [item for shape in lists for item in shape[1:]]
    if not items:
        return None
    inner = _inner_type(items)
    return None if inner is None else pa.list_(inner)


def _struct_type(structs: list[tuple[Any, ...]]) -> pa.DataType | None:
    members: dict[str, list[Shape]] = {}
    for shape in structs:
        for key, item in shape[1:]:
            members.setdefault(key, []).append(item)
    if not members or len(members) > _MAX_STRUCT_FIELDS:
        return None
    fields = []
    for key, items in members.items():
        inner = _inner_type(items)
        if inner is None:
            return None
        fields.append(pa.field(key, inner))
    return pa.struct(fields)
