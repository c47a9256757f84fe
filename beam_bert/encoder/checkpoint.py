"""`Checkpoint`: tensors of a Hugging Face folder by name, checked, from safetensors only.

Nothing here unpickles or runs code that came with a model. Format: a JSON header and raw bytes,
https://github.com/huggingface/safetensors; sharded folders have model.safetensors.index.json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from beam_bert.errors import ModelError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# TensorFlow's names for a norm's weight and bias, which checkpoints of 2018 and 2019 still carry.
_OLD_NAMES = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}


class Checkpoint:
    """The tensors of one model folder, read when asked for.

    Raises:
      ModelError: there are no safetensors, or a file is cut short, damaged or missing.
    """

    def __init__(self, folder: Path, prefix: str) -> None:
        self.folder = folder
        self._prefix = prefix
        self._file_of: dict[str, Path] = {}
        for file in _weight_files(folder):
            try:
                with safe_open(file, framework="pt") as tensors:
                    self._file_of.update(dict.fromkeys(tensors.keys(), file))
            except (SafetensorError, OSError) as error:
                raise ModelError(
                    f"{file} is cut short or damaged ({_one_line(error)}); copy it again"
                ) from error

    def __contains__(self, name: str) -> bool:
        return self._stored_name(name) is not None

    def tensor(self, name: str, shape: Sequence[int]) -> torch.Tensor:
        """The tensor `name`, float32, which must have `shape`; with or without the prefix.

        Raises:
          ModelError: it is missing, cannot be read, or has another shape or kind of number.
        """
        stored = self._stored_name(name)
        if stored is None:
            raise ModelError(
                f"{self.folder} lacks the tensor {name}; it is not a whole checkpoint of the "
                "architecture that its config.json names, save it again"
            )
        try:
            with safe_open(self._file_of[stored], framework="pt") as tensors:
                tensor: torch.Tensor = tensors.get_tensor(stored)
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{self._file_of[stored]} is cut short or damaged ({_one_line(error)}); "
                "copy it again"
            ) from error
        if list(tensor.shape) != list(shape) or not tensor.is_floating_point():
            raise ModelError(
                f"{self.folder}: the tensor {stored} is {tensor.dtype} {list(tensor.shape)}, and "
                f"config.json asks for {list(shape)}; use the config.json that the weights were "
                "saved with"
            )
        return tensor.float()

    def shape(self, name: str) -> list[int] | None:
        """Shape of the tensor `name` without reading it; None where it is missing."""
        stored = self._stored_name(name)
        if stored is None:
            return None
        with safe_open(self._file_of[stored], framework="pt") as tensors:
            return list(tensors.get_slice(stored).get_shape())

    def _stored_name(self, name: str) -> str | None:
        names = [name]
        for new, old in _OLD_NAMES.items():
            if name.endswith(new):
                names.append(name.removesuffix(new) + old)
        for candidate in names:
            if candidate in self._file_of:
                return candidate
            bare = candidate.removeprefix(f"{self._prefix}.")
            if bare != candidate and bare in self._file_of:
                return bare
        return None


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / INDEX
    if not index.is_file():
        _raise_no_weights(folder)
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(
            f"{index} cannot be read ({error!r}); copy the checkpoint again"
        ) from error
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise ModelError(f"{index} names {name!r}, which is not in {folder}; copy it there")
    return [folder / name for name in names]


def _raise_no_weights(folder: Path) -> None:
    pickled = sorted(
        p.name for pattern in ("*.bin", "*.pt", "*.ckpt") for p in folder.glob(pattern)
    )
    if pickled:
        raise ModelError(
            f"{folder} has only pickled weights ({pickled[0]}), which can run code and are never "
            "loaded; convert them where you trust them: AutoModelForSequenceClassification."
            "from_pretrained(…).save_pretrained(…) writes model.safetensors"
        )
    raise ModelError(f"{folder} has no {WEIGHTS}; save the model there with save_pretrained()")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
