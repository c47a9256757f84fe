"""Windows of question and text are those of transformers, and offsets lead back to the text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from beam_bert.errors import ConfigError
from beam_bert.tokenization import QuestionTokenizer, WindowSettings
from beam_bert.tokenization.questions import most_context
from tests.pipeline.answering.conftest import SENTENCES
from tests.pipeline.answering.product import answer_batch
from tests.pipeline.answering.reference import Settings, best_window
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
    for row, text in zip(rows.to_pylist(), texts, strict=True):
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
        assert row["input_ids"] == [ids for each in expected for ids in each["input_ids"]]
        assert row["questions"] == [n for n, e in enumerate(expected) for _ in e["input_ids"]]
        if model == "reader":  # XLM-R has one token type
            types = [each for e in expected for each in e["token_type_ids"]]
            assert row["first_lengths"] == [each.count(0) for each in types]
        for span_range, ids in zip(row["ranges"], row["input_ids"], strict=True):
            assert span_range[0] + span_range[1] == len(ids) - 1


@given(
    length=st.integers(1, 400), room=st.integers(2, 60), stride=st.integers(0, 58), data=st.data()
)
@settings(max_examples=200, deadline=None)
def test_each_token_may_start_an_answer_in_the_window_with_most_context(
    length: int, room: int, stride: int, data: st.DataObject
) -> None:
    step = max(room - stride, 1)
    begins = list(range(0, max(length - room, 0) + step, step)) if length > room else [0]
    begins = [begin for begin in begins if begin == 0 or begin + room - step < length]
    lengths = [min(room, length - begin) for begin in begins]
    allowed = most_context(np.array(begins), np.array(lengths), np.zeros(len(begins), int))
    owner = np.full(length, -1)
    for number, (begin, (first, stop)) in enumerate(zip(begins, allowed.tolist(), strict=True)):
        assert (owner[begin + first : begin + stop] == -1).all()
        owner[begin + first : begin + stop] = number
    contexts = [range(each) for each in lengths]
    assert owner.tolist() == [best_window(begins, contexts, at) for at in range(length)]


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


@pytest.mark.parametrize("model", ["reader", "multilingual"])
@given(text=HOSTILE)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_token_span_leads_to_text_that_gives_its_tokens_back_or_to_nothing(
    request: pytest.FixtureRequest, model: str, text: str
) -> None:
    tokenizer = _tokenizer(request.getfixturevalue(model))
    rows = tokenizer.tokenize(documents([text])).rows
    if len(rows) == 0:  # no token at all: a reject
        return
    tokens = rows["num_tokens"][0].as_py()
    pairs = [(s, e) for s in range(tokens) for e in range(s, min(s + 4, tokens))]
    starts, ends = (np.array(each) for each in zip(*pairs, strict=True))
    places = tokenizer.locate([text], np.zeros(len(pairs), int), starts, ends)
    whole: dict[int, tuple[int, int]] = {}
    for (start, _), (first, stop) in zip(pairs, places.tolist(), strict=True):
        if first < 0:
            assert stop < 0
            continue
        assert 0 <= first < stop <= len(text)
        answer = text[first:stop]
        assert answer == answer.strip() != ""
        # Longer spans from one start never end earlier.
        assert whole.setdefault(start, (first, stop))[1] <= stop
        whole[start] = (first, stop)


def test_an_answer_keeps_the_accent_of_its_last_letter(reader: Path) -> None:
    text = "the cafe\u0301, i\u0302\u0323 love"  # accents apart, as macOS names files
    tokens = _tokenizer(reader)._backend.encode(text, add_special_tokens=False).offsets
    ends = np.arange(len(tokens))
    places = _tokenizer(reader).locate([text], np.zeros(len(tokens), int), ends, ends)
    found = [text[start:end] for start, end in places.tolist()]
    assert "".join(found) == text.replace(" ", "")
    assert any(each.endswith("e\u0301") for each in found)


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
    # 58 tokens leave room for the three of this text, if not for a stride in a longer one.
    assert batch.rows["input_ids"].to_pylist()[2][0][-4:-1] != []


def test_a_text_of_no_token_is_a_reject_beside_its_neighbours(reader: Path) -> None:
    tokenizer = QuestionTokenizer(reader, WindowSettings(64, True, 8), ("who?",))
    batch = tokenizer.tokenize(documents(["good", "\u200d", "bad"]))
    assert batch.rows["doc_id"].to_pylist() == ["0", "2"]
    assert batch.rejects["reason"].to_pylist() == ["no_tokens"]


def test_a_question_that_cannot_be_asked_stops_before_the_run(reader: Path) -> None:
    windows = WindowSettings(64, True, 8)
    with pytest.raises(ConfigError, match=r"80 tokens and leaves 0 of a window.*--max_length"):
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
