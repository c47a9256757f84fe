"""The one mapping of types and names: what people carry, and what stands in the file."""

from __future__ import annotations

import pyarrow as pa
import pytest

from beam_bert.errors import OutputError
from beam_bert.sinks.column_names import name_notes, portable_name, portable_names
from beam_bert.sinks.run import partition_levels, partition_notes
from beam_bert.sinks.table_schema import widened
from beam_bert.sinks.table_types import file_columns, file_type, type_notes
from beam_bert.slices.conversion import INPUT_NAME, INTERVAL


@pytest.mark.parametrize(
    ("carried", "written"),
    [
        (pa.float16(), pa.float32()),
        (pa.time32("s"), pa.string()),
        (pa.time64("ns"), pa.string()),
        (pa.duration("ms"), pa.string()),
        (INTERVAL, pa.string()),
        (pa.uuid(), pa.string()),
        (pa.null(), pa.string()),
        (pa.large_string(), pa.string()),
        (pa.string_view(), pa.string()),
        (pa.binary(16), pa.binary()),
        (pa.uint8(), pa.int16()),
        (pa.uint32(), pa.int64()),
        (pa.uint64(), pa.decimal128(20, 0)),
        (pa.decimal256(38, 2), pa.decimal128(38, 2)),
        (pa.decimal256(76, 2), pa.string()),
        (pa.decimal32(5, 2), pa.decimal128(5, 2)),
        (pa.timestamp("us", "+05:30"), pa.timestamp("us", "UTC")),
        (pa.timestamp("ns", "Europe/Amsterdam"), pa.timestamp("us", "UTC")),
        (pa.timestamp("ns"), pa.timestamp("us")),
        (pa.timestamp("s"), pa.timestamp("ms")),
        (pa.date64(), pa.date32()),
        (
            pa.map_(pa.string(), pa.float16()),
            pa.list_(pa.struct([("key", pa.string()), ("value", pa.float32())])),
        ),
        (pa.list_(pa.uint64(), 3), pa.list_(pa.decimal128(20, 0))),
        (
            pa.struct([("a", pa.large_list(pa.time32("ms")))]),
            pa.struct([("a", pa.list_(pa.string()))]),
        ),
        (pa.int64(), pa.int64()),
    ],
    ids=str,
)
def test_portable_types(carried: pa.DataType, written: pa.DataType) -> None:
    assert file_type(carried) == written
    assert file_type(written) == written, "a second time nothing changes"


def test_as_is_keeps_all_that_a_file_can_hold() -> None:
    assert file_type(pa.float16(), "as_is") == pa.float16()
    assert file_type(pa.map_(pa.string(), pa.int8()), "as_is") == pa.map_(pa.string(), pa.int8())
    assert file_type(INTERVAL, "as_is") == pa.string()


def test_what_was_changed_stands_in_the_columns_metadata_and_is_said_once() -> None:
    carried = pa.schema(
        [
            ("a", pa.timestamp("us", "+05:30")),
            ("b", pa.float16()),
            ("c", pa.float16()),
            ("d", pa.large_string()),
            ("e", pa.timestamp("ns")),
        ]
    )
    written = file_columns(carried, finer={"e"})
    assert written.field("a").metadata == {
        b"input_type": b"timestamp[us, tz=+05:30]",
        b"zone": b"+05:30",
    }
    assert written.field("e").type == pa.string()
    notes = type_notes(carried, written, "portable")
    assert [note.split(":")[0] for note in notes] == ["a", "b, c", "e"]


@pytest.mark.parametrize(
    ("name", "renamed"),
    [
        ("", "_"),
        ("a b", "a_b"),
        ("a.b", "a_b"),
        ("1a", "_1a"),
        ("_PARTITIONTIME", "input_PARTITIONTIME"),
        ("_table_x", "input_table_x"),
        ("Größe", "Größe"),
        ("ä" * 200, "ä" * 150),
    ],
)
def test_names_that_some_reader_refuses(name: str, renamed: str) -> None:
    assert portable_name(name) == renamed
    columns = pa.schema([(name, pa.int64())])
    assert bool(name_notes(columns, "; rename it")) == (name != renamed)
    (field,) = portable_names(columns, ["doc_id"])
    assert field.name == renamed
    assert (field.metadata or {}).get(INPUT_NAME, name.encode()).decode() == name


def test_nested_names_that_differ_in_case_are_named_and_renamed() -> None:
    inner = pa.struct([("a", pa.int8()), ("A", pa.int8()), ("", pa.int8()), ("a_2", pa.int8())])
    columns = pa.schema([("s", pa.list_(inner))])
    notes = name_notes(columns, "; rename it")
    assert any("'s.A'" in note and "Spark" in note for note in notes)
    assert any("empty name" in note for note in notes)
    (field,) = portable_names(columns, [])
    assert [each.name for each in field.type.value_type] == ["a", "A_3", "_", "a_2"]
    assert name_notes(pa.schema([field]), "") == []


def test_a_question_with_such_a_name_is_told_what_helps() -> None:
    (note,) = name_notes(pa.schema([("_TABLE_x", pa.string())]), "; give it another name")
    assert "'_TABLE_x'" in note and note.endswith("give it another name")


def test_too_many_levels_are_named() -> None:
    type_: pa.DataType = pa.int8()
    for _ in range(16):
        type_ = pa.struct([("a", type_)])
    assert "15 levels" in name_notes(pa.schema([("s", type_)]), "")[0]


@pytest.mark.parametrize(
    ("table", "night", "both"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.int64(), pa.float64(), pa.float64()),
        (pa.int64(), pa.float32(), pa.float64()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.int64(), pa.decimal128(20, 0), pa.decimal128(20, 0)),
        (pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("us")),
        (pa.timestamp("us"), pa.timestamp("us", "UTC"), None),
        (pa.string(), pa.int64(), pa.string()),
        (pa.int64(), pa.string(), None),
        (pa.bool_(), pa.int64(), None),
        (pa.list_(pa.int64()), pa.list_(pa.float64()), pa.list_(pa.float64())),
        (pa.list_(pa.int64()), pa.int64(), None),
        (
            pa.struct([("a", pa.int64()), ("b", pa.string())]),
            pa.struct([("c", pa.string()), ("a", pa.float64())]),
            pa.struct([("a", pa.float64()), ("b", pa.string()), ("c", pa.string())]),
        ),
    ],
    ids=str,
)
def test_types_widen_where_no_value_is_bent(
    table: pa.DataType, night: pa.DataType, both: pa.DataType | None
) -> None:
    assert widened(table, night) == both


@pytest.mark.parametrize(
    "value", ["01", "0x1", "1e3", "1.50", "1.", "true", "True", "inf", "12:00", "2026-1-2"]
)
def test_partition_values_that_readers_guess_differently_are_noted(value: str) -> None:
    (note,) = partition_notes(f"night={value}")
    assert repr(value) in note and "guess types" in note


@pytest.mark.parametrize("value", ["2026-11-27", "en", "7", "1.5", "a01", "2026"])
def test_other_partition_values_are_one_for_all(value: str) -> None:
    assert partition_notes(f"night={value}") == []


@pytest.mark.parametrize("value", ["2026-11-27 ", "%2F", "a%2Fb", "-1", "NULL", "a=b", ""])
def test_partition_values_that_bend_paths_or_nulls_are_refused(value: str) -> None:
    with pytest.raises(OutputError, match="partition"):
        partition_levels(f"night={value}")
