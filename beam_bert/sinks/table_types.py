"""What people carry and what stands in the file: the one mapping of types (`--types portable`).

A type that one reader cannot read shuts that reader out of the whole table: Spark refuses a folder
for a float16 that nobody selects. So carried columns are written in types that all readers share;
each rule says what becomes what, and whom the type as it was would have stopped. `--types as_is`
keeps Arrow's types but for those that no Parquet file can hold.

`python -m tools.output_table` writes the table in docs/output.md from these rules.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from beam_bert.settings.naming import named
from beam_bert.slices.conversion import (
    INTERVAL,
    is_bytes,
    is_list,
    is_text,
    is_uuid,
    leaves,
    rebuilt,
    with_nulls,
    with_plain_lists,
)

Types = Literal["portable", "as_is"]
# Metadata of a column whose type is not the input's: that type, and the zone of its times.
INPUT_TYPE, ZONE = "input_type", "zone"
_MAX_DECIMAL_DIGITS = 38


@dataclass(frozen=True)
class Rule:
    """One row of the mapping.

    Attributes:
      name: of the rule.
      holds: whether it is for a type; the first rule that holds is taken.
      file_type: what stands in the file instead.
      becomes: the same in words.
      why: which readers stumble over the type as it was; "": a layout that nobody sees.
    """

    name: str
    holds: Callable[[pa.DataType], bool]
    file_type: Callable[[pa.DataType], pa.DataType]
    becomes: str
    why: str = ""


def _is_zoned(type_: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(type_)) and type_.tz not in (None, "UTC")


def _unit(type_: pa.DataType) -> str:
    """Of a timestamp in the file: Parquet has no seconds, and readers no nanoseconds."""
    return {"s": "ms", "ns": "us"}.get(type_.unit, type_.unit)


_SIGNED = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64()}
_TEXT = pa.string()

# No Parquet file can hold these.
UNWRITABLE = (
    Rule(
        "interval",
        lambda type_: type_ == INTERVAL,
        lambda type_: _TEXT,
        "text of ISO 8601, P1M2DT3.5S",
        "outside of DuckDB it is twelve bytes",
    ),
)
RULES = (
    *UNWRITABLE,
    Rule(
        "duration",
        pa.types.is_duration,
        lambda type_: _TEXT,
        "text of ISO 8601, PT86400.000001S",
        "outside of Arrow's readers it is an integer without unit",
    ),
    Rule(
        "time",
        pa.types.is_time,
        lambda type_: _TEXT,
        "text, 12:34:56.000001",
        "Spark refuses the table, Delta and Iceberg the type",
    ),
    Rule(
        "float16",
        pa.types.is_float16,
        lambda type_: pa.float32(),
        "float",
        "Spark refuses the table, Delta and Iceberg the type",
    ),
    Rule(
        "decimal of more than 38 digits",
        lambda type_: pa.types.is_decimal(type_) and type_.precision > _MAX_DECIMAL_DIGITS,
        lambda type_: _TEXT,
        "text",
        "Spark refuses the table, DuckDB rounds",
    ),
    Rule(
        "decimal",
        pa.types.is_decimal,
        lambda type_: pa.decimal128(type_.precision, type_.scale),
        "decimal(precision, scale)",
    ),
    Rule(
        "uint64",
        pa.types.is_uint64,
        lambda type_: pa.decimal128(20, 0),
        "decimal(20, 0)",
        "Delta, Iceberg and BigQuery have no such integer",
    ),
    Rule("uint8, uint16, uint32", lambda type_: type_ in _SIGNED, _SIGNED.__getitem__, "wider int"),
    Rule(
        "timestamp with a zone other than UTC",
        _is_zoned,
        lambda type_: pa.timestamp(_unit(type_), "UTC"),
        "the same moment in UTC; the zone stands in the column's metadata",
        "Polars fails on zones such as +05:30, Iceberg on all",
    ),
    Rule(
        "timestamp in seconds or nanoseconds",
        lambda type_: pa.types.is_timestamp(type_) and type_.unit in ("s", "ns"),
        lambda type_: pa.timestamp(_unit(type_), type_.tz),
        "timestamp in milli- or microseconds; text where those do not hold it",
    ),
    Rule("date64", pa.types.is_date64, lambda type_: pa.date32(), "date"),
    Rule("null", pa.types.is_null, lambda type_: _TEXT, "string", "Spark, Delta and Iceberg"),
    Rule("UUID", is_uuid, lambda type_: _TEXT, "text, its 36 characters", "Spark gives bytes"),
    Rule("string of any layout", is_text, lambda type_: _TEXT, "string"),
    Rule("bytes of any layout", is_bytes, lambda type_: pa.binary(), "binary"),
    Rule(
        "map",
        pa.types.is_map,
        with_plain_lists,
        "list of structs with the fields key and value",
        "Hugging Face datasets fail",
    ),
    Rule("list of any layout", is_list, with_plain_lists, "list"),
)


def rule_of(type_: pa.DataType, types: Types = "portable") -> Rule | None:
    """The rule for a type, its parts left out; None: it is written as it is."""
    rules = RULES if types == "portable" else UNWRITABLE
    return next((rule for rule in rules if rule.holds(type_)), None)


def file_type(type_: pa.DataType, types: Types = "portable", *, finer: bool = False) -> pa.DataType:
    """What stands in the file for a type, with all that is inside it.

    Args:
      type_: as the input has it.
      types: `portable`, or `as_is`.
      finer: whether there are times in it that microseconds do not hold: text then.
    """

    def changed(part: pa.DataType) -> pa.DataType:
        if finer and types == "portable" and pa.types.is_timestamp(part) and part.unit == "ns":
            return _TEXT
        rule = rule_of(part, types)
        return part if rule is None else rule.file_type(part)

    return with_nulls(rebuilt(type_, changed))


def file_columns(
    carried: pa.Schema, types: Types = "portable", finer: Collection[str] = ()
) -> pa.Schema:
    """The carried columns as they stand in the file; what was changed is in their metadata."""
    return pa.schema([_file_column(field, types, field.name in finer) for field in carried])


def _file_column(field: pa.Field, types: Types, finer: bool) -> pa.Field:
    type_ = file_type(field.type, types, finer=finer)
    metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    if type_ != with_nulls(field.type):
        metadata[INPUT_TYPE] = str(field.type)
        if pa.types.is_timestamp(field.type) and _is_zoned(field.type):
            metadata[ZONE] = field.type.tz
    return pa.field(field.name, type_, metadata=metadata or None)


def type_notes(carried: pa.Schema, written: Iterable[pa.Field], types: Types) -> list[str]:
    """What a person should know of the types that are written, a line for each rule."""
    columns_of: dict[str, list[str]] = {}
    for field, column in zip(carried, written, strict=True):
        if column.type == field.type:
            continue
        for reason in _reasons(field.type, column.type, types):
            columns_of.setdefault(reason, []).append(field.name)
    return [f"{', '.join(names)}: {reason}" for reason, names in columns_of.items()]


def _reasons(type_: pa.DataType, written: pa.DataType, types: Types) -> list[str]:
    reasons: dict[str, None] = {}

    def note(part: pa.DataType) -> pa.DataType:
        rule = rule_of(part, types)
        if rule is not None and rule.why:
            reasons[f"{part} is written as {rule.becomes} ({rule.why}; {named('types')} as_is)"] = (
                None
            )
        return part if rule is None else rule.file_type(part)

    rebuilt(type_, note)
    fine = [leaf for leaf in leaves(type_) if pa.types.is_timestamp(leaf) and leaf.unit == "ns"]
    if types == "portable" and fine and any(map(is_text, leaves(written))):
        reasons[f"{fine[0]} is written as text, as microseconds do not hold it"] = None
    return list(reasons)
