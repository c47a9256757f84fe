"""The training loop on one number that is pulled to and fro."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from beam_bert.training.checkpoint import NAME, TrainingState, read_state, write_state
from beam_bert.training.loop import LoopSettings, Plan, Progress, train
from tests.training.one_number import OneNumber


class Pulled:
    """Five rows pull to one side, the next five to the other, and so at the end of an epoch."""

    metric, dev_size = "nearness", 1

    def __init__(self, network: OneNumber) -> None:
        self.network, self.seen = network, list[float]()

    def loss(self, rows: np.ndarray) -> Tensor:
        side = -1.0 if rows[0] // 5 % 2 else 1.0
        return 0.1 * (self.network.number - side).square().sum()  # below where it is clipped

    def evaluate(self) -> dict[str, float]:
        self.seen.append(self.network.value)
        return {"nearness": -abs(self.seen[-1])}


def run(folder: Path, ema_epochs: float, **more: Any) -> tuple[float, list[float]]:
    network = OneNumber()
    objective = Pulled(network)
    epochs = [[np.array([i]) for i in range(40)]] * more.pop("epochs", 3)
    settings = LoopSettings(0.1, "constant", 0.0, 0.0, 0, False, ema_epochs=ema_epochs, **more)
    train(network, objective, Plan(epochs, settings), work=folder, key="k", progress=Progress())
    return network.value, objective.seen


def test_averaged_weights_stand_where_the_last_ones_are_pulled_around(tmp_path: Path) -> None:
    last, _ = run(tmp_path / "last", 0.0)
    averaged, seen = run(tmp_path / "averaged", 0.5)
    assert abs(averaged) < abs(last) / 2
    # What was measured is what is kept.
    assert any(averaged == pytest.approx(value) for value in seen)


def test_a_start_that_no_epoch_betters_is_kept(tmp_path: Path) -> None:
    for readied, epoch, kept in ((lambda: {"nearness": 0.0}, 0, True), (lambda: None, 3, False)):
        network, progress = OneNumber(), Progress()  # which starts where it is best
        settings = LoopSettings(0.1, "constant", 0.0, 0.0, 0, False)
        train(network, Pulled(network), Plan([[np.array([i]) for i in range(33)]] * 3, settings),
              work=tmp_path / str(epoch), key="k", progress=progress,
              start=readied)  # fmt: skip
        assert (progress.kept_epoch == 0) == kept
        assert (network.value == 0) == kept


@pytest.mark.parametrize(
    ("dev_size", "accuracies", "kept"),
    [
        (450, [0.9333, 0.8956, 0.9378, 0.9244, 0.9333], 4),  # three rows of 450 are chance
        (450, [0.9333, 0.8956, 0.9378, 0.9244, 0.9111], 2),  # twelve are not
        (450, [0.9333, 0.8956, 0.9178, 0.9200, 0.9044], 0),
        (450_000, [0.9333, 0.8956, 0.9378, 0.9244, 0.9333], 2),
        (450, [1.0, 0.9978, 1.0, 0.9978, 0.9978], 2),
    ],
)
def test_the_latest_epoch_is_kept_that_is_as_good_as_the_best_but_for_chance(
    tmp_path: Path, dev_size: int, accuracies: list[float], kept: int
) -> None:
    class Measured(Pulled):
        metric = "accuracy"

        def evaluate(self) -> dict[str, float]:
            self.seen.append(self.network.value)
            return {"accuracy": accuracies[len(self.seen)]}

    network, progress = OneNumber(), Progress()
    objective = Measured(network)
    objective.dev_size = dev_size
    train(network, objective, Plan([[np.array([i]) for i in range(33)]] * 4,
          LoopSettings(0.1, "constant", 0.0, 0.0, 0, False)), work=tmp_path, key="k",
          progress=progress,
          start=lambda: {"accuracy": accuracies[0]})  # fmt: skip
    assert (progress.kept_epoch, progress.kept_value) == (kept, accuracies[kept])
    assert network.value == [0.0, *objective.seen][kept]


def test_a_run_that_goes_on_has_the_same_average(tmp_path: Path) -> None:
    whole, seen = run(tmp_path / "whole", 0.5)

    class Stopped(BaseException):
        pass

    class Stops(Pulled):
        def evaluate(self) -> dict[str, float]:
            found = super().evaluate()
            if len(self.seen) == 2:
                raise Stopped
            return found

    network = OneNumber()
    epochs = [[np.array([i]) for i in range(40)]] * 3
    settings = LoopSettings(0.1, "constant", 0.0, 0.0, 0, False, ema_epochs=0.5)
    with pytest.raises(Stopped):
        train(network, Stops(network), Plan(epochs, settings), work=tmp_path / "on", key="k",
              progress=Progress())  # fmt: skip
    after, seen_after = run(tmp_path / "on", 0.5)
    assert seen_after == seen[1:]
    assert after == whole


def test_a_checkpoint_of_another_network_is_told_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, seen = run(tmp_path, 0.0)
    # As where newer code cuts another network from the same base.
    monkeypatch.setattr(OneNumber, "trained_parameters", lambda self: {"other": self.number})
    network, said = OneNumber(), list[str]()
    monkeypatch.setattr("beam_bert.training.loop.tell", said.append)
    objective = Pulled(network)
    settings = LoopSettings(0.1, "constant", 0.0, 0.0, 0, False)
    train(network, objective, Plan([[np.array([i]) for i in range(40)]] * 3, settings),
          work=tmp_path, key="k", progress=Progress())  # fmt: skip
    assert any("starts anew" in line for line in said)
    assert (network.value, objective.seen) == (whole, seen)


@pytest.mark.parametrize(
    "values",
    [
        b"[]",
        b"3",
        b"[" * 50_000,
        b'{"epoch": "x"}',
        b'{"epoch": -1}',
        b'{"epoch": 99}',
        b'{"batch": -5}',
        b'{"curves": {}}',
        b'{"curves": [1]}',
        b'{"step": 1e400}',
        b'{"resume": 1, "curves": null}',
    ],
)
def test_a_checkpoint_with_another_state_is_left(tmp_path: Path, values: bytes) -> None:
    whole, seen = run(tmp_path / "whole", 0.0)
    network = OneNumber()
    weights = {f"parameter/{name}": each for name, each in network.trained_parameters().items()}
    (tmp_path / "bad").mkdir()
    save_file(
        {name: each.detach() for name, each in weights.items()},
        tmp_path / "bad" / NAME,
        {"key": "k", "values": values.decode()},
    )
    assert run(tmp_path / "bad", 0.0) == (whole, seen)


@pytest.mark.parametrize("moment", ["exp_avg/{}", "exp_avg_sq/{}", "kept/{}", "average/{}"])
def test_a_checkpoint_whose_tensors_do_not_fit_is_left(tmp_path: Path, moment: str) -> None:
    whole, seen = run(tmp_path / "whole", 0.0)
    network = OneNumber()
    (name,) = network.trained_parameters()
    tensors = {f"parameter/{name}": network.trained_parameters()[name].detach()}
    tensors[moment.format(name)] = torch.zeros(7, 7)
    write_state(tmp_path / "bad", "k", TrainingState(tensors, vars(Progress())))
    assert run(tmp_path / "bad", 0.0) == (whole, seen)


def test_a_pipe_in_place_of_a_checkpoint_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NAME)
    assert read_state(tmp_path, "k") is None


def test_each_seed_and_step_draws_its_own() -> None:
    """A CPU's generator keeps 32 bits: seeds 0 and 256 dropped alike."""
    from beam_bert.training.loop import step_seed

    drawn = {step_seed(seed, step) for seed in (0, 1, 256, 2**32) for step in range(50)}
    assert len(drawn) == 200 and max(drawn) < 2**32
