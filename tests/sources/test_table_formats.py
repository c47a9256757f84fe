"""Delta and Iceberg tables are read by their log or metadata, or refused; never file by file."""

from __future__ import annotations

import base64
import json
import string
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_bert.errors import InputError
from beam_bert.sources import list_files
from beam_bert.storage.places import open_storage
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


def change_log(root: Path, **changes: dict[str, Any]) -> None:
    """Change the actions of a Delta table's first version as another writer would have them."""
    log = root / "_delta_log" / f"{0:020}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        for kind in action.keys() & changes.keys():
            action[kind] |= changes[kind]
    log.write_text("".join(json.dumps(action) + "\n" for action in actions))


def deletion_vector(rows: list[int]) -> dict[str, Any]:
    """Inline, by Delta's protocol: a 64-bit Roaring bitmap in Z85; an even number of rows."""
    roaring = struct.pack("<IIHHI", 12346, 1, 0, len(rows) - 1, 16)
    data = struct.pack("<IQI", 1681511377, 1, 0) + roaring + struct.pack(f"<{len(rows)}H", *rows)
    digits = string.digits + string.ascii_uppercase + string.ascii_lowercase
    of_z85 = string.digits + string.ascii_lowercase + string.ascii_uppercase
    table = str.maketrans(digits + "!#$%&()*+-;<=>?@^_`{|}~", of_z85 + ".-:+=^!/*?&<>()[]{}@%$#")
    text = base64.b85encode(data).decode().translate(table)
    size = {"sizeInBytes": len(data), "cardinality": len(rows)}
    return {"storageType": "i", "pathOrInlineDv": text} | size


def test_rows_that_a_delta_table_marks_as_deleted_are_not_read(tmp_path: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    deltalake.write_deltalake(tmp_path, pa.table({"text": ["a", "b", "c"]}))
    features = {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors"],
        "writerFeatures": ["deletionVectors"],
    }
    change_log(tmp_path, protocol=features)
    assert read_back(tmp_path).texts == ["a", "b", "c"]  # it might have some, and has none
    stats = json.dumps({"numRecords": 3, "tightBounds": False})
    change_log(tmp_path, add={"deletionVector": deletion_vector([0, 2]), "stats": stats})
    with pytest.raises(InputError, match=r"marked as deleted \(deletion vectors\); rewrite"):
        list_files([str(tmp_path)])


@pytest.fixture
def catalog(tmp_path: Path) -> Any:
    """A catalogue of Iceberg tables in SQLite, its warehouse beside it."""
    pytest.importorskip("sqlalchemy")
    sql = pytest.importorskip("pyiceberg.catalog.sql")
    found = sql.SqlCatalog("c", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{tmp_path}")
    found.create_namespace("n")
    return found


OLD = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "text": ["one", "two", "three"]})


@pytest.mark.parametrize("version", ["1", "2"])
def test_an_iceberg_table_is_read_by_its_metadata(
    tmp_path: Path, catalog: Any, version: str
) -> None:
    properties = {"format-version": version}
    table = catalog.create_table("n.t", schema=OLD.schema, properties=properties)
    table.append(OLD)
    table.overwrite(OLD)
    table.delete("id = 2")
    with table.update_schema() as update:
        update.add_column("lang", pytest.importorskip("pyiceberg.types").StringType())
    table.append(pa.table({"id": pa.array([4], pa.int64()), "text": ["four"], "lang": ["en"]}))
    rows = [(row["text"], row["carried"]) for row in read_back(tmp_path / "n" / "t").rows]
    assert sorted(rows) == [
        ("four", {"id": 4, "lang": "en"}),
        ("one", {"id": 1, "lang": None}),
        ("three", {"id": 3, "lang": None}),
    ]
    with pytest.raises(InputError, match=r"the Iceberg table .*n/t, removed rows among them"):
        list_files([str(tmp_path / "n" / "**" / "*.parquet")])
    with table.update_schema() as update:
        update.rename_column("lang", "language")
    with pytest.raises(InputError, match="column 'lang' was renamed or dropped"):
        list_files([str(tmp_path / "n" / "t")])


def test_rows_that_an_iceberg_table_marks_as_deleted_are_not_read(
    tmp_path: Path, catalog: Any
) -> None:
    manifest = pytest.importorskip("pyiceberg.manifest")
    table = catalog.create_table("n.t", schema=OLD.schema, properties={"format-version": "2"})
    table.append(OLD)
    (task,) = table.scan().plan_files()
    ids = {"file_path": b"2147483546", "pos": b"2147483545"}  # reserved by the specification
    schema = pa.schema(
        [
            pa.field(name, kind, metadata={b"PARQUET:field_id": ids[name]})
            for name, kind in (("file_path", pa.string()), ("pos", pa.int64()))
        ]
    )
    deletes = tmp_path / "n" / "t" / "data" / "deletes.parquet"
    pq.write_table(pa.table([[task.file.file_path], [0]], schema=schema), deletes)
    empty = ("column_sizes", "value_counts", "null_value_counts", "nan_value_counts")
    file = manifest.DataFile.from_args(
        content=manifest.DataFileContent.POSITION_DELETES,
        file_path=f"file://{deletes}",
        file_format=manifest.FileFormat.PARQUET,
        partition=task.file.partition,
        record_count=1,
        file_size_in_bytes=deletes.stat().st_size,
        lower_bounds={2147483546: task.file.file_path.encode()},
        upper_bounds={2147483546: task.file.file_path.encode()},
        spec_id=0,
        **{name: {} for name in empty},
    )
    with table.transaction() as change, change.update_snapshot().fast_append() as append:
        append.append_data_file(file)
    assert len(table.scan().to_arrow()) == 2  # by Iceberg's own library
    with pytest.raises(InputError, match="marked as deleted; rewrite its data files first"):
        list_files([str(tmp_path / "n" / "t")])


@pytest.mark.parametrize(
    "log, kind",
    [
        ("_delta_log/00000000000000000000.json", "Delta"),
        (".hoodie/hoodie.properties", "Hudi"),
        ("metadata/00000-1.metadata.json", "Iceberg"),
    ],
)
def test_a_table_on_gs_is_refused_and_its_files_are_not_read_as_they_lie(
    new_gs_output: Callable[[], str], tmp_path: Path, log: str, kind: str
) -> None:
    place = new_gs_output()
    storage = open_storage(place)
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "p.parquet")
    for name, data in ((log, b"{}"), ("data/p.parquet", (tmp_path / "p.parquet").read_bytes())):
        storage.write(f"in/t/{name}", data)
    told = rf"/in/t/ is a {kind} table; .*write the rows that you mean as plain Parquet"
    for pattern in ("in/t", "in/t/", "in", "in/t/*/*.parquet", "in/t/**"):
        with pytest.raises(InputError, match=told):
            list_files([f"{place}/{pattern}"])
    if kind != "Hudi":
        with pytest.raises(InputError, match=rf"pip install 'beam-bert\[{kind.lower()}\]'"):
            list_files([f"{place}/in/t"])


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
    for library in ("deltalake", "pyiceberg.table"):
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
