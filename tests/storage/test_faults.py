"""A whole job from gs:// to gs:// behind a proxy that spoils a fifth of its requests."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from beam_bert.storage.kept_bytes import KEPT
from beam_bert.storage.places import open_storage
from pipelines import classify as classify_command
from tests.jobs.test_run import ROWS, write_jsonl
from tests.jobs.test_run_gs import upload
from tests.storage.faulty_proxy import FaultyProxy, hurry, proxied, random_faults


@pytest.fixture
def command(
    new_gs_output: Callable[[], str], bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """A job over two files; the last flag is its output."""
    monkeypatch.setenv("BEAM_BERT_CACHE", str(tmp_path / "cache"))
    bucket = new_gs_output()
    local = tmp_path / "in"
    local.mkdir()
    write_jsonl(local / "a.jsonl", ROWS[:50])
    write_jsonl(local / "b.jsonl", ROWS[50:])
    source, model = upload(local, f"{bucket}/in"), upload(bert, f"{bucket}/model")
    return [
        *("--input", f"{source}/*.jsonl", "--model", model, "--slice_bytes=3000", "--device=cpu"),
        *("--output", f"{bucket}/out"),
    ]


def names(output: str) -> list[str]:
    return [each.path for each in open_storage(output).list_files("")]


def check_nothing_is_visible(output: str, error: str) -> None:
    """One line, and no table; what is whole in staging serves the next launch.

    A commit that has begun cannot be taken back: its journal says what the next launch finishes.
    """
    lines = [line for line in error.splitlines() if line.strip()]
    assert len([line for line in lines if line.startswith("error: ")]) == 1, error
    assert "Traceback" not in error
    if not [n for n in names(output) if n.endswith("/commit.json")]:
        assert not [n for n in names(output) if n.startswith(("predictions/", "rejects/"))]
    assert not [n for n in names(output) if n.endswith("manifest.json")]


def check_every_row_is_there_once(output: str) -> None:
    storage = open_storage(output)
    rows = [
        row
        for name in names(output)
        if name.startswith("predictions/")
        for row in pq.read_table(io.BytesIO(storage.read(name) or b"")).to_pylist()
    ]
    found = {(row["source_file"].rsplit("/", 1)[-1], row["source_row"]) for row in rows}
    expected = {("a.jsonl", n) for n in range(50)} | {("b.jsonl", n) for n in range(len(ROWS) - 50)}
    assert found == expected and len(rows) == len(expected)
    (manifest,) = [name for name in names(output) if name.endswith("manifest.json")]
    counts = json.loads(storage.read(manifest) or b"")["counts"]
    assert (counts["rows_read"], counts["rows_rejected"]) == (len(ROWS), 0)


@pytest.mark.parametrize(
    ("gs_server", "seed"), [("emulator", 1), ("fake_gcs", 2)], indirect=["gs_server"]
)
def test_a_job_finishes_with_every_row_or_shows_nothing(
    seed: int,
    gs_server: str,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hurry(monkeypatch)
    others, reads = random_faults(0.2, seed), itertools.count()

    def faults(operation: str, number: int) -> str | None:
        # One read surely meets a fault, whatever the order of requests.
        is_first = operation == "read" and next(reads) == 0
        return "reset" if is_first else others(operation, number)

    with proxied(gs_server, monkeypatch, faults) as faulty:
        code = classify_command.main(command)
    error = capsys.readouterr().err
    of_the_input = {s.name for s in faulty.seen if s.operation == "read" and "/in/" in s.name}
    assert len(of_the_input) == 2, "the input did not come through the proxy"
    assert len({fault for _, fault in faulty.met}) > 3, faulty.met
    assert "read" in {operation for operation, _ in faulty.met}, faulty.met
    if code != 0:
        check_nothing_is_visible(command[-1], error)
        assert classify_command.main(command) == 0
    check_every_row_is_there_once(command[-1])


def test_a_service_that_goes_away_in_the_middle_fails_the_job_in_a_line_and_costs_no_row(
    gs_server: str,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hurry(monkeypatch, give_up_s=0.3)
    with proxied(gs_server, monkeypatch) as whole:
        assert classify_command.main([*command[:-1], f"{command[-1]}-whole"]) == 0
    for spared in (whole.requests // 3, whole.requests // 2):
        output = f"{command[-1]}-{spared}"
        capsys.readouterr()
        away = random_faults(1, faults=("503",), spared=spared)
        with proxied(gs_server, monkeypatch, away):
            assert classify_command.main([*command[:-1], output]) in (1, 2)
        check_nothing_is_visible(output, capsys.readouterr().err)
        assert classify_command.main([*command[:-1], output]) == 0
        check_every_row_is_there_once(output)


@pytest.mark.parametrize(
    ("part", "fault", "place"),
    [
        ("list", "503", r"/in/.*\.jsonl"),
        ("list", "501", r"/in/.*\.jsonl"),
        ("model", "503", "/model/"),
        ("launch", "503", r"/in/[ab]\.jsonl"),
        ("pipeline", "503", r"/in/[ab]\.jsonl"),
        ("pipeline", "flipped", r"/in/[ab]\.jsonl"),
    ],
)
def test_what_cannot_be_listed_or_read_is_one_line_with_its_name_and_exit_code_1(
    part: str,
    fault: str,
    place: str,
    gs_server: str,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hurry(monkeypatch, give_up_s=0.3)
    monkeypatch.setattr(KEPT, "begin", KEPT.stop)  # as where workers have not seen the launch
    looks = 2 if part == "pipeline" else 0
    of_the_input = itertools.count()

    def spoil(self: FaultyProxy, operation: str, name: str) -> str | None:
        if part == "list":
            return fault if operation in ("list", "look") else None
        folder = "/model/" if part == "model" else "/in/"
        if operation != "read" or folder not in name or next(of_the_input) < looks:
            return None
        return fault

    monkeypatch.setattr(FaultyProxy, "_fault", spoil)
    with proxied(gs_server, monkeypatch):
        code = classify_command.main(command)
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert (code, len(lines)) == (1, 1), error
    assert "Traceback" not in error and re.search(place, lines[0]), error
