"""Where a new head starts: fitted to what the encoder says before it is trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from beam_bert.tasks.classification import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from beam_bert.training.probe import fit_linear


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
