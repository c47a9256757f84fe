"""constraints.txt fits every Python that the package promises (`make resolve` asks a resolver)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(python: str) -> dict[str, str]:
    """The versions that hold on Linux with that Python, by name."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.5",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
    }
    found: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate(environment):
            name = canonicalize_name(pin.name)
            assert name not in found, f"{name} has two versions on {python}"
            found[name] = next(iter(pin.specifier)).version
    return found


@pytest.mark.parametrize("python", PYTHONS)
def test_each_python_has_one_version_of_all_that_the_package_asks_for(python: str) -> None:
    found = pins(python)
    extras = PROJECT["optional-dependencies"].values()
    asked = [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    for requirement in map(Requirement, [*asked, "pandas<2.4"]):
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
            version = found[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"{requirement} has {version}"


def test_torch_whose_private_operations_are_called_has_an_upper_bound() -> None:
    (torch,) = (line for line in PROJECT["dependencies"] if line.startswith("torch"))
    assert re.search(r"<\d", torch)


def test_the_torch_that_ci_runs_with_is_the_one_that_contributors_are_told() -> None:
    told = re.search(r"`constraints.txt`: torch ([\d.]+\d)", (ROOT / "CONTRIBUTING.md").read_text())
    assert told is not None
    assert {pins(python)["torch"] for python in PYTHONS} == {told[1]}
