"""Hive-style folders: `dt=2024-01-01/lang=en/part-0.parquet` has the columns dt and lang."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

import pyarrow as pa

_LEVEL = re.compile(r"([^=/]+)=([^/]*)")
_NULL = "__HIVE_DEFAULT_PARTITION__"


def partition_values(path: str) -> dict[str, str | None]:
    """The keys that the folders of a path name, and their values."""
    values: dict[str, str | None] = {}
    for level in path.split("/")[:-1]:
        if level_match := _LEVEL.fullmatch(level):
            value = unquote(level_match[2])
            values[unquote(level_match[1])] = None if value == _NULL else value
    return values


def partition_schema(paths: Iterable[str]) -> pa.Schema:
    """All keys, with the types that pyarrow gives them: int32 where all values are, else string."""
    values_of: dict[str, dict[str | None, None]] = {}
    for path in paths:
        for name, value in partition_values(path).items():
            values_of.setdefault(name, {})[value] = None
    return pa.schema([(name, _type_of(list(values))) for name, values in values_of.items()])


def _type_of(values: list[str | None]) -> pa.DataType:
    texts = pa.array(values, pa.string())
    try:
        texts.cast(pa.int32())
    except pa.ArrowInvalid:
        return pa.string()
    return pa.string() if texts.null_count == len(texts) else pa.int32()
