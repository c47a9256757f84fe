"""The table over several nights: one schema, whatever each night's input looks like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from pipelines import classify as classify_command


class Nights:
    """An output, and how to give it a night of rows."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.model = folder, model
        self.output = folder / "out"
        self.count = 0

    def run(self, rows: list[dict[str, Any]] | pa.Table, *flags: str) -> int:
        self.count += 1
        source = self.folder / f"in{self.count}"
        source.mkdir(exist_ok=True)
        if isinstance(rows, pa.Table):
            texts = pa.array(["good film"] * len(rows))
            pq.write_table(rows.append_column("text", texts), source / "a.parquet")
        else:
            lines = (json.dumps({"text": "good film", **row}) + "\n" for row in rows)
            (source / "a.jsonl").write_text("".join(lines))
        where = ["--input", str(source), "--output", str(self.output), "--model", str(self.model)]
        return classify_command.main([*where, f"--partition=night={self.count}", *flags])

    @property
    def files(self) -> list[Path]:
        return sorted((self.output / "predictions").rglob("*.parquet"))

    def column(self, name: str) -> list[Any]:
        """Its values, in the order of the nights; pyarrow, pandas and DuckDB say the same."""
        dataset = ds.dataset(self.output / "predictions", partitioning="hive")
        found = dataset.to_table().sort_by([("night", "ascending"), ("source_row", "ascending")])
        frame = pd.read_parquet(self.output / "predictions")
        assert sorted(frame.columns) == sorted(found.column_names)
        duck = duckdb.sql(
            f"select \"{name}\" from '{self.output}/predictions/**/*.parquet'"
            " order by night, source_row"
        ).fetchall()
        values = found[name].to_pylist()
        assert [row[0] for row in duck] == values
        return values

    def schemas(self) -> list[pa.Schema]:
        return [pq.read_schema(path).remove_metadata() for path in self.files]

    def one_schema(self) -> pa.Schema:
        first, *others = self.schemas()
        assert all(other.equals(first) for other in others)
        assert all(field.nullable for field in first)
        return first


@pytest.fixture
def nights(tmp_path: Path, bert: Path) -> Nights:
    return Nights(tmp_path, bert)


def test_types_that_drift_are_widened_or_refused_or_become_text_when_asked(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nights.run([{"stars": 5}, {"stars": None}]) == 0
    assert nights.run([{"stars": 4.5}]) == 0
    assert nights.column("stars") == [5.0, None, 4.5]
    assert nights.run([{"stars": 3}]) == 0
    assert nights.one_schema().field("stars").type == pa.float64()
    before = nights.files
    capsys.readouterr()
    assert nights.run([{"stars": "n/a"}]) == 2
    error = capsys.readouterr().err
    assert "stars is string in this input and double in the table" in error
    assert "--evolve text" in error and "Traceback" not in error
    assert nights.files == before
    assert nights.run([{"stars": "n/a"}], "--evolve=text") == 0
    assert nights.column("stars") == ["5", None, "4.5", "3", "n/a"]
    assert nights.run([{"stars": 2}, {"stars": [1.5]}]) == 0
    assert nights.column("stars")[-2:] == ["2", "[1.5]"]
    assert nights.one_schema().field("stars").type == pa.string()


def test_columns_keep_their_order_and_new_ones_go_to_the_end(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nights.run([{"a": 1, "b": {"x": 1}}]) == 0
    first = nights.one_schema().names
    assert nights.run([{"b": {"x": 2}, "A": 2}]) == 0
    assert nights.one_schema().names == first
    capsys.readouterr()
    assert nights.run([{"c": [True], "b": {"y": "z", "x": 3}}], "--all_scores") == 0
    assert "2 files" in capsys.readouterr().err
    assert nights.one_schema().names == [*first, "c", "labels", "scores"]
    assert nights.column("a") == [1, 2, None]
    assert nights.column("b") == [{"x": 1, "y": None}, {"x": 2, "y": None}, {"x": 3, "y": "z"}]
    assert nights.column("c") == [None, None, [True]]
    assert nights.run([{"a": 4}]) == 0
    assert nights.column("labels")[-1] is None
    assert len(nights.files) == 4
    assert nights.one_schema().names == [*first, "c", "labels", "scores"]


def test_a_column_of_nulls_takes_the_type_that_comes_first(nights: Nights) -> None:
    assert nights.run([{"a": None, "b": None}]) == 0
    assert nights.run([{"a": 7, "b": {"x": 1}}]) == 0
    assert nights.column("a") == [None, 7]
    assert nights.run([{"a": None, "b": None}]) == 0
    assert nights.column("b") == [None, {"x": 1}, None]
    assert nights.one_schema().field("a").type == pa.int64()


def test_integers_that_doubles_do_not_hold_are_not_widened(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nights.run(pa.table({"id": pa.array([2**53 + 1])})) == 0
    assert nights.run(pa.table({"id": pa.array([0.5])})) == 2
    assert "id is double in this input and int64 in the table" in capsys.readouterr().err
    assert nights.column("id") == [2**53 + 1]


def test_overwriting_the_only_partition_starts_a_new_table(nights: Nights) -> None:
    assert nights.run([{"a": "x"}]) == 0
    nights.count = 0
    (nights.folder / "in1").rename(nights.folder / "before")
    assert nights.run([{"a": 1}], "--overwrite") == 0
    assert nights.column("a") == [1]


def test_names_are_one_where_sql_takes_them_for_one(nights: Nights) -> None:
    assert nights.run([{"Label": "x", "SCORE": 1, "a": 1, "A": 2, "doc_ID": "d"}]) == 0
    names = nights.one_schema().names
    assert names[:6] == ["doc_id", "input_Label", "input_SCORE", "a", "A_2", "input_doc_ID"]
    assert len({name.casefold() for name in names}) == len(names)
    assert nights.column("A_2") == [2]


def test_portable_names_are_said_in_the_manifest(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"a b": {"k": 1, "K": 2, "": 3}, "": 4}]
    assert nights.run(rows, "--portable_names") == 0
    assert nights.column("a_b") == [{"k": 1, "K_2": 2, "_": 3}]
    assert nights.column("_") == [4]
    (path,) = (nights.output / "runs").glob("*/manifest.json")
    text = path.read_text()
    assert "\n" not in text, "readers of JSON lines want one line"
    columns = {column["name"]: column for column in json.loads(text)["schema"]}
    assert columns["a_b"]["input_name"] == "a b"
    assert nights.run(rows, "--portable_names") == 0
    assert nights.column("a_b") == [{"k": 1, "K_2": 2, "_": 3}] * 2


def test_the_same_nights_again_write_the_same_bytes(nights: Nights) -> None:
    other = Nights(nights.folder, nights.model)
    other.output = nights.folder / "again"
    for each in (nights, other):
        assert each.run([{"a": 1}]) == 0
        assert each.run([{"a": 1.5, "b": 2}]) == 0
    kept = [[path.read_bytes() for path in each.files] for each in (nights, other)]
    sources = [str(each.folder).encode() for each in (nights, other)]
    assert [len(files) for files in kept] == [2, 2]
    assert all(
        source in data for source, files in zip(sources, kept, strict=True) for data in files
    )
