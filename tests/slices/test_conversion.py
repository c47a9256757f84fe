"""A value becomes the same text whatever stands beside it: its type decides."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from typing import Any

import pyarrow as pa
import pytest

from beam_bert.slices.conversion import INTERVAL, converted, json_text, with_nulls
from beam_bert.sources.fitting import fitted

UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")


def uuids(*values: uuid.UUID | None) -> pa.Array:
    stored = [None if value is None else value.bytes for value in values]
    return pa.ExtensionArray.from_storage(pa.uuid(), pa.array(stored, pa.binary(16)))


@pytest.mark.parametrize(
    ("array", "texts"),
    [
        (uuids(UUID, None), [str(UUID), None]),
        (
            pa.array([b"ABCDEFGHIJKLMNOP", b"\xff" * 16]),
            ["4142434445464748494a4b4c4d4e4f50", "ff" * 16],
        ),
        (pa.array([b"A", None], pa.large_binary()), ["41", None]),
        (pa.array([b"AB"], pa.binary(2)), ["4142"]),
        (
            pa.array([86_400_000_001, -1_500_000, 0], pa.duration("us")),
            ["PT86400.000001S", "-PT1.5S", "PT0S"],
        ),
        (pa.array([86_400], pa.duration("s")), ["PT86400S"]),
        (pa.array([(1, 2, 3_500_000_000), (0, 0, 0)], INTERVAL), ["P1M2DT3.5S", "PT0S"]),
        (pa.array([datetime.time(12, 34, 56, 1)], pa.time64("us")), ["12:34:56.000001"]),
        (pa.array([1.5, float("nan"), float("-inf")]), ["1.5", "NaN", "-Infinity"]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([decimal.Decimal("1.10")]), ["1.10"]),
        (pa.array(["a", None]).dictionary_encode(), ["a", None]),
        (pa.array([[1.0, float("nan")], None, []]), ['[1.0,"NaN"]', None, "[]"]),
        (
            pa.array([[("k", b"A")]], pa.map_(pa.string(), pa.binary())),
            ['[{"key":"k","value":"41"}]'],
        ),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_text_of_a_value_is_decided_by_its_type(array: pa.Array, texts: list[str | None]) -> None:
    assert fitted(array, pa.string()) == (pa.array(texts), [])
    alone = [
        fitted(array.take(pa.array([i])), pa.string())[0][0].as_py() for i in range(len(array))
    ]
    assert alone == texts


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": [{"b": float("-inf")}]}])
def test_what_is_called_json_is_json(value: Any) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.loads(json_text(value), parse_constant=refuse)


@pytest.mark.parametrize(
    ("array", "type_"),
    [
        (pa.array([None, [1, 2], [], [3]], pa.list_(pa.int8())), pa.list_(pa.float64())),
        (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), pa.list_(pa.int64())),
        (pa.array([[1], None], pa.large_list(pa.int64())), pa.list_(pa.int64())),
        (pa.array([{"a": 1}, None]), pa.struct([("b", pa.string()), ("a", pa.float64())])),
        (pa.array([1.5, None], pa.float16()), pa.float32()),
    ],
)
def test_lists_and_structs_are_converted_within_also_a_slice_of_them(
    array: pa.Array, type_: pa.DataType
) -> None:
    for part in (array, array[1:], array[:0]):
        found = converted(part, type_)
        found.validate(full=True)
        assert found.type == type_
        expected = part.to_pylist()
        if pa.types.is_struct(type_):
            expected = [value and {"b": None, **value} for value in expected]
        assert found.to_pylist() == expected


def test_only_the_values_that_do_not_fit_are_named() -> None:
    found, bad = fitted(pa.array([[1], [300], None]), pa.list_(pa.int8()))
    assert (found.to_pylist(), bad) == ([[1], None, None], [1])
    found, bad = fitted(pa.array([2**53, 2**53 + 1]), pa.float64())
    assert bad == [1]


def test_nulls_are_allowed_at_every_depth() -> None:
    inner = pa.field("x", pa.list_(pa.field("item", pa.int8(), nullable=False)), nullable=False)
    assert with_nulls(pa.struct([inner])) == pa.struct([("x", pa.list_(pa.int8()))])
