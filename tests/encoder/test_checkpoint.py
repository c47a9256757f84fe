"""Bad checkpoints end in one line that says what, where and what to do."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from beam_bert.encoder import load_classifier
from beam_bert.encoder.config import parse_config
from beam_bert.errors import ModelError

from .conftest import CONFIGS


@pytest.fixture
def folder(checkpoint, tmp_path) -> Path:
    """A copy of a good BERT checkpoint, to be broken."""
    return Path(shutil.copytree(checkpoint("bert")[0], tmp_path / "model"))


def change_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change_tensors(folder: Path, changes: dict[str, torch.Tensor | None]) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file) | changes
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, file)


def assert_refused(folder: Path, pattern: str) -> None:
    with pytest.raises(ModelError, match=pattern) as caught:
        load_classifier(folder, device="cpu")
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_missing_folder(tmp_path):
    assert_refused(tmp_path / "nowhere", "does not exist")


def test_folder_without_config(folder):
    (folder / "config.json").unlink()
    assert_refused(folder, "has no config.json")


@pytest.mark.parametrize("text", ["{", "", "[1]", "\xff"])
def test_config_that_does_not_parse(folder, text):
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    assert_refused(folder, "config.json (cannot be read as JSON|is not a JSON object)")


def test_family_that_is_not_bert_is_told_which_are(folder):
    change_config(folder, model_type="gpt2")
    assert_refused(folder, "'gpt2' .* runs bert, roberta, xlm-roberta, distilbert, electra")


def test_encoder_without_a_head_is_told_to_fine_tune(tmp_path):
    transformers.BertModel(CONFIGS["bert"]).save_pretrained(tmp_path)
    assert_refused(tmp_path, "is a BertModel and has no sequence-classification head; fine-tune")


def test_head_of_another_task_is_refused(tmp_path):
    transformers.BertForTokenClassification(CONFIGS["bert"]).save_pretrained(tmp_path)
    assert_refused(tmp_path, "is a BertForTokenClassification and has no sequence-classification")


def test_only_pickled_weights_says_how_to_convert(folder):
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert_refused(folder, r"only pickled weights \(pytorch_model.bin\), .*save_pretrained")


@pytest.mark.parametrize(
    "name", ["model.pt", "best.ckpt", "pytorch_model-00001-of-00002.bin", "weights.pth"]
)
def test_pickled_weights_of_other_names_are_told(folder, name):
    torch.save({}, folder / name)
    (folder / "model.safetensors").unlink()
    assert_refused(folder, rf"only pickled weights \({name}\), .*save_pretrained")


def test_what_a_trainer_leaves_is_no_pickled_model(folder):
    torch.save({}, folder / "training_args.bin")
    (folder / "model.safetensors").unlink()
    assert_refused(folder, "has no model.safetensors")


@pytest.mark.parametrize(
    "name, what",
    [("tf_model.h5", "TensorFlow"), ("flax_model.msgpack", "Flax"), ("m.onnx", "ONNX")],
)
def test_weights_of_other_frameworks_are_told(folder, name, what):
    (folder / name).write_bytes(b"0")
    (folder / "model.safetensors").unlink()
    assert_refused(folder, rf"only weights of {what} \({name}\)")


def test_a_lora_adapter_is_told_to_be_merged(folder):
    merge = "LoRA adapter .*merge_and_unload"
    (folder / "adapter_config.json").write_text("{}")
    assert_refused(folder, f"beside its weights, which is not applied; .*{merge[13:]}")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    assert_refused(folder, merge)
    (folder / "config.json").unlink()
    assert_refused(folder, merge)


def test_an_adapter_saved_with_its_base_is_told(folder):
    name = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.default.weight"
    change_tensors(folder, {name: torch.zeros(2, 64)})
    assert_refused(folder, "weights of a LoRA adapter")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
IN_PLACE = {"a Git LFS pointer.*git lfs pull": LFS, "an HTML page": b"\n<!doctype HTML>\n<html>404"}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("told", IN_PLACE)
def test_what_stands_in_a_files_place_is_told(folder, name, told):
    (folder / name).write_bytes(IN_PLACE[told])
    assert_refused(folder, f"{name} is {told}")


def test_an_index_that_git_lfs_has_not_fetched(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_bytes(LFS)
    assert_refused(folder, "index.json is a Git LFS pointer.*git lfs pull")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_named_safetensors_is_told(folder, zipped):
    file = folder / "model.safetensors"
    torch.save({"a": torch.zeros(3)}, file, _use_new_zipfile_serialization=zipped)
    assert_refused(folder, "model.safetensors is a pickle.* can run code and is never loaded")


@pytest.mark.parametrize("before", ["model.", "module.", "_orig_mod.", "model.module."])
def test_a_wrappers_prefix_is_told_and_the_command_takes_it_off(folder, before, monkeypatch):
    file = folder / "model.safetensors"
    save_file({before + name: tensor for name, tensor in load_file(file).items()}, file)
    assert_refused(folder, f"tensors with '{before}' before their names")
    with pytest.raises(ModelError) as caught:
        load_classifier(folder, device="cpu")
    python, c, code, *arguments = shlex.split(str(caught.value).partition("take it off: ")[2])
    assert (python, c) == ("python", "-c")
    monkeypatch.setattr(sys, "argv", [c, *arguments])
    exec(code, {})
    load_classifier(folder, device="cpu")


def test_a_prefix_that_is_code_is_in_no_command(folder):
    file = folder / "model.safetensors"
    save_file({"'+f());(" + name: tensor for name, tensor in load_file(file).items()}, file)
    assert_refused(folder, r"before their names .*model.module.save_pretrained\(…\)\)$")


def test_weights_of_another_family_are_told(folder):
    file = folder / "model.safetensors"
    save_file({n.replace("bert.", "roberta."): t for n, t in load_file(file).items()}, file)
    assert_refused(folder, "has tensors of roberta .*config.json is of bert")


@pytest.mark.parametrize("names", [{"0": None}, {"0": ""}, {"0": " "}, {"0": "a", "1": "a"}, ["a"]])
def test_labels_without_a_name_of_their_own_are_refused(folder, names):
    change_config(folder, id2label=names)
    assert_refused(folder, "id2label")


def test_no_weights_at_all(folder):
    (folder / "model.safetensors").unlink()
    assert_refused(folder, "has no model.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 500, 50_000])
def test_weights_cut_short(folder, keep):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    assert_refused(folder, "model.safetensors is cut short or damaged .* copy it again")


def test_weights_that_are_not_safetensors(folder):
    (folder / "model.safetensors").write_bytes(b"\xff" * 10_000)
    assert_refused(folder, "cut short or damaged")


def test_missing_tensor_is_named(folder):
    change_tensors(folder, {"bert.encoder.layer.1.output.dense.weight": None})
    assert_refused(folder, "lacks the tensor bert.encoder.layer.1.output.dense.weight")


def test_misshaped_tensor_is_named(folder):
    change_tensors(folder, {"bert.pooler.dense.bias": torch.zeros(3)})
    assert_refused(folder, r"bert.pooler.dense.bias is torch.float32 \[3\], .* asks for \[64\]")


def test_integer_tensor_is_refused(folder):
    change_tensors(folder, {"bert.pooler.dense.bias": torch.zeros(64, dtype=torch.int8)})
    assert_refused(folder, "bert.pooler.dense.bias is torch.int8")


def test_wrong_vocabulary_size(folder):
    change_config(folder, vocab_size=301)
    assert_refused(folder, r"word_embeddings.weight is .* \[300, 64\], .* asks for \[301, 64\]")


def test_head_and_labels_that_disagree(folder):
    change_config(folder, id2label={"0": "no", "1": "yes"})
    assert_refused(folder, "a head of 5 logits and a config.json of 2 labels")


def test_index_that_names_a_missing_shard(folder):
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}))
    assert_refused(folder, "names 'model-00001-of-00002.safetensors', which is not in")
    index.write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    assert_refused(folder, "which is not in")
    index.write_text("{}")
    assert_refused(folder, "index.json cannot be read")


@pytest.mark.parametrize(
    ("changes", "pattern"),
    [
        ({"position_embedding_type": "relative_key"}, "'relative_key' is not supported"),
        ({"is_decoder": True}, "is a decoder"),
        ({"hidden_act": "swish"}, "hidden_act 'swish' is not supported; supported: gelu"),
        ({"hidden_size": "big"}, "hidden_size is 'big', not a whole number"),
        ({"hidden_size": 65}, "does not divide into 4 heads"),
        ({"id2label": {"0": "a", "2": "b"}}, "does not number its labels"),
        ({"id2label": {"0": "a", "00": "b"}}, "does not number its labels"),
        ({"id2label": {"0": "x", "1": "x", "2": "z"}}, "has the name 'x' twice"),
        ({"id2label": {"1": "x", "0": "z", "2": "z"}}, "has the name 'z' twice"),
        ({"problem_type": "ranking"}, "problem_type 'ranking' is unknown"),
    ],
)
def test_config_that_means_other_arithmetic(folder, changes, pattern):
    change_config(folder, **changes)
    assert_refused(folder, pattern)


def test_names_of_2018_are_understood(folder):
    before = load_classifier(folder)
    tensors = load_file(folder / "model.safetensors")
    renamed: dict[str, torch.Tensor | None] = {}
    for name, tensor in tensors.items():
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        old = old.replace("LayerNorm.bias", "LayerNorm.beta")
        renamed |= {name: None, old: tensor} if old != name else {}
    change_tensors(folder, renamed)
    after = load_classifier(folder)
    assert torch.equal(
        before._encoder._embedding_norm.weight, after._encoder._embedding_norm.weight
    )


def test_roberta_positions_begin_after_the_padding_row():
    config = parse_config(CONFIGS["roberta"].to_dict() | {"model_type": "roberta"})
    assert (config.max_length, config.max_positions, config.position_offset) == (512, 514, 2)


@pytest.mark.parametrize(
    ("given", "labels", "expected"),
    [
        (None, 1, "regression"),
        (None, 2, "single_label_classification"),
        ("multi_label_classification", 3, "multi_label_classification"),
    ],
)
def test_problem_type_follows_the_labels_where_it_is_not_given(given, labels, expected):
    values = CONFIGS["bert"].to_dict() | {
        "model_type": "bert",
        "problem_type": given,
        "id2label": {str(i): f"name {i}" for i in range(labels)},
    }
    config = parse_config(values)
    assert config.problem_type == expected
    assert config.labels == tuple(f"name {i}" for i in range(labels))
