"""Model soups: what several trainings come to is averaged, where that is worth it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from beam_bert.training.loop import LoopSettings, Plan, Progress
from beam_bert.training.soup import WiseFtWeight, train_soup
from tests.training.one_number import OneNumber

Finetune = Callable[..., Path]
STEPS = 30


class Stopped(BaseException):
    pass


class Pulled:
    """A row n pulls the number to n; what counts is how near it is to one of the aims."""

    metric, dev_size = "nearness", 1

    def __init__(self, network: OneNumber, *aims: float, stop_after: int = -1) -> None:
        self.network, self.aims, self.steps_left = network, aims, stop_after

    def loss(self, rows: np.ndarray) -> Tensor:
        if self.steps_left == 0:
            raise Stopped
        self.steps_left -= 1
        return 0.1 * (self.network.number - float(rows[0])).square().sum()

    def evaluate(self) -> dict[str, float]:
        return {"nearness": -self.dev_loss()}

    def dev_loss(self) -> float:
        return min(abs(self.network.value - aim) for aim in self.aims)


def cook(
    work: Path,
    aims: tuple[float, ...],
    pulls: tuple[int, ...] = (1, -1),
    stop_after: int = -1,
    start_shares: tuple[float, ...] = (),
) -> tuple[float, Progress, list[str]]:
    network, said = OneNumber(), list[str]()
    objective = Pulled(network, *aims, stop_after=stop_after)
    settings = LoopSettings(0.1, "constant", 0.0, 0.0, 0, False)
    plans = [Plan([[np.array([pull])] * STEPS], settings) for pull in pulls]
    with pytest.MonkeyPatch.context() as patch:
        for module in ("loop", "soup"):
            patch.setattr(f"beam_bert.training.{module}.tell", said.append)
        found = train_soup(
            network,
            objective,
            plans,
            work=work,
            key="k",
            progress=[Progress() for _ in plans],
            start=lambda: {"nearness": -9.0} if start_shares else None,
            wise_ft_weight=WiseFtWeight(start_shares, objective.dev_loss) if start_shares else None,
        )
    return network.value, found, said


def test_the_weights_of_trainings_from_one_start_are_averaged(tmp_path: Path) -> None:
    one, _, _ = cook(tmp_path / "one", (0.0,), (1,))
    other, _, _ = cook(tmp_path / "other", (0.0,), (-1,))
    assert one > 0.5
    assert other < -0.5
    value, found, _ = cook(tmp_path / "both", (0.0,))
    assert value == pytest.approx((one + other) / 2)
    told = [(point["training"], point["nearness"]) for point in found.curves["epochs"]]
    assert [name for name, _ in told] == [1, 2, "average"]
    assert told[2][1] > max(told[0][1], told[1][1])


def test_the_best_training_is_kept_where_the_average_does_worse(tmp_path: Path) -> None:
    one, _, _ = cook(tmp_path / "one", (1.0,), (1,))
    value, _, said = cook(tmp_path / "both", (1.0, -1.2))
    assert value == one
    assert any("is kept" in line for line in said)


def test_the_average_need_not_better_the_best_training(tmp_path: Path) -> None:
    # As where dev says by chance that one of many is best.
    value, found, said = cook(tmp_path, (0.7,), (1, 1, -1))
    told = [point["nearness"] for point in found.curves["epochs"]]
    assert max(told[:3]) > told[3] > sum(told[:3]) / 3
    assert -abs(value - 0.7) == pytest.approx(told[3], abs=1e-4)
    assert not any("is kept" in line for line in said)


@pytest.mark.parametrize("steps", [5, STEPS + 5, 2 * STEPS + 5])
def test_a_soup_that_was_killed_goes_on_where_it_was(tmp_path: Path, steps: int) -> None:
    whole, found, _ = cook(tmp_path / "whole", (0.0,), (1, -1, 2))
    with pytest.raises(Stopped):
        cook(tmp_path / "on", (0.0,), (1, -1, 2), stop_after=steps)
    after, found_after, said = cook(tmp_path / "on", (0.0,), (1, -1, 2))
    assert after == whole
    assert found_after.curves == found.curves
    # What was finished is not trained again.
    assert said[0] == f"training {steps // STEPS + 1} of 3"


def test_what_is_left_of_another_network_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _, _ = cook(tmp_path, (0.0,))
    # As where newer code cuts another network from the same base.
    monkeypatch.setattr(OneNumber, "trained_parameters", lambda self: {"other": self.number})
    value, _, said = cook(tmp_path, (0.0,))
    assert said[0] == "training 1 of 2"
    assert value == whole


@pytest.mark.parametrize("pulls", [(1,), (1, 2)])
@pytest.mark.parametrize("steps", [5, STEPS])
def test_the_start_gets_its_share_also_after_a_kill(
    tmp_path: Path, pulls: tuple[int, ...], steps: int
) -> None:
    alone, _, _ = cook(tmp_path / "alone", (0.0,), pulls)
    value, found, _ = cook(tmp_path / "whole", (0.0,), pulls, start_shares=(0.25,))
    assert value == pytest.approx(0.75 * alone)  # the start is 0
    assert found.curves["epochs"][-1]["training"] == "0.25 of the start"
    with pytest.raises(Stopped):
        cook(tmp_path / "on", (0.0,), pulls, stop_after=steps - 1, start_shares=(0.25,))
    after, found_after, _ = cook(tmp_path / "on", (0.0,), pulls, start_shares=(0.25,))
    assert after == value
    assert found_after.curves == found.curves


def test_a_run_that_was_killed_after_its_last_step_trains_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, found, _ = cook(tmp_path / "whole", (0.0,), (1,), start_shares=(0.25,))
    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr("beam_bert.training.soup._Soup.mix_in_start", _stop)
        cook(tmp_path / "on", (0.0,), (1,), start_shares=(0.25,))
    after, found_after, _ = cook(tmp_path / "on", (0.0,), (1,), 0, start_shares=(0.25,))
    assert after == whole
    assert found_after.curves == found.curves


def _stop(*_: object) -> None:
    raise Stopped


def test_the_start_gets_the_share_of_the_least_loss(tmp_path: Path) -> None:
    alone, _, _ = cook(tmp_path / "alone", (9.0,), (1,))
    near = 0.7 * alone  # the start is 0
    value, _, said = cook(tmp_path / "both", (near,), (1,), start_shares=(0.2, 0.3, 0.4))
    assert value == pytest.approx(near)
    assert said[-1].startswith("0.3 of the start: calibrated loss on dev 0.0000 in place of ")


def test_the_start_gets_no_share_where_that_is_worse(tmp_path: Path) -> None:
    alone, _, _ = cook(tmp_path / "alone", (9.0,), (1, 2))
    value, _, said = cook(tmp_path / "both", (9.0,), (1, 2), start_shares=(0.25, 0.5))
    assert value == alone
    assert "no share" in said[-1]


@pytest.mark.parametrize("soup", ["1", "2"])
def test_finetune_gives_the_start_a_share(finetune: Finetune, soup: str) -> None:
    folder = finetune("--epochs", "2", "--soup", soup)
    found = json.loads((folder / "training.json").read_text("utf-8"))
    last = found["curves"]["epochs"][-1]
    assert ("kept_epoch" in found) == (soup == "1")
    assert last["training"].endswith(" of the start")
    assert found["metrics"]["accuracy"] == pytest.approx(last["accuracy"], abs=1e-4)
    assert f"| {last['training']} |" in (folder / "README.md").read_text("utf-8")


def test_a_start_with_a_random_head_has_no_share(
    finetune: Finetune, capfd: pytest.CaptureFixture[str]
) -> None:
    finetune("--epochs", "1", "--head", "random")
    assert "whose head is random, gets no share" in capfd.readouterr().err


def test_finetune_publishes_the_average_and_tells_each_training(finetune: Finetune) -> None:
    folder = finetune("--epochs", "2", "--soup", "2", "--wise_ft_weight", "0")
    found = json.loads((folder / "training.json").read_text("utf-8"))
    told = {(point["training"], point["epoch"]) for point in found["curves"]["epochs"]}
    assert told == {(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), ("average", "")}
    losses = [
        [point["loss"] for point in found["curves"]["steps"] if point["training"] == number]
        for number in (1, 2)
    ]
    assert losses[0] != losses[1]  # other orders, other dropout
    assert "| average |" in (folder / "README.md").read_text("utf-8")
