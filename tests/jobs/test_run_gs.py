"""The main job on gs://: input, model and output in buckets (of a local emulator)."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from beam_bert.storage.places import open_storage
from pipelines import classify as classify_command
from tests.jobs.test_run import ROWS, flags, table, write_jsonl
from tests.storage.servers import both_servers


@pytest.fixture
def bucket(
    new_gs_output: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.setenv("BEAM_BERT_CACHE", str(tmp_path / "cache"))
    return new_gs_output()


def upload(folder: Path, place: str) -> str:
    storage = open_storage(place)
    for path in folder.iterdir():
        storage.upload(path, path.name)
    return place


@both_servers
def test_a_job_from_gs_to_gs_gives_what_the_local_one_gives(
    bucket: str, bert: Path, tmp_path: Path
) -> None:
    local = tmp_path / "in"
    local.mkdir()
    write_jsonl(local / "a.jsonl", ROWS[:50])
    write_jsonl(local / "b.jsonl", [*ROWS[50:], {"text": None}])
    source, model = upload(local, f"{bucket}/in"), upload(bert, f"{bucket}/model")
    more = ("--partition=run_date=2026-11-24", "--slice_bytes=3000")
    assert classify_command.main(flags(f"{local}/*.jsonl", tmp_path / "out", bert, *more)) == 0
    command = flags(f"{source}/*.jsonl", f"{bucket}/out", model, *more)  # type: ignore[arg-type]
    assert classify_command.main(command) == 0

    output = open_storage(f"{bucket}/out")
    names = [each.path for each in output.list_files("")]
    assert not [name for name in names if name.startswith("staging/")]
    (manifest,) = [name for name in names if name.endswith("manifest.json")]
    counts = json.loads(output.read(manifest) or b"")["counts"]
    assert (counts["rows_read"], counts["rows_rejected"]) == (len(ROWS) + 1, 1)
    found = []
    for name in names:
        if name.startswith("predictions/run_date=2026-11-24/"):
            found += pq.read_table(io.BytesIO(output.read(name) or b"")).to_pylist()
    found.sort(key=lambda row: (row["source_file"], row["source_row"]))
    answers = ("label", "score", "stars", "num_tokens", "source_row")
    expected = table(tmp_path / "out")
    assert [[row[k] for k in answers] for row in found] == [
        [row[k] for k in answers] for row in expected
    ]
    assert {row["source_file"] for row in found} == {f"{source}/a.jsonl", f"{source}/b.jsonl"}
    # The same files have the same version wherever they lie.
    assert {row["model_version"] for row in found} == {row["model_version"] for row in expected}


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("--input", "there is no bucket no-such-bucket"),
        ("--model", "check --model"),
        ("--output", "bucket"),
        ("--config", "--config gs://no-such-bucket/x: cannot be read"),
        ("--prices", "--prices gs://no-such-bucket/x: cannot be read"),
    ],
)
def test_a_place_that_is_not_there_is_one_line(
    bucket: str,
    bert: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    which: str,
    message: str,
) -> None:
    places = {
        "--input": str(write_jsonl(tmp_path / "in.jsonl")),
        "--output": str(tmp_path / "out"),
        "--model": str(bert),
    }
    places[which] = "gs://no-such-bucket/x"
    command = [text for pair in places.items() for text in pair]
    command += ["--dry_run"] if which == "--prices" else []
    assert classify_command.main(command) == 2
    shown = capsys.readouterr().err
    (error,) = [line for line in shown.splitlines() if not line.startswith("reading ")]
    assert message in error and "gs://no-such-bucket/x" in error
