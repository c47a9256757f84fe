"""The same job on a portable runner's job service, and what its metrics count."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.runners.portability.local_job_service import LocalJobServicer

from beam_bert.errors import ConfigError, printable
from beam_bert.jobs import plan as planning
from beam_bert.jobs import run as jobs
from beam_bert.jobs.runners import pipeline_options
from beam_bert.settings.inference import ClassifyConfig
from tests.jobs.test_run import ROWS, flags, run, shards, table, write_jsonl


@pytest.fixture
def job_endpoint(tmp_path: Path) -> Iterator[str]:
    """Address of Beam's own job service, which speaks the protocol that Flink's speaks."""
    service = LocalJobServicer(str(tmp_path / "staging"))
    port = service.start_grpc_server(0)
    yield f"localhost:{port}"
    with contextlib.suppress(Exception):
        service.stop()


@pytest.fixture
def worker_pool() -> Iterator[str]:
    """Address of a pool that starts a worker process for whoever asks: Flink's sidecar."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main"]
    ours = str(Path(sys.executable).parent)  # it starts its workers with the `python` of the PATH
    pool = subprocess.Popen(
        [*command, f"--service_port={port}"],
        env={**os.environ, "PATH": f"{ours}:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield f"localhost:{port}"
    pool.terminate()
    pool.wait()


def test_a_portable_job_service_gives_the_same_bytes_wherever_its_workers_live(
    tmp_path: Path, bert: Path, job_endpoint: str, worker_pool: str
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl")
    small = "--slice_bytes=3000"
    assert run(source, tmp_path / "once", bert, small) == 0
    environments = {
        "LOOPBACK": [],
        "EXTERNAL": [f"--environment_option=external_service_address={worker_pool}"],
    }
    for environment, options in environments.items():
        portable = ["--runner=PortableRunner", f"--job_endpoint={job_endpoint}"]
        portable += [f"--environment_type={environment}", *options]
        output = tmp_path / environment
        # The workers of LOOPBACK live in the launching process, so that is one of its own.
        command = [sys.executable, "-m", "pipelines.classify"]
        command += flags(source, output, bert, small, *portable)
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        assert table(output) == table(tmp_path / "once")
        assert shards(output) == shards(tmp_path / "once")


def test_a_local_run_ends_by_showing_what_it_counted(
    tmp_path: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [*ROWS, {"text": None}, {"text": " "}])
    assert run(source, tmp_path / "out", bert) == 0
    cells = re.findall(r"│ +(\S.*?) +│ +(\S.*?) +│", capsys.readouterr().out)
    shown = dict(cells)
    assert shown["rows read"] == str(len(ROWS) + 2) and shown["rows predicted"] == str(len(ROWS))
    assert (shown["rows rejected"], shown["missing_text"], shown["empty_text"]) == ("2", "1", "1")
    assert int(shown["tokens"].replace(",", "")) > len(ROWS)
    assert float(shown["seconds to load the model"]) >= 0
    assert float(shown["seconds in the model"]) >= 0
    assert re.search(r"up to .* tokens", shown["micro-batches"])
    assert shown["padding saved"].endswith("%")


def test_a_models_labels_and_names_are_shown_as_they_are_and_steer_no_terminal(
    tmp_path: Path, make_bert: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ("[/]", "[red]", "\x1b[2Jgone\u202e")
    source = write_jsonl(tmp_path / "in.jsonl")
    assert run(source, tmp_path / "out", make_bert(labels)) == 0
    out = capsys.readouterr().out
    given = {row["label"] for row in table(tmp_path / "out")}
    assert given <= set(labels)
    assert all(f"label {printable(label)}" in out for label in given)
    assert run(tmp_path / "\x1b[2J.jsonl", tmp_path / "out", make_bert()) == 2
    error = capsys.readouterr().err
    assert not {"\x1b", "\u202e"} & set(out + error)
    assert r"\x1b[2J.jsonl matches no file" in error


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], ("multi_threading", 4)),
        (["--direct_num_workers=2"], ("in_memory", 2)),
        (["--direct_running_mode=multi_processing"], ("multi_processing", 1)),
    ],
)
def test_a_local_run_on_a_gpu_tokenizes_in_other_threads_unless_told_how_to_run(
    tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], expected: tuple
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl")
    config = ClassifyConfig(input=(str(source),), output=str(tmp_path / "out"), model=str(bert))
    for on_gpu, ways in ((False, None), (True, expected)):
        monkeypatch.setattr(planning, "runs_on_cuda", lambda device, on_gpu=on_gpu: on_gpu)
        direct = jobs.plan_job("classify", config, given).options.view_as(DirectOptions)
        if ways is not None:
            assert (direct.direct_running_mode, direct.direct_num_workers) == ways
        elif not given:
            assert direct.direct_num_workers == 1


def test_every_metric_stands_in_one_namespace(tmp_path: Path, bert: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [*ROWS, {"text": None}])
    config = ClassifyConfig(input=(str(source),), output=str(tmp_path / "out"), model=str(bert))
    result = jobs.submit(jobs.plan_job("classify", config))
    result.wait_until_finish()
    query = result.metrics().query(beam.metrics.MetricsFilter().with_namespace("beam_bert"))
    counters = {each.key.metric.name: each.committed for each in query["counters"]}
    sizes = {each.key.metric.name: each.committed for each in query["distributions"]}
    assert counters["rows_read"] == len(ROWS) + 1
    assert counters["rows_predicted"] == len(ROWS)
    rejects = {name: rows for name, rows in counters.items() if name.startswith("rejects_")}
    assert list(rejects.values()) == [1]
    assert counters["tokens"] > len(ROWS)
    assert counters["padding_tokens_saved"] > 0
    assert counters["device_ms"] >= 0
    assert 0 < sizes["batch_tokens"].max <= sizes["batch_tokens"].sum
    assert [name for name in sizes if name.endswith("load_model_latency_milli_secs")]


@pytest.mark.parametrize("name", ["DataflowRuner", "zzz"])
def test_a_runner_that_beam_has_not_is_told_with_the_one_that_is_meant(name: str) -> None:
    hint = "did you mean DataflowRunner" if name != "zzz" else "Beam has DataflowRunner"
    with pytest.raises(ConfigError, match=f"{name}': Beam has no such runner; {hint}"):
        pipeline_options([f"--runner={name}"])
    for known in ("direct", "PrismRunner", "flinkrunner", "my.package.Runner"):
        pipeline_options([f"--runner={known}"])
