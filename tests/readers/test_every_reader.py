"""The table as each reader sees it, cell by cell; readers that are not installed are left out.

`pip install pyspark polars datafusion datasets` installs the others; Spark needs Java 17 or newer.
"""

from __future__ import annotations

import datetime
import decimal
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from beam_bert.sinks.shards import parquet_bytes
from beam_bert.sinks.table_types import file_type
from beam_bert.slices.conversion import converted

MOMENT = datetime.datetime(2026, 11, 27, 12, 34, 56, 789, tzinfo=datetime.timezone.utc)
CARRIED: dict[str, pa.Array] = {
    "half": pa.array([1.5, None], pa.float16()),
    "time": pa.array([datetime.time(12, 34, 56, 1), None], pa.time64("us")),
    "wide": pa.array([decimal.Decimal("1" * 50), None], pa.decimal256(50, 0)),
    "money": pa.array([decimal.Decimal("12.50"), None], pa.decimal128(10, 2)),
    "unsigned": pa.array([2**64 - 1, None], pa.uint64()),
    "small": pa.array([255, None], pa.uint8()),
    "zoned": pa.array([MOMENT, None], pa.timestamp("us", "+05:30")),
    "naive": pa.array([MOMENT.replace(tzinfo=None), None], pa.timestamp("us")),
    "day": pa.array([MOMENT.date(), None], pa.date32()),
    "wait": pa.array([datetime.timedelta(seconds=86_400, microseconds=1), None]),
    "nothing": pa.nulls(2),
    "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
    "nested": pa.array([{"a": [1, 2]}, None], pa.struct([("a", pa.list_(pa.int64()))])),
    "bytes": pa.array([b"\xff\0", None]),
    "flag": pa.array([True, None]),
    "word": pa.array(["é", None], pa.large_string()),
    "number": pa.array([2**62 + 1, None]),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[Any]]]:
    """Three nights of every type, and the cells that they hold by column, in rising doc_id."""
    folder = tmp_path_factory.mktemp("table")
    columns = {name: converted(array, file_type(array.type)) for name, array in CARRIED.items()}
    for night in range(3):
        ids = pa.array([f"{night}-{i}" for i in range(2)])
        rows = {"doc_id": ids, **columns, "score": pa.array([0.5, 0.25], pa.float32())}
        batch = pa.RecordBatch.from_pydict(rows)
        place = folder / f"night={night + 1}"
        place.mkdir()
        (place / "part.parquet").write_bytes(parquet_bytes(batch, batch.schema))
    cells = {name: array.to_pylist() * 3 for name, array in columns.items()}
    return folder, cells


def by_arrow(folder: Path) -> pa.Table:
    return ds.dataset(folder, partitioning="hive").to_table()


def by_duckdb(folder: Path) -> pa.Table:
    duckdb = pytest.importorskip("duckdb")
    relation = duckdb.sql(f"select * from '{folder}/*/*.parquet'")
    found = relation.fetchall()
    columns = zip(*found, strict=True)
    return dict(zip(relation.columns, map(list, columns), strict=True))


def by_polars(folder: Path) -> pa.Table:
    polars = pytest.importorskip("polars")
    return polars.read_parquet(f"{folder}/*/*.parquet", hive_partitioning=True).to_dict(
        as_series=False
    )


def by_datafusion(folder: Path) -> pa.Table:
    datafusion = pytest.importorskip("datafusion")
    context = datafusion.SessionContext()
    context.register_parquet("t", str(folder))
    return pa.Table.from_batches(context.sql("select * from t").collect())


def by_datasets(folder: Path) -> pa.Table:
    datasets = pytest.importorskip("datasets")
    files = sorted(map(str, folder.rglob("*.parquet")))
    cache = folder.parent / "cache"
    found = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(cache))
    return found.with_format("arrow")[:]


def by_spark(folder: Path) -> pa.Table:
    sql = pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    session = (
        sql.SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    try:
        return session.read.parquet(str(folder)).toArrow()
    finally:
        session.stop()


READERS: list[Callable[[Path], Any]] = [
    by_arrow,
    by_duckdb,
    by_polars,
    by_datafusion,
    by_datasets,
    by_spark,
]


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_every_cell_is_what_was_written(
    table: tuple[Path, dict[str, list[Any]]], read: Callable[[Path], Any]
) -> None:
    folder, cells = table
    found = read(folder)
    columns = found.to_pydict() if isinstance(found, pa.Table) else found
    order = sorted(range(6), key=lambda place: columns["doc_id"][place])
    for name, expected in cells.items():
        seen = [_plain(columns[name][place]) for place in order]
        assert seen == [_plain(value) for value in expected], name


def _plain(value: Any) -> Any:
    """The same moment is the same, however its zone is written."""
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.timezone.utc)
    return value
