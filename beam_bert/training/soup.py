"""Model soups (Wortsman et al. 2022, arXiv:2203.05482): several trainings, their weights averaged.

Trainings that start from the same weights and see the rows in other orders, with other dropout,
end in one basin: the mean of their weights answers about as well as all of them asked together
would, and costs no more to run than one of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from beam_bert.training.checkpoint import TrainingState, read_state, write_state
from beam_bert.training.loop import Objective, Plan, Progress, Trained, train


@dataclass(frozen=True)
class _Pot:
    """What is kept between the trainings of a soup.

    Attributes:
      start: weights that each of them starts from, by name.
      worth_keeping: see `start` of `train`.
      total: sum of the weights that the finished ones came to.
      best: those of the best of them; `value` is its metric.
      finished: their progress; JSON types.
    """

    start: Mapping[str, Tensor]
    worth_keeping: bool
    total: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    value: float
    finished: Sequence[Mapping[str, Any]]

    def write(self, work: Path, key: str) -> None:
        tensors = {
            f"{kind}/{name}": tensor
            for kind in ("start", "total", "best")
            for name, tensor in getattr(self, kind).items()
        }
        values = {"worth_keeping": self.worth_keeping, "value": self.value}
        write_state(work, key, TrainingState(tensors, values | {"finished": self.finished}))

    @classmethod
    def read(cls, work: Path, key: str, parameters: Mapping[str, Tensor]) -> _Pot | None:
        """What an earlier process left; None where it left nothing, or of another network."""
        state = read_state(work, key)
        if state is None:
            return None
        kinds: dict[str, dict[str, Tensor]] = {"start": {}, "total": {}, "best": {}}
        for name, tensor in state.tensors.items():
            kind, parameter = name.split("/", 1)
            kinds[kind][parameter] = tensor.to(next(iter(parameters.values())).device)
        if _shapes(kinds["start"]) != _shapes(parameters):  # newer code may cut it otherwise
            return None
        values: Any = state.values
        return cls(kinds["start"], total=kinds["total"], best=kinds["best"], **values)

    def add(self, weights: Mapping[str, Tensor], progress: Progress) -> _Pot:
        """With one more training, which came to these weights."""
        weights = {name: weight.detach().clone() for name, weight in weights.items()}
        better = not self.finished or progress.best_value > self.value
        return _Pot(
            self.start,
            self.worth_keeping,
            {name: weight + self.total[name] for name, weight in weights.items()},
            weights if better else self.best,
            progress.best_value if better else self.value,
            [*self.finished, vars(progress)],
        )


def train_soup(
    network: Trained,
    objective: Objective,
    plans: Sequence[Plan],
    *,
    work: Path,
    key: str,
    progress: Sequence[Progress],
    say: Callable[[str], None],
    start: Callable[[], bool] | None = None,
) -> Progress:
    """Train once for each plan, from the same start, and average what they came to.

    Where the average does worse on dev than the trainings do in the mean, they ended in different
    basins, and the best one's weights are kept instead. (The best one's own value is no measure of
    the average: it is the highest of many, and some of that is chance.) A single plan is trained
    as it is. Goes on from its last checkpoint.

    Args:
      network, objective, work, key, say, start: see `beam_bert.training.loop.train`.
      plans: one for each training.
      progress: one for each training; filled in as they go.

    Returns:
      What all of them went through: their curves, and a last point for the average.

    Raises:
      RunFailed: as `train`.
    """
    if len(plans) == 1:
        train(network, objective, plans[0], work=work, key=key, progress=progress[0], say=say,
              start=start)  # fmt: skip
        return progress[0]
    parameters = network.trained_parameters()
    pot = _Pot.read(work, key, parameters) or _first_pot(parameters, start)
    pot.write(work, key)
    worth_keeping = pot.worth_keeping
    for done, values in zip(progress, pot.finished, strict=False):
        vars(done).update(values)
        done.resumed_rows = done.rows
    for number in range(len(pot.finished), len(plans)):
        say(f"training {number + 1} of {len(plans)}")
        _put(parameters, pot.start)
        own, now = work / f"training-{number + 1}", progress[number]
        train(network, objective, plans[number], work=own, key=key, progress=now, say=say,
              start=lambda: worth_keeping)  # fmt: skip
        pot = pot.add(parameters, now)
        pot.write(work, key)
        shutil.rmtree(own, ignore_errors=True)
    _put(parameters, {name: total / len(plans) for name, total in pot.total.items()})
    metrics = objective.evaluate()
    dev = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    say(f"weights of {len(plans)} trainings averaged: dev {dev}")
    if metrics[objective.metric] < sum(each.best_value for each in progress) / len(plans):
        say(f"alone they do better: the best, with {objective.metric} {pot.value:.4f}, is kept")
        _put(parameters, pot.best)
    return _all_of(progress, metrics)


def _first_pot(parameters: Mapping[str, Tensor], start: Callable[[], bool] | None) -> _Pot:
    worth_keeping = start() if start is not None else False
    begin = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    nothing = {name: torch.zeros_like(weight) for name, weight in begin.items()}
    return _Pot(begin, worth_keeping, nothing, {}, -float("inf"), [])


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in weights.items()}


@torch.no_grad()
def _put(parameters: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    for name, weight in weights.items():
        parameters[name].copy_(weight)


def _all_of(trainings: Sequence[Progress], metrics: Mapping[str, float]) -> Progress:
    """One progress with the curves of all, each point with the number of its training."""
    everything = Progress(rows=sum(each.rows for each in trainings), share=1.0)
    for number, each in enumerate(trainings, 1):
        for name, points in each.curves.items():
            everything.curves[name] += [{"training": number} | point for point in points]
    shown = {name: round(value, 5) for name, value in metrics.items()}
    everything.curves["epochs"].append({"training": "average", "epoch": "", "step": ""} | shown)
    return everything
