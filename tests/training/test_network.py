"""The packed forward for training computes what transformers computes, gradients included."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from beam_bert.encoder.config import read_config
from beam_bert.errors import ModelError
from beam_bert.slices.token_arrays import TokenArrays
from beam_bert.training.masking import drop_words
from beam_bert.training.network import (
    PackedNetwork,
    from_pretrained,
    load_network,
    network_outputs,
    packed,
)

CPU = torch.device("cpu")
LABELS = ("a", "b", "c")


def make(family: str, folder: Path) -> Path:
    import transformers

    shape: dict[str, Any] = {"vocab_size": 100, "num_labels": 3, "initializer_range": 0.2}
    wide = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    wide |= {"intermediate_size": 64, "max_position_embeddings": 64}
    if family == "DistilBert":
        wide = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
        wide |= {"max_position_embeddings": 64}
    elif family == "Electra":
        shape["embedding_size"] = 16
    elif family == "Roberta":
        shape |= {"pad_token_id": 1, "type_vocab_size": 1}
    config = getattr(transformers, f"{family}Config")(**shape, **wide)
    torch.manual_seed(1)
    model = getattr(transformers, f"{family}ForSequenceClassification")(config)
    model.config.id2label = dict(enumerate(LABELS))
    model.config.problem_type = "single_label_classification"
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("before", ["module.", ""])
def test_a_base_that_would_be_drawn_at_random_is_refused(tmp_path: Path, before: str) -> None:
    file = make("Bert", tmp_path) / "model.safetensors"
    tensors = load_file(file)
    if not before:
        del tensors["bert.encoder.layer.1.output.dense.weight"]
    save_file({before + name: tensor for name, tensor in tensors.items()}, file, {"format": "pt"})
    told = (
        "tensors with 'module.' before" if before else "lacks the tensor bert.encoder.layer.1.out"
    )
    with pytest.raises(ModelError, match=told):
        load_network(tmp_path, LABELS, "single_label_classification", CPU)


def some_tokens(lengths: tuple[int, ...] = (5, 9, 1, 5, 14)) -> TokenArrays:
    generator = np.random.default_rng(0)
    ids = generator.integers(5, 100, sum(lengths)).astype(np.int32)
    return TokenArrays.sequences(
        ids, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), None
    )


def by_transformers(network: PackedNetwork, tokens: TokenArrays) -> torch.Tensor:
    rows = [
        torch.from_numpy(tokens.ids[a:b]).long()[None]
        for a, b in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)
    ]
    return torch.cat([network.model(input_ids=ids).logits for ids in rows])


@pytest.mark.parametrize("family", ["Bert", "Roberta", "DistilBert", "Electra"])
def test_packed_logits_and_gradients_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    network = load_network(make(family, tmp_path), LABELS, "single_label_classification", CPU)
    network.eval()
    tokens = some_tokens()
    found, _ = network_outputs(network, tokens, CPU)
    assert np.abs(found - by_transformers(network, tokens).detach().numpy()).max() < 1e-4

    weights = torch.randn(len(tokens), 3, generator=torch.Generator().manual_seed(2))
    (by_transformers(network, tokens) * weights).sum().backward()
    expected = {
        name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None
    }
    network.zero_grad()
    batch, rows = packed(tokens, np.arange(len(tokens)), network.config, CPU)
    (network.logits(batch) * weights[rows]).sum().backward()
    for name, parameter in network.named_parameters():
        if name in expected:
            assert parameter.grad is not None, name
            assert torch.allclose(parameter.grad, expected[name], atol=1e-3), name


def test_gradients_in_bf16_point_where_those_in_fp32_do(tmp_path: Path) -> None:
    network = load_network(make("Bert", tmp_path), LABELS, "single_label_classification", CPU)
    network.eval()
    tokens = some_tokens((5, 9, 3, 5, 14, 40))
    batch, _ = packed(tokens, np.arange(len(tokens)), network.config, CPU)
    weights = torch.randn(len(tokens), 3, generator=torch.Generator().manual_seed(2))
    gradients = []
    for bf16 in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = (network.logits(batch).float() * weights).sum()
        loss.backward()
        gradients.append({n: p.grad.flatten() for n, p in network.named_parameters()})
        network.zero_grad()
    for name, exact in gradients[0].items():
        if exact.norm() > 1e-3:  # keys' biases have none: they move all scores alike
            cosine = torch.cosine_similarity(exact, gradients[1][name], dim=0)
            assert cosine > 0.99, name


def test_training_the_used_words_alone_changes_no_logit_and_no_other_word(tmp_path: Path) -> None:
    network = load_network(make("Bert", tmp_path), LABELS, "single_label_classification", CPU)
    tokens = some_tokens()
    before, _ = network_outputs(network, tokens, CPU)
    table = network.model.get_input_embeddings().weight.detach().clone()
    used = np.unique(tokens.ids).astype(np.int64)
    network.train_used_words(used)
    assert np.array_equal(network_outputs(network, tokens, CPU)[0], before)
    with torch.no_grad():
        network.words += 1
    network.write_back_words()
    changed = (network.model.get_input_embeddings().weight != table).any(dim=1).nonzero()[:, 0]
    assert changed.tolist() == used.tolist()


def test_depth_rises_from_the_embeddings_to_the_head(tmp_path: Path) -> None:
    network = load_network(make("Bert", tmp_path), LABELS, "single_label_classification", CPU)
    depths = {name: network.depth_of(name) for name in network.trained_parameters()}
    assert depths["model.bert.embeddings.word_embeddings.weight"] == 0
    assert depths["model.bert.encoder.layer.0.output.dense.weight"] == 1
    assert depths["model.bert.encoder.layer.1.output.dense.weight"] == 2
    assert depths["model.bert.pooler.dense.weight"] == depths["model.classifier.weight"] == 3


def test_a_head_with_the_very_same_labels_is_kept(make_bert: Callable[..., Path]) -> None:
    folder = make_bert(("no", "yes"))
    kind = read_config(folder).problem_type
    same = load_network(folder, ("no", "yes"), kind, CPU)
    other = load_network(folder, ("0", "1"), kind, CPU)
    original = load_network(folder, ("no", "yes"), kind, CPU)
    assert torch.equal(same.model.classifier.weight, original.model.classifier.weight)
    assert not torch.equal(other.model.classifier.weight, original.model.classifier.weight)


def test_dropped_words_are_masked_in_their_share_and_special_tokens_stay(tmp_path: Path) -> None:
    network = load_network(make("Bert", tmp_path), LABELS, "single_label_classification", CPU)
    tokens = some_tokens((40,) * 100)
    batch, _ = packed(tokens, np.arange(100), network.config, CPU)
    torch.manual_seed(0)
    dropped = drop_words(batch, 0.2, mask_id=4)
    places = batch.input_ids != dropped.input_ids
    assert (dropped.input_ids[places] == 4).all()
    assert places.float().mean() == pytest.approx(0.2 * 38 / 40, abs=0.02)
    rows = dropped.input_ids.view(100, 40)
    assert torch.equal(rows[:, [0, -1]], batch.input_ids.view(100, 40)[:, [0, -1]])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_hidden_layers", 10**6),
        ("intermediate_size", 2**31 - 1),
        ("max_position_embeddings", 2**31 - 1),
        ("type_vocab_size", 3),
        ("vocab_size", 2**31 - 1),
        ("hidden_size", 2**20),
        ("transformers_weights", "w.bin"),
    ],
)
@pytest.mark.parametrize("kind", ["AutoModel", "AutoModelForMaskedLM"])
def test_a_config_that_asks_for_more_than_the_weights_have_is_told_before_it_is_built(
    bert: Path, tmp_path: Path, kind: str, name: str, value: object
) -> None:
    folder = Path(shutil.copytree(bert, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, name: value}))
    with pytest.raises(ModelError, match=r"lacks the tensor|config\.json asks for|not supported"):
        from_pretrained(kind, folder)
