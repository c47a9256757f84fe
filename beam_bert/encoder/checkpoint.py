"""`Checkpoint`: tensors of a Hugging Face folder by name, checked, from safetensors only.

Nothing here unpickles or runs code that came with a model. Format: a JSON header and raw bytes,
https://github.com/huggingface/safetensors; sharded folders have model.safetensors.index.json.
"""

from __future__ import annotations

import re
import shlex
import struct
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError, safe_open

from beam_bert.encoder.families import FAMILIES
from beam_bert.errors import ModelError, shortened, shown
from beam_bert.settings.limits import INDEX_BYTES, WEIGHTS_HEADER_BYTES
from beam_bert.storage.model_files import is_model_file, not_a_model_file, why_no_model
from beam_bert.storage.regular_files import open_regular, read_json

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_WORDS = "embeddings.word_embeddings.weight"  # in every family, below its prefix or bare
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
        # The open file of each tensor: opening one parses its header, which may name many.
        self._opened: dict[str, tuple[Path, Any]] = {}
        for file in weight_files(folder):
            try:
                _check_header(file)
                opened = safe_open(file, framework="pt")
                self._opened.update(dict.fromkeys(opened.keys(), (file, opened)))
            except (SafetensorError, OSError) as error:
                raise _damaged(file, error) from error
        _refuse_foreign(folder, self._opened, prefix)

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
        file, opened = self._opened[stored]
        try:
            tensor: torch.Tensor = opened.get_tensor(stored)
        except Exception as error:  # whatever a kind of number that torch has not makes it raise
            raise _damaged(file, error) from error
        if not tensor.is_floating_point():
            raise ModelError(
                f"{self.folder}: the tensor {stored} is {tensor.dtype}: quantized weights are not "
                "read; save the model in float32 or bfloat16"
            )
        if list(tensor.shape) != list(shape):
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
        return list(self._opened[stored][1].get_slice(stored).get_shape())

    def _stored_name(self, name: str) -> str | None:
        names = [name]
        for new, old in _OLD_NAMES.items():
            if name.endswith(new):
                names.append(name.removesuffix(new) + old)
        for candidate in names:
            if candidate in self._opened:
                return candidate
            bare = candidate.removeprefix(f"{self._prefix}.")
            if bare != candidate and bare in self._opened:
                return bare
        return None


def weight_files(folder: Path) -> list[Path]:
    """The files of the weights: regular ones, which the model's digest covers.

    Raises:
      ModelError: there are none, or the index names others.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / INDEX
    if not index.is_file():
        _raise_no_weights(folder)
    try:
        names = set(read_json(index, INDEX_BYTES)["weight_map"].values())
        strange = [name for name in names if not (isinstance(name, str) and _is_weights(name))]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        why = f"cannot be read ({shortened(repr(error))}); copy the checkpoint again"
        raise ModelError(f"{index} {not_a_model_file(index) or why}") from error
    if strange:
        raise ModelError(
            f"{index} names {shown(strange[0])}, which is not in {folder}: weights are files "
            "*.safetensors beside it; copy the checkpoint again"
        )
    for name in sorted(names):
        if not (folder / name).is_file():
            raise ModelError(f"{index} names {name!r}, which is not in {folder}; copy it there")
    return [folder / name for name in sorted(names)]


def _is_weights(name: str) -> bool:
    return name.endswith(".safetensors") and is_model_file(name)


def _check_header(file: Path) -> None:
    """Refuse a header whose tensors alone would fill the memory, before it is parsed."""
    with open_regular(file) as opened:
        length = opened.read(8)
    if len(length) == 8 and struct.unpack("<Q", length)[0] > WEIGHTS_HEADER_BYTES:
        raise OSError(f"its header has more than {WEIGHTS_HEADER_BYTES:,} bytes")


def _damaged(file: Path, error: Exception) -> ModelError:
    why = f"is cut short or damaged ({shortened(' '.join(str(error).split()))}); copy it again"
    return ModelError(f"{file} {not_a_model_file(file) or why}")


def _refuse_foreign(folder: Path, tensors: Collection[str], prefix: str) -> None:
    """Say why none of the tensors is found: they are an adapter's, or have another name before."""
    if problem := why_no_model([path.name for path in folder.iterdir()], tensors):
        raise ModelError(f"{folder} {problem}")
    if {_WORDS, f"{prefix}.{_WORDS}"} & set(tensors):
        return
    for name in sorted(tensors):
        before = name.removesuffix(_WORDS)
        if before == name:
            continue
        before = before.removesuffix(f"{prefix}.")
        if before.removesuffix(".") in {family.prefix for family in FAMILIES.values()}:
            raise ModelError(
                f"{folder} has tensors of {before.removesuffix('.')} ({name}), and its config.json "
                f"is of {prefix}; use the config.json that the weights were saved with"
            )
        way = "save what is inside the wrapper (model.module.save_pretrained(…))"
        if re.fullmatch(r"[\w.]+", before) and (folder / WEIGHTS).is_file():
            way = f"take it off: {_take_off(before, folder / WEIGHTS)}"
        raise ModelError(
            f"{folder} has tensors with {shown(before)} before their names "
            f"({shortened(name, 80)}), as a wrapper around the model leaves it; {way}"
        )


def _take_off(before: str, file: Path) -> str:
    """The command that does so."""
    code = (
        "import sys; from safetensors.torch import load_file, save_file; f = sys.argv[1]; "
        f"save_file({{k.removeprefix('{before}'): v for k, v in load_file(f).items()}}, f, "
        "{'format': 'pt'})"
    )
    return f'python -c "{code}" {shlex.quote(str(file))}'


def _raise_no_weights(folder: Path) -> NoReturn:
    why = why_no_model([path.name for path in folder.iterdir()])
    raise ModelError(
        f"{folder} {why or f'has no {WEIGHTS}; save the model there with save_pretrained()'}"
    )
