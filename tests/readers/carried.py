"""What the table of the readers' tests carries: every type that a Parquet file brings in."""

from __future__ import annotations

import datetime
import decimal
import uuid
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

UTC = datetime.timezone.utc
MOMENT = datetime.datetime(2026, 11, 27, 12, 34, 56, 789)
DAY = datetime.timedelta(days=1, microseconds=1)
UUID = uuid.UUID("12345678-1234-5678-1234-56789abcdeff")
Decimal = decimal.Decimal
SECONDS = datetime.timedelta(seconds=1.5)
_ODD = [
    ("h", pa.float16()),
    ("d", pa.duration("ms")),
    ("n", pa.null()),
    ("l", pa.uint64()),
]


@dataclass(frozen=True)
class Carried:
    """One column: its type, two values and what stands in the table for them, beside a null.

    Attributes:
      words: the type for a person.
      type: as the input has it.
      values: as Python gives them to Arrow.
      cells: as they stand in the table, of the input's values where they are the same.
      storage: the type that `values` are of, where `type` cannot be made of them at once.
    """

    words: str
    type: pa.DataType
    values: list[Any]
    cells: list[Any] | None = None
    storage: pa.DataType | None = None

    @property
    def array(self) -> pa.Array:
        """Of the input: the values and a null."""
        return _laid_out(pa.array([*self.values, None], self.storage or self.type), self.type)

    @property
    def seen(self) -> list[Any]:
        """Of the table, the null included."""
        return [*(self.values if self.cells is None else self.cells), None]


