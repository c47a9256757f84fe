"""The output as its readers see it: one table in pyarrow, DuckDB and pandas."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.dataset as ds
import pytest

from beam_bert.sinks.commit import commit_run
from beam_bert.sinks.prepare import prepare_output
from beam_bert.sinks.run import RunSpec
from beam_bert.sinks.shards import write_shard
from tests.sinks.shard_factory import SCHEMA, make_batch, make_run, stage

DAYS = ("2026-11-22", "2026-11-23")


def commit_day(output: Path, day: str, sizes: list[tuple[int, int]]) -> RunSpec:
    run = make_run(
        output, run_id=f"run-{day}", run_key=f"work-{day}", partition=f"run_date={day}/lang=en"
    )
    prepare_output(run)
    commit_run(run, stage(run, sizes), SCHEMA)
    return run


def count(glob: str) -> int:
    """Rows that DuckDB finds in every file that the glob matches."""
    return duckdb.sql(f"SELECT count(*) FROM read_parquet('{glob}')").fetchall()[0][0]


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    """Two committed days, and a third that still stands in staging."""
    output = tmp_path / "out"
    commit_day(output, DAYS[0], [(10, 1), (7, 0)])
    commit_day(output, DAYS[1], [(5, 0), (0, 2)])
    unfinished = make_run(output, run_id="run-3", run_key="work-3", partition="run_date=2026-11-24")
    write_shard(unfinished, make_batch(0, rows=99, rejects=9), SCHEMA)
    return output


def test_pyarrow_reads_all_partitions_as_one_table(committed: Path) -> None:
    dataset = ds.dataset(committed / "predictions", partitioning="hive")
    assert dataset.count_rows() == 22
    assert dataset.schema.names == [*SCHEMA.names, "run_date", "lang"]
    assert dataset.count_rows(filter=ds.field("run_date") == DAYS[1]) == 5
    assert ds.dataset(committed / "rejects", partitioning="hive").count_rows() == 3


def test_duckdb_reads_all_partitions_as_one_table(committed: Path) -> None:
    counted = duckdb.sql(
        f"""SELECT run_date::VARCHAR, lang, count(*), count(DISTINCT doc_id)
        FROM read_parquet('{committed}/predictions/**/*.parquet', hive_partitioning=true)
        GROUP BY ALL ORDER BY ALL"""
    ).fetchall()
    assert counted == [(DAYS[0], "en", 17, 17), (DAYS[1], "en", 5, 5)]


def test_duckdb_reads_every_file_of_the_folder_whatever_its_name(committed: Path) -> None:
    assert count(f"{committed}/predictions/**") == 22


def test_pandas_reads_all_partitions_as_one_table(committed: Path) -> None:
    frame = pd.read_parquet(committed / "predictions")
    assert len(frame) == 22
    assert sorted(frame["run_date"].astype(str).unique()) == list(DAYS)
    assert frame.loc[frame["doc_id"] == "in/0-0.jsonl#2", "label"].tolist() == ["positive"] * 2


def test_an_output_without_partition_is_a_flat_table(tmp_path: Path) -> None:
    run = make_run(tmp_path, partition="")
    commit_run(run, stage(run, [(3, 0), (4, 0)]), SCHEMA)
    assert ds.dataset(tmp_path / "predictions").count_rows() == 7
    assert count(f"{tmp_path}/predictions/*") == 7


def test_a_run_without_rows_beside_others_does_not_disturb_the_table(committed: Path) -> None:
    commit_day(committed, "2026-11-25", [(0, 0)])
    assert ds.dataset(committed / "predictions", partitioning="hive").count_rows() == 22
    assert count(f"{committed}/predictions/**") == 22


def test_odd_but_allowed_partition_values_come_back_from_the_readers(tmp_path: Path) -> None:
    value = "a b+c,d:e@f.été"
    run = make_run(tmp_path, partition=f"note={value}")
    commit_run(run, stage(run, [(3, 0)]), SCHEMA)
    found = ds.dataset(tmp_path / "predictions", partitioning="hive").to_table()
    assert found.column("note").unique().to_pylist() == [value]
    assert duckdb.sql(
        f"SELECT DISTINCT note FROM read_parquet('{tmp_path}/predictions/*/*.parquet', "
        "hive_partitioning=true)"
    ).fetchall() == [(value,)]
