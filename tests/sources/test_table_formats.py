"""Delta and Iceberg tables are read by their log or metadata, or refused; never file by file."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_bert.errors import InputError
from beam_bert.sources import list_files
from tests.sources.reading_back import read_back


def test_a_delta_table_is_read_by_its_log(tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    root = tmp_path / "table"
    old = pa.table({"text": ["old", "older"], "dt": ["x", "y z"]})
    new = pa.table({"text": ["new", "newer"], "dt": ["x", "y z"]})
    deltalake.write_deltalake(root, old, partition_by=["dt"])
    deltalake.write_deltalake(root, new, partition_by=["dt"], mode="overwrite")
    result = read_back(root)
    assert sorted((row["text"], row["carried"]["dt"]) for row in result.rows) == [
        ("new", "x"),
        ("newer", "y z"),
    ]
    for part in (str(root / "**/*.parquet"), str(tmp_path), str(root / "dt=x")):
        with pytest.raises(InputError, match=r"the Delta table .*table"):
            list_files([part])


def test_a_damaged_or_foreign_table_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("deltalake", "pyiceberg"):
        pytest.importorskip(library)
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "p.parquet")
    (tmp_path / "_delta_log").mkdir()
    (tmp_path / "_delta_log" / f"{0:020}.json").write_text('{"add":{"path":"p.parquet"}}')
    with pytest.raises(InputError, match="the Delta table cannot be read"):
        list_files([str(tmp_path)])
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(InputError, match=r"pip install 'beam-bert\[delta\]'"):
        list_files([str(tmp_path)])
    (tmp_path / "_delta_log" / f"{0:020}.json").unlink()
    (tmp_path / "_delta_log").rename(tmp_path / "metadata")
    (tmp_path / "metadata" / "v1.metadata.json").write_text("{}")
    with pytest.raises(InputError, match="the Iceberg table cannot be read"):
        list_files([str(tmp_path)])
    (tmp_path / "metadata").rename(tmp_path / ".hoodie")
    with pytest.raises(InputError, match="Hudi"):
        list_files([str(tmp_path)])


def test_without_its_library_a_table_is_refused_with_the_extras_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("deltalake", "pyiceberg"):
        monkeypatch.setitem(sys.modules, library, None)
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "p.parquet")
    (tmp_path / "_delta_log").mkdir()
    (tmp_path / "_delta_log" / f"{0:020}.json").write_text("{}")
    with pytest.raises(InputError, match=r"pip install 'beam-bert\[delta\]'"):
        list_files([str(tmp_path)])
    (tmp_path / "_delta_log" / f"{0:020}.json").unlink()
    (tmp_path / "_delta_log").rename(tmp_path / "metadata")
    (tmp_path / "metadata" / "v1.metadata.json").write_text("{}")
    with pytest.raises(InputError, match=r"pip install 'beam-bert\[iceberg\]'"):
        list_files([str(tmp_path)])