def _laid_out(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """The array as the type has it, also where pyarrow has no cast for that."""
    if array.type == type_:
        return array
    if pa.types.is_dictionary(type_):
        return array.dictionary_encode()
    if isinstance(type_, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type_, array)
    if pa.types.is_list(type_):
        items = _laid_out(array.values, type_.value_type)
        return pa.ListArray.from_arrays(array.offsets, items, mask=array.is_null())
    if pa.types.is_struct(type_):
        parts = [
            _laid_out(part, each.type) for part, each in zip(array.flatten(), type_, strict=True)
        ]
        return pa.StructArray.from_arrays(parts, fields=list(type_), mask=array.is_null())
    return array.cast(type_)


def _timestamps() -> dict[str, Carried]:
    moments = [MOMENT, datetime.datetime(1969, 12, 31, 23, 59, 59)]
    whole = [each.replace(microsecond=0) for each in moments]
    found = {}
    for unit in ("s", "ms", "us", "ns"):
        values = whole if unit == "s" else moments
        if unit == "ms":
            values = [each.replace(microsecond=789_000) for each in moments]
        found[f"naive_{unit}"] = Carried(f"timestamp[{unit}]", pa.timestamp(unit), values)
    for name, zone in (
        ("utc", "UTC"),
        ("offset", "+05:30"),
        ("kolkata", "Asia/Kolkata"),
        ("etc", "Etc/UTC"),
    ):
        zoned = [each.replace(tzinfo=UTC) for each in moments]
        found[f"zone_{name}"] = Carried(f"timestamp in {zone}", pa.timestamp("us", zone), zoned)
    return found


CARRIED: dict[str, Carried] = {
    "string": Carried("string", pa.string(), ["é", ""]),
    "large_text": Carried("large_string", pa.large_string(), ["é", "\0"]),
    "text_view": Carried("string_view", pa.string_view(), ["é", "long enough to be apart"]),
    "words": Carried(
        "dictionary of strings",
        pa.dictionary(pa.int32(), pa.string()),
        ["a", "b"],
        storage=pa.string(),
    ),
    "json": Carried("JSON", pa.json_(), ['{"a":1}', "[]"], storage=pa.string()),
    "bytes": Carried("binary", pa.binary(), [b"\xff\0", b""]),
    "large_bytes": Carried("large_binary", pa.large_binary(), [b"\xff\0", b""]),
    "bytes_view": Carried("binary_view", pa.binary_view(), [b"\xff\0", b"sixteen bytes and more"]),
    "fixed_bytes": Carried("binary of 4 bytes", pa.binary(4), [b"\xff\0\1\2", b"abcd"]),
    "uuid": Carried(
        "UUID", pa.uuid(), [UUID.bytes, b"ABCDEFGHIJKLMNOP"],
        [str(UUID), "41424344-4546-4748-494a-4b4c4d4e4f50"],
    ),
    "flag": Carried("bool", pa.bool_(), [True, False]),
    **{
        str(type_): Carried(str(type_), type_, [low, high])
        for type_, low, high in (
            (pa.int8(), -(2**7), 2**7 - 1),
            (pa.int16(), -(2**15), 2**15 - 1),
            (pa.int32(), -(2**31), 2**31 - 1),
            (pa.int64(), -(2**63), 2**63 - 1),
            (pa.uint8(), 0, 2**8 - 1),
            (pa.uint16(), 0, 2**16 - 1),
            (pa.uint32(), 0, 2**32 - 1),
        )
    },
    "uint64": Carried("uint64", pa.uint64(), [0, 2**64 - 1], [Decimal(0), Decimal(2**64 - 1)]),
    "uint64_words": Carried(
        "dictionary of uint64",
        pa.dictionary(pa.int32(), pa.uint64()),
        [1, 2**64 - 1],
        [Decimal(1), Decimal(2**64 - 1)],
        storage=pa.uint64(),
    ),
    "half": Carried("float16", pa.float16(), [1.5, float("nan")]),
    "float": Carried("float32", pa.float32(), [1.5, float("-inf")]),
    "double": Carried("float64", pa.float64(), [0.1, float("nan")]),
    "decimal32": Carried("decimal32", pa.decimal32(5, 2), [Decimal("12.50"), Decimal("-0.01")]),
    "decimal64": Carried("decimal64", pa.decimal64(15, 2), [Decimal("12.50"), Decimal("-0.01")]),
    "decimal": Carried(
        "decimal128", pa.decimal128(38, 9),
        [Decimal("1" * 29 + ".000000001"), Decimal("-0.500000000")],
    ),
    "decimal_39": Carried(
        "decimal256 of 39 digits", pa.decimal256(39, 1),
        [Decimal("1" * 38 + ".5"), Decimal("-0.5")],
        ["1" * 38 + ".5", "-0.5"],
    ),
    "decimal_76": Carried(
        "decimal256 of 76 digits", pa.decimal256(76, 0), [Decimal("9" * 76), Decimal("-1")],
        ["9" * 76, "-1"],
    ),
    "date": Carried("date32", pa.date32(), [MOMENT.date(), datetime.date(1, 1, 1)]),
    "date64": Carried("date64", pa.date64(), [MOMENT.date(), datetime.date(1969, 12, 31)]),
    **_timestamps(),
    "naive_finer": Carried(
        "timestamp[ns] that microseconds do not hold", pa.timestamp("ns"), [1, 10**18],
        ["1970-01-01 00:00:00.000000001", "2001-09-09 01:46:40.000000000"], storage=pa.int64(),
    ),
    "time_s": Carried("time32[s]", pa.time32("s"), [datetime.time(12, 34, 56), datetime.time(0)],
                      ["12:34:56.000", "00:00:00.000"]),
    "time_us": Carried(
        "time64[us]", pa.time64("us"), [datetime.time(12, 34, 56, 1), datetime.time(23, 59, 59)],
        ["12:34:56.000001", "23:59:59.000000"],
    ),
    "time_ns": Carried("time64[ns]", pa.time64("ns"), [1, 10**9],
                       ["00:00:00.000000001", "00:00:01.000000000"], storage=pa.int64()),
    "duration_s": Carried(
        "duration[s]", pa.duration("s"),
        [datetime.timedelta(days=1), datetime.timedelta(seconds=-1)], ["PT86400S", "-PT1S"],
    ),
    "duration_us": Carried("duration[us]", pa.duration("us"), [DAY, datetime.timedelta(0)],
                           ["PT86400.000001S", "PT0S"]),
    "nothing": Carried("null", pa.null(), [None, None]),
    "list": Carried("list", pa.list_(pa.int64()), [[1, None, 3], []]),
    "large_list": Carried("large_list", pa.large_list(pa.string()), [["a", None], []]),
    "list_view": Carried("list_view", pa.list_view(pa.int64()), [[1, None, 3], []]),
    "fixed_list": Carried("list of 2 items", pa.list_(pa.int64(), 2), [[1, 2], [3, None]]),
    "uuids": Carried(
        "list of UUIDs", pa.list_(pa.uuid()), [[UUID.bytes], []], [[str(UUID)], []],
        storage=pa.list_(pa.binary(16)),
    ),
    "times": Carried("list of times", pa.list_(pa.time64("us")), [[datetime.time(1, 2, 3)], []],
                     [["01:02:03.000000"], []]),
    "nothings": Carried("list of nulls", pa.list_(pa.null()), [[None], []]),
    "struct": Carried(
        "struct", pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))]),
        [{"a": 1, "b": ["x", None]}, {"a": None, "b": None}],
    ),
    "odd_struct": Carried(
        "struct of a UUID, float16, duration, null and uint64",
        pa.struct([("u", pa.uuid()), *_ODD]),
        [
            {"u": UUID.bytes, "h": 0.5, "d": SECONDS, "n": None, "l": 2**64 - 1},
            {"u": None, "h": None, "d": None, "n": None, "l": None},
        ],
        [
            {"u": str(UUID), "h": 0.5, "d": "PT1.5S", "n": None, "l": Decimal(2**64 - 1)},
            {"u": None, "h": None, "d": None, "n": None, "l": None},
        ],
        storage=pa.struct([("u", pa.binary(16)), *_ODD]),
    ),
    "structs": Carried(
        "list of structs", pa.list_(pa.struct([("a", pa.int64())])), [[{"a": 1}, None], []],
    ),
    "map": Carried(
        "map", pa.map_(pa.string(), pa.int64()), [[("k", 1), ("l", None)], []],
        [[{"key": "k", "value": 1}, {"key": "l", "value": None}], []],
    ),
    "bytes_map": Carried(
        "map of bytes", pa.map_(pa.binary(), pa.binary()), [[(b"\xff", b"\0")], []],
        [[{"key": b"\xff", "value": b"\0"}], []],
    ),
}  # fmt: skip
