"""The state of a training, in one file that is replaced at once: a kill leaves the one before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from beam_bert.errors import RunFailed, one_line
from beam_bert.settings.naming import named
from beam_bert.storage.durable import make_folder, move, sync_file
from beam_bert.storage.regular_files import open_regular

NAME = "state.safetensors"


@dataclass(frozen=True, eq=False)
class TrainingState:
    """Everything that the next step depends on.

    Attributes:
      tensors: named `<kind>/<name>`: of a training `parameter`, `exp_avg`, `exp_avg_sq`, `kept`
        and `average`, of a soup `start`, `total` and `best`.
      values: JSON types.
    """

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]

    def weights(self, kind: str, device: torch.device) -> dict[str, Tensor]:
        """Those of the tensors that are named `<kind>/…`, by the rest of their names."""
        return {
            name.removeprefix(f"{kind}/"): tensor.to(device)
            for name, tensor in self.tensors.items()
            if name.startswith(f"{kind}/")
        }


def kept_as(kind: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors for a `TrainingState`, which finds them again by their kind."""
    return {f"{kind}/{name}": weight for name, weight in weights.items()}


def write_state(folder: Path, key: str, state: TrainingState) -> None:
    """Replace the checkpoint in `folder`.

    Args:
      folder: made where it is missing.
      key: names the run; a checkpoint of another is never gone on from.
      state: to keep.

    Raises:
      RunFailed: the disk is full or may not be written; the checkpoint before stays.
    """
    partial = folder / f".{NAME}.partial"
    try:
        make_folder(folder)
        metadata = {"key": key, "values": json.dumps(dict(state.values))}
        save_file({k: t.detach().contiguous() for k, t in state.tensors.items()}, partial, metadata)
        sync_file(partial)
        move(partial, folder / NAME)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise RunFailed(
            f"the checkpoint cannot be written to {folder}: {one_line(error)}; make room, or name "
            f"another {named('work_folder')}, and run the same command again: it goes on from the "
            "last one"
        ) from None


def read_state(folder: Path, key: str) -> TrainingState | None:
    """The checkpoint in `folder`; None where there is none, or one of another run."""
    try:
        open_regular(folder / NAME).close()  # a pipe would be waited for
        with safe_open(folder / NAME, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("key") != key:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return TrainingState(tensors, dict(json.loads(metadata["values"])))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        return None


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """AdamW's two moments of each parameter, by name (none before its first step)."""
    moments = {}
    for name, parameter in parameters.items():
        for moment in ("exp_avg", "exp_avg_sq"):
            if moment in optimizer.state[parameter]:
                moments[f"{moment}/{name}"] = optimizer.state[parameter][moment]
    return moments


def has_moments(tensors: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> bool:
    """Whether the moments among the tensors are those of such parameters, both of each."""
    moments = {name: tensor for name, tensor in tensors.items() if name.startswith("exp_avg")}
    fitting = {
        f"{moment}/{name}": (parameter.shape, parameter.dtype)
        for name, parameter in parameters.items()
        for moment in ("exp_avg", "exp_avg_sq")
        if f"exp_avg/{name}" in moments
    }
    return fitting == {name: (tensor.shape, tensor.dtype) for name, tensor in moments.items()}


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
    step: int,
) -> None:
    """Undo `optimizer_tensors`; `step` is how many steps were taken."""
    for name, parameter in parameters.items():
        if f"exp_avg/{name}" in tensors:
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step)),
                "exp_avg": tensors[f"exp_avg/{name}"].to(parameter.device),
                "exp_avg_sq": tensors[f"exp_avg_sq/{name}"].to(parameter.device),
            }
