"""Exact match and F1 are SQuAD's and CMRC's, to the last article and punctuation mark."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_bert.evaluation.answering.metrics import (
    answer_scores,
    best_null_threshold,
    character_scores,
    cmrc_scores,
    question_word,
    squad_scores,
)


@pytest.mark.parametrize(
    ("predicted", "right", "exact", "f1"),
    [
        ("The Eiffel Tower!", "eiffel tower", 1, 1),
        ("in the Eiffel Tower", "Eiffel Tower", 0, 0.8),
        ("Tower Tower", "Eiffel Tower", 0, 0.5),
        ("a", "the", 1, 1),  # nothing is left of both
        ("", "", 1, 1),
        ("", "Paris", 0, 0),
        ("Paris", "", 0, 0),
        ("1,000", "1000", 1, 1),
        ("it's", "its", 1, 1),
        ("theatre", "atre", 0, 0),  # an article is a word, not letters
    ],
)
def test_english_answers_are_compared_as_squad_does(
    predicted: str, right: str, exact: float, f1: float
) -> None:
    assert squad_scores(predicted, right) == (exact, pytest.approx(f1))


@pytest.mark.parametrize(
    ("predicted", "right", "exact", "f1"),
    [
        ("《跑跑卡丁车》", "跑跑卡丁车", 1, 1),
        ("北京市", "北京", 0, 0.8),
        ("京北", "北京", 0, 0.5),  # the longest shared stretch is one character
        ("韩国Nexon公司", "Nexon", 0, 1 / 3),
        ("Nexon", "nexon", 1, 1),
        ("", "北京", 0, 0),
        ("80公分", "80 公分", 0, 1),
    ],
)
def test_chinese_answers_are_compared_as_cmrc_does(
    predicted: str, right: str, exact: float, f1: float
) -> None:
    assert cmrc_scores(predicted, right) == (exact, pytest.approx(f1))


@pytest.mark.parametrize(
    ("predicted", "right", "exact", "f1"),
    [
        ("이순신 장군은", "이순신 장군", 0, 10 / 11),  # a particle is one character
        ("이순신", "이순신", 1, 1),
        ("กรุงเทพมหานคร", "กรุงเทพ", 0, 14 / 20),
        ("東京タワー", "東京", 0, 4 / 7),
        ("ひらがな", "カタカナ", 0, 0),
        ("삼성 Galaxy S9", "Galaxy S9", 0, 4 / 6),  # words of other scripts stay words
        ("", "이순신", 0, 0),
        ("ភ្នំពេញ។", "ភ្នំពេញ។", 1, 1),
    ],
)
def test_scripts_without_word_breaks_are_compared_by_characters(
    predicted: str, right: str, exact: float, f1: float
) -> None:
    assert character_scores(predicted, right) == (exact, pytest.approx(f1))
    found = [each[0] for each in answer_scores([predicted], [[right]])]
    assert found == [exact, pytest.approx(f1)]
    by_words = squad_scores(predicted, right)
    assert [each[0] for each in answer_scores([predicted], [[right]], "squad")] == [*by_words]


def test_the_best_right_answer_counts_and_no_answer_may_be_right() -> None:
    predicted = ["the cat", "", "dog", "北京市"]
    right = [["dog", "cat"], [], [], ["上海", "北京"]]
    exact, f1 = answer_scores(predicted, right)
    assert exact.tolist() == [1, 1, 0, 0]
    assert f1.tolist() == [1, 1, 0, pytest.approx(0.8)]


def by_trying_all(scores: np.ndarray, gaps: np.ndarray, has_answer: np.ndarray) -> float:
    def at(threshold: float) -> float:
        return float(np.where(gaps <= threshold, scores * has_answer, ~has_answer).mean())

    return max(at(threshold) for threshold in [-np.inf, *gaps])


@given(
    rows=st.lists(
        st.tuples(st.sampled_from([0, 0.25, 1]), st.integers(-3, 3), st.booleans()), min_size=1
    )
)
def test_the_best_threshold_is_the_best_of_all(rows: list[tuple[float, int, bool]]) -> None:
    scores, gaps, has = (np.array(each) for each in zip(*rows, strict=True))
    found = best_null_threshold(scores * has, gaps.astype(float), has)
    assert found.value == pytest.approx(by_trying_all(scores, gaps, has))
    reached = np.where(gaps <= found.threshold, scores * has, ~has).mean()
    assert reached == pytest.approx(found.value)
    assert not np.isclose(gaps, found.threshold).any()  # the last bits of a score decide nothing


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("What is it?", "what"),
        ("How many children were infected?", "how many"),
        ("How much does it cost?", "how many"),
        ("In which year did it end?", "which"),
        ("Whose is it?", "who"),
        ("Name the supplier.", "other"),
        ("生命数耗完即算为什么？", "why"),
        ("谁开发了它？", "who"),
        ("多少分钟内不得配对？", "how many"),
    ],
)
def test_questions_are_told_apart_by_what_they_ask_for(question: str, word: str) -> None:
    assert question_word(question) == word
