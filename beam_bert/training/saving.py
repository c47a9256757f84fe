"""Write a trained model as a folder in Hugging Face layout, whole or not at all, and publish it."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from beam_bert.encoder.families import FAMILIES
from beam_bert.errors import OutputError, RunFailed, one_line
from beam_bert.models import ModelStore
from beam_bert.models.store import split_reference
from beam_bert.settings.naming import named
from beam_bert.settings.training import TrainingConfig
from beam_bert.storage.durable import make_folder, move, sync_folder, sync_names
from beam_bert.tokenization.loading import quiet_transformers
from beam_bert.training.network import PackedNetwork

# What a tokenizer is made of, in any of the formats that transformers reads.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
)
TRAINING_FILE = "training.json"
_LEFT_OVER_S = 24 * 3600.0
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # from Linux's fcntl.h


@contextmanager
def new_folder(beside: Path) -> Iterator[Path]:
    """A hidden folder next to `beside` to fill and rename; gone afterwards, whatever happens.

    Raises:
      OutputError: it may not be made.
      RunFailed: the disk became full while it was filled.
    """
    try:
        make_folder(beside.parent)
        _drop_left_over(beside)
        folder = Path(tempfile.mkdtemp(dir=beside.parent, prefix=f".{beside.name}."))
    except OSError as error:
        raise OutputError(
            f"{beside.parent} cannot be written: {error.strerror}; name another {named('output')}"
        ) from None
    try:
        yield folder
    except (OSError, SafetensorError) as error:
        raise RunFailed(
            f"the model cannot be saved to {beside.parent}: {one_line(error)}; make room and run "
            "the same command again: it goes on from its last checkpoint"
        ) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _drop_left_over(beside: Path) -> None:
    """Remove hidden folders of runs that were killed while they saved, a day ago or more.

    Only where the model stands in its place: else one of them may be that model, moved aside.
    """
    name = re.compile(re.escape(f".{beside.name}.") + "[a-z0-9_]{8}")  # as mkdtemp makes them
    if not beside.is_dir():
        return
    for folder in filter(lambda path: name.fullmatch(path.name), beside.parent.iterdir()):
        with suppress(FileNotFoundError):  # another run's, which has just ended
            if folder.is_dir() and time.time() - folder.lstat().st_mtime > _LEFT_OVER_S:
                shutil.rmtree(folder, ignore_errors=True)


def fold_temperature(network: PackedNetwork, temperature: float) -> None:
    """Divide the last layer by the temperature, so that whoever runs the model gets it applied."""
    out = network.model.get_submodule(FAMILIES[network.config.family].head_out)
    with torch.no_grad():
        for parameter in out.parameters():
            parameter.div_(temperature)


def save_model(
    model: Any, tokenizer_folder: Path, folder: Path, extra: Mapping[str, str | bytes]
) -> None:
    """Fill `folder`: config.json, model.safetensors, the tokenizer's files, `extra` ones."""
    with quiet_transformers():
        model.save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if (tokenizer_folder / name).is_file():
            shutil.copyfile(tokenizer_folder / name, folder / name)
    for name, content in extra.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(data)


def as_json(values: Any) -> str:
    """Indented, with an end of line."""
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Raise OutputError where a model could not be put at `folder`."""
    given = named("output", str(folder))
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OutputError(f"{given} is not a folder; name another")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / "config.json").is_file():
            raise OutputError(f"{given} holds other files than a model; name another")
        if not overwrite:
            raise OutputError(
                f"{given} holds a model already; name another, or say {named('overwrite')}"
            )


def check_writable(place: Path) -> None:
    """Raise OutputError where nothing could be written at `place`: better now than after hours."""
    place = place.absolute()
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    try:
        with tempfile.TemporaryDirectory(dir=there, prefix=".beam-bert-"):
            pass
    except OSError as error:
        raise OutputError(
            f"{named('output', str(place))}: {there} cannot be written ({error.strerror}); name "
            "another"
        ) from None


def check_output(config: TrainingConfig) -> None:
    """Raise UserError early where the result could not be put where it is asked for."""
    given = named("output", config.output)
    if config.layout == "folder":
        if "://" in config.output:
            raise OutputError(
                f"{given}: {named('layout', 'folder')} writes a local folder; a store may lie on "
                f"gs:// ({named('layout', 'store')})"
            )
        check_folder(Path(config.output).expanduser(), overwrite=config.overwrite)
    else:
        if split_reference(config.output) is not None:
            # A store of that name would hide the alias from all who ask for it.
            raise OutputError(
                f"{given}: name the store alone; {named('alias')} says which alias the version "
                f"gets ({config.alias})"
            )
        store = ModelStore(config.output)
        store.check_alias(config.alias)
        store.aliases()
        store.versions()  # a damaged record would stop the publication
    if "://" not in config.output:
        check_writable(Path(config.output).expanduser())


def put_in_place(made: Path, folder: Path) -> None:
    """Make `folder` be what `made` of `new_folder` is; a model that stood there goes.

    In one step, so that there is a whole model at any moment. Where the system cannot swap two
    folders the old one is moved aside first, and a kill at that moment leaves it there.
    """
    made.chmod(0o755)  # mkdtemp's own would be for this user alone
    sync_folder(made)
    if not folder.exists():
        move(made, folder)
        return
    if _swap(made, folder):
        sync_names(folder.parent)
        return
    old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    folder.rename(old / folder.name)
    try:
        move(made, folder)
    except OSError:
        (old / folder.name).rename(folder)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _swap(one: Path, other: Path) -> bool:
    """Exchange two folders' names in one step; False where the system or the disk cannot.

    Linux alone, by renameat2(2), which Python does not have.
    """
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    first, second = os.fsencode(one), os.fsencode(other)
    return bool(renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE) == 0)
