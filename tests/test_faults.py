"""A whole job from gs:// to gs:// behind a proxy that spoils a fifth of its requests."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from beam_bert.storage import open_storage
from pipelines import classify as classify_command
from tests.faulty_proxy import FaultyProxy
from tests.test_job import ROWS, flags, write_jsonl
from tests.test_job_gs import upload


@pytest.fixture(params=[1, 2])
def faulty(request: pytest.FixtureRequest, emulator: str) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(emulator, share=0.2, seed=request.param)
    yield proxy
    proxy.stop()


def test_a_job_finishes_with_every_row_or_shows_nothing(
    faulty: FaultyProxy,
    emulator: str,
    new_gs_output: Callable[[], str],
    bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BEAM_BERT_CACHE", str(tmp_path / "cache"))
    bucket = new_gs_output()
    local = tmp_path / "in"
    local.mkdir()
    write_jsonl(local / "a.jsonl", ROWS[:50])
    write_jsonl(local / "b.jsonl", ROWS[50:])
    source, model = upload(local, f"{bucket}/in"), upload(bert, f"{bucket}/model")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", faulty.address)
    command = flags(f"{source}/*.jsonl", f"{bucket}/out", model, "--slice_bytes=3000")  # type: ignore[arg-type]
    capsys.readouterr()
    code = classify_command.main(command)
    error = capsys.readouterr().err
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)

    assert sum(faulty.seen.values()) > 5, faulty.seen
    output = open_storage(f"{bucket}/out")
    names = [each.path for each in output.list_files("")]
    if code != 0:
        # One line, and no table; what is whole in staging serves the next launch.
        assert [line for line in error.splitlines() if line.startswith("error: ")] and (
            "Traceback" not in error
        )
        assert not [name for name in names if name.startswith("predictions/")]
        assert not [name for name in names if name.endswith("manifest.json")]
        assert classify_command.main(command) == 0
        names = [each.path for each in output.list_files("")]
    rows = [
        row
        for name in names
        if name.startswith("predictions/")
        for row in pq.read_table(io.BytesIO(output.read(name) or b"")).to_pylist()
    ]
    found = {(row["source_file"].rsplit("/", 1)[-1], row["source_row"]) for row in rows}
    expected = {("a.jsonl", n) for n in range(50)} | {("b.jsonl", n) for n in range(len(ROWS) - 50)}
    assert found == expected and len(rows) == len(expected)
    (manifest,) = [name for name in names if name.endswith("manifest.json")]
    counts = json.loads(output.read(manifest) or b"")["counts"]
    assert (counts["rows_read"], counts["rows_rejected"]) == (len(ROWS), 0)
