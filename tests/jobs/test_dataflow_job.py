"""What a person and a scheduler see of a Dataflow job, from a launcher that really submits one.

Beam's DataflowRunner, its staging and its client are real; Dataflow's API and Cloud Storage are
stand-ins on this machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from apache_beam.runners.dataflow import dataflow_runner

from beam_bert.jobs.runners import check_places, pipeline_options
from beam_bert.storage.places import open_storage
from pipelines import classify, nightly
from tests.jobs.fake_dataflow import JOB_ID, FakeDataflow, serve
from tests.jobs.test_dataflow import GPU_FLAGS, credentials

__all__ = ["credentials"]  # a fixture

# airflow/providers/google/cloud/hooks/dataflow.py of apache-airflow-providers-google 22.8.0
AIRFLOW = re.compile(
    r"Submitted job: (?P<job_id_java>[^\"\n\s]*)|"
    r"Created job with id: \[(?P<job_id_python>[^\"\n\s]*)\]"
)
# container/v1/dataflow/dataflow_python_job_remote_runner.py of its pipeline components 2.22
VERTEX = re.compile(
    r".*console.cloud.google.com/dataflow/jobs/(?P<location>[a-z|0-9|A-Z|\-|\_]+)/"
    r"(?P<job_id>[a-z|0-9|A-Z|\-|\_]+).*"
)


@pytest.fixture
def dataflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDataflow]:
    """Beam asks it at each turn without its pauses of five seconds."""
    quick = SimpleNamespace(**{**vars(dataflow_runner.time), "sleep": lambda _: None})
    monkeypatch.setattr(dataflow_runner, "time", quick)
    with serve(FakeDataflow()) as found:
        yield found


@pytest.fixture
def launch(
    dataflow: FakeDataflow, new_gs_output: Callable[[], str], credentials: None
) -> Callable[..., tuple[int, str]]:
    """Start `pipelines.classify` on Dataflow with everything on gs://; returns exit code, place."""

    def start(*flags: str) -> tuple[int, str]:
        place = new_gs_output()
        source = f"{place}/in/reviews.jsonl"
        open_storage(place).upload(Path("examples/reviews.jsonl"), "in/reviews.jsonl")
        given = [
            f"--input={source}", f"--output={place}/out", "--model=sentiment-small-en", *GPU_FLAGS,
            f"--temp_location={place}/temp", f"--dataflow_endpoint={dataflow.endpoint}", *flags,
        ]  # fmt: skip
        return classify.main(given), place

    return start


def test_a_launcher_says_its_job_its_page_and_each_change_of_state(
    launch: Callable[..., Any], dataflow: FakeDataflow, capfd: pytest.CaptureFixture[str]
) -> None:
    dataflow.states = ["QUEUED", "QUEUED", "RUNNING", "RUNNING", "FAILED"]
    code, _ = launch()
    out = capfd.readouterr()
    assert code == 1 and dataflow.created
    printed = (out.out + out.err).splitlines()
    found = [match["job_id_python"] for line in printed if (match := AIRFLOW.search(line))]
    assert found == [JOB_ID]  # by the pattern of Airflow's provider
    pages = [match for line in printed if (match := VERTEX.search(line))]
    assert (pages[0]["job_id"], pages[0]["location"]) == (JOB_ID, "us-central1")
    states = re.findall(r"is in state JOB_STATE_(\w+)", out.err)
    assert states == ["QUEUED", "RUNNING", "FAILED"]
    assert "Create job: " not in out.err  # the whole job as a protocol buffer


