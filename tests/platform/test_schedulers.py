"""examples/airflow_dag.py and examples/vertex_pipeline.py, without Airflow and Kubeflow.

Airflow's own packages are not installed with the tests: classes stand in for them that keep what
they are given, and the command is made of it as the operator of the provider apache-beam 6.3 makes
it. With the real packages both files were tried once by hand, see docs/dataflow.md.
"""

from __future__ import annotations

import ast
import json
import runpy
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from beam_bert.jobs.command_line import parse_config
from beam_bert.settings.inference import ClassifyConfig
from beam_bert.settings.nightly import NightlyConfig
from tests.jobs.test_run import ROWS, table, write_jsonl
from tests.platform.terraform_files import ROOT, TERRAFORM


class Task:
    """An operator: its arguments, and what comes after it."""

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.after: list[Task] = []

    def __rshift__(self, other: Task) -> Task:
        other.after.append(self)
        return other


class Dag(Task):
    def __enter__(self) -> Dag:
        return self

    def __exit__(self, *error: object) -> None:
        pass


AIRFLOW = {
    "airflow.sdk": {"DAG": Dag},
    "airflow.providers.standard.operators.bash": {"BashOperator": Task},
    "airflow.providers.google.cloud.operators.dataflow": {"DataflowConfiguration": Task},
    "airflow.providers.apache.beam.operators.beam": {"BeamRunPythonPipelineOperator": Task},
}


def load(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, Any]:
    for name, members in AIRFLOW.items():
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            module = types.ModuleType(".".join(parts[:length]))
            monkeypatch.setitem(sys.modules, module.__name__, module)
        vars(sys.modules[name]).update(members)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(ROOT / "examples/airflow_dag.py"))


def command(task: Task) -> list[str]:
    """As the provider's hook makes it: lists are repeated, True is a bare flag, a dict is JSON."""
    given, options = task.given, dict(task.given["pipeline_options"])
    if given["runner"] == "DataflowRunner":
        dataflow = given["dataflow_config"].given
        options |= {"job_name": dataflow["job_name"], "project": dataflow["project_id"]}
        options["region"] = dataflow["location"]
    options["labels"] = ["airflow-version=v3-3-2"]
    flags = [f"--runner={given['runner']}"]
    for name, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            if each is not None:
                flags.append(f"--{name}" if each is True else f"--{name}={each}")
    return [given["py_interpreter"], *given["py_options"], given["py_file"], *flags]


def filled(text: str) -> str:
    return text.replace("{{ ds }}", "2026-11-24").replace("{{ ds_nodash }}", "20261124")


def test_each_task_of_the_dag_has_flags_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    dag = load(monkeypatch)
    example = ROOT / "examples/nightly.yaml"
    steps = {}
    for name in ("finetune", "evaluate"):
        words = filled(dag[name].given["bash_command"]).split()
        assert words[1:3] == ["-m", "pipelines.nightly"]
        flags = [word for word in words[3:] if not word.startswith("--config")]
        config, _ = parse_config(NightlyConfig, [f"--config={example}", *flags], "x")
        steps[name] = config.steps
        assert config.date == "2026-11-24"
    assert steps == {"finetune": ("train",), "evaluate": ("gate", "promote")}
    assert dag["classify"].given["trigger_rule"] == "all_done"
    assert dag["classify"].after == [dag["evaluate"]]
    assert dag["evaluate"].after == [dag["finetune"]]

    words = [filled(word) for word in command(dag["classify"])]
    config, beam_flags = parse_config(ClassifyConfig, words[3:], "x")
    assert config.incremental and config.partition == "run_date=2026-11-24"
    assert "--runner=DataflowRunner" in beam_flags and "--job_name=beam-bert-20261124" in beam_flags
    assert all(each.startswith("gs://") for each in (*config.input, config.output, config.model))


def test_the_operators_command_runs_the_job_where_airflow_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bert: Path
) -> None:
    (tmp_path / "incoming").mkdir()
    write_jsonl(tmp_path / "incoming/a.jsonl", ROWS[:5])
    dag = load(
        monkeypatch,
        BEAM_BERT_PYTHON=sys.executable,
        BEAM_BERT_RUNNER="DirectRunner",
        BEAM_BERT_PLACE=str(tmp_path),
    )
    classify = dag["classify"]
    classify.given["pipeline_options"] |= {"model": str(bert)}
    words = [filled(word) for word in command(classify)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert len(table(tmp_path / "out")) == 5


def test_the_vertex_pipeline_gives_the_template_parameters_that_it_takes() -> None:
    tree = ast.parse((ROOT / "examples/vertex_pipeline.py").read_text(encoding="utf-8"))
    (given,) = [
        {ast.literal_eval(key) for key in keyword.value.keys}  # type: ignore[attr-defined]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "parameters"
    ]
    metadata = json.loads((TERRAFORM / "flex_template/metadata.json").read_text("utf-8"))
    known = {parameter["name"]: parameter for parameter in metadata["parameters"]}
    assert given <= set(known)
    assert {name for name, each in known.items() if not each["isOptional"]} <= given
