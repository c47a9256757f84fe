"""Exact match and F1 of answers: SQuAD's official definitions, CMRC's for Chinese, KorQuAD's idea
for other scripts whose words do not stand apart.

SQuAD compares words in lower case, without punctuation and articles
(https://rajpurkar.github.io/SQuAD-explorer/, evaluate-v2.0.py). Chinese has no spaces between
words: CMRC 2018 (Cui et al., arXiv:1810.07366, cmrc2018_evaluate.py) compares characters, and its
F1 counts the longest stretch that both share. Where that script asks NLTK for the words of Latin
text, a regular expression parts them here. Japanese, Thai, Lao, Khmer, Burmese and Tibetan have no
spaces between words either, and Korean writes particles and endings onto them: there F1 compares
characters as SQuAD's compares words, as KorQuAD does (Lim et al. 2019, arXiv:1909.07005), and words
of other scripts among them stay words; exact match is SQuAD's.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from beam_bert.reports import answering as report
from beam_bert.settings.answer_training import Definition

FloatArray = npt.NDArray[np.float64]

NO_ANSWERS = -1e9  # the threshold at which no question is answered, as a number that JSON has
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_HAN = re.compile("[\u4e00-\u9fa5]")
# Kana, Hangul, Thai, Lao, Tibetan, Burmese, Khmer.
_WITHOUT_WORDS = (
    "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9d\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"
    "\u0e00-\u0e7f\u0e80-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff"
)
_CHARACTERS = re.compile(f"[{_WITHOUT_WORDS}]")
_SEGMENTS = re.compile(f"[{_WITHOUT_WORDS}\u4e00-\u9fa5]|[^\\s{_WITHOUT_WORDS}\u4e00-\u9fa5]+")
_WORDS = re.compile(r"\w+|[^\w\s]")
# As in cmrc2018_evaluate.py; it names one of two characters, which no character can equal.
_CMRC_PUNCTUATION = frozenset(
    "-:_*^/\\~`+=\uff0c\u3002\uff1a\uff1f\uff01\u201c\u201d\uff1b\u2019\u300a\u300b\u00b7\u3001"
    "\u300c\u300d\uff08\uff09\uff0d\uff5e\u300e\u300f"
)


def has_han(text: str) -> bool:
    """Whether Chinese characters stand in it."""
    return _HAN.search(text) is not None


def squad_words(text: str) -> list[str]:
    """The words that SQuAD compares."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def cmrc_segments(text: str) -> list[str]:
    """The characters, and words of other scripts, that CMRC compares."""
    segments, other = [], ""
    for character in text.lower().strip():
        if character in _CMRC_PUNCTUATION:
            continue
        if _HAN.match(character):
            segments += [*_WORDS.findall(other), character]
            other = ""
        else:
            other += character
    return segments + _WORDS.findall(other)


def squad_scores(predicted: str, right: str) -> tuple[float, float]:
    """Exact match and F1 of one answer against one that is right; "" is no answer."""
    given, wanted = squad_words(predicted), squad_words(right)
    return _scores(given == wanted, given, wanted, _shared)


def character_scores(predicted: str, right: str) -> tuple[float, float]:
    """Exact match by SQuAD's words, and F1 over characters where words do not stand apart."""
    words = squad_words(predicted), squad_words(right)
    given, wanted = (_SEGMENTS.findall(" ".join(some)) for some in words)
    return _scores(words[0] == words[1], given, wanted, _shared)


def cmrc_scores(predicted: str, right: str) -> tuple[float, float]:
    """The same by CMRC's definition."""
    exact = _without_punctuation(predicted) == _without_punctuation(right)
    return _scores(exact, cmrc_segments(predicted), cmrc_segments(right), _longest_shared)


def _scores(
    exact: bool,
    given: Sequence[str],
    wanted: Sequence[str],
    shared_by: Callable[[Sequence[str], Sequence[str]], int],
) -> tuple[float, float]:
    """Exact match, and F1 over what both share; where nothing is left of one they are the same."""
    if not given or not wanted:
        return float(exact), float(exact)
    return float(exact), 2 * shared_by(given, wanted) / (len(given) + len(wanted))


