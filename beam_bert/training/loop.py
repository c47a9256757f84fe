"""The loop: batches in a planned order, AdamW, averaged weights, checkpoints, a good epoch kept.

Every step draws its dropout from a seed of its own, and the order of all batches is planned before
the first. So a run that was killed and goes on takes the very same steps as one that was not.

Why not transformers' Trainer: it feeds rectangles (the one collator that lays sequences end to end
is for models with flash attention), so planner, collator and network of ours would stand under it
all the same; weights averaged over steps and trainings, an epoch chosen within one standard error
and a head that is fitted first are not in it. What it would take over is a loop around AdamW.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from beam_bert.encoder.plan import Int64Array
from beam_bert.errors import RunFailed
from beam_bert.settings.naming import named
from beam_bert.terminal import tell
from beam_bert.training.checkpoint import (
    TrainingState,
    has_moments,
    kept_as,
    optimizer_tensors,
    read_state,
    restore_optimizer,
    write_state,
)
from beam_bert.training.weights import copied, put, same_shapes

MAX_GRADIENT_NORM = 1.0
_CURVE_POINTS_AN_EPOCH = 20


def step_seed(seed: int, step: int) -> int:
    """The seed of one step: 32 bits, which is what torch's generator on a CPU keeps of any.

    A seed that does not fit beside the step is mixed in; the others stand as they are.
    """
    high = int(np.random.SeedSequence(seed >> 8).generate_state(1)[0]) if seed >> 8 else 0
    return (seed * 2**24 + step) % 2**32 ^ high


@dataclass(frozen=True)
class LoopSettings:
    """How to go through the batches; see the flags of the same names."""

    learning_rate: float
    schedule: str
    warmup: float
    weight_decay: float
    seed: int
    bf16: bool
    gradient_accumulation: int = 1
    layer_decay: float = 1.0
    ema_epochs: float = 0.0
    early_stopping: int = 0
    checkpoint_s: float = 120.0


@dataclass(frozen=True)
class Plan:
    """What one training goes through.

    Attributes:
      epochs: rows of each batch of each epoch.
      settings: how.
    """

    epochs: Sequence[Sequence[Int64Array]]
    settings: LoopSettings


Start = Callable[[], Mapping[str, float] | None]


class Objective(Protocol):
    """What is trained, on what, and how well it does."""

    metric: str  # of `evaluate`: it chooses the epoch, and higher is better
    dev_size: int  # rows, questions or hidden tokens that it is a mean over

    def loss(self, rows: Int64Array) -> Tensor:
        """The mean loss over these rows, with dropout."""

    def evaluate(self) -> dict[str, float]:
        """Metrics of the network as it is, by name."""


class Trained(Protocol):
    """A network that tells what of it is trained, and how deep that lies."""

    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """By name."""

    def depth_of(self, name: str) -> int:
        """0 for embeddings, rising to the head."""

    def train(self, mode: bool = True) -> Any:
        """Switch dropout on or off."""


@dataclass
class Progress:
    """Where a training is; another thread may look.

    Attributes:
      epoch: whole passes done; `batch` of the next one are done too.
      step: steps of the optimizer.
      rows: rows seen, in all epochs; `resumed_rows` of them before this process.
      share: of all rows of all epochs, between 0 and 1; `resumed_share` of it likewise.
      curves: loss at some steps, metrics after each epoch; JSON types, no clocks.
      best_value: highest of the metric that counts; `improved_epoch` is the first that had it.
      kept_epoch: whose weights are kept, 1 for the first, 0 for those that it started from.
      kept_value: the metric of those.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    rows: int = 0
    resumed_rows: int = 0
    share: float = 0.0
    resumed_share: float = 0.0
    improved_epoch: int = 0
    best_value: float = -float("inf")
    kept_epoch: int = 0
    kept_value: float = -float("inf")
    curves: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {"steps": [], "epochs": []}
    )

    def note_resumed(self) -> None:
        """All of this was done by an earlier process."""
        self.resumed_rows, self.resumed_share = self.rows, self.share


_PROGRESS = TypeAdapter(Progress)


def progress_of(values: object) -> Progress | None:
    """The progress that a checkpoint holds; None: it holds none."""
    try:
        progress = _PROGRESS.validate_python(values)
    except ValidationError:
        return None
    return progress if {"steps", "epochs"} <= progress.curves.keys() else None


