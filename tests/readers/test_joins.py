"""The joins of docs/output.md, as they stand there: every prediction finds its own row again."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import classify as classify_command

PAGE = Path(__file__).parents[2] / "docs" / "output.md"
JSONL = '{"text": "good film"}\n\n{"text": "bad film"}\r\n   \n{"text": "day"}\n'
CSV = 'id,text\n1,"good\nfilm"\n\n2,"bad, ""film"""\n3,day\n'
LINES = "good film\n\nbad film\r\nday"
TEXTS = [f"good film {i}" for i in range(5)]
# By format: a second file, so that rows of two files cannot be mixed up.
FILES = {
    "jsonl": (JSONL, '\n\n{"text": "night"}'),
    "csv": (CSV, 'id,text\n9,"a\n\nday"\n'),
    "txt": (LINES, "\nnight\n"),
}


def snippets(language: str) -> dict[str, str]:
    """The page's joins by the words before them."""
    found = re.findall(rf"\n\n([^\n]+):\n\n```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    return {words.split(", ")[1].split(" ")[0]: code for words, code in found}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, bert: Path) -> Path:
    """Predictions of each format in a folder of its own, and the texts that each row had."""
    place = tmp_path_factory.mktemp("joins")
    with pytest.MonkeyPatch.context() as patch:
        for name in (*FILES, "parquet"):
            folder = place / name / "in"
            folder.mkdir(parents=True)
            for number, text in enumerate(FILES.get(name, ())):
                (folder / f"{number}.{name}").write_text(text, newline="")
            if name == "parquet":
                pq.write_table(pa.table({"text": TEXTS}), folder / "0.parquet", row_group_size=2)
                pq.write_table(pa.table({"text": ["night"]}), folder / "1.parquet")
            patch.chdir(folder.parent)
            flags = ["--input", f"in/*.{name}", "--output", "out", "--model", str(bert)]
            assert classify_command.main([*flags, "--keep_text", "--max_reject_rate=0.9"]) == 0
    return place


def expected(folder: Path) -> list[tuple[str, str]]:
    rows = pq.read_table(folder / "out" / "predictions").to_pylist()
    assert len(rows) >= 4
    return sorted((row["doc_id"], row["text"]) for row in rows)


def as_text(name: str, value: str) -> str:
    """What the text is in a line of the input."""
    if name == "jsonl":
        return re.fullmatch(r'\{"text": "(.*)"\}\r?', value)[1]  # type: ignore[index]
    return value.rstrip("\r") if name == "txt" else value


FORMATS = {"jsonl": "JSON", "txt": "JSON", "csv": "CSV", "parquet": "Parquet"}


@pytest.mark.parametrize("name", FORMATS)
def test_duckdb_joins_predictions_to_the_input(
    place: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    duckdb = pytest.importorskip("duckdb")
    monkeypatch.chdir(place / name)
    query = snippets("sql")[FORMATS[name]].replace("in/*.jsonl", f"in/*.{name}")
    found = duckdb.sql(query).fetchall()
    seen = sorted((doc_id, as_text(name, text)) for doc_id, _, text in found)
    assert seen == expected(place / name)


@pytest.fixture(scope="module")
def spark() -> Any:
    sql = pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    builder = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    session = builder.config("spark.sql.shuffle.partitions", "2").getOrCreate()
    yield session
    session.stop()


@pytest.mark.parametrize("name", FORMATS)
def test_spark_joins_predictions_to_the_input(place: Path, name: str, spark: Any) -> None:
    code = snippets("python")[FORMATS[name]].replace("in/*.jsonl", f"in/*.{name}")
    names: dict[str, Any] = {"spark": spark}
    for folder in ("in/", "out/"):  # Spark's own working folder is where Java was started
        code = code.replace(f'"{folder}', f'"{place / name}/{folder}')
    exec(code, names)
    column = "line" if FORMATS[name] == "JSON" else "text"
    table = names["found"].select("doc_id", names[_right(name)][column].alias("input")).toArrow()
    seen = sorted((row["doc_id"], as_text(name, row["input"])) for row in table.to_pylist())
    assert seen == expected(place / name)


def _right(name: str) -> str:
    return {"csv": "records", "parquet": "rows"}.get(name, "lines")
