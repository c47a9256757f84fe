"""Three nights of every type as each reader sees them, cell by cell.

What a reader sees is recorded in docs/readers.json, of which docs/output.md has a table:
`BEAM_BERT_RECORD=1 python -m pytest tests/readers` records anew, with all readers installed.
"""

from __future__ import annotations

import datetime
import decimal
import importlib.metadata
import json
import math
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import classify as classify_command
from tests.readers.carried import CARRIED
from tests.readers.readers import PACKAGES, READERS
from tools.readers_table import RECORD

NIGHTS = ("2026-11-27", "2026-11-28", "2026-11-29")
ROWS = 3  # of a night


def _night(number: int) -> pa.Table:
    """Night 2 brings a column more and a field more in a struct, night 3 lacks columns."""
    columns = {name: each.array for name, each in CARRIED.items()}
    grown: list[Any] = [{"a": 1}, {"a": 2}, None]
    if number == 1:
        grown = [{"a": 1, "b": "x"}, {"a": 2, "b": None}, None]
        columns["late"] = pa.array([1, 2, None])
    if number == 2:
        del columns["string"]
    columns["grown"] = pa.array(grown)
    ids = [f"{number}-{ROWS - row}" for row in range(ROWS)]  # in no order: a bloom filter
    return pa.table({"id": ids, "text": ["good film"] * ROWS, **columns})


def _expected() -> dict[str, list[Any]]:
    """The cells of the table by column, in the order of the input."""
    cells = {name: each.seen * len(NIGHTS) for name, each in CARRIED.items()}
    cells["string"][2 * ROWS :] = [None] * ROWS
    grown = [{"a": 1, "b": None}, {"a": 2, "b": None}, None]
    cells["grown"] = [*grown, {"a": 1, "b": "x"}, {"a": 2, "b": None}, None, *grown]
    cells["late"] = [None] * ROWS + [1, 2, None] + [None] * ROWS
    return cells


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, bert: Path) -> Path:
    """The table's folder."""
    place = tmp_path_factory.mktemp("table")
    for number, night in enumerate(NIGHTS):
        pq.write_table(_night(number), place / f"{night}.parquet")
        flags = ["--input", str(place / f"{night}.parquet"), "--output", str(place / "out")]
        flags += ["--model", str(bert), "--id_column=id", f"--partition=run_date={night}"]
        assert classify_command.main([*flags, *(["--all_scores"] if number == 1 else [])]) == 0
    return place / "out" / "predictions"


@pytest.mark.parametrize("reader", READERS)
def test_every_cell_is_what_was_written(folder: Path, reader: str) -> None:
    found = READERS[reader](folder)
    ids = found["doc_id"][1]
    # fastparquet cannot read them, but gives the files' rows in their order.
    places = range(ROWS * len(NIGHTS))
    order = [*places]
    if not isinstance(ids, Exception):
        order.sort(key=lambda place: (ids[place][0], -int(ids[place][2:])))
    seen = {}
    for name, cells in _expected().items():
        # fastparquet has the parts of a struct as columns, and no struct.
        type_, values = found.get(name, ("", LookupError("no such column")))
        seen[name] = {"type": type_, "differs": _difference(cells, values, order)}
    if "run_date" in found:  # not for who is given files alone
        dates = found["run_date"][1]
        assert not isinstance(dates, Exception)
        assert {str(_plain(value))[:10] for value in dates} == set(NIGHTS)
    version = importlib.metadata.version(PACKAGES[reader])
    if os.environ.get("BEAM_BERT_RECORD"):
        file = next(folder.rglob("*.parquet"))
        _record(reader, version, seen, pq.read_schema(file))
    known = json.loads(RECORD.read_text(encoding="utf-8"))["readers"][reader]
    if known["version"] == version:
        assert known["columns"] == seen
    assert {name: each["differs"] for name, each in seen.items()} == {
        name: each["differs"] for name, each in known["columns"].items()
    }


def _record(reader: str, version: str, seen: dict[str, Any], written: pa.Schema) -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    columns = {
        name: {"carried": each.words, "file": str(written.field(name).type)}
        for name, each in CARRIED.items()
    }
    readers = {**record.get("readers", {}), reader: {"version": version, "columns": seen}}
    readers = {name: readers[name] for name in READERS if name in readers}
    text = json.dumps({"columns": columns, "readers": readers}, indent=1, ensure_ascii=False)
    RECORD.write_text(text + "\n", encoding="utf-8")


def _difference(expected: list[Any], values: Any, order: list[int]) -> str:
    """The first cell that differs; "" where none does."""
    if isinstance(values, Exception):
        return f"{type(values).__name__}: {values}".split("\n")[0][:80]
    for place, cell in zip(order, expected, strict=True):
        seen = _plain(values[place])
        if not _same(_plain(cell), seen):
            return f"{_plain(cell)!r} is {seen!r}"[:120]
    return ""


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, str) and isinstance(other, bytes):  # ClickHouse's only kind of string
        return one.encode() == other
    return type(one) is type(other) and bool(one == other)


def _plain(value: Any) -> Any:
    """As Python's own types have it: readers have others for the same value."""
    if type(value).__module__.startswith(("numpy", "pandas")):
        if type(value).__name__ in ("NaTType", "NAType"):
            return None
        if hasattr(value, "to_pydatetime"):
            return _plain(value.to_pydatetime())
        return _plain(value.tolist())
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.timezone.utc)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, decimal.Decimal):
        return value.normalize() if value else decimal.Decimal(0)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
