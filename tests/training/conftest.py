"""Small labelled files with something to learn, and the command line run in this process."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from pipelines.finetune import main

WORDS_OF = {
    "bad": ["bad", "terrible", "awful", "worst", "sad", "angry", "hate", "wrong"],
    "fine": ["fine", "okay", "meeting", "day", "service", "time", "phone", "home"],
    "good": ["good", "great", "love", "best", "happy", "funny", "right", "like"],
}
FILLERS = ["the", "a", "this", "that", "is", "was", "it", "very", "much", "again", "never", "we"]
COMMON = ("--accept_unlicensed", "--layout", "folder", "--batch_tokens", "128")


def labelled_rows(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Texts that say their label with two of its words among fillers, no two the same."""
    generator = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < count:
        label = generator.choice(sorted(WORDS_OF))
        words = generator.sample(WORDS_OF[label], 2) + generator.choices(FILLERS, k=4)
        generator.shuffle(words)
        rows[" ".join(words)] = label
    return list(rows.items())


def write_csv(
    path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = ("text", "label")
) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small gain nothing from a second one, and wait for it where cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Checkpoints of each test in a folder of its own."""
    monkeypatch.setenv("BEAM_BERT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def encoder(make_bert: Callable[..., Path]) -> Path:
    """What is fine-tuned: a tiny BERT with small random weights."""
    return make_bert(initializer_range=0.05, hidden_dropout_prob=0.1)


@pytest.fixture
def train_file(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "train.csv", labelled_rows(240))


@pytest.fixture
def finetune(tmp_path: Path, encoder: Path, train_file: Path) -> Callable[..., Path]:
    """Run the command; a flag given again wins over the usual ones. Returns the model's folder."""

    def run(*flags: str, output: str = "model") -> Path:
        folder = tmp_path / output
        usual = ["--train", str(train_file)] if "--train" not in flags else []
        has_labels = {"--label_column", "--label_columns"} & set(flags)
        usual += [] if has_labels else ["--label_column", "label"]
        usual += ["--base", str(encoder)] if "--base" not in flags else []
        usual += ["--epochs", "2"] if "--epochs" not in flags else []
        code = main([*usual, "--output", str(folder), *COMMON, *flags])
        assert code == 0
        return folder

    return run


@pytest.fixture
def refused(
    tmp_path: Path, encoder: Path, train_file: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run the command, which must fail with exit code 2 and one line; returns that line."""

    def run(*flags: str, code: int = 2) -> str:
        usual = ["--train", str(train_file)] if "--train" not in flags else []
        usual += ["--label_column", "label"] if "--label_column" not in flags else []
        usual += ["--base", str(encoder)] if "--base" not in flags else []
        output = tmp_path / "refused"
        usual += ["--output", str(output)] if "--output" not in flags else []
        capfd.readouterr()
        assert main([*usual, "--epochs", "1", *COMMON, *flags]) == code
        errors = [line for line in capfd.readouterr().err.splitlines() if "error:" in line]
        assert len(errors) == 1
        assert not output.exists()
        return errors[0]

    return run
