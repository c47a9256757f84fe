"""Where a new head starts: fitted to what the encoder says before it is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from beam_bert.tasks.classification import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from beam_bert.training import probe
from beam_bert.training.probe import fit_linear, fit_means, fits_means, rows_to_fit


@pytest.mark.parametrize("problem_type", [SINGLE_LABEL, MULTI_LABEL, REGRESSION])
def test_what_is_linear_is_found(problem_type: str) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(500, 8, generator=generator)
    values = features @ torch.randn(8, 3, generator=generator) + 0.5
    targets = {
        SINGLE_LABEL: values.argmax(dim=1),
        MULTI_LABEL: (values > 0).float(),
        REGRESSION: values[:, :1],
    }[problem_type]
    layer = torch.nn.Linear(8, 1 if problem_type == REGRESSION else 3)
    fit_linear(layer, features, targets, problem_type)
    with torch.no_grad():
        found = layer(features).numpy()
    if problem_type == SINGLE_LABEL:
        assert (found.argmax(axis=1) == targets.numpy()).mean() > 0.95
    elif problem_type == MULTI_LABEL:
        assert ((found > 0) == targets.numpy()).mean() > 0.95
    else:
        assert np.abs(found - targets.numpy()).max() < 0.05


def test_means_answer_for_more_labels_than_can_be_fitted() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(5_000, 32, generator=generator)
    targets = torch.arange(5_000).repeat(2)
    features = centres[targets] + 0.3 * torch.randn(10_000, 32, generator=generator)
    layer = torch.nn.Linear(32, 5_000)
    fit_means(layer, features, targets)
    seen = centres + 0.3 * torch.randn(5_000, 32, generator=generator)
    with torch.no_grad():
        right = (layer(seen).argmax(dim=1) == torch.arange(5_000)).float().mean()
    assert right > 0.8


def test_what_is_fitted_is_bounded_by_rows_times_labels() -> None:
    for problem_type in (SINGLE_LABEL, MULTI_LABEL):
        for labels in (2, 77, 1_000, 1_001, 10_000):
            if fits_means(labels, problem_type):
                assert (problem_type, labels > 1_000) == (SINGLE_LABEL, True)
            else:
                assert rows_to_fit(labels, problem_type) * labels <= 20_000_000
    assert rows_to_fit(77, SINGLE_LABEL) == 20_000
    assert fits_means(10_000, SINGLE_LABEL) and rows_to_fit(10_000, SINGLE_LABEL) == 200_000


def test_a_long_fit_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_TELL_S", 0.0)
    told: list[str] = []
    monkeypatch.setattr(probe, "tell", told.append)
    features = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    fit_linear(torch.nn.Linear(4, 3), features, torch.arange(50) % 3, SINGLE_LABEL)
    assert told[0].startswith("head: 1 looks at 50 rows of 75 at most")


def test_a_new_head_is_fitted_before_the_first_step_and_a_kept_one_is_not(
    finetune: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    def accuracy(*flags: str, output: str) -> float:
        folder = finetune("--learning_rate", "1e-12", *flags, output=output)
        return float(json.loads((folder / "training.json").read_text())["metrics"]["accuracy"])

    drawn = accuracy("--head", "random", output="random")
    assert "before the first step" not in capfd.readouterr().err
    fitted = accuracy("--epochs", "1", output="fitted")
    assert "before the first step: dev accuracy" in capfd.readouterr().err
    assert fitted > drawn + 0.15
    again = accuracy("--base", str(finetune("--epochs", "1", output="base")), output="again")
    assert again > 0
    said = capfd.readouterr().err
    assert (said.count("head fitted"), said.count("before the first step")) == (1, 2)
