"""The product's answers to questions on texts, without Beam: tokenize, score, decode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beam_bert.encoder import load_span_finder
from beam_bert.inference.fp32_recheck import RecheckedModel
from beam_bert.inference.model_handler import score
from beam_bert.models import ResolvedModel
from beam_bert.pipeline.answer import decode
from beam_bert.slices.batch import SliceBatch
from beam_bert.tasks import AnswerTask
from beam_bert.tokenization import QuestionTokenizer, WindowSettings
from tests.pipeline.answering.reference import Settings
from tests.tokenization.test_documents import documents

MODEL = ResolvedModel("m", "/m", "v1")


def answers(
    folder: Path, questions: Sequence[str], texts: Sequence[str], settings: Settings, **task: Any
) -> SliceBatch:
    """Ask each text its own question; a batch of answer rows."""
    return answer_batch(folder, documents(list(texts), list(questions)), None, settings, **task)


def answer_batch(
    folder: Path,
    batch: SliceBatch,
    questions: tuple[str, ...] | None,
    settings: Settings,
    precision: str = "fp32",
    **task: Any,
) -> SliceBatch:
    asked = AnswerTask(
        questions, top_k=settings.top_k, null_threshold=settings.null_threshold, **task
    )
    windows = WindowSettings(settings.max_length, True, settings.stride)
    tokenizer = QuestionTokenizer(folder, windows, questions)
    model = load_span_finder(
        folder,
        precision=precision,
        device="cpu",
        max_answer_tokens=settings.max_answer_tokens,
        top_spans=asked.top_spans,
    )
    return decode(score(tokenizer.tokenize(batch), RecheckedModel(model)), asked, MODEL)