def train(
    network: Trained,
    objective: Objective,
    plan: Plan,
    *,
    work: Path,
    key: str,
    progress: Progress,
    start: Start | None = None,
) -> None:
    """Run all epochs, from the last checkpoint on if there is one, and keep a good one's weights.

    The latest whose dev metric lies within one standard error of the best (the rule of Breiman et
    al. 1984): on a few hundred rows the best is often an early one that was lucky, and the later
    has learnt more.

    Args:
      network: its trained parameters are moved, and are the kept epoch's afterwards.
      objective: what to minimize, and what to choose by.
      plan: batches, and how to go through them.
      work: folder of the checkpoint.
      key: names the run in its checkpoint.
      progress: filled in as it goes.
      start: readies the network for its first step, where there is no checkpoint; tells what it is
        worth on dev where it is to be kept if no epoch does about as well, else None.

    Raises:
      RunFailed: the loss is no number any more, or a checkpoint cannot be written.
    """
    loop = _Loop(network, objective, plan, work, key, progress)
    if not loop.resume() and start is not None:
        metrics = start()
        if metrics is not None:
            loop.note("before the first step:", metrics)
    loop.run()


def standard_error(share: float, count: int) -> float:
    """Of a share measured on so many; a correlation's is about the same."""
    share = min(max(share, 0.0), 1.0)
    return (share * (1 - share) / count) ** 0.5


