"""Windows of question and text are those of transformers, and offsets lead back to the text."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from beam_bert.encoder import load_span_finder
from beam_bert.errors import ConfigError
from beam_bert.inference.fp32_recheck import RecheckedModel
from beam_bert.inference.model_handler import score
from beam_bert.pipeline.answer import decode
from beam_bert.tasks import AnswerTask
from beam_bert.tokenization import (
    QuestionTokenizer,
    QuestionWindows,
    WindowSettings,
    question_windows,
    token_places,
)
from beam_bert.tokenization.token_places import TokenPlaces, tokens_of
from tests.pipeline.answering.conftest import SENTENCES
from tests.pipeline.answering.product import MODEL, answer_batch
from tests.pipeline.answering.reference import Settings, places
from tests.tokenization.test_documents import TEXTS, documents

QUESTIONS = ("Who is the supplier?", "谁是供应商", "good or bad")


@pytest.mark.parametrize("model", ["reader", "multilingual"])
@pytest.mark.parametrize(("max_length", "stride"), [(128, 30), (48, 8), (40, 0)])
def test_windows_have_the_ids_and_token_types_that_transformers_gives(
    request: pytest.FixtureRequest, model: str, max_length: int, stride: int
) -> None:
    folder = request.getfixturevalue(model)
    reference = AutoTokenizer.from_pretrained(str(folder))
    texts = [*SENTENCES, *TEXTS]
    tokenizer = QuestionTokenizer(folder, WindowSettings(max_length, True, stride), QUESTIONS)
    rows = tokenizer.tokenize(documents(texts)).rows
    windows = QuestionWindows(rows)
    laid_out, first = windows.everything(), 0
    assert windows.lengths.tolist() == laid_out.lengths.tolist()
    for count, numbers, text in zip(
        windows.counts.tolist(), rows["questions"].to_pylist(), texts, strict=True
    ):
        expected = [
            reference(
                question,
                text,
                truncation="only_second",
                max_length=max_length,
                stride=stride,
                return_overflowing_tokens=True,
            )
            for question in QUESTIONS
        ]
        found = laid_out.documents(first, first + count)
        bounds = pairwise(found.offsets.tolist())
        ids = [found.ids[start:stop].tolist() for start, stop in bounds]
        assert ids == [ids for each in expected for ids in each["input_ids"]]
        assert numbers == [n for n, e in enumerate(expected) for _ in e["input_ids"]]
        if model == "reader":  # XLM-R has one token type
            types = [each for e in expected for each in e["token_type_ids"]]
            assert found.first_lengths is not None
            assert found.first_lengths.tolist() == [each.count(0) for each in types]
        assert found.ranges is not None
        assert (found.ranges[:, 0] + found.ranges[:, 1] == found.lengths - 1).all()
        first += count


def test_windows_are_laid_out_some_at_a_time(reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = QuestionTokenizer(reader, WindowSettings(64, True, 16), QUESTIONS)
    windows = QuestionWindows(tokenizer.tokenize(documents(["good bad " * 400, "x"])).rows)
    whole = windows.everything()
    monkeypatch.setattr(question_windows, "PART_TOKENS", 200)
    parts = list(windows.parts())
    assert max(len(part.ids) for part in parts) <= 200
    for name in ("ids", "first_lengths", "lengths"):
        each = [getattr(part, name) for part in parts]
        assert np.concatenate(each).tolist() == getattr(whole, name).tolist()


class _Counting:
    """A tokenizer that counts the characters it is given."""

    def __init__(self, backend: Any) -> None:
        self._backend, self.characters = backend, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def encode_batch(self, texts: list[str], **options: Any) -> Any:
        self.characters += sum(map(len, texts))
        return self._backend.encode_batch(texts, **options)

    encode_batch_fast = encode_batch


def test_a_text_is_tokenized_once_for_all_of_its_questions(reader: Path) -> None:
    asked = Settings(64, 16, top_k=3, null_threshold=1e9)
    tokenizer = QuestionTokenizer(reader, WindowSettings(64, True, 16), QUESTIONS)
    counting = tokenizer._backend = _Counting(tokenizer._backend)
    model = RecheckedModel(
        load_span_finder(reader, precision="fp32", device="cpu", top_spans=asked.top_k + 1)
    )
    text = "good bad " * 300
    scored = score(tokenizer.tokenize(documents([text])), model)
    task = AnswerTask(QUESTIONS, top_k=3, null_threshold=1e9)
    found = decode(scored, task, MODEL)
    assert len(found.rows) == 3 * len(QUESTIONS)
    assert counting.characters == len(text)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts as Linux does")
def test_a_long_text_takes_little_more_memory_than_itself(finder: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from tests.pipeline.answering.product import MODEL, answer_batch
from tests.pipeline.answering.reference import Settings
from tests.tokenization.test_documents import documents
asked = Settings(128, 32, null_threshold=1e9)
most = []
for count in (2_000, 40_000):
    text = "good day the film is bad and sad " * count + "love the hate"
    batch = answer_batch(Path(sys.argv[1]), documents([text]), ("who?", "when?"), asked)
    assert batch.rows["answer"].to_pylist() == ["love the hate"] * 2
    most.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(most[1] - most[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(finder)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout.split()[-1]) < 120_000  # KB


@pytest.mark.parametrize("words", [250, 300])
def test_a_question_that_nearly_fills_the_window_does_not_multiply_the_cost(
    encoder_reader: Path, words: int
) -> None:
    tokenizer = QuestionTokenizer(encoder_reader, WindowSettings(384, True, 128), None)
    batch = tokenizer.tokenize(documents(["the " * 4_000, "the"], ["why " * words + "?"] * 2))
    assert batch.rows["doc_id"].to_pylist() == (["0", "1"] if words == 250 else ["1"])
    assert batch.rejects["reason"].to_pylist() == ([] if words == 250 else ["question_too_long"])
    assert batch.stats["tokens_read"] < 50_000


# Characters that normalisation makes longer or shorter, joins, drops, or takes for white space.
TRICKY = (
    "\ufb01\u00bd\u2460\u2167\u3314\ufdfa\u0301\u200d\ufeff\u00a0\u3000\r\n\t \u0130\u0131\u017f"
    "\u00df\u1e9e\uac00\u1100\u1161\u65e5\U0001f44d\U0001f3fd\U0001f468\U0001f1e9\U0001f1ea\u0308\uff41"
)
HOSTILE = st.text(
    st.one_of(
        st.characters(codec="utf-8", exclude_characters="\0"),
        st.sampled_from(list(TRICKY)),
    ),
    min_size=1,
    max_size=60,
)


@pytest.mark.parametrize("model", ["reader", "multilingual", "bytes_reader"])
@given(text=HOSTILE)
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_tokens_stand_where_a_loop_over_their_characters_says(
    request: pytest.FixtureRequest, model: str, text: str
) -> None:
    tokenizer = _tokenizer(request.getfixturevalue(model))
    encoding = tokenizer._backend.encode(text, add_special_tokens=False)
    found = TokenPlaces.of(tokenizer._backend, [text])
    assert found.ids.tolist() == encoding.ids
    starts, ends = found.starts.tolist(), found.ends.tolist()
    expected = places(text, encoding.offsets)
    if all(each == sorted(each) for each in ([p for p in e if p >= 0] for e in expected)):
        assert (starts, ends) == expected
    usable = [n for n, start in enumerate(starts) if start >= 0]
    for first in usable:
        for last in range(first, min(first + 4, len(ends))):
            if ends[last] >= 0:
                answer = text[starts[first] : ends[last]]
                assert answer == answer.strip() != ""
                assert tokens_of(found.starts, found.ends, starts[first], ends[last]) == (
                    starts.index(starts[first]),
                    len(ends) - 1 - ends[::-1].index(ends[last]),
                )


def test_a_long_text_is_tokenized_in_pieces_that_give_its_own_tokens(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [" ".join(SENTENCES) * 40, "".join(SENTENCES[4:8]) * 60, "\n".join(SENTENCES) * 40]
    for model in ("reader", "multilingual", "bytes_reader"):
        backend = _tokenizer(request.getfixturevalue(model))._backend
        whole = TokenPlaces.of(backend, texts)
        with monkeypatch.context() as patch:
            patch.setattr(token_places, "PIECE_CHARACTERS", 500)
            patch.setattr(token_places, "CALL_CHARACTERS", 2_000)
            cut = [len(list(token_places.pieces(backend, text))) > 5 for text in texts]
            # Without a blank nothing is cut: this tokenizer puts one before what begins a text.
            assert cut == [True, model != "multilingual", True]
            pieces = TokenPlaces.of(backend, texts)
        for name in ("ids", "starts", "ends", "lengths"):
            assert getattr(pieces, name).tolist() == getattr(whole, name).tolist(), (model, name)


def test_an_answer_keeps_the_accents_of_its_letters(reader: Path) -> None:
    text = "the cafe\u0301, i\u0302\u0323 love"  # accents apart, as macOS names files
    found = TokenPlaces.of(_tokenizer(reader)._backend, [text])
    words = [text[s:e] for s, e in zip(found.starts, found.ends, strict=True)]
    assert "".join(words) == text.replace(" ", "")
    assert any(each.endswith("e\u0301") for each in words)


def test_an_answer_does_not_begin_with_an_accent(bytes_reader: Path) -> None:
    text = "ne\u0301e, \u0301x"  # the second accent stands alone
    found = TokenPlaces.of(_tokenizer(bytes_reader)._backend, [text])
    begins = {text[start] for start in found.starts.tolist() if start >= 0}
    assert 1 in found.starts and 2 not in found.starts
    assert begins == {"n", "e", ",", "\u0301", "x"}


_made: dict[Path, QuestionTokenizer] = {}


def _tokenizer(folder: Path) -> QuestionTokenizer:
    if folder not in _made:
        _made[folder] = QuestionTokenizer(folder, WindowSettings(64, True, 8), ("who",))
    return _made[folder]


def test_each_row_may_bring_its_own_question(reader: Path) -> None:
    tokenizer = QuestionTokenizer(reader, WindowSettings(64, True, 8), None)
    questions = ["who?", "\u200b", "good " * 80, "when?", "good " * 58]
    batch = tokenizer.tokenize(documents(["a good day"] * 5, questions))
    assert batch.rows["doc_id"].to_pylist() == ["0", "3", "4"]
    rejects = batch.rejects.to_pylist()
    assert {row["doc_id"]: row["reason"] for row in rejects} == {
        "1": "no_question_tokens",
        "2": "question_too_long",
    }
    assert batch.rows_read == 5
    # 58 tokens leave room for the three of this text, if not for a longer one.
    assert QuestionWindows(batch.rows).lengths.tolist()[2] == 64


def test_a_text_of_no_token_is_a_reject_beside_its_neighbours(reader: Path) -> None:
    tokenizer = QuestionTokenizer(reader, WindowSettings(64, True, 8), ("who?",))
    batch = tokenizer.tokenize(documents(["good", "\u200d", "bad"]))
    assert batch.rows["doc_id"].to_pylist() == ["0", "2"]
    assert batch.rejects["reason"].to_pylist() == ["no_tokens"]


def test_a_question_that_cannot_be_asked_stops_before_the_run(reader: Path) -> None:
    windows = WindowSettings(64, True, 8)
    with pytest.raises(
        ConfigError, match=r"80 tokens and leaves 0 of a window.*needs 16; .*max_length"
    ):
        QuestionTokenizer(reader, windows, ("good " * 80,))
    with pytest.raises(ConfigError, match="drops every character"):
        QuestionTokenizer(reader, windows, ("\u200b",))


def test_many_answers_to_a_long_text_do_not_copy_its_logits_each(reader: Path) -> None:
    pool = pa.default_memory_pool()
    before = pool.max_memory()  # of all tests so far: it cannot be set back
    asked = Settings(max_length=128, stride=16, top_k=200, null_threshold=1e9)
    batch = answer_batch(reader, documents(["good bad " * 4_000]), ("who?",), asked)
    assert len(batch.rows) == 200
    assert pool.max_memory() <= max(before, 20e6)  # 200 copies of its windows' spans are 90 MB
