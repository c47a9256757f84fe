"""`pipelines.pretrain`: an encoder learns to guess words, and classifiers start from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM

from beam_bert.slices.token_arrays import TokenArrays
from beam_bert.training.masking import hide
from beam_bert.training.network import packed
from pipelines.pretrain import main
from tests.training.conftest import COMMON, labelled_rows


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "raw.txt"
    path.write_text("".join(f"{text}\n" for text, _ in labelled_rows(300)))
    return path


def test_guesses_become_better_and_a_classifier_starts_from_the_result(
    tmp_path: Path, text_file: Path, encoder: Path, finetune: Callable[..., Path]
) -> None:
    flags = ["--input", str(text_file), "--base", str(encoder), "--learning_rate", "3e-3"]
    output = tmp_path / "domain"
    assert main([*flags, "--output", str(output), "--epochs", "4", *COMMON]) == 0
    found = json.loads((output / "training.json").read_text())
    assert found["metrics"]["masked_loss"] < found["metrics_before"]["masked_loss"] - 0.3
    model, info = AutoModelForMaskedLM.from_pretrained(output, output_loading_info=True)
    assert not info["missing_keys"]
    assert model.config.vocab_size > 0
    before, after = (load_file(f / "model.safetensors") for f in (encoder, output))
    name = "bert.pooler.dense.weight"
    assert torch.equal(before[name], after[name])
    assert finetune("--base", str(output), "--epochs", "1").is_dir()


def test_texts_that_the_tokenizer_empties_are_rejects(
    tmp_path: Path, text_file: Path, encoder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with text_file.open("a", encoding="utf-8") as file:
        file.write("\u200b\u200d\n")
    flags = ["--input", str(text_file), "--base", str(encoder), "--epochs", "1", *COMMON]
    assert main([*flags, "--output", str(tmp_path / "strict"), "--max_reject_rate", "0"]) == 2
    assert "1 of 301 rows" in capfd.readouterr().err
    assert main([*flags, "--output", str(tmp_path / "lenient")]) == 0


def test_the_same_seed_gives_the_same_bits(tmp_path: Path, text_file: Path, encoder: Path) -> None:
    flags = ["--input", str(text_file), "--base", str(encoder), *COMMON]
    for name in ("one", "two"):
        assert main([*flags, "--output", str(tmp_path / name)]) == 0
    one, two = (load_file(tmp_path / n / "model.safetensors") for n in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_special_tokens_are_never_hidden_and_the_rate_is_kept(encoder: Path) -> None:
    from beam_bert.encoder.config import read_config

    config = read_config(encoder)
    ids = np.tile(np.array([2, *range(20, 60), 3], np.int32), 100)
    tokens = TokenArrays.sequences(ids, np.arange(0, len(ids) + 1, 42, dtype=np.int64), None)
    batch, _ = packed(tokens, np.arange(100), config, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    hidden, places = hide(batch, 0.15, 4, config.vocab_size, generator)
    assert not {2, 3} & set(batch.input_ids[places].tolist())
    assert len(places) / 4000 == pytest.approx(0.15, abs=0.03)
    masked = (hidden.input_ids[places] == 4).float().mean()
    assert float(masked) == pytest.approx(0.8, abs=0.07)
    untouched = torch.ones(len(ids), dtype=torch.bool)
    untouched[places] = False
    assert torch.equal(hidden.input_ids[untouched], batch.input_ids[untouched])


def test_text_without_a_licence_stops_the_run(
    tmp_path: Path, text_file: Path, encoder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = ["--input", str(text_file), "--base", str(encoder), "--output", str(tmp_path / "out")]
    assert main(flags) == 2
    assert "raw.txt is not declared" in capfd.readouterr().err


def test_the_separator_in_the_middle_of_a_pair_is_never_hidden() -> None:
    from beam_bert.encoder.attention import Boundaries
    from beam_bert.encoder.packing import PackedBatch
    from beam_bert.training.masking import drop_words

    ids = torch.tensor([2, 10, 11, 3, 12, 13, 3] * 50)
    starts = torch.arange(0, len(ids) + 1, 7, dtype=torch.int32)
    boundaries = Boundaries((), starts, torch.arange(51), 7)
    batch = PackedBatch(ids, torch.zeros_like(ids), starts[:-1], boundaries)
    dropped = drop_words(batch, 1.0, mask_id=4).input_ids
    assert (dropped[ids >= 10] == 4).all()
    assert torch.equal(dropped[ids < 10], ids[ids < 10])
