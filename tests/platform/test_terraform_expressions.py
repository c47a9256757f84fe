"""The modules' locals and validations, computed by `terraform console`: it needs no provider."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.platform.terraform_files import TERRAFORM

pytestmark = pytest.mark.skipif(shutil.which("terraform") is None, reason="needs terraform")

IMAGE = "europe-west1-docker.pkg.dev/p/beam-bert/beam-bert@sha256:" + "0" * 64
WORKER = "beam-bert-worker@example.iam.gserviceaccount.com"
FLEX = {
    "template": {"bucket": "templates", "object": "classify-1.json"},
    "service_account": WORKER,
    "temp_url": "gs://temp/",
    "subnetwork": "regions/europe-west1/subnetworks/workers",
}
NIGHTLY = {
    "project_id": "example",
    "region": "europe-west1",
    "launcher_service_account": "launcher@example.iam.gserviceaccount.com",
    "scheduler_service_account": "scheduler@example.iam.gserviceaccount.com",
    "template": {
        "container_spec_gcs_path": "gs://t/c.json",
        "environment": {"numWorkers": 1},
        "parameters": {"sdk_container_image": IMAGE},
    },
    "classify": {"input": "gs://raw/*", "output": "gs://out/a/b/", "model": "sentiment-small-en"},
}


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[..., Any]:
    """Compute `local.NAME` of a module with its variables set; fails with Terraform's message."""

    def evaluate(module: str, expression: str, variables: dict[str, Any]) -> Any:
        source = TERRAFORM / "modules" / module
        shutil.copy(source / "variables.tf", tmp_path)
        for data in source.glob("*.json"):
            shutil.copy(data, tmp_path)
        blocks = [
            block
            for file in sorted(source.glob("*.tf"))
            for block in re.findall(r"^locals \{\n.*?^\}\n", file.read_text(), re.M | re.S)
        ]
        content = json.dumps(json.dumps({"image": IMAGE}))
        locals_ = re.sub(
            r"data\.google_storage\w+\.\w+\.content", lambda _: content, "".join(blocks)
        )
        locals_ = re.sub(r"\[for channel in google_\w+\.\w+ : channel\.name\]", "[]", locals_)
        (tmp_path / "locals.tf").write_text(locals_)
        (tmp_path / "t.tfvars.json").write_text(json.dumps(variables))
        done = subprocess.run(
            ["terraform", "console", "-var-file=t.tfvars.json"],
            cwd=tmp_path,
            input=f"jsonencode({expression})\n",
            capture_output=True,
            text=True,
        )
        if done.returncode or "Error" in done.stderr:
            raise AssertionError(" ".join(re.sub(r"[│╷╵]", " ", done.stderr).split()))
        return json.loads(json.loads(done.stdout))

    return evaluate


def test_the_launch_environment_is_what_dataflow_takes(evaluate: Callable[..., Any]) -> None:
    from google.cloud.dataflow_v1beta3.types import FlexTemplateRuntimeEnvironment

    more = {"workers": {"maximum": 4}, "experiments": ["a"], "labels": {"app": "x"}}
    environment = evaluate("flex_template", "local.environment", FLEX | more)
    given = {name: value for name, value in environment.items() if value is not None}
    # The job itself chooses machine and disk, by its GPU.
    unset = {"machineType", "numWorkers", "diskSizeGb", "kmsKeyName"}
    assert set(environment) - set(given) == unset
    assert given["sdkContainerImage"] == IMAGE
    assert given["serviceAccountEmail"] == WORKER
    assert given["tempLocation"] == "gs://temp/temp"
    assert (given["maxWorkers"], given["additionalExperiments"]) == (4, ["a"])
    # Every name and type is one of the API's.
    FlexTemplateRuntimeEnvironment.from_json(json.dumps(given))


def test_the_workflows_settings_are_those_that_its_tests_use(evaluate: Callable[..., Any]) -> None:
    from tests.platform.fake_cloud import CLASSIFY, SETTINGS, TRAINING

    training = {
        "image": IMAGE,
        "service_account": "trainer@example.iam.gserviceaccount.com",
        "bucket": "models",
        "train_command": ["train"],
        "evaluate_command": ["evaluate"],
        "promote_command": ["promote"],
        "accelerator": {"type": "NVIDIA_L4", "count": 1},
    }
    found = evaluate(
        "nightly",
        "[local.settings, local.classify, local.training]",
        NIGHTLY | {"training": training},
    )
    settings, classify, trained = (json.loads(each) for each in found)
    assert set(settings) == set(SETTINGS)
    assert set(classify) == set(CLASSIFY)
    given = {**NIGHTLY["classify"], "sdk_container_image": IMAGE}  # type: ignore[dict-item]
    assert classify["parameters"] == {"incremental": "true", **given}
    assert set(trained) == set(TRAINING)
    assert (settings["output_bucket"], settings["output_prefix"]) == ("out", "a/b/")
    assert settings["deadline_s"] == 8 * 3600
    assert trained["machine"] == {
        "machineType": "n1-standard-8", "acceleratorType": "NVIDIA_L4", "acceleratorCount": "1",
    }  # fmt: skip
    # Longest name a job may get; Dataflow takes 63 characters.
    assert len("x" * 32 + "-evaluate-20261124") <= 63


def test_without_training_the_workflow_is_told_so(evaluate: Callable[..., Any]) -> None:
    at_the_root = NIGHTLY | {"classify": NIGHTLY["classify"] | {"output": "gs://out"}}  # type: ignore[operator]
    found = evaluate("nightly", "[local.training, local.settings]", at_the_root)
    assert json.loads(found[0]) == {"enabled": False}
    assert json.loads(found[1])["output_prefix"] == ""


def test_the_tables_have_the_carried_columns_between_ours(evaluate: Callable[..., Any]) -> None:
    variables = {
        "project_id": "example",
        "location": "EU",
        "output": {"bucket": "out", "prefix": "a/"},
        "carried_columns": [{"name": "stars", "type": "INTEGER"}],
        "has_lists": True,
    }
    schemas, keys = evaluate("warehouse", "[local.schemas, local.keys]", variables)
    names = [column["name"] for column in schemas["predictions"]]
    assert names[:6] == ["doc_id", "stars", "label", "score", "labels", "scores"]
    assert keys == "{run_date:DATE}"
    assert {column["mode"] for column in schemas["predictions"]} == {"NULLABLE", "REPEATED"}


@pytest.mark.parametrize(
    ("module", "variables", "message"),
    [
        ("nightly", NIGHTLY | {"limits": {"attempts": 9}}, "1 to 5 attempts"),
        ("nightly", NIGHTLY | {"classify": {"input": "gs://r/*"}}, "input, output and model"),
        ("nightly", NIGHTLY | {"schedule": {"cron": "daily"}}, "five fields"),
        ("flex_template", FLEX | {"workers": {"disk_gb": 20}}, "give 30 or more"),
        ("flex_template", FLEX | {"service_account": "x"}, "account of your own"),
        ("storage", {"project_id": "X", "location": "EU", "name": "n1"}, "6 to 30"),
        ("network", {"project_id": "p", "region": "r", "subnet_cidr": "10.0.0.0/30"}, "/28"),
    ],
)
def test_a_wrong_variable_is_refused_with_what_to_give(
    evaluate: Callable[..., Any], module: str, variables: dict[str, Any], message: str
) -> None:
    with pytest.raises(AssertionError, match=re.escape(message)):
        evaluate(module, "1", variables)
