"""What stands in staging/ and runs/ is input: it may be damaged, or somebody else's."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beam_bert.errors import OutputError, UserError
from beam_bert.sinks.commit import commit_run
from beam_bert.sinks.committed_files import read_committed_files
from beam_bert.sinks.manifest import read_failure, read_manifest
from beam_bert.sinks.prepare import prepare_output
from beam_bert.sinks.records import find_record, record_path
from beam_bert.storage.places import open_storage
from tests.sinks.shard_factory import SCHEMA, make_run, stage

Change = Callable[[dict[str, Any]], object]


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A folder beside the output, with files of the user."""
    (tmp_path / "canary").mkdir()
    (tmp_path / "canary/mine.parquet").write_bytes(b"mine")
    return tmp_path / "canary"


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A whole journal of a run that was killed inside its commit."""
    run = make_run(tmp_path / "out", run_id="other", run_key="other", incremental=True)
    records = stage(run, [(3, 1)])

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("beam_bert.sinks.commit.roll_forward", kill)
        commit_run(run, records, SCHEMA)
    return json.loads((tmp_path / "out/staging/other/commit.json").read_bytes())


def _set(*way: Any) -> Change:
    *names, last, value = way

    def change(document: Any) -> None:
        for name in names:
            document = document[name]
        document[last] = value

    return change


def _shard(path: str) -> dict[str, Any]:
    return {"path": path, "rows": 1, "bytes": 4, "crc32c": "AAAAAA==", "key": "k", "sources": []}


OUTSIDE = [
    "{canary}/mine.parquet",
    "../canary/mine.parquet",
    "predictions/../../canary/mine.parquet",
]
WRONG_PLACES = [
    *OUTSIDE,
    "mine.parquet",
    "runs/other/manifest.json",
    "staging/other/predictions/a.parquet",
    "predictions",
    "predictions/",
    "predictions/a.txt",
    "predictions/.hidden.parquet",
    "predictions/run_date=1/../a.parquet",
    "predictions//a.parquet",
    "predictions/a\\b=c/a.parquet",
    "predictions/x=1/a\n.parquet",
    "",
]


@pytest.mark.parametrize("place", WRONG_PLACES)
@pytest.mark.parametrize("way", ["replaced", "kept", "outputs", "rejects"])
def test_a_foreign_journal_neither_deletes_nor_writes_what_is_not_its_own(
    tmp_path: Path, canary: Path, journal: dict[str, Any], place: str, way: str
) -> None:
    path = place.format(canary=canary)
    manifest = journal["manifest"]
    if way in ("outputs", "rejects"):
        manifest[way] = [{**_shard(path)}]
    else:
        kept = _shard(path) if way == "kept" else None
        manifest["replaced"] = [
            {"path": "predictions/a.parquet" if way == "kept" else path, "kept": kept}
        ]
    _refused(tmp_path, journal)


@pytest.mark.parametrize(
    "change",
    [
        _set("run", "run_key", "another"),
        _set("run", "run_id", "../../canary"),
        _set("manifest", "run_id", "another"),
        _set("manifest", "run_key", "another"),
        _set("manifest", "partition", "run_date=2020-01-01"),
        _set("run", "partition", "../../canary"),
        _set("run", "partition", "run_date=2020-01-01"),
        _set("manifest", "outputs", [_shard("predictions/run_date=2020-01-01/a.parquet")]),
        _set("run", {}),
        _set("manifest", None),
        *(
            _set(*field, base64.b64encode(schema).decode())
            for field in (("run", "table_columns"), ("manifest", "arrow_schema"))
            for schema in (b"x", b"\xff" * 8, b"\xff" * 4 + b"\xfe\xff\xff\xff", b"\0" * 64)
        ),
    ],
)
def test_a_journal_that_is_not_of_its_folders_run_is_refused(
    tmp_path: Path, canary: Path, journal: dict[str, Any], change: Change
) -> None:
    change(journal)
    _refused(tmp_path, journal)


def _refused(tmp_path: Path, journal: object) -> None:
    (tmp_path / "out/staging/other/commit.json").write_text(json.dumps(journal))
    before = _tree(tmp_path)
    with pytest.raises(OutputError, match=r"staging/other/commit\.json") as caught:
        prepare_output(make_run(tmp_path / "out", run_id="run-9", run_key="work-9"))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1_000
    assert _tree(tmp_path) == before


def test_a_link_in_the_way_of_a_journal_is_not_followed(
    tmp_path: Path, canary: Path, journal: dict[str, Any]
) -> None:
    old = "predictions/run_date=2026-11-22/mine.parquet"
    journal["manifest"]["replaced"] = [{"path": old, "kept": None}]
    (tmp_path / "out/staging/other/commit.json").write_text(json.dumps(journal))
    (tmp_path / "out/predictions").mkdir()
    (tmp_path / "out/predictions/run_date=2026-11-22").symlink_to(canary)
    with pytest.raises(UserError, match="is a link out of"):
        prepare_output(make_run(tmp_path / "out", run_id="run-9", run_key="work-9"))
    assert _tree(canary) == {str(canary / "mine.parquet"): b"mine"}


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff", b"null", b"[" * 100_000, b'"' + b"x" * 10**6]
)
@pytest.mark.parametrize("name", ["manifest", "failure", "journal", "record"])
def test_damaged_documents_are_one_line(tmp_path: Path, name: str, data: bytes) -> None:
    run = make_run(tmp_path)
    path = {
        "manifest": "runs/run-1/manifest.json",
        "failure": "runs/run-1/failure.json",
        "journal": run.journal,
        "record": record_path(run, "part-0"),
    }[name]
    open_storage(run.output).write(path, data)
    if name == "record":  # its shard is made again
        assert find_record(run, "part-0") is None
        return
    with pytest.raises(OutputError, match=rf"{path} is damaged") as caught:
        _read(run, name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("name", ["manifest", "failure", "journal"])
def test_a_pipe_in_place_of_a_document_is_one_line(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path)
    path = run.journal if name == "journal" else f"runs/run-1/{name}.json"
    (tmp_path / path).parent.mkdir(parents=True)
    os.mkfifo(tmp_path / path)
    with pytest.raises(OutputError, match="not a regular file"):
        _read(run, name)


def _read(run: Any, name: str) -> None:
    if name == "journal":
        prepare_output(run)
    elif name == "failure":
        read_failure(run.output, "run-1")
    else:
        for read in (
            lambda: read_manifest(run.output, "run-1"),
            lambda: read_committed_files(run.output),
        ):
            try:
                read()
            except OutputError as error:
                caught = error
            else:
                raise AssertionError("it was read")
        raise caught


def test_a_manifest_in_another_runs_folder_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    commit_run(run, stage(run, [(3, 0)]), SCHEMA)
    (tmp_path / "runs/run-1").rename(tmp_path / "runs/run-2")
    for read in (
        lambda: read_manifest(str(tmp_path), "run-2"),
        lambda: read_committed_files(str(tmp_path)),
    ):
        with pytest.raises(OutputError, match="is the manifest of run run-1"):
            read()


@pytest.mark.parametrize("place", OUTSIDE)
def test_a_staged_record_cannot_name_a_file_elsewhere(
    tmp_path: Path, canary: Path, place: str
) -> None:
    run = make_run(tmp_path / "out")
    (record,) = stage(run, [(3, 0)])
    document = json.loads(record.model_dump_json())
    document["predictions"]["name"] = place.format(canary=canary)
    open_storage(run.output).write(record_path(run, record.name), json.dumps(document).encode())
    assert find_record(run, record.name) is None
