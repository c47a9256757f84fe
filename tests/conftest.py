"""Fixtures that many tests share: real checkpoints (tiny, random weights) made on the spot, and a
local Cloud Storage emulator, with `output`: the same test over a folder and over gs://.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import gcp_storage_emulator.server as emulator_server
import pytest
from apache_beam.internal.gcp.auth import _Credentials
from gcp_storage_emulator.handlers import objects

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


BUCKET = "beam-bert-test"
_counter = itertools.count()


def _with_preconditions(insert: Callable) -> Callable:
    """Answer 412 to ifGenerationMatch=0 where the name is taken, as Cloud Storage does."""

    def guarded(request, response, storage, *args, **kwargs):  # type: ignore[no-untyped-def]
        if request.query.get("ifGenerationMatch") == ["0"]:
            name = request.query.get("name", [None])[0] or request.data["meta"]["name"]
            if name in storage.objects.get(request.params["bucket_name"], {}):
                response.status = HTTPStatus.PRECONDITION_FAILED
                response.json({"error": {"code": 412, "message": "conditionNotMet"}})
                return
        insert(request, response, storage, *args, **kwargs)

    return guarded


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """Address of an emulator that runs in this process."""
    for name in ("api.object", "gcp_storage_emulator"):  # it logs each 404 as an error
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as patch:
        guarded = _with_preconditions(objects.insert)
        patch.setattr(
            emulator_server,
            "HANDLERS",
            tuple(
                (route, {m: guarded if h is objects.insert else h for m, h in methods.items()})
                for route, methods in emulator_server.HANDLERS
            ),
        )
        # Beam looks for credentials five times, over 20 seconds, before it does without.
        once = _Credentials._get_credentials_with_retrys.__wrapped__
        patch.setattr(_Credentials, "_get_credentials_with_retrys", staticmethod(once))
        # With its backlog of 5, parallel requests wait a second for their second SYN.
        patch.setattr(emulator_server.server.HTTPServer, "request_queue_size", 128)
        # It writes down everything it holds after each request, deleted objects included.
        patch.setattr(emulator_server.Storage, "_write_config_to_file", lambda storage: None)
        server = emulator_server.create_server(
            "127.0.0.1", 0, in_memory=True, default_bucket=BUCKET
        )
        server.start()
        host, port = server._api._httpd.server_address
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture
def new_gs_output(emulator: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """A gs:// prefix that nobody has used, at each call."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)
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
