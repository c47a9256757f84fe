"""Ctrl-C and SIGTERM: one line, an exit code, word of it in the output, and the way on."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from beam_bert.models import ModelStore, display
from pipelines import classify, models
from tests.jobs.test_run import flags, table, write_jsonl

ROWS = [{"text": f"I love film number {n}, and more"} for n in range(100)]


def stop_when_a_shard_is_there(output: Path, number: int) -> threading.Thread:
    def wait() -> None:
        deadline = time.monotonic() + 60
        while not list(output.glob("staging/*/records/*.json")) and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_stopped_run_says_so_and_the_next_takes_its_shards_over(
    tmp_path: Path, bert: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source, output = write_jsonl(tmp_path / "in.jsonl", ROWS), tmp_path / "out"
    command = flags(source, output, bert, "--slice_bytes=100")
    thread = stop_when_a_shard_is_there(output, signal.SIGINT)
    assert classify.main(command) == 130
    thread.join()
    told = capfd.readouterr().err
    assert "stopped; the same command goes on from here" in told.splitlines()
    assert "Traceback" not in told
    (word,) = output.glob("runs/*/failure.json")
    failure = json.loads(word.read_bytes())
    assert failure["reason"] == "stopped"
    assert (word.parent / "report.html").exists()
    assert not (output / "predictions").exists()

    left = len(list(output.glob("staging/*/records/*.json")))
    assert classify.main(command) == 0
    done = capfd.readouterr()
    assert f"an earlier launch left {left:,} shard" in done.err
    line = next(each for each in done.out.splitlines() if "taken over from an earlier" in each)
    assert str(left) in line
    assert len(table(output)) == len(ROWS)


def test_a_stop_after_the_commit_says_that_all_is_there(
    tmp_path: Path,
    bert: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from beam_bert.jobs import run

    finished = run._finished

    def stop(result: object) -> object:
        finished(result)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)
        return result

    monkeypatch.setattr(run, "_finished", stop)
    source, output = write_jsonl(tmp_path / "in.jsonl", ROWS[:3]), tmp_path / "out"
    assert classify.main(flags(source, output, bert)) == 130
    assert f"stopped, but all is committed: {output}/runs/" in capfd.readouterr().err
    assert not list(output.glob("runs/*/failure.json"))


def test_the_command_models_stops_in_one_line(
    tmp_path: Path,
    bert: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ModelStore(str(tmp_path / "store")).publish(bert)

    def stop(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(display, "show_store", stop)
    assert models.main(["list", str(tmp_path / "store")]) == 143
    assert capfd.readouterr().err == "stopped; an alias has moved wholly or not at all\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_here_is_told_before_the_pipeline_starts(
    tmp_path: Path, bert: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source, output = write_jsonl(tmp_path / "in.jsonl", ROWS[:3]), tmp_path / "out"
    assert classify.main(flags(source, output, bert, "--device=cuda")) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: device 'cuda' is not here") and error.count("\n") == 1
    assert not output.exists()


def test_an_error_of_a_worker_thread_is_one_line(
    tmp_path: Path, bert: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "I love it"}\n{\n')
    threads = ["--direct_running_mode=multi_threading", "--direct_num_workers=2"]
    assert classify.main(flags(source, tmp_path / "out", bert, *threads)) == 1
    error = capfd.readouterr().err
    assert "error: 1 of 2 rows (50.00%) were rejected" in error
    assert "Traceback" not in error and "ERROR" not in error
