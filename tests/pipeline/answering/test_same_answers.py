"""The product gives the plain reference's answers, whatever the text, tokenizer and windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from tests.pipeline.answering import reference
from tests.pipeline.answering.conftest import SENTENCES
from tests.pipeline.answering.product import answers
from tests.pipeline.answering.reference import Found, Settings

QUESTIONS = ["who is the supplier", "When does it end?", "谁是供应商？", "is it good or bad?"]
TEXTS = [*SENTENCES, "good bad " * 90, " ".join(SENTENCES), "x", "a\r\nb\r\n\r\n good \t day "]


def compare(
    folder: Path, questions: Sequence[str], texts: Sequence[str], settings: Settings
) -> None:
    batch = answers(folder, questions, texts, settings)
    assert batch.rejects.num_rows == 0
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in batch.rows.to_pylist():
        rows.setdefault(row["doc_id"], []).append(row)
    model = AutoModelForQuestionAnswering.from_pretrained(str(folder)).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    for number, (question, text) in enumerate(zip(questions, texts, strict=True)):
        expected = reference.answer(model, tokenizer, question, text, settings)
        check(rows[str(number)], expected, text)


def check(rows: list[dict[str, Any]], expected: list[Found], text: str) -> None:
    assert [(row["answer_start"], row["answer_end"], row["window"]) for row in rows] == [
        (found.start, found.end, found.window) for found in expected
    ]
    for rank, (row, found) in enumerate(zip(rows, expected, strict=True), 1):
        assert row["rank"] == rank
        assert row["has_answer"] == (found.start is not None)
        assert row["score"] == pytest.approx(found.score, abs=1e-3)
        assert row["null_score"] == pytest.approx(found.null_score, abs=1e-3)
        if row["has_answer"]:
            assert text[row["answer_start"] : row["answer_end"]] == row["answer"]


@pytest.mark.parametrize(
    "settings",
    [
        Settings(max_length=128, stride=60, top_k=3, null_threshold=1e9),
        Settings(max_length=64, stride=16, null_threshold=0.0),
        Settings(max_length=48, stride=20, top_k=5, max_answer_tokens=4, null_threshold=1e9),
        Settings(max_length=40, stride=0, max_answer_tokens=1, null_threshold=2.0),
    ],
    ids=lambda settings: f"{settings.max_length}-{settings.stride}-{settings.top_k}",
)
@pytest.mark.parametrize("model", ["reader", "multilingual"])
def test_small_models_give_the_reference_answers(
    request: pytest.FixtureRequest, model: str, settings: Settings
) -> None:
    questions = [QUESTIONS[number % len(QUESTIONS)] for number in range(len(TEXTS))]
    compare(request.getfixturevalue(model), questions, TEXTS, settings)


@pytest.mark.parametrize(
    ("name", "count", "characters"), [("covid-qa.json", 4, 4_000), ("cmrc2018-trial.json", 6, 900)]
)
def test_real_questions_get_the_reference_answers(
    encoder_reader: Path,
    squad: Callable[[str], Iterator[tuple[str, str]]],
    name: str,
    count: int,
    characters: int,
) -> None:
    asked = list(squad(name))
    some = asked[:: len(asked) // count][:count]
    questions = [question for question, _ in some]
    texts = [context[:characters] for _, context in some]
    compare(encoder_reader, questions, texts, Settings(top_k=3, null_threshold=1e9))
