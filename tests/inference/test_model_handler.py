"""The handler gives each document its logits, and takes out the ones that break the model alone."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from beam_bert.encoder import SequenceClassifier, engine, load_classifier
from beam_bert.encoder.replicas import Replicas
from beam_bert.errors import RunFailed
from beam_bert.inference.compute_options import ComputeOptions
from beam_bert.inference.fp32_recheck import RecheckedModel
from beam_bert.inference.model_handler import BertModelHandler, score
from beam_bert.models import resolve_model
from beam_bert.sinks.manifest import Manifest
from beam_bert.tokenization import DocumentTokenizer, WindowSettings
from tests.tokenization.test_documents import TEXTS, documents


@pytest.fixture(scope="module")
def model(bert: Path) -> SequenceClassifier:
    return load_classifier(bert, precision="fp32", device="cpu")


def logits_of(rows: pa.RecordBatch) -> list[np.ndarray]:
    return [np.array(windows, np.float32) for windows in rows["logits"].to_pylist()]


def test_each_document_gets_the_logits_that_transformers_computes(
    bert: Path, model: SequenceClassifier
) -> None:
    batch = DocumentTokenizer(bert, WindowSettings(64)).tokenize(documents(TEXTS))
    reference = AutoModelForSequenceClassification.from_pretrained(str(bert)).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(bert))
    inputs = tokenizer(TEXTS, truncation=True, max_length=64, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = reference(**inputs).logits.numpy()
    found = np.concatenate(logits_of(score(batch, RecheckedModel(model)).rows))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_pairs_get_the_logits_that_transformers_computes(
    bert: Path, model: SequenceClassifier
) -> None:
    pairs = TEXTS[::-1]
    tokenizer = DocumentTokenizer(bert, WindowSettings(64), pair=True)
    found = np.concatenate(
        logits_of(score(tokenizer.tokenize(documents(TEXTS, pairs)), RecheckedModel(model)).rows)
    )
    reference = AutoModelForSequenceClassification.from_pretrained(str(bert)).eval()
    inputs = AutoTokenizer.from_pretrained(str(bert))(
        TEXTS, pairs, truncation=True, max_length=64, padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        expected = reference(**inputs).logits.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_document_keeps_its_windows_in_order(bert: Path, model: SequenceClassifier) -> None:
    settings = WindowSettings(16, overlapping=True, stride=4)
    tokenizer = DocumentTokenizer(bert, settings)
    together = score(tokenizer.tokenize(documents(TEXTS)), RecheckedModel(model))
    for row, text in enumerate(TEXTS):
        alone = score(tokenizer.tokenize(documents([text])), RecheckedModel(model))
        found = logits_of(together.rows)[row]
        np.testing.assert_allclose(found, logits_of(alone.rows)[0], atol=1e-5)


class Breaks:
    """Stands in for a model that fails, or gives NaN, on one document: real ones need a bad GPU."""

    def __init__(self, model: SequenceClassifier, token: int, how: str) -> None:
        self._model, self._token, self._how = model, token, how
        self.width, self.precision, self.device = model.width, model.precision, model.device

    def outputs(self, input_ids: np.ndarray, offsets: np.ndarray, *rest: object, **options: object):
        logits = self._model.outputs(input_ids, offsets, *rest, **options)  # type: ignore[arg-type]
        owners = np.searchsorted(offsets, np.flatnonzero(input_ids == self._token), "right") - 1
        if len(owners) and self._how == "raises":
            raise RuntimeError("cannot compute this")
        if self._how == "lost":
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\n…")
        logits[owners] = np.nan
        return logits


@pytest.mark.parametrize("how", ["raises", "nan"])
def test_a_document_that_breaks_the_model_is_rejected_alone(
    bert: Path, model: SequenceClassifier, how: str
) -> None:
    tokenizer = DocumentTokenizer(bert, WindowSettings(16, overlapping=True, stride=4))
    token = AutoTokenizer.from_pretrained(str(bert)).convert_tokens_to_ids("terrible")
    batch = tokenizer.tokenize(documents(TEXTS))
    whole = score(batch, RecheckedModel(model))
    broken = score(batch, RecheckedModel(Breaks(model, token, how)))  # type: ignore[arg-type]
    assert broken.rejects["doc_id"].to_pylist() == ["1"]
    assert broken.rejects["reason"].to_pylist() == ["inference_failed"]
    assert broken.rejects["raw"].to_pylist() == [TEXTS[1].encode()]
    kept = [row for row in range(len(TEXTS)) if row != 1]
    assert broken.rows["doc_id"].to_pylist() == [str(row) for row in kept]
    for found, row in zip(logits_of(broken.rows), kept, strict=True):
        np.testing.assert_allclose(found, logits_of(whole.rows)[row], atol=1e-5)


def test_a_gpu_that_is_lost_fails_the_run_and_rejects_nothing(
    bert: Path, model: SequenceClassifier
) -> None:
    batch = DocumentTokenizer(bert, WindowSettings(16)).tokenize(documents(TEXTS))
    with pytest.raises(RunFailed, match=r"the GPU failed \(CUDA error: .*\); start the run again"):
        score(batch, RecheckedModel(Breaks(model, 0, "lost")))  # type: ignore[arg-type]


def test_an_empty_slice_has_no_logits(bert: Path, model: SequenceClassifier) -> None:
    tokenizer = DocumentTokenizer(bert, WindowSettings(16))
    assert len(score(tokenizer.tokenize(documents([])), RecheckedModel(model))) == 0


def test_the_size_of_micro_batches_and_its_measurement_reach_the_manifest(
    bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "WORTH_MEASURING", 0)
    monkeypatch.setattr(engine, "candidates", lambda default: (16, 8, 32))  # the texts fill them
    model = load_classifier(bert, precision="fp32", device="cpu")
    batch = DocumentTokenizer(bert, WindowSettings(64)).tokenize(documents(TEXTS))
    handler = BertModelHandler(resolve_model(str(bert)))
    (first,), (second,) = (
        handler.run_inference(batch, Replicas([RecheckedModel(model)])) for _ in range(2)
    )
    used = f"documents_in_batches_of_{model.batch_tokens}"
    assert first.stats[used] == second.stats[used] == len(TEXTS)
    assert first.stats["batches_measured"] == 1
    assert "batches_measured" not in second.stats
    stats = {used: 9.0, "batches_measured": 2.0, "batches_of_512_us": 3.0, "batches_of_1024_us": 5}
    manifest = Manifest.model_construct(stats=stats)
    assert manifest.micro_batches() == (
        f"up to {model.batch_tokens:,} tokens; measured, µs a token and layer: 512 1.5, 1,024 2.5"
    )
    assert Manifest.model_construct(stats={}).micro_batches() is None


def test_a_process_keeps_every_gpu_of_its_machine_busy(
    bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several GPUs are made up here: what is real is who is asked to load, and who to compute."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    asked: list[str] = []

    def load(folder: Path, device: str, **options: Any) -> SequenceClassifier:
        asked.append(device)
        return load_classifier(folder, precision="fp32", device="cpu")

    model = BertModelHandler(resolve_model(str(bert)), load=load).load_model()
    assert asked == ["cuda:0", "cuda:1", "cuda:2"]
    with contextlib.ExitStack() as stack:
        used = [stack.enter_context(model.least_busy()) for _ in range(6)]
        assert len({id(each) for each in used}) == 3
        assert used[:3] == used[3:]
    with model.least_busy() as free:
        assert free is used[0]
    for device in ("cuda:1", "cpu"):
        asked.clear()
        BertModelHandler(
            resolve_model(str(bert)), load=load, options=ComputeOptions(device=device)
        ).load_model()
        assert asked == [device]


def test_threads_that_share_a_model_share_its_seconds(
    bert: Path, model: SequenceClassifier
) -> None:
    both_are_here = threading.Barrier(2)

    class Slow:
        precision, device, width = model.precision, model.device, model.width

        def outputs(self, input_ids, offsets, *args, **kwargs):  # type: ignore[no-untyped-def]
            both_are_here.wait()
            time.sleep(0.3)
            both_are_here.wait()
            return np.zeros((len(offsets) - 1, self.width), np.float32)

    checked = RecheckedModel(Slow())  # type: ignore[arg-type]
    batch = DocumentTokenizer(bert, WindowSettings(64)).tokenize(documents(TEXTS))
    with ThreadPoolExecutor(2) as threads:
        started = time.perf_counter()
        scored = list(threads.map(lambda _: score(batch, checked), range(2)))
        taken = time.perf_counter() - started
    assert 0.3 <= sum(each.stats["inference_s"] for each in scored) <= taken
