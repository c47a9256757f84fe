"""The columns of a Parquet file as they are read: names without doubles, types of the values."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from beam_bert.slices.conversion import INTERVAL, in_microseconds, leaves, rebuilt
from beam_bert.sources.fitting import fitted, plain_type

_SAMPLE_ROWS = 65_536


def column_types_of(parquet: Any) -> dict[str, pa.DataType]:
    """Type of each column by its name; a second column of one name is called `<name>_2`.

    Arrow has no type of its own for Parquet's INTERVAL, and gives its twelve bytes.
    """
    columns = map(parquet.schema.column, range(len(parquet.schema)))
    stored = iter([column.converted_type for column in columns])
    schema = parquet.schema_arrow
    types = {}
    for name, column in zip(distinct_names(schema.names), schema, strict=True):
        plain = plain_type(column.type)
        logical = iter(list(itertools.islice(stored, len(leaves(plain)))))
        types[name] = rebuilt(plain, partial(_interval, logical=logical))
    return types


def _interval(type_: pa.DataType, logical: Iterator[str]) -> pa.DataType:
    """Of each type without parts, in Parquet's order: an interval's own, or as it is."""
    if pa.types.is_nested(type_):
        return type_
    return INTERVAL if next(logical, "") == "INTERVAL" else type_


def distinct_names(names: Sequence[str]) -> list[str]:
    """The names of a file's columns without doubles."""
    taken = set(names)
    seen: dict[str, None] = {}
    for name in names:
        unique, number = name, 2
        while unique in seen or (unique != name and unique in taken):
            unique, number = f"{name}_{number}", number + 1
        seen[unique] = None
    return list(seen)


def finer_than_microseconds(
    parquet: Any, types: Mapping[str, pa.DataType], errors: tuple[type[Exception], ...]
) -> frozenset[str]:
    """Columns with timestamps that microseconds do not hold, as far as the first rows show.

    Args:
      parquet: the file.
      types: by `column_types_of`.
      errors: what reading a damaged file raises: that is told when it is read.
    """
    stored = dict(zip(types, parquet.schema_arrow.names, strict=True))
    fine = [name for name, type_ in types.items() if any(map(_is_fine, leaves(type_)))]
    if not fine or parquet.metadata.num_row_groups == 0:
        return frozenset()
    wanted = sorted({stored[name] for name in fine})
    try:
        batch = next(parquet.iter_batches(_SAMPLE_ROWS, row_groups=[0], columns=wanted), None)
    except errors:
        return frozenset()
    if batch is None:
        return frozenset()
    columns = dict(zip(distinct_names(batch.schema.names), batch.columns, strict=True))
    return frozenset(
        name for name in fine if fitted(columns[name], in_microseconds(types[name]))[1]
    )


def _is_fine(type_: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(type_)) and type_.unit == "ns"
