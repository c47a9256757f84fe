"""The flex template: parameters from the settings, strings back to flags, a launcher that ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_bert.errors import ConfigError
from beam_bert.jobs import run as jobs
from beam_bert.jobs.command_line import parse_config
from beam_bert.jobs.flex_template import (
    DEFAULT_TASK,
    container_spec,
    join_list,
    main,
    metadata,
    split_list,
    task_of,
    to_flags,
)
from beam_bert.settings.answer import JOBS
from beam_bert.settings.fields import is_fixed
from beam_bert.settings.inference import ClassifyConfig
from beam_bert.storage.places import open_storage
from pipelines import flex_template as launcher
from tests.platform.terraform_files import ROOT

IMAGE = "europe-west1-docker.pkg.dev/p/r/beam-bert@sha256:" + "a1" * 32
NEEDED = ["--input=gs://b/in/*.jsonl", "--output=gs://b/out", "--model=gs://m/x"]


def parameters_of(task: str) -> dict[str, dict[str, Any]]:
    return {parameter["name"]: parameter for parameter in metadata(task)["parameters"]}


PARAMETERS = parameters_of(DEFAULT_TASK)
each_task = pytest.mark.parametrize("task", JOBS)


def accepts(name: str, value: str, parameters: dict[str, dict[str, Any]] = PARAMETERS) -> bool:
    return all(re.search(regex, value) for regex in parameters[name].get("regexes", []))


@each_task
def test_every_setting_is_a_parameter_with_words_for_a_person(task: str) -> None:
    config, parameters = JOBS[task], parameters_of(task)
    settings = {n: f for n, f in config.model_fields.items() if not is_fixed(config, n)}
    assert list(parameters) == [*settings, "task", "sdk_container_image"]
    for name, field in settings.items():
        parameter = parameters[name]
        assert parameter["isOptional"] is not field.is_required()
        assert parameter["helpText"].startswith(field.description or "")
        assert parameter["label"]


@each_task
def test_the_service_knows_every_field_and_type(task: str) -> None:
    from google.cloud.dataflow_v1beta3.types import ContainerSpec

    spec = container_spec(IMAGE, task)
    parsed = ContainerSpec.from_json(json.dumps(spec))
    known = set(type(parsed.metadata.parameters[0]).meta.fields)
    for parameter in spec["metadata"]["parameters"]:
        assert {re.sub("[A-Z]", lambda m: "_" + m[0].lower(), key) for key in parameter} <= known
    assert spec["defaultEnvironment"]["sdkContainerImage"] == IMAGE


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("input", "gs://b/a.jsonl", True),
        ("input", "gs://b/a.jsonl,gs://b/c d.csv", True),
        ("input", r"gs://b/a\,b.jsonl", True),
        ("input", "/etc/passwd", False),
        ("input", "gs://b/a,/etc/passwd", False),
        ("output", "gs://b/out", True),
        ("output", "/tmp/out", False),
        ("top_k", "3", True),
        ("top_k", "-3", False),
        ("max_reject_rate", "0.05", True),
        ("max_reject_rate", "1e-3", True),
        ("max_reject_rate", "5%", False),
        ("sdk_container_image", IMAGE, True),
        ("sdk_container_image", "a b", False),
        ("keep_columns", "[]", True),
        ("keep_columns", "a,b", True),
        ("keep_columns", "a,,b", False),
    ],
)
def test_a_parameter_is_checked_before_a_machine_starts(
    name: str, value: str, accepted: bool
) -> None:
    assert accepts(name, value) is accepted


@each_task
def test_the_defaults_pass_their_own_checks_and_mean_the_same(task: str) -> None:
    config, parameters = JOBS[task], parameters_of(task)
    needed = [*NEEDED, *(["--question=Who\\, and when?"] if task == "answer" else [])]
    defaults = {n: p["defaultValue"] for n, p in parameters.items() if "defaultValue" in p}
    assert all(accepts(name, value, parameters) for name, value in defaults.items())
    given = [*(f"--{name}={value}" for name, value in defaults.items()), *needed]
    found, rest = task_of(given)
    assert found == task
    given_, _ = parse_config(config, to_flags(rest, config), "x")
    without, _ = parse_config(config, to_flags(needed, config), "x")
    assert given_ == without
    assert task != "answer" or given_.question == ("Who, and when?",)  # type: ignore[attr-defined]


def test_a_number_may_be_negative_where_the_setting_may() -> None:
    assert accepts("null_threshold", "-2.5", parameters_of("answer"))
    assert not accepts("stride", "-2", parameters_of("answer"))


def test_a_task_that_is_none_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert launcher.main([*NEEDED, "--task=paint"]) == 2
    assert (
        capsys.readouterr().err == "error: task 'paint': it is one of classify, sentiment, answer\n"
    )


@given(st.lists(st.text(min_size=1).filter(lambda item: item != "[]")))
def test_a_list_survives_being_a_string(items: list[str]) -> None:
    assert split_list(join_list(items)) == items


def test_lists_numbers_and_switches_arrive_as_settings() -> None:
    parameters = [
        "--input=gs://b/a.csv,gs://b/c.csv", "--output=gs://b/out", "--model=m",
        "--keep_columns=[]",
        "--text_column=title,body", "--top_k=2", "--keep_text=true", "--overwrite=false",
        "--max_reject_rate=0.1", "--runner=DataflowRunner", "--template_location=gs://b/t",
    ]  # fmt: skip
    config, beam_flags = parse_config(ClassifyConfig, to_flags(parameters), "x")
    assert config.input == ("gs://b/a.csv", "gs://b/c.csv")
    assert (config.keep_columns, config.text_column) == ((), ("title", "body"))
    assert (config.top_k, config.keep_text, config.overwrite) == (2, True, False)
    assert beam_flags == ["--runner=DataflowRunner", "--template_location=gs://b/t"]


def test_flags_that_only_a_newer_launcher_knows_are_passed_on_and_a_persons_are_refused(
    tmp_path: Path,
) -> None:
    flags = to_flags([*NEEDED, "--a_flag_of_tomorrow=7"])
    _, beam_flags = parse_config(ClassifyConfig, flags, "x", pass_on_unknown=True)
    assert beam_flags == ["--a_flag_of_tomorrow=7"]
    with pytest.raises(ConfigError, match="unknown flag --a_flag_of_tomorrow"):
        parse_config(ClassifyConfig, flags, "x")
    file = tmp_path / "c.yaml"
    file.write_text("a_name_of_a_person: 7\n")
    with pytest.raises(ConfigError, match="unknown setting a_name_of_a_person"):
        parse_config(ClassifyConfig, [*flags, f"--config={file}"], "x", pass_on_unknown=True)


@each_task
def test_a_precision_that_no_launcher_can_prove_is_not_offered(task: str) -> None:
    options = [each["value"] for each in parameters_of(task)["precision"]["enumOptions"]]
    assert options == ["auto", "fp32", "bf16", "int8"]


def test_an_item_that_looks_like_a_flag_stays_an_item() -> None:
    config, beam_flags = parse_config(
        ClassifyConfig, to_flags([*NEEDED, "--text_column=a,--overwrite,--runner=X"]), "x"
    )
    assert config.text_column == ("a", "--overwrite", "--runner=X")
    assert config.overwrite is False
    assert beam_flags == []


def test_a_template_names_its_image_by_digest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--image", "europe-west1-docker.pkg.dev/p/r/beam-bert:latest"]) == 2
    assert "by its digest" in capsys.readouterr().err
    assert main(["--image", IMAGE]) == 0
    assert json.loads(capsys.readouterr().out)["image"] == IMAGE


def test_the_committed_metadata_is_what_the_settings_say() -> None:
    committed = (ROOT / "terraform/flex_template/metadata.json").read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "beam_bert.jobs.flex_template"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout == committed, "run: python terraform/generate.py"
    for task in set(JOBS) - {DEFAULT_TASK}:
        committed = (ROOT / f"terraform/flex_template/metadata-{task}.json").read_text("utf-8")
        assert json.loads(committed) == metadata(task), "run: python terraform/generate.py"


@pytest.mark.parametrize("task", ["classify", "sentiment"])
def test_the_launcher_submits_the_job_and_does_not_wait(
    new_gs_output: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
) -> None:
    """Dataflow's own runner builds and checks the graph; Beam's dry_run stops it at the service."""
    from apache_beam.options.pipeline_options import GoogleCloudOptions, TestOptions
    from apache_beam.runners.dataflow import dataflow_runner

    def wait(*_: object, **__: object) -> None:
        raise AssertionError("the launcher waited")

    monkeypatch.setattr(dataflow_runner.DataflowPipelineResult, "wait_until_finish", wait)
    place = new_gs_output()
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "good book"}\n' * 3)
    open_storage(place).upload(rows, "in/a,b.jsonl")
    submitted = []
    launch, submit = jobs.launch, jobs.submit

    def submit_dry(plan: jobs.JobPlan) -> object:
        plan.options.view_as(TestOptions).dry_run = True
        return submit(plan)

    monkeypatch.setattr(jobs, "submit", submit_dry)
    monkeypatch.setattr(jobs, "launch", lambda *args: submitted.append(launch(*args)))

    code = launcher.main(
        [
            f"--task={task}", f"--input={join_list([f'{place}/in/a,b.jsonl'])}",
            f"--output={place}/out", "--a_flag_of_tomorrow=7",
            "--model=sentiment-small-en", "--runner=DataflowRunner", "--project=example",
            "--region=europe-west1", "--temp_location=gs://example/temp",
            f"--sdk_container_image={IMAGE}",
        ]
    )  # fmt: skip
    assert code == 0
    assert len(submitted) == 1
    labels = submitted[0].job.options.view_as(GoogleCloudOptions).labels
    assert f"beam_bert_job={task}" in labels
    steps = json.dumps([str(t.unique_name) for t in _transforms(submitted[0])])
    for step in ("ReadSlice", "RunInference", "WriteShard", "Commit"):
        assert step in steps
    assert not open_storage(place).list_files("out/predictions")


def _transforms(result: object) -> list:
    proto = result.job.proto_pipeline  # type: ignore[attr-defined]
    return list(proto.components.transforms.values())


def test_a_wrong_parameter_ends_the_launcher_with_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert launcher.main([*NEEDED, "--top_k=0"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --top_k")
    assert error.count("\n") == 1
