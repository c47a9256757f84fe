"""Model folders made in milliseconds, and `location`: the same test over a folder and gs://."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.models.model_folders import make_model

_counter = itertools.count()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model")


@pytest.fixture
def other_model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "other-model", seed=1)


@pytest.fixture
def new_gs_location(new_gs_output: Callable[[], str]) -> Callable[[], str]:
    """A gs:// prefix that nobody has used, at each call."""
    return lambda: f"{new_gs_output()}/store/banking"


@pytest.fixture(params=["local", "gs"])
def new_location(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Where a store may be made, another place at each call: a folder, then a gs:// prefix."""
    if request.param == "gs":
        return request.getfixturevalue("new_gs_location")
    folder = request.getfixturevalue("tmp_path")
    return lambda: str(folder / f"store-{next(_counter)}" / "banking")


@pytest.fixture
def location(new_location: Callable[[], str]) -> str:
    return new_location()