def test_control_c_says_that_the_job_goes_on_and_how_to_stop_it(
    launch: Callable[..., Any],
    dataflow: FakeDataflow,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def stop(self: Any, duration: Any = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dataflow_runner.DataflowPipelineResult, "wait_until_finish", stop)
    code, _ = launch()
    last = capfd.readouterr().err.splitlines()[-1]
    assert code == 130
    assert "goes on in the cloud" in last and "the same command goes on" not in last
    project, region = GPU_FLAGS[1:3]
    assert f"gcloud dataflow jobs cancel {JOB_ID} {project} {region}" in last


def test_a_job_that_somebody_stopped_is_told_as_such(
    launch: Callable[..., Any], dataflow: FakeDataflow, capfd: pytest.CaptureFixture[str]
) -> None:
    dataflow.states = ["RUNNING", "CANCELLED"]
    code, _ = launch()
    assert code == 1
    assert capfd.readouterr().err.splitlines()[-1] == f"error: job {JOB_ID} ended as CANCELLED"


def test_losing_sight_of_a_job_is_not_told_as_its_failure(
    launch: Callable[..., Any],
    dataflow: FakeDataflow,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The poll breaks off (an expired token, a closed network): the job runs on without us."""
    poll = dataflow_runner.DataflowRunner.poll_for_job_completion

    def closed(*args: Any) -> None:
        dataflow.is_down = True
        with pytest.raises(Exception, match="the way is closed"):
            poll(*args)

    monkeypatch.setattr(dataflow_runner.DataflowRunner, "poll_for_job_completion", closed)
    code, _ = launch()
    last = capfd.readouterr().err.splitlines()[-1]
    assert code == 1
    assert f"job {JOB_ID} goes on in the cloud" in last and "jobs cancel" in last


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--input=examples/reviews.jsonl", "error: --input examples/reviews.jsonl is a path of"),
        ("--output=/tmp/beam-bert-nowhere", "error: --output /tmp/beam-bert-nowhere is a path of"),
    ],
)
def test_dataflow_is_not_given_a_path_of_this_machine(
    launch: Callable[..., Any],
    dataflow: FakeDataflow,
    flag: str,
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    code, place = launch(flag)
    error = capfd.readouterr().err
    assert code == 2
    assert error.startswith(message) and error.count("\n") == 1 and "gs://" in error
    assert not dataflow.created
    assert not open_storage(place).list_files("temp") and not open_storage(place).list_files("out")
    assert not Path("/tmp/beam-bert-nowhere").exists()


@pytest.mark.parametrize("local", ["store", "input", "output"])
def test_a_night_on_dataflow_with_a_local_place_never_begins(
    tmp_path: Path, local: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"store": "gs://b/store", "input": "gs://b/in", "output": "gs://b/out"}
    places[local] = str(tmp_path / local)
    file = tmp_path / "night.yaml"
    file.write_text(
        f"store: {places['store']}\n"
        f"classify: {{input: {places['input']}, output: {places['output']}}}\n"
    )
    code = nightly.main([f"--config={file}", *GPU_FLAGS])
    captured = capsys.readouterr()
    assert code == 2
    assert local in captured.err and "Dataflow's workers do not see" in captured.err
    assert captured.err.count("\n") == 1 and captured.out == ""


def test_other_machines_runners_are_told_that_workers_must_see_the_places(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def noted(*flags: str) -> str:
        places = {"--input": ["in/", "gs://b/in"], "--output": ["gs://b/out"]}
        check_places(pipeline_options(flags), places)
        return capsys.readouterr().err

    note = (
        "warning: --input in/ must be seen by every worker of {}: a disk that all share, or gs://\n"
    )
    pool = ["--environment_type=EXTERNAL", "--environment_option=external_service_address=h:1"]
    assert noted("--runner=PortableRunner", "--job_endpoint=h:1", *pool) == note.format(
        "PortableRunner"
    )
    assert noted("--runner=FlinkRunner", "--flink_master=h:8081") == note.format("FlinkRunner")
    for here in (
        ["--runner=PortableRunner", "--job_endpoint=h:1", "--environment_type=LOOPBACK"],
        ["--runner=FlinkRunner", "--flink_master=[local]"],
        ["--runner=PrismRunner"],
        [],
    ):
        assert noted(*here) == ""
