"""Students: smaller, with the teacher's words and layers, learning its answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from beam_bert.encoder import load_classifier
from beam_bert.encoder.config import read_config
from beam_bert.training.student import spread_layers
from tests.training.conftest import labelled_rows, write_csv


@pytest.fixture
def teacher(finetune: Callable[..., Path]) -> Path:
    return finetune("--epochs", "8", "--learning_rate", "3e-3", output="teacher")


def test_a_student_has_fewer_layers_and_words_and_reads_text_as_before(
    finetune: Callable[..., Path], teacher: Path, tmp_path: Path
) -> None:
    unlabelled = write_csv(
        tmp_path / "more.csv", [(t,) for t, _ in labelled_rows(60, 5)], ("text",)
    )
    student = finetune(
        *("--base", str(teacher), "--teacher", str(teacher), "--unlabelled", str(unlabelled)),
        *("--student_layers", "1", "--student_vocabulary", "170", "--epochs", "4"),
        output="student",
    )
    config, before = read_config(student), read_config(teacher)
    assert (config.num_layers, config.vocab_size) == (1, 170)
    assert before.num_layers == 2
    assert config.labels == before.labels
    small = Tokenizer.from_file(str(student / "tokenizer.json"))
    large = Tokenizer.from_file(str(teacher / "tokenizer.json"))
    text = unlabelled.read_text().splitlines()[1].strip('"')
    assert small.decode(small.encode(text).ids) == large.decode(large.encode(text).ids)
    assert small.encode("xylophone").tokens[-2].startswith("##")
    load_classifier(student)


def test_a_student_of_another_width_learns_from_logits_alone(
    finetune: Callable[..., Path], teacher: Path
) -> None:
    student = finetune(
        *("--base", str(teacher), "--teacher", str(teacher), "--student_hidden", "64"),
        *("--student_layers", "1", "--epochs", "1"),
        output="wide",
    )
    assert read_config(student).hidden_size == 64


def test_a_student_believes_its_teacher_rather_than_wrong_labels(
    finetune: Callable[..., Path], teacher: Path, tmp_path: Path
) -> None:
    wrong = {"bad": "fine", "fine": "good", "good": "bad"}
    rows = [(text, wrong[label]) for text, label in labelled_rows(200, seed=3)]
    train = write_csv(tmp_path / "wrong.csv", rows)
    dev = write_csv(tmp_path / "dev.csv", labelled_rows(60, seed=4))
    common = ("--train", str(train), "--dev", str(dev), "--base", str(teacher))
    common += ("--student_layers", "1", "--epochs", "4", "--learning_rate", "2e-3")
    taught = finetune(*common, "--teacher", str(teacher), "--teacher_weight", "1", output="taught")
    alone = finetune(*common, output="alone")

    def accuracy(folder: Path) -> float:
        return float(json.loads((folder / "training.json").read_text())["metrics"]["accuracy"])

    assert accuracy(taught) > 0.9
    assert accuracy(alone) < 0.5


def test_a_teacher_of_other_labels_is_refused(
    refused: Callable[..., str], teacher: Path, tmp_path: Path
) -> None:
    rows = [(text, label.upper()) for text, label in labelled_rows(60)]
    train = write_csv(tmp_path / "other.csv", rows)
    line = refused("--train", str(train), "--teacher", str(teacher))
    assert "a teacher must know the same labels" in line


def test_students_that_cannot_be(refused: Callable[..., str]) -> None:
    assert "the base has 2" in refused("--student_layers", "3")
    assert "has no room for" in refused("--student_vocabulary", "70")


def test_layers_are_spread_from_the_first_to_the_last() -> None:
    assert spread_layers(6, 3) == [0, 2, 5]
    assert spread_layers(6, 1) == [0]
    assert spread_layers(4, 4) == [0, 1, 2, 3]
