"""A model's folder is input: what it says is bounded, and only what its digest covers is loaded."""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from beam_bert.encoder import load_classifier
from beam_bert.encoder.checkpoint import Checkpoint, weight_files
from beam_bert.encoder.config import parse_config, read_config
from beam_bert.errors import ModelError
from beam_bert.models.digest import folder_checksums
from beam_bert.storage.model_files import is_model_file

NESTED: Any = json.loads("[" * 100 + "]" * 100)


@pytest.fixture
def folder(bert: Path, tmp_path: Path) -> Path:
    """A copy of a good checkpoint, to be broken."""
    return Path(shutil.copytree(bert, tmp_path / "model"))


def _refused(folder: Path, pattern: str) -> None:
    with pytest.raises(ModelError, match=pattern) as caught:
        load_classifier(folder, device="cpu")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1_000


def _change(folder: Path, name: str, value: object) -> None:
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, name: value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("layer_norm_eps", each) for each in ("small", [], {}, [1e-12], -1, 1e400, 2, NESTED)),
        *(("hidden_act", each) for each in (["gelu"], {"gelu": 1}, 1, True, "x" * 10**6)),
        *(("architectures", each) for each in ("Bert", {"a": 1}, [1.5], [["B"]], ["x" * 10**6], 7)),
        *(("num_labels", each) for each in (200_000_000, -1, 0, 10**400, "many", [2])),
        *(
            ("id2label", each)
            for each in ([], "a", {}, {"a": "b"}, {"0": ["x"]}, {"0": "x" * 10**5})
        ),
        *(("vocab_size", each) for each in (0, -5, True, 1.5, "7", 2**31, 10**30, [3])),
        *(("hidden_size", each) for each in (0, -64, 10**30, [], {})),
        *(("model_type", each) for each in (None, ["bert"], {"bert": 1}, "x" * 10**6, "\x1b[2J")),
        *(("problem_type", each) for each in (["regression"], 3, "x" * 10**6)),
        *(("position_embedding_type", each) for each in (["absolute"], 1, "rope")),
        *(("beam_bert", each) for each in ([], "a", {"threshold": "0.5"}, {"threshold": 1e400})),
        *(("pad_token_id", each) for each in (-1, "0", 2**40)),
        *(("max_position_embeddings", each) for each in (0, 10**30, [512])),
        ("is_decoder", ["no"]),
        *(("type_vocab_size", each) for each in (17, 65_536, True, -1)),
        *(("transformers_weights", each) for each in ("w.bin", ".w.safetensors", "../w", 5)),
    ],
)
def test_a_field_of_another_kind_or_size_is_one_line(
    folder: Path, name: str, value: object
) -> None:
    values = json.loads((folder / "config.json").read_text())
    if name == "num_labels":
        del values["id2label"]
    (folder / "config.json").write_text(json.dumps({**values, name: value}))
    _refused(folder, name)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10_000 + "]" * 10_000,
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        '{"vocab_size": ' + "9" * 5_000 + "}",
        '{"id2label": {"0": "\\ud800"}}',
        '{"model_type": "bert"',
        "",
        "\0",
    ],
)
def test_a_config_that_no_parser_should_see_is_one_line(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    _refused(folder, "config.json")


def test_a_config_that_is_no_regular_file_or_too_large_is_neither_waited_for_nor_read(
    folder: Path,
) -> None:
    config = folder / "config.json"
    config.unlink()
    os.mkfifo(config)
    _refused(folder, "not a regular file")
    config.unlink()
    config.symlink_to("/dev/zero")
    _refused(folder, "not a regular file")
    config.unlink()
    with config.open("wb") as file:
        file.truncate(2**40)  # takes no room
    _refused(folder, "larger than")
    config.unlink()
    config.mkdir()
    _refused(folder, "not a regular file|Is a directory")


def test_what_transformers_writes_is_read_as_before(bert: Path) -> None:
    values = json.loads((bert / "config.json").read_text())
    same = {**values, "layer_norm_eps": "1e-12", "beam_bert": None, "is_decoder": None}
    assert parse_config(same) == read_config(bert)


@pytest.mark.parametrize(
    "name",
    [
        "w.bin",
        ".w.safetensors",
        "w.safetensors.bak",
        "../w.safetensors",
        "sub/w.safetensors",
        "/etc/passwd",
        "w.txt",
        "",
        ".",
        "..",
        "w\0.safetensors",
        "x" * 300 + ".safetensors",
        "é" * 130 + ".safetensors",
        None,
        7,
        ["w.safetensors"],
    ],
)
def test_an_index_names_only_weights_that_the_digest_covers(folder: Path, name: Any) -> None:
    weights = folder / "model.safetensors"
    if isinstance(name, str) and name.strip("./") and "\0" not in name and len(name) < 100:
        target = folder / name if not name.startswith("/etc") else folder / "other"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(weights, target)
    weights.unlink()
    index = {"weight_map": {"a": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    _refused(folder, "index.json (names|cannot be read)")


@pytest.mark.parametrize(
    "document", [[], None, {}, {"weight_map": []}, {"weight_map": None}, NESTED]
)
def test_an_index_of_another_shape_is_one_line(folder: Path, document: object) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(document))
    _refused(folder, "index.json cannot be read")


def test_weights_that_are_a_pipe_are_not_waited_for(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    _refused(folder, "has no model.safetensors")
    index = {"weight_map": {"a": "w.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    os.mkfifo(folder / "w.safetensors")
    _refused(folder, "which is not in")


def test_every_file_of_the_weights_is_in_the_digest(folder: Path) -> None:
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = list(tensors)
    parts = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    for file, held in parts.items():
        safetensors.torch.save_file({name: tensors[name] for name in held}, folder / file)
    index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    load_classifier(folder, device="cpu")
    assert {file.name for file in weight_files(folder)} <= folder_checksums(folder).keys()


def test_a_header_is_parsed_once_however_many_tensors_it_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beam_bert.encoder import checkpoint

    opened = []
    real = checkpoint.safe_open
    monkeypatch.setattr(
        checkpoint,
        "safe_open",
        lambda *args, **kwargs: opened.append(args) or real(*args, **kwargs),
    )
    load_classifier(folder, device="cpu")
    assert len(opened) == 1


@pytest.mark.parametrize("length", [2**24 + 1, 2**63, 2**64 - 1])
def test_a_header_of_many_tensors_is_refused_before_it_is_parsed(folder: Path, length: int) -> None:
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", length))
        file.truncate(2**26)
    _refused(folder, "model.safetensors is cut short or damaged .*header")


def test_a_tensor_of_no_dimensions_in_place_of_a_head_is_one_line(folder: Path) -> None:
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors["classifier.weight"] = torch.tensor(1.0)
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    _refused(folder, "a head of no logits")


def test_the_digest_covers_what_the_checkpoint_names(tmp_path: Path) -> None:
    assert not any(
        map(is_model_file, [".w.safetensors", "w.bin", "a/b.json", "\0.json", "x" * 256])
    )
    with pytest.raises(ModelError):
        Checkpoint(tmp_path, "bert")
