"""Model soups (Wortsman et al. 2022, arXiv:2203.05482): several trainings, their weights averaged.

Trainings that start from the same weights and see the rows in other orders, with other dropout,
end in one basin: the mean of their weights answers about as well as all of them asked together
would, and costs no more to run than one of them. The start itself may be part of the mean
(Wortsman et al. 2021, arXiv:2109.01903, WiSE-FT): it has what a pre-trained encoder forgets as it
learns from a few thousand rows.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from beam_bert.terminal import tell
from beam_bert.training.checkpoint import TrainingState, kept_as, read_state, write_state
from beam_bert.training.loop import (
    Objective,
    Plan,
    Progress,
    Start,
    Trained,
    as_point,
    progress_of,
    told,
    train,
)
from beam_bert.training.weights import copied, put, same_shapes


@dataclass(frozen=True)
class WiseFtWeight:
    """How much of the start there may be in the result.

    Attributes:
      candidates: its weights to try, 0 < weight < 1; the one of the least loss is taken, or none.
      dev_loss: of the network as it is, calibrated.
    """

    candidates: Sequence[float]
    dev_loss: Callable[[], float]


_WORTH: Any = TypeAdapter(dict[str, float] | None)


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
        tensors = kept_as("start", self.start) | kept_as("total", self.total)
        tensors |= kept_as("best", self.best)
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
        try:
            worth = _WORTH.validate_python(state.values["worth"])
            finished = [progress_of(values) for values in state.values["finished"]]
        except (ValidationError, KeyError, TypeError):
            return None
        done = [progress for progress in finished if progress is not None]
        sums = (total, best) if finished else ()
        if len(done) < len(finished) or not all(
            same_shapes(parameters, each) for each in (start, *sums)
        ):
            return None
        return cls(start, worth, total, best, [vars(progress) for progress in done])

    def add(self, weights: Mapping[str, Tensor], progress: Progress) -> _Pot:
        """With one more training, which came to these weights."""
        weights = copied(weights)
        return replace(
            self,
            total={name: weight + self.total.get(name, 0.0) for name, weight in weights.items()},
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
    start: Start | None = None,
    wise_ft_weight: WiseFtWeight | None = None,
) -> Progress:
    """Train once for each plan, from the same start, and average what they came to.

    Where the average does worse on dev than the trainings do in the mean, they ended in different
    basins, and the best one's weights are kept instead. (The best one's own value is no measure of
    the average: it is the highest of many, and some of that is chance.) The start then gets its
    share, where that makes the loss on dev less. Goes on from its last checkpoint.

    Args:
      network, objective, work, key, start: see `beam_bert.training.loop.train`.
      plans: one for each training.
      progress: one for each training; filled in as they go.
      wise_ft_weight: what share the start may have; None: none.

    Returns:
      What all of them went through: their curves, and a last point for each average.

    Raises:
      RunFailed: as `train`.
    """
    if len(plans) == 1 and wise_ft_weight is None:
        train(network, objective, plans[0], work=work, key=key, progress=progress[0], start=start)
        return progress[0]
    parameters = network.trained_parameters()
    pot = _Pot.read(work, key, parameters)
    if pot is None:
        worth = None if start is None else start()
        pot = _Pot(copied(parameters), worth, {}, {}, [])
        pot.write(work, key)
    worth = pot.worth
    for done, values in zip(progress, pot.finished, strict=False):
        vars(done).update(values)
        done.note_resumed()
    for number in range(len(pot.finished), len(plans)):
        if len(plans) > 1:
            tell(f"training {number + 1} of {len(plans)}")
        put(parameters, pot.start)
        own, now = work / f"training-{number + 1}", progress[number]
        plan = plans[number]
        train(network, objective, plan, work=own, key=key, progress=now, start=lambda: worth)
        pot = pot.add(parameters, now)
        if number + 1 < len(plans):  # the last one's own checkpoint says it all
            pot.write(work, key)
            shutil.rmtree(own, ignore_errors=True)
    soup = _Soup(network, objective, pot, _all_of(progress))
    soup.average()
    if wise_ft_weight is not None:
        soup.mix_in_start(wise_ft_weight)
    return soup.whole


@dataclass(frozen=True, eq=False)
class _Soup:
    """The finished trainings, and what they went through."""

    network: Trained
    objective: Objective
    pot: _Pot
    whole: Progress

    def average(self) -> None:
        """Leave the network with what `train_soup` says of the trainings."""
        parameters, count = self.network.trained_parameters(), len(self.pot.finished)
        put(parameters, {name: total / count for name, total in self.pot.total.items()})
        if count == 1:
            return
        value = self._measured("average", f"weights of {count} trainings averaged")
        if value < sum(values["kept_value"] for values in self.pot.finished) / count:
            best = f"{self.objective.metric} {self.pot.best_value:.4f}"
            tell(f"alone they do better: the best of them, with {best} on dev, is kept")
            put(parameters, self.pot.best)

    def mix_in_start(self, wise_ft_weight: WiseFtWeight) -> None:
        """Give the start the share that makes dev's loss least."""
        if self.pot.worth is None:
            tell("the start, whose head is random, gets no share")
            return
        parameters, start = self.network.trained_parameters(), self.pot.start
        alone = copied(parameters)

        def mix(share: float) -> None:
            put(parameters, {name: own.lerp(start[name], share) for name, own in alone.items()})

        losses = {}
        for share in (0.0, *wise_ft_weight.candidates):
            mix(share)
            losses[share] = wise_ft_weight.dev_loss()
        best = min(losses, key=lambda share: losses[share])
        mix(best)
        what = f"calibrated loss on dev {losses[best]:.4f} in place of {losses[0.0]:.4f}"
        if best:
            self._measured(f"{best:g} of the start", f"{best:g} of the start: {what}")
        else:
            tell("the start gets no share: with it the calibrated loss on dev is not less")

    def _measured(self, training: str, line: str) -> float:
        """The metric of the network as it is; told, and noted as a point of the curves."""
        metrics = self.objective.evaluate()
        point = {"training": training, "epoch": "", "step": ""} | as_point(metrics)
        self.whole.curves["epochs"].append(point)
        tell(f"{line}; dev {told(metrics)}")
        return metrics[self.objective.metric]


def _all_of(trainings: Sequence[Progress]) -> Progress:
    """One progress with the curves of all, each point with the number of its training."""
    everything = Progress()
    if len(trainings) == 1:
        everything.kept_epoch = trainings[0].kept_epoch
    for number, progress in enumerate(trainings, 1):
        for name, points in progress.curves.items():
            everything.curves[name] += [{"training": number} | point for point in points]
    return everything
