"""The readers of the table: each gives a column's type in its own words, and its cells.

What is not installed is left out; `pip install beam_bert[readers]` installs all, Spark wants Java.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

# By column: its type, and its cells or why there are none.
Seen = dict[str, tuple[str, list[Any] | Exception]]


def _of_arrow(table: pa.Table, types: Mapping[str, Any] | None = None) -> Seen:
    types = types or {field.name: field.type for field in table.schema}
    return {name: (str(types[name]), table[name].to_pylist()) for name in table.column_names}


def by_pyarrow(folder: Path) -> Seen:
    return _of_arrow(ds.dataset(folder, partitioning="hive").to_table())


def by_pandas(folder: Path) -> Seen:
    frame = pytest.importorskip("pandas").read_parquet(folder)
    return {name: (str(frame[name].dtype), list(frame[name])) for name in frame.columns}


def by_pandas_of_arrow(folder: Path) -> Seen:
    frame = pytest.importorskip("pandas").read_parquet(folder, dtype_backend="pyarrow")
    return {
        name: (str(frame[name].dtype), frame[name].array.__arrow_array__().to_pylist())
        for name in frame.columns
    }


def by_duckdb(folder: Path) -> Seen:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        connection.sql("set timezone = 'UTC'")
        found = connection.sql(f"select * from '{folder}/*/*.parquet'")
        columns = zip(*found.fetchall(), strict=True)
        parts = zip(found.columns, found.types, columns, strict=True)
        return {name: (str(type_), list(cells)) for name, type_, cells in parts}


def by_polars(folder: Path) -> Seen:
    frame = pytest.importorskip("polars").read_parquet(f"{folder}/*/*.parquet")
    return {each.name: (str(each.dtype), each.to_list()) for each in frame}


def by_datafusion(folder: Path) -> Seen:
    datafusion = pytest.importorskip("datafusion")
    context = datafusion.SessionContext()
    partition = [("run_date", pa.string())]
    context.register_parquet("t", str(folder), table_partition_cols=partition)
    found = context.sql("select * from t")
    return _of_arrow(pa.Table.from_batches(found.collect(), found.schema()))


def by_datasets(folder: Path) -> Seen:
    datasets = pytest.importorskip("datasets")
    files = sorted(map(str, folder.rglob("*.parquet")))
    cache = str(folder.parent / "cache")
    found = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=cache)
    cells = found.with_format("arrow")[:]
    return _of_arrow(cells)


def by_spark(folder: Path) -> Seen:
    sql = pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    session = (
        sql.SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "1")
        .getOrCreate()
    )
    try:
        frame = session.read.parquet(str(folder))
        types = {field.name: field.dataType.simpleString() for field in frame.schema}
        return _of_arrow(frame.toArrow(), types)
    finally:
        session.stop()


def by_clickhouse(folder: Path) -> Seen:
    chdb = pytest.importorskip("chdb")
    place = f"file('{folder}/*/*.parquet', Parquet)"
    columns = json.loads(str(chdb.query(f"describe table {place}", "JSON").data()))["data"]
    types = {column["name"]: " ".join(column["type"].split()) for column in columns}
    settings = "output_format_arrow_string_as_string=0"
    found = chdb.query(f"select * from {place} settings {settings}", "ArrowStream").bytes()
    return _of_arrow(pa.ipc.open_stream(found).read_all(), types)


def by_fastparquet(folder: Path) -> Seen:
    fastparquet = pytest.importorskip("fastparquet")
    table = fastparquet.ParquetFile(sorted(map(str, folder.rglob("*.parquet"))))
    found: Seen = {}
    for name, type_ in table.dtypes.items():  # one by one: others fail with the first that does
        try:
            column = table.to_pandas(columns=[name])[name]
            found[name] = (str(column.dtype), list(column))
        except Exception as error:
            found[name] = (str(type_), error)
    return found


def by_delta(folder: Path) -> Seen:
    deltalake = pytest.importorskip("deltalake")
    copy = folder.parent / "delta"
    shutil.copytree(folder, copy)
    partition = deltalake.Schema.from_arrow(pa.schema([("run_date", pa.string())]))
    deltalake.convert_to_deltalake(copy, partition_by=partition, partition_strategy="hive")
    table = deltalake.DeltaTable(copy)
    types = {field.name: field.type for field in table.schema().fields}
    words = {name: str(getattr(type_, "type", type_)) for name, type_ in types.items()}
    return _of_arrow(table.to_pyarrow_table(), words)


def by_iceberg(folder: Path) -> Seen:
    sql = pytest.importorskip("pyiceberg.catalog.sql")
    pytest.importorskip("sqlalchemy")
    place = folder.parent / "iceberg"
    place.mkdir()
    files = sorted(map(str, folder.rglob("*.parquet")))
    catalog = sql.SqlCatalog("c", uri=f"sqlite:///{place}/c.db", warehouse=f"file://{place}")
    catalog.create_namespace("n")
    table = catalog.create_table("n.t", schema=pa.parquet.read_schema(files[0]))
    table.add_files(files)
    types = {field.name: field.field_type for field in table.schema().fields}
    return _of_arrow(table.scan().to_arrow(), types)


READERS: dict[str, Callable[[Path], Seen]] = {
    "pyarrow": by_pyarrow,
    "pandas": by_pandas,
    "pandas of pyarrow": by_pandas_of_arrow,
    "DuckDB": by_duckdb,
    "Polars": by_polars,
    "DataFusion": by_datafusion,
    "datasets": by_datasets,
    "Spark": by_spark,
    "ClickHouse": by_clickhouse,
    "fastparquet": by_fastparquet,
    "Delta": by_delta,
    "Iceberg": by_iceberg,
}
# The package that has the reader, whose version is recorded.
PACKAGES = {
    **{name: name.lower() for name in READERS},
    "pandas of pyarrow": "pandas",
    "Spark": "pyspark",
    "ClickHouse": "chdb",
    "Delta": "deltalake",
    "Iceberg": "pyiceberg",
}
