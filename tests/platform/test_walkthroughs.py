"""The commands of terraform/README.md and docs/dataflow.md, run line by line by a shell."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.platform.terraform_files import ROOT, TERRAFORM

STUBS = ("gcloud", "terraform", "bq", "git", "jq", "pip", "python", "make")
SDK = Path("/usr/lib/google-cloud-sdk/data/cli/gcloud_completions.py")


def commands(page: Path, *sections: str) -> str:
    """The indented blocks of some sections, or of what stands before the first, as one script."""
    text = page.read_text(encoding="utf-8")
    parts = re.split(r"^## (.*)\n", "## \n" + text, flags=re.MULTILINE)[1:]
    found = dict(zip(parts[::2], parts[1::2], strict=True))
    assert set(sections) <= set(found)
    blocks = [
        textwrap.dedent(block)
        for section in sections
        for block in re.findall(
            r"(?:^ {4,}\S.*\n(?:^\s*\n(?= {7}))?)+", found[section], re.MULTILINE
        )
    ]
    # Text of a numbered step that runs over a line is indented by three blanks, commands by seven.
    return "".join(blocks)


@pytest.fixture
def shell(tmp_path: Path) -> object:
    """Run a script in a copy of the repository, with stand-ins for what reaches the cloud."""
    place, programs, log = tmp_path / "repository", tmp_path / "bin", tmp_path / "log"
    ignored = shutil.ignore_patterns(".terraform*", "*.tfvars", "__pycache__")
    shutil.copytree(TERRAFORM, place / "terraform", ignore=ignored)
    shutil.copytree(ROOT / "examples", place / "examples", ignore=ignored)
    for name in ("cloudbuild.yaml", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, place)
    programs.mkdir()
    stub = ROOT / "tests/platform/stub_commands.py"
    for name in STUBS:
        command = f'STUB_NAME={name} exec {sys.executable} {stub} "$@"'
        (programs / name).write_text(f"#!/bin/sh\n{command}\n")
        (programs / name).chmod(0o755)

    def run(script: str, **more: str) -> list[list[str]]:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=place,
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "STUB_LOG": str(log),
                 "EDITOR": "true", **more},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in log.read_text().splitlines()]

    return run


def test_the_way_with_terraform_can_be_gone_line_by_line(shell) -> None:  # type: ignore[no-untyped-def]
    script = commands(TERRAFORM / "README.md", "From an empty project to the first night")
    script = script.replace("YOUR-PROJECT", "your-project")  # what a reader has to fill in
    calls = shell(script, STUB_MADE_BY="terraform")
    order = [
        " ".join(each[:3]) for each in calls if each[0] in ("gcloud", "bq") or each[1] == "apply"
    ]
    assert order[-5:] == [
        "terraform apply", "gcloud storage cp", "gcloud workflows run", "gcloud storage ls",
        "bq query --use_legacy_sql=false",
    ]  # fmt: skip
    (cp,) = [each for each in calls if each[1:3] == ["storage", "cp"]]
    assert cp[-1] == "gs://your-project-beam-bert-raw/incoming/"
    tools = re.findall(r"`(jq|gcloud|bq)`", (TERRAFORM / "README.md").read_text("utf-8"))
    assert {"jq", "gcloud", "bq"} <= set(tools)  # what the commands need is listed


def test_the_way_by_hand_can_be_gone_line_by_line(shell) -> None:  # type: ignore[no-untyped-def]
    page = ROOT / "docs/dataflow.md"
    script = commands(
        page, "", "From an empty project to the first run", "As a template", "With a GPU"
    )
    calls = shell(script)
    submitted = [each for each in calls if each[0] == "python"]
    assert len(submitted) == 2
    assert all("gs://your-project-data/in/*.jsonl" in each for each in submitted)
    (template,) = [each for each in calls if each[1:4] == ["dataflow", "flex-template", "run"]]
    assert any("input=gs://your-project-data/in/*.jsonl:::" in each for each in template)
    (build,) = [each for each in calls if each[1:3] == ["builds", "submit"]]
    assert any(each.startswith("--service-account=") for each in build)


def test_the_image_is_proved_on_a_gpu_and_the_machine_deleted_whatever_comes_of_it(  # type: ignore[no-untyped-def]
    shell, tmp_path: Path
) -> None:
    script = "gcloud auth login && gcloud iam service-accounts create w && terraform/prove_image.sh"
    script += " eu-docker.pkg.dev/p/r/i@sha256:0 p europe-west1-b w@p.iam.gserviceaccount.com"
    calls = shell(script, PAUSE_S="0")
    (create, *ssh, delete) = [each for each in calls if each[1] == "compute"]
    assert create[2:4] == ["instances", "create"] and "--machine-type=g2-standard-8" in create
    assert any("pipelines.sentiment --device=cuda" in each for each in ssh[-1])
    assert delete[2:4] == ["instances", "delete"] and delete[4] == create[4]
    with pytest.raises(AssertionError, match="as it was told to"):
        shell(script, PAUSE_S="0", STUB_FAILS_AT="docker pull")
    log = (tmp_path / "log").read_text().splitlines()
    assert json.loads(log[-1])[1:4] == ["compute", "instances", "delete"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("gcloud storage ls 'gs://$PROJECT-data/x'", "was not filled in"),
        ("gcloud auth login && gcloud storage ls gs://never-made/x", "was not made"),
        ("gcloud auth login && gcloud workflows run w", "missing {'--location'}"),
        ("gcloud auth login && gcloud storage ls gs://b --colour=red", "unknown {'--colour'}"),
        ("gcloud storage ls gs://b", "not signed in"),
    ],
)
def test_the_stand_ins_refuse_what_the_real_ones_refuse(shell, line: str, fault: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(AssertionError, match=re.escape(fault)):
        shell(line)


@pytest.mark.skipif(not SDK.is_file(), reason="needs the Google Cloud SDK")
def test_the_stand_ins_flags_are_the_sdks() -> None:
    table: dict[str, dict] = {}
    exec(compile(SDK.read_text(encoding="utf-8"), str(SDK), "exec"), table)
    flags = json.loads((ROOT / "tests/platform/gcloud_flags.json").read_text("utf-8"))
    for command, ours in flags["commands"].items():
        node = table["STATIC_COMPLETION_CLI_TREE"]
        for word in command.split():
            node = node["commands"][word]
        assert set(ours) <= set(node["flags"]), command