def told(metrics: Mapping[str, float]) -> str:
    """Metrics as a line has them."""
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def as_point(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics as a curve has them."""
    return {name: round(value, 5) for name, value in metrics.items()}


@dataclass(eq=False)
class _Loop:
    network: Trained
    objective: Objective
    plan: Plan
    work: Path
    key: str
    progress: Progress

    def __post_init__(self) -> None:
        self.epochs, self.settings = epochs, settings = self.plan.epochs, self.plan.settings
        self.parameters = self.network.trained_parameters()
        self.loss = math.nan  # of the last step
        self.kept: dict[str, Tensor] = {}
        self.average: dict[str, Tensor] = {}
        self.device = next(iter(self.parameters.values())).device
        self.optimizer = torch.optim.AdamW(
            _groups(self.network, self.parameters, settings), lr=settings.learning_rate, fused=True
        )
        self.steps_of = [-(-len(batches) // settings.gradient_accumulation) for batches in epochs]
        self.factor = _schedule(self.optimizer, settings, sum(self.steps_of))
        self.horizon = settings.ema_epochs * max(self.steps_of, default=0)
        self.all_rows = max(sum(len(rows) for batches in epochs for rows in batches), 1)

    def resume(self) -> bool:
        """Take up the checkpoint; whether there was one of this run."""
        state = read_state(self.work, self.key)
        if state is None:
            return False
        weights, kept, average = (
            state.weights(kind, self.device) for kind in ("parameter", "kept", "average")
        )
        progress = progress_of(state.values)
        if (
            progress is None
            or not 0 <= progress.epoch <= len(self.epochs)
            or progress.batch < 0
            or not all(same_shapes(self.parameters, each) for each in (weights, kept or weights))
            or not same_shapes(self.parameters, average or weights)
            or not has_moments(state.tensors, self.parameters)
        ):
            tell(f"the checkpoint in {self.work} is of another network: training starts anew")
            return False
        put(self.parameters, weights)
        self.kept, self.average = kept, average
        vars(self.progress).update(vars(progress))
        self.progress.note_resumed()
        restore_optimizer(self.optimizer, self.parameters, state.tensors, self.progress.step)
        tell(f"going on from the checkpoint after step {self.progress.step}")
        return True

    def run(self) -> None:
        """All epochs that are left, then the kept weights."""
        while self.progress.epoch < len(self.epochs) and not self._is_stale():
            self._run_epoch(self.epochs[self.progress.epoch])
            self._swap_average()
            self._note_epoch(self._measured())
            self._swap_average()
            self._checkpoint()
        self.progress.share = 1.0
        put(self.parameters, self.kept)

    def _measured(self) -> dict[str, float]:
        """Metrics of the network as it is, if it still is one: a loss may be finite till the end.

        Raises:
          RunFailed: weights or logits are no numbers.
        """
        if not all(bool(torch.isfinite(weights).all()) for weights in self.parameters.values()):
            raise self._diverged("some weights are no numbers; the loss was")
        try:
            metrics = self.objective.evaluate()
        except FloatingPointError:
            raise self._diverged("logits are no numbers; the loss was") from None
        if any(math.isnan(value) for value in metrics.values()):
            raise self._diverged(f"dev has {told(metrics)}; the loss was")
        return metrics

    def _diverged(self, what: str) -> RunFailed:
        return RunFailed(
            f"{what} {self.loss:g} at step {self.progress.step}: the training has diverged; lower "
            f"{named('learning_rate')} (now {self.settings.learning_rate:g}) or raise "
            f"{named('warmup')}"
        )

    def _run_epoch(self, batches: Sequence[Int64Array]) -> None:
        progress, settings = self.progress, self.settings
        every = max(1, self.steps_of[progress.epoch] // _CURVE_POINTS_AN_EPOCH)
        saved_at = time.monotonic()
        self.network.train(True)
        while progress.batch < len(batches):
            stop = progress.batch + settings.gradient_accumulation
            loss = self._step(batches[progress.batch : stop])
            progress.batch = min(stop, len(batches))
            if progress.step % every == 0:
                point = {"step": progress.step, "loss": round(loss, 5)}
                progress.curves["steps"].append(
                    point | {"learning_rate": self.optimizer.param_groups[0]["lr"]}
                )
            whole = progress.batch == len(batches)
            if time.monotonic() - saved_at > settings.checkpoint_s and not whole:
                self._checkpoint()
                saved_at = time.monotonic()

    def _step(self, batches: Sequence[Int64Array]) -> float:
        progress = self.progress
        torch.manual_seed(step_seed(self.settings.seed, progress.step))
        factor = self.factor(progress.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        rows_of_step = sum(map(len, batches))
        total = 0.0
        for rows in batches:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bf16):
                loss = self.objective.loss(rows) * (len(rows) / rows_of_step)
            loss.backward()
            total += float(loss.detach())
            progress.rows += len(rows)
            progress.share = progress.rows / self.all_rows
        self.loss = total
        if not math.isfinite(total):
            raise self._diverged("the loss is")
        nn.utils.clip_grad_norm_(list(self.parameters.values()), MAX_GRADIENT_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        self._add_to_average()
        return total

    @torch.no_grad()
    def _add_to_average(self) -> None:
        """Exponential, over `horizon` steps; fewer at the start, which is soon forgotten."""
        if self.horizon <= 1:
            return
        if not self.average:
            self.average = copied(self.parameters)
        weight = max(1 / self.horizon, 10 / (self.progress.step + 9))
        for name, parameter in self.parameters.items():
            self.average[name].lerp_(parameter, min(weight, 1.0))

    @torch.no_grad()
    def _swap_average(self) -> None:
        """Put the averaged weights in the network's place, or those back."""
        for name, average in self.average.items():
            parameter = self.parameters[name]
            now = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(now)

    def _note_epoch(self, metrics: Mapping[str, float]) -> None:
        self.progress.epoch += 1
        self.progress.batch = 0
        points = self.progress.curves["steps"][-_CURVE_POINTS_AN_EPOCH:]
        losses = [point["loss"] for point in points]
        training = f" loss {sum(losses) / len(losses):.4f};" if losses else ""
        self.note(f"epoch {self.progress.epoch} of {len(self.epochs)}:{training}", metrics)

    def note(self, when: str, metrics: Mapping[str, float]) -> None:
        """Write down what the network is worth by now, and keep it unless that is clearly less."""
        progress, value = self.progress, metrics[self.objective.metric]
        point = {"epoch": progress.epoch, "step": progress.step}
        progress.curves["epochs"].append(point | as_point(metrics))
        if value > progress.best_value:
            progress.best_value, progress.improved_epoch = value, progress.epoch
        error = standard_error(progress.best_value, self.objective.dev_size)
        if value >= progress.best_value - error:
            progress.kept_value, progress.kept_epoch = value, progress.epoch
            self.kept = copied(self.parameters)
        tell(f"{when} dev {told(metrics)}")

    def _is_stale(self) -> bool:
        patience = self.settings.early_stopping
        stale = bool(patience) and self.progress.epoch - self.progress.improved_epoch >= patience
        if stale:
            tell(f"no better {self.objective.metric} for {patience} epochs: stopping early")
        return stale

    def _checkpoint(self) -> None:
        tensors = kept_as("parameter", self.parameters)
        tensors |= kept_as("kept", self.kept) | kept_as("average", self.average)
        tensors |= optimizer_tensors(self.optimizer, self.parameters)
        write_state(self.work, self.key, TrainingState(tensors, vars(self.progress)))


def _groups(
    network: Trained, parameters: Mapping[str, nn.Parameter], settings: LoopSettings
) -> list[dict[str, Any]]:
    """Parameters by depth (for the learning rate), matrices apart from vectors (for the decay)."""
    deepest = max(map(network.depth_of, parameters))
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        groups.setdefault((network.depth_of(name), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": members,
            "peak": settings.learning_rate * settings.layer_decay ** (deepest - depth),
            "weight_decay": settings.weight_decay if is_matrix else 0.0,
        }
        for (depth, is_matrix), members in sorted(groups.items(), key=lambda item: item[0])
    ]


def _schedule(
    optimizer: torch.optim.Optimizer, settings: LoopSettings, steps: int
) -> Callable[[int], float]:
    """The factor on the peak learning rate at each step."""
    from transformers import get_scheduler

    name = "constant_with_warmup" if settings.schedule == "constant" else settings.schedule
    warmup = round(settings.warmup * steps)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=steps)
    lambdas: list[Callable[[float], float]] = scheduler.lr_lambdas
    # From the middle of the step: a first or last one at a rate of 0 would be wasted.
    return lambda step: lambdas[0](step + 0.5)
