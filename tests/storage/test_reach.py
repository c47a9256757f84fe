"""A network that leads nowhere is told in one short line and soon, wherever gs:// stands."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from beam_bert.storage import reach
from pipelines import classify, models
from tests.jobs.test_run import write_jsonl


@pytest.fixture
def no_way(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address on this machine that refuses, in the place of Cloud Storage."""
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        monkeypatch.setattr(reach, "_PAUSE_S", 0.01)
        yield address


@pytest.mark.parametrize("which", ["--input", "--output", "--model", "--config", "--prices"])
def test_no_way_to_gs_is_one_line(
    no_way: str, which: str, bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {
        "--input": str(write_jsonl(tmp_path / "in.jsonl")),
        "--output": str(tmp_path / "out"),
        "--model": str(bert),
    }
    places[which] = "gs://bucket/x"
    command = [text for pair in places.items() for text in pair]
    code = classify.main([*command, *(["--dry_run"] if which == "--prices" else [])])
    assert code == 1
    shown = capsys.readouterr().err.splitlines()
    (error,) = [line for line in shown if not line.startswith("reading ")]
    assert error.startswith("error: gs:// cannot be reached: ") and "refused" in error
    assert no_way in error and len(error) < 300
    assert not (tmp_path / "out").exists()


def test_a_store_out_of_reach_is_the_same_line(
    no_way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models.main(["list", "gs://bucket/store"]) == 1
    assert capsys.readouterr().err.startswith("error: gs:// cannot be reached: ")
