"""The files without rows that stand in the tables before the first night."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.dataset as ds

from tests.jobs.test_run import ROWS, run, write_jsonl
from tests.platform.terraform_files import TERRAFORM


def test_nights_go_on_over_a_table_that_terraform_put_a_placeholder_into(
    tmp_path: Path, bert: Path
) -> None:
    out = tmp_path / "out"
    for table in ("predictions", "rejects"):
        place = out / table / "run_date=1970-01-01"
        place.mkdir(parents=True)
        placeholder = TERRAFORM / f"modules/warehouse/placeholder-{table}.parquet"
        shutil.copy(placeholder, place / "placeholder.parquet")
    inputs = tmp_path / "in"
    inputs.mkdir()
    for number, night in enumerate(("2026-11-24", "2026-11-25")):
        write_jsonl(inputs / f"{number}.jsonl", ROWS[:10])
        assert run(inputs, out, bert, "--incremental", f"--partition=run_date={night}") == 0
    assert (out / "predictions/run_date=1970-01-01/placeholder.parquet").exists()
    table = ds.dataset(out / "predictions", partitioning="hive").to_table()
    assert len(table) == 20
    assert set(table["run_date"].to_pylist()) == {"2026-11-24", "2026-11-25"}