def answer_scores(
    predicted: Sequence[str], right: Sequence[Sequence[str]], definition: Definition = "auto"
) -> tuple[FloatArray, FloatArray]:
    """Exact match and F1 of each question, the best over its right answers.

    Args:
      predicted: answers; "" where the model gives none.
      right: for each question the answers that count, none where it has no answer.
      definition: auto is by characters where a right answer, or the one predicted, holds one of a
        script without word breaks; else CMRC's where one holds a Han character; else SQuAD's.

    Returns:
      float64 [n] twice, from 0 to 1.
    """
    exact, f1 = np.zeros(len(predicted)), np.zeros(len(predicted))
    for row, (given, wanted) in enumerate(zip(predicted, right, strict=True)):
        # SQuAD's script leaves out answers of which nothing is left to compare.
        answers = [answer for answer in wanted if squad_words(answer)] or [""]
        name = definition if definition != "auto" else _definition_of([given, *answers])
        scores = [_SCORES[name](given, answer) for answer in answers]
        exact[row], f1[row] = (max(each) for each in zip(*scores, strict=True))
    return exact, f1


def _definition_of(texts: Sequence[str]) -> Definition:
    if any(map(_CHARACTERS.search, texts)):
        return "characters"
    return "cmrc" if any(map(has_han, texts)) else "squad"


_SCORES = {"squad": squad_scores, "cmrc": cmrc_scores, "characters": character_scores}


def best_null_threshold(
    scores: FloatArray, gaps: FloatArray, has_answer: npt.NDArray[np.bool_]
) -> report.BestNullThreshold:
    """Where to say "no answer": as evaluate-v2.0.py's find_best_thresh, on score gaps.

    Args:
      scores: float64 [n], exact match or F1 of the best span of each question (not of "no answer").
      gaps: float64 [n], null score - score; a question is answered where it is at most the
        threshold.
      has_answer: bool [n], whether it has an answer.

    Returns:
      The mean over all questions at the best threshold, which lies midway between two gaps (the
      last bits of a score differ from engine to engine); `NO_ANSWERS`: answer none, or its
      opposite: all.
    """
    order = np.argsort(gaps, kind="stable")
    # What answering the question adds: its score, or the loss of a right "no answer".
    gains = np.where(has_answer, scores, -1.0)[order]
    sums = np.concatenate([[0.0], np.cumsum(gains)]) + (~has_answer).sum()
    # Questions of one gap are answered together or not at all.
    ends = np.flatnonzero(np.append(np.diff(gaps[order]) > 0, True)) + 1
    places = np.append(0, ends[: len(gaps)])
    best = int(places[np.argmax(sums[places])])
    around = np.concatenate([[-np.inf], gaps[order], [np.inf]])[best : best + 2]
    threshold = float(np.clip(around.mean(), NO_ANSWERS, -NO_ANSWERS))
    value = float(sums[best] / max(len(gaps), 1))
    return report.BestNullThreshold(threshold=threshold, value=value)


_ENGLISH_WORDS = frozenset(
    ["how many", "how much", "how", "what", "who", "whom", "whose", "when", "where", "which", "why"]
)
_CHINESE_WORDS = {
    "why": ("\u4e3a\u4ec0\u4e48", "\u4e3a\u4f55"),
    "how many": ("\u591a\u5c11", "\u51e0"),
    "how": ("\u600e\u4e48", "\u600e\u6837", "\u5982\u4f55"),
    "when": ("\u4ec0\u4e48\u65f6\u5019", "\u4f55\u65f6", "\u54ea\u5e74", "\u54ea\u4e00\u5e74"),
    "where": ("\u54ea\u91cc", "\u54ea\u513f", "\u4f55\u5904", "\u4ec0\u4e48\u5730\u65b9"),
    "who": ("\u8c01",),
    "which": ("\u54ea",),
    "what": ("\u4ec0\u4e48", "\u4f55"),
}


def question_word(question: str) -> str:
    """What is asked for: what, who, when, where, which, why, how, how many, or other."""
    if has_han(question):
        names = (
            n for n, words in _CHINESE_WORDS.items() if any(word in question for word in words)
        )
        return next(names, "other")
    words = re.findall(r"[a-z]+", question.lower())
    pairs = [" ".join(pair) for pair in pairwise(words)]
    for candidate in (*pairs[:1], *words[:1], *pairs, *words):
        if candidate in _ENGLISH_WORDS:
            return {"how much": "how many", "whom": "who", "whose": "who"}.get(candidate, candidate)
    return "other"


def _without_punctuation(text: str) -> str:
    return "".join(
        character for character in text.lower().strip() if character not in _CMRC_PUNCTUATION
    )


def _shared(first: Sequence[str], second: Sequence[str]) -> int:
    """How many stand in both, each as often as it does."""
    return sum((Counter(first) & Counter(second)).values())


def _longest_shared(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest stretch that stands in both."""
    longest, row = 0, [0] * (len(second) + 1)
    for one in first:
        row = [0, *(row[n] + 1 if one == other else 0 for n, other in enumerate(second))]
        longest = max(longest, *row)
    return longest
