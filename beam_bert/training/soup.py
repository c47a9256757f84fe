"""Model soups (Wortsman et al. 2022, arXiv:2203.05482): several trainings, their weights averaged.

Trainings that start from the same weights and see the rows in other orders, with other dropout,
end in one basin: the mean of their weights answers about as well as all of them asked together
would, and costs no more to run than one of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from beam_bert.training.checkpoint import TrainingState, named, read_state, write_state
from beam_bert.training.loop import (
    Objective,
    Plan,
    Progress,
    Start,
    Trained,
    as_point,
    told,
    train,
)
from beam_bert.training.weights import copied, put, same_shapes


@dataclass(frozen=True)
class _Pot:
    """What is kept between the trainings of a soup.

    Attributes:
      start: weights that each of them starts from, by name.
      worth: metrics of those on dev; None: see `start` of `train`.
      total: sum of the weights that the finished ones came to.
      best: those of the best of them.
      finished: their progress; JSON types.
    """

    start: Mapping[str, Tensor]
    worth: Mapping[str, float] | None
    total: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    finished: Sequence[Mapping[str, Any]]

    @property
    def best_value(self) -> float:
        """The metric of the best one, which counts."""
        return max((values["kept_value"] for values in self.finished), default=-float("inf"))

    def write(self, work: Path, key: str) -> None:
        tensors = named("start", self.start) | named("total", self.total) | named("best", self.best)
        values = {"worth": self.worth, "finished": self.finished}
        write_state(work, key, TrainingState(tensors, values))

    @classmethod
    def read(cls, work: Path, key: str, parameters: Mapping[str, Tensor]) -> _Pot | None:
        """What an earlier process left; None where it left nothing, or of another network."""
        state = read_state(work, key)
        if state is None:
            return None
        device = next(iter(parameters.values())).device
        start, total, best = (state.weights(kind, device) for kind in ("start", "total", "best"))
        if not same_shapes(parameters, start):
            return None
        return cls(start, state.values["worth"], total, best, state.values["finished"])

    def add(self, weights: Mapping[str, Tensor], progress: Progress) -> _Pot:
        """With one more training, which came to these weights."""
        weights = copied(weights)
        return replace(
            self,
            total={name: weight + self.total[name] for name, weight in weights.items()},
            best=weights if progress.kept_value > self.best_value else self.best,
            finished=[*self.finished, vars(progress)],
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
    start: Start | None = None,
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
    worth = pot.worth
    for done, values in zip(progress, pot.finished, strict=False):
        vars(done).update(values)
        done.note_resumed()
    for number in range(len(pot.finished), len(plans)):
        say(f"training {number + 1} of {len(plans)}")
        put(parameters, pot.start)
        own, now = work / f"training-{number + 1}", progress[number]
        train(network, objective, plans[number], work=own, key=key, progress=now, say=say,
              start=lambda: worth)  # fmt: skip
        pot = pot.add(parameters, now)
        pot.write(work, key)
        shutil.rmtree(own, ignore_errors=True)
    put(parameters, {name: total / len(plans) for name, total in pot.total.items()})
    metrics = objective.evaluate()
    say(f"weights of {len(plans)} trainings averaged: dev {told(metrics)}")
    if metrics[objective.metric] < sum(each.kept_value for each in progress) / len(plans):
        best = f"{objective.metric} {pot.best_value:.4f}"
        say(f"alone they do better: the best of them, with {best} on dev, is kept")
        put(parameters, pot.best)
    return _all_of(progress, metrics)


def _first_pot(parameters: Mapping[str, Tensor], start: Start | None) -> _Pot:
    worth = None if start is None else start()
    begin = copied(parameters)
    nothing = {name: torch.zeros_like(weight) for name, weight in begin.items()}
    return _Pot(begin, worth, nothing, {}, [])


def _all_of(trainings: Sequence[Progress], metrics: Mapping[str, float]) -> Progress:
    """One progress with the curves of all, each point with the number of its training."""
    everything = Progress()
    for number, each in enumerate(trainings, 1):
        for name, points in each.curves.items():
            everything.curves[name] += [{"training": number} | point for point in points]
    average = {"training": "average", "epoch": "", "step": ""}
    everything.curves["epochs"].append(average | as_point(metrics))
    return everything
