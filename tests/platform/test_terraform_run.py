"""`terraform validate` and `terraform test` of every folder, against the provider's schema.

The provider is a stand-in that knows its schema (fake_provider.py); in the tests mocks do its work.
Values that only Google computes are made up there, and what Google refuses is not refused.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.platform.fake_provider import provider
from tests.platform.terraform_files import TERRAFORM, folders

pytestmark = pytest.mark.skipif(shutil.which("terraform") is None, reason="needs terraform")

INVENTORIES = sorted(Path(__file__).with_name("inventory").glob("*.yaml"))


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with provider() as variables:
        yield {**os.environ, **variables}


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: Terraform writes beside the files."""
    ignored = shutil.ignore_patterns(".terraform*", "*.tfvars", "__pycache__")
    place = tmp_path_factory.mktemp("terraform") / "terraform"
    return Path(shutil.copytree(TERRAFORM, place, ignore=ignored))


def run(folder: Path, environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        ["terraform", *command], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("folder", folders(), ids=lambda each: str(each.relative_to(TERRAFORM)))
def test_terraform_accepts_the_folder_and_its_tests_pass(
    folder: Path, terraform: Path, environment: dict[str, str]
) -> None:
    place = terraform / folder.relative_to(TERRAFORM)
    run(place, environment, "init", "-backend=false", "-input=false")
    run(place, environment, "validate")
    lines = run(place, environment, "test", "-json", "-verbose").splitlines()
    messages = [json.loads(line) for line in lines]
    (summary,) = [m["test_summary"] for m in messages if m["type"] == "test_summary"]
    assert summary["passed"] >= 2 and summary["skipped"] == 0
    for inventory in INVENTORIES:
        about = yaml.safe_load(inventory.read_text(encoding="utf-8"))
        if about["folder"] == str(folder.relative_to(TERRAFORM)):
            found = _inventory(messages, about["run"])
            wanted = {name: about[name] for name in found}
            assert found == wanted, f"{inventory.name}:\n{yaml.safe_dump(found)}"


def _inventory(messages: list[dict[str, Any]], run: str) -> dict[str, Any]:
    """What a run of a test made: resources by type, and outputs whose values are not made up."""
    (state,) = [
        m["test_state"] for m in messages if m["type"] == "test_state" and m["@testrun"] == run
    ]
    return {
        "counts": dict(sorted(Counter(_types(state["root_module"])).items())),
        "outputs": sorted(state.get("outputs", {})),
    }


def _types(module: dict[str, Any]) -> Iterator[str]:
    for resource in module.get("resources", []):
        yield resource["type"]
    for child in module.get("child_modules", []):
        yield from _types(child)
