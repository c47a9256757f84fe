"""The layer that starts as the mean over all tokens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from beam_bert.encoder import load_classifier
from beam_bert.training.network import load_network, packed
from beam_bert.training.pooling import resolve_pooling
from tests.training.test_network import CPU, LABELS, make, some_tokens

KIND = "single_label_classification"


@pytest.fixture
def sentence_encoder(encoder: Path, tmp_path: Path) -> Path:
    """The tiny encoder with the note that sentence-transformers leaves."""
    folder = tmp_path / "sentences"
    shutil.copytree(encoder, folder)
    (folder / "1_Pooling").mkdir()
    values = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize("family", ["Bert", "Roberta", "Electra"])
def test_the_first_token_starts_as_the_mean_over_all(family: str, tmp_path: Path) -> None:
    folder = make(family, tmp_path)
    plain = load_network(folder, ("x", "y", "z"), KIND, CPU).eval()
    pooled = load_network(folder, ("x", "y", "z"), KIND, CPU, pooling="mean").eval()
    assert pooled.config.num_layers == plain.config.num_layers + 1
    tokens = some_tokens()
    batch, _ = packed(tokens, np.arange(len(tokens)), plain.config, CPU)
    with torch.no_grad():
        states = plain.hidden(batch, first_tokens_only=False)
        first = pooled.hidden(batch, first_tokens_only=True)
    starts = batch.boundaries.starts.tolist()
    means = [states[a:b].mean(dim=0) for a, b in pairwise(starts)]
    similar = torch.cosine_similarity(torch.stack(means), first, dim=1)
    assert float(similar.min()) > 0.9


def test_every_part_of_the_new_layer_learns(tmp_path: Path) -> None:
    network = load_network(make("Bert", tmp_path), ("x", "y", "z"), KIND, CPU, pooling="mean")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    before = {n: p.detach().clone() for n, p in network.named_parameters() if ".layer.2." in n}
    tokens = some_tokens()
    batch, _ = packed(tokens, np.arange(len(tokens)), network.config, CPU)
    for _ in range(4):
        optimizer.zero_grad()
        network.logits(batch)[:, 0].square().sum().backward()
        optimizer.step()
    after = dict(network.named_parameters())
    # A bias of the keys adds the same to all scores of a query: it can never matter.
    still = {n for n, p in before.items() if torch.equal(p, after[n])} - {
        "model.bert.encoder.layer.2.attention.self.key.bias"
    }
    assert not still


def test_auto_follows_what_sentence_transformers_wrote(
    sentence_encoder: Path, encoder: Path, finetune: Callable[..., Path]
) -> None:
    assert resolve_pooling("auto", encoder) == "cls"
    assert resolve_pooling("auto", sentence_encoder) == "mean"
    assert resolve_pooling("cls", sentence_encoder) == "cls"
    folder = finetune("--base", str(sentence_encoder), "--epochs", "1")
    assert load_classifier(folder).config.num_layers == 3
    note = sentence_encoder / "1_Pooling" / "config.json"
    note.write_text(json.dumps({"pooling_mode_mean_tokens": False}))  # another model, same version
    other = finetune("--base", str(sentence_encoder), "--epochs", "1", output="other")
    assert load_classifier(other).config.num_layers == 2
    again = finetune("--base", str(folder), "--epochs", "1", output="again")
    assert load_classifier(again).config.num_layers == 3


def test_a_head_that_is_kept_gets_no_new_layer(make_bert: Callable[..., Path]) -> None:
    network = load_network(make_bert(LABELS), LABELS, KIND, CPU, pooling="mean")
    assert network.config.num_layers == 2


@pytest.mark.parametrize("text", ["[]", "null", "[" * 10_000, "{", "\xff"])
def test_an_odd_pooling_config_is_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling/config.json").write_bytes(text.encode("latin-1"))
    assert resolve_pooling("auto", tmp_path) == "cls"
