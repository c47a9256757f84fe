"""`pipelines.finetune` over real files: every kind of label, the same bits, kills, the store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from beam_bert.encoder import load_classifier
from beam_bert.models import ModelStore
from beam_bert.settings.training import FinetuneConfig
from beam_bert.training.loop import standard_error
from beam_bert.training.setup import training_digest
from pipelines.finetune import main
from tests.training.conftest import COMMON, labelled_rows, write_csv

Finetune = Callable[..., Path]


def training(folder: Path) -> dict:
    return json.loads((folder / "training.json").read_text())


def same_weights(one: Path, other: Path) -> bool:
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    return all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_and_both_engines_load_what_it_writes(finetune: Finetune) -> None:
    folder = finetune("--epochs", "12", "--learning_rate", "3e-3")
    found = training(folder)
    assert found["metrics"]["accuracy"] > 0.9
    ours = load_classifier(folder, precision="fp32")
    assert ours.config.labels == ("bad", "fine", "good")
    ids = np.array([2, 120, 121, 122, 3], np.int32)
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert theirs.config.problem_type == "single_label_classification"
    expected = theirs(input_ids=torch.from_numpy(ids).long()[None]).logits.detach().numpy()
    assert np.abs(ours.logits(ids, np.array([0, 5])) - expected).max() < 1e-4


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(finetune: Finetune) -> None:
    first = finetune(output="first")
    assert same_weights(first, finetune(output="second"))
    assert not same_weights(first, finetune("--seed", "1", output="third"))


def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_bits(
    finetune: Finetune, tmp_path: Path, encoder: Path, train_file: Path
) -> None:
    unbroken = finetune("--epochs", "3", output="unbroken")
    flags = ["--train", str(train_file), "--label_column", "label", "--base", str(encoder)]
    flags += ["--output", str(tmp_path / "killed"), "--epochs", "3", "--checkpoint_s", "0.0001"]
    work = tmp_path / "work"
    command = [sys.executable, "-m", "pipelines.finetune", *flags, *COMMON]
    command += ["--work_folder", str(work)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # as in this process: so are the bits
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)
    deadline = time.monotonic() + 60
    while not list(work.glob("*/state.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed").exists()
    assert main([*command[3:]]) == 0
    assert same_weights(unbroken, tmp_path / "killed")
    assert training(unbroken)["curves"] == training(tmp_path / "killed")["curves"]
    assert not list(work.iterdir())


def test_a_checkpoint_of_other_settings_is_not_gone_on_from(
    finetune: Finetune, capfd: pytest.CaptureFixture[str]
) -> None:
    finetune(output="one")
    finetune("--learning_rate", "1e-3", output="two")
    assert "going on" not in capfd.readouterr().err


def test_a_training_that_nobody_went_on_with_for_a_month_is_removed(
    finetune: Finetune, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = ("0123456789abcdef", "123456789abcdef0", "mine")
    states = [tmp_path / "work" / name / "state.safetensors" for name in names]
    for state in states:
        state.parent.mkdir(parents=True)
        state.write_bytes(b"")
    long_ago = time.time() - 31 * 24 * 3600
    for state in (states[0], states[2]):
        os.utime(state, (long_ago, long_ago))
    finetune("--work_folder", str(tmp_path / "work"))
    assert [state.exists() for state in states] == [False, True, True]
    assert f"removed {states[0].parent}" in capfd.readouterr().err


def test_a_training_that_takes_longer_than_a_month_is_not_removed(
    finetune: Finetune, tmp_path: Path
) -> None:
    start = tmp_path / "work" / "0123456789abcdef" / "state.safetensors"
    now = start.parent / "training-1" / "state.safetensors"
    now.parent.mkdir(parents=True)
    for state in (start, now):
        state.write_bytes(b"")
    long_ago = time.time() - 31 * 24 * 3600
    os.utime(start, (long_ago, long_ago))
    finetune("--work_folder", str(tmp_path / "work"))
    assert start.exists()
    assert now.exists()


def test_the_digest_of_a_training_goes_by_the_label_names_and_not_by_where_they_lie(
    tmp_path: Path,
) -> None:
    def digest(name: str, names: str) -> str:
        file = tmp_path / name
        file.write_text(names)
        config = FinetuneConfig(
            base="b", output="o", train=("t",), label_column="l", label_names=str(file)
        )
        return training_digest(config, [])

    assert digest("a", "x\ny\n") == digest("b", "x\ny\n") != digest("b", "y\nx\n")


def test_rows_with_several_labels_from_lists_and_from_separated_text(
    finetune: Finetune, tmp_path: Path
) -> None:
    rows = labelled_rows(120)
    lists = [[label, "any"] if i % 2 else [label] for i, (_, label) in enumerate(rows)]
    table = pa.table({"text": [text for text, _ in rows], "label": pa.array(lists)})
    pq.write_table(table, tmp_path / "train.parquet")
    one = finetune("--train", str(tmp_path / "train.parquet"), output="lists")
    names = ("bad", "fine", "good", "any")
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    (tmp_path / "train.tsv").write_text(
        "".join(
            f"{text}\t{','.join(str(names.index(each)) for each in found)}\n"
            for (text, _), found in zip(rows, lists, strict=True)
        )
    )
    two = finetune(
        *("--train", str(tmp_path / "train.tsv"), "--column_names", "text", "label"),
        *("--label_separator", ",", "--label_names", str(tmp_path / "names.txt")),
        *("--class_weights", "balanced"),
        output="text",
    )
    config = load_classifier(one).config
    assert config.labels == ("any", "bad", "fine", "good")
    assert config.problem_type == "multi_label_classification"
    assert load_classifier(two).config.labels == names
    calibration = training(one)["calibration"]
    assert calibration["temperature"] > 0
    assert load_classifier(one).config.threshold == calibration["threshold"]


def test_values_are_learnt_as_regression(finetune: Finetune, tmp_path: Path) -> None:
    value = {"bad": "-1.5", "fine": "0", "good": "2"}
    rows = [(text, value[label]) for text, label in labelled_rows(240)]
    train = write_csv(tmp_path / "values.csv", rows)
    flags = ("--train", str(train), "--problem_type", "regression", "--epochs", "12")
    folder = finetune(*flags, "--learning_rate", "3e-3")
    assert load_classifier(folder).config.problem_type == "regression"
    assert training(folder)["metrics"]["spearman"] > 0.8


def test_pairs_of_texts_are_learnt_with_their_token_types(
    finetune: Finetune, tmp_path: Path
) -> None:
    rows = [(text, other, label) for (text, label), (other, _) in zip(
        labelled_rows(60), labelled_rows(60, seed=1), strict=True)]  # fmt: skip
    train = write_csv(tmp_path / "pairs.csv", rows, ("text", "other", "label"))
    folder = finetune("--train", str(train), "--text_pair_column", "other", "--epochs", "1")
    assert load_classifier(folder).config.labels == ("bad", "fine", "good")


def test_bf16_accumulation_consistency_smoothing_and_early_stopping_run(
    finetune: Finetune, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = finetune(
        *("--precision", "bf16", "--gradient_accumulation", "3", "--r_drop_weight", "1"),
        *("--token_mask_rate", "0.2"),
        *("--label_smoothing", "0.1", "--layer_decay", "0.9", "--schedule", "cosine"),
        *("--early_stopping", "1", "--epochs", "4", "--learning_rate", "1e-9"),
    )
    epochs = training(folder)["curves"]["epochs"]
    assert len(epochs) < 1 + 4
    assert "stopping early" in capfd.readouterr().err


def test_dropout_of_ones_own_replaces_that_of_the_base(finetune: Finetune) -> None:
    settings = ("--epochs", "1", "--learning_rate", "1e-9", "--token_mask_rate", "0")
    losses = []
    for share in (), ("--dropout", "0"), ("--dropout", "0.9"):
        curve = training(finetune(*settings, *share, output=f"model{len(losses)}"))["curves"]
        losses.append(sum(point["loss"] for point in curve["steps"]))
    own, none, most = losses
    assert none < own < most


def test_accumulated_batches_weigh_their_rows_alike(finetune: Finetune) -> None:
    flags = ("--epochs", "1", "--wise_ft_weight", "0", "--batch_tokens")
    one = finetune(*flags, "100000", output="one")
    two = finetune(*flags, "500", "--gradient_accumulation", "1000", output="two")
    assert training(one)["curves"]["epochs"][-1]["step"] == 1
    assert training(two)["curves"]["epochs"][-1]["step"] == 1


def test_a_good_epoch_is_kept_and_the_curves_tell_all(finetune: Finetune) -> None:
    found = training(finetune("--epochs", "4", "--learning_rate", "2e-3", "--wise_ft_weight", "0"))
    values = [epoch["accuracy"] for epoch in found["curves"]["epochs"]]
    assert len(values) == 1 + 4  # the first as the head was fitted
    error = standard_error(max(values), 24)  # rows held out of 240
    good = [epoch for epoch, value in enumerate(values) if value >= max(values) - error]
    assert found["kept_epoch"] == good[-1]
    assert found["metrics"]["accuracy"] == pytest.approx(values[good[-1]], abs=1e-4)
    assert all(point["loss"] > 0 for point in found["curves"]["steps"])


def test_the_temperature_is_in_the_weights_and_both_errors_are_told(finetune: Finetune) -> None:
    folder = finetune("--epochs", "6", "--learning_rate", "3e-3")
    calibration = training(folder)["calibration"]
    assert set(calibration) == {
        "temperature",
        "calibration_error_before",
        "calibration_error_after",
        "calibration_error_cross_fitted",
    }
    metrics = training(folder)["metrics"]
    assert metrics["calibration_error"] == pytest.approx(calibration["calibration_error_after"])
    config = json.loads((folder / "config.json").read_text())
    assert config["beam_bert"]["temperature_folded_in"] == calibration["temperature"]
    assert "Calibration" in (folder / "README.md").read_text()


def test_a_version_is_published_as_candidate_with_its_parent(
    finetune: Finetune, tmp_path: Path, train_file: Path
) -> None:
    store = ModelStore(tmp_path / "store")
    finetune("--layout", "store", output="store")
    first = store.resolve("candidate")
    folder = Path(store.folder(first.version))
    assert (folder / "README.md").is_file()
    assert (folder / "data.yaml").is_file()
    assert first.metrics["accuracy"] >= 0
    base = f"{tmp_path}/./store/@candidate"  # the same store, however it is written
    finetune("--layout", "store", "--base", base, "--seed", "2", output="store")
    second = store.resolve("candidate")
    assert second.version != first.version
    assert second.parent == first.version


def test_the_card_tells_what_swapped_identity_terms_did(finetune: Finetune, tmp_path: Path) -> None:
    rows = [(f"he {text}" if i % 2 else text, label) for i, (text, label) in
            enumerate(labelled_rows(60, seed=7))]  # fmt: skip
    dev = write_csv(tmp_path / "dev.csv", rows)
    card = (finetune("--dev", str(dev)) / "README.md").read_text()
    assert "## Bias audit" in card
    assert "| gender | 30 |" in card
    without = finetune("--dev", str(dev), "--audit_variants", "0", output="without")
    assert "## Bias audit" not in (without / "README.md").read_text()


def test_the_card_has_metadata_data_and_settings(finetune: Finetune) -> None:
    card = (finetune() / "README.md").read_text()
    metadata = ModelCard(card).data  # as the hub reads it
    assert (metadata.library_name, metadata.license) == ("transformers", "other")
    assert metadata.pipeline_tag == "text-classification"
    assert {result.metric_type for result in metadata.eval_results or []} >= {"accuracy", "loss"}
    assert "--accept_unlicensed was given" in card
    assert "## Data" in card
    assert "epochs: 2" in card
    assert "| torch |" in card
