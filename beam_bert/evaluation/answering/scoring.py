"""How good a question-answering model is on questions whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beam_bert.errors import InputError
from beam_bert.evaluation.answering.metrics import (
    Definition,
    FloatArray,
    answer_scores,
    best_null_threshold,
    has_han,
    question_word,
)
from beam_bert.evaluation.intervals import percentile_interval
from beam_bert.evaluation.metrics import wilson_interval
from beam_bert.inference.fp32_recheck import RecheckedModel
from beam_bert.inference.model_handler import score
from beam_bert.labelled.answers import Asked
from beam_bert.labelled.question_windows import asked_batch
from beam_bert.models import ResolvedModel
from beam_bert.pipeline.answer import decode
from beam_bert.reports import answering as report
from beam_bert.reports.evaluation import FEWEST_FOR_INTERVAL, Metric
from beam_bert.tasks import AnswerTask
from beam_bert.tokenization import QuestionTokenizer

# More than any score gap: every question gets its best span, and the threshold is chosen after.
_TASK = AnswerTask(None, null_threshold=1e30)
TOP_SPANS = _TASK.top_spans
# Questions that go through the model together: enough to sort by length, few texts in memory.
_QUESTIONS = 64
LENGTH_BOUNDS = (5, 10, 20)  # words of a question (Chinese: characters), up to and including


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the model says of each question, in their order.

    Attributes:
      answers: its best span's text, whatever the null score; "" where no span has characters.
      starts: int64 [n], where it stands in the context, in code points; -1 for "".
      gaps: float64 [n], null score - score.
      windows: that the model read; `computed_again`: those of them whose calls were close.
    """

    answers: list[str]
    starts: npt.NDArray[np.int64]
    gaps: FloatArray
    windows: int
    computed_again: int

    def at(self, null_threshold: float) -> list[str]:
        """The answers, "" where there is none."""
        pairs = zip(self.answers, self.gaps, strict=True)
        return [text if gap <= null_threshold else "" for text, gap in pairs]


def answers_of(
    asked: Sequence[Asked],
    tokenizer: QuestionTokenizer,
    model: RecheckedModel,
    *,
    on_questions: Callable[[int], None] = lambda done: None,
) -> Predictions:
    """The best answer to each question, by the steps of the inference job.

    Args:
      asked: the questions, which `check_questions` let pass.
      tokenizer: made with `questions=None`.
      model: gives `TOP_SPANS` spans of a window.
      on_questions: told how many more are done, now and then.

    Raises:
      InputError: a question breaks the model.
    """
    answers = [""] * len(asked)
    starts = np.full(len(asked), -1, np.int64)
    gaps = np.full(len(asked), 1e30)
    windows = computed_again = 0
    for first in range(0, len(asked), _QUESTIONS):
        some = asked[first : first + _QUESTIONS]
        scored = score(tokenizer.tokenize(asked_batch(some)), model)
        decoded = decode(scored, _TASK, ResolvedModel("", "", ""))
        for reject in decoded.rejects.to_pylist():
            raise InputError(f"{reject['source_file']}: {reject['message']}")
        rows = decoded.rows
        place = first + rows["source_row"].to_numpy()
        for row, answer in zip(place.tolist(), rows["answer"].to_pylist(), strict=True):
            answers[row] = answer
        starts[place] = rows["answer_start"].to_numpy(zero_copy_only=False)
        gaps[place] = rows["null_score"].to_numpy().astype(np.float64) - rows["score"].to_numpy()
        windows += int(scored.stats["windows"])
        computed_again += int(scored.stats["windows_rechecked"])
        on_questions(len(some))
    return Predictions(answers, starts, gaps, windows, computed_again)


def best_thresholds(
    asked: Sequence[Asked], predictions: Predictions, definition: Definition = "auto"
) -> dict[str, report.BestNullThreshold]:
    """Exact match and F1, from 0 to 1, at the null threshold that is best for each."""
    right = _right(asked)
    has_answer = np.array([bool(answers) for answers in right])
    values = answer_scores(predictions.answers, right, definition)
    return {
        name: best_null_threshold(scores, predictions.gaps, has_answer)
        for name, scores in zip(("exact", "f1"), values, strict=True)
    }


@dataclass(frozen=True)
class Intervals:
    """How the intervals of means are drawn."""

    replicates: int
    seed: int

    def of(self, values: FloatArray, texts: npt.NDArray[np.int64]) -> Metric:
        """The mean with its 95 % interval, where there are texts enough for one.

        Questions of one text share its difficulties, so whole texts are drawn: drawn one by one,
        questions would make the interval too narrow.

        Args:
          values: one a question.
          texts: number of the text that each is asked of.
        """
        mean = float(values.mean())
        _, text_numbers = np.unique(texts, return_inverse=True)
        sums, counts = np.bincount(text_numbers, values), np.bincount(text_numbers)
        if len(counts) < FEWEST_FOR_INTERVAL:
            return Metric(value=mean)
        generator = np.random.default_rng(self.seed)
        drawn = [
            sums[chosen].sum() / counts[chosen].sum()
            for chosen in (
                generator.integers(len(counts), size=len(counts)) for _ in range(self.replicates)
            )
        ]
        low, high = percentile_interval(np.array(drawn))
        if low == high:  # all of them right, or none: that is so of so many texts only
            ends = wilson_interval(np.array(mean * len(counts)), np.array(len(counts)))
            low, high = min(float(ends[0]), mean), max(float(ends[1]), mean)
        return Metric(value=mean, low=low, high=high)


def evaluate_answers(
    asked: Sequence[Asked],
    predictions: Predictions,
    *,
    null_threshold: float = 0.0,
    definition: Definition = "auto",
    intervals: Intervals = Intervals(1_000, 0),
) -> report.AnswerScores:
    """Compare predictions with the answers that are right (see `answering.metrics`)."""
    right = _right(asked)
    has_answer = np.array([bool(answers) for answers in right])
    given = predictions.at(null_threshold)
    exact, f1 = answer_scores(given, right, definition)
    number_of: dict[str, int] = {}
    texts = np.array([number_of.setdefault(question.context, len(number_of)) for question in asked])

    def of(chosen: npt.NDArray[np.bool_]) -> report.GroupScore:
        return report.GroupScore(
            questions=int(chosen.sum()),
            exact=intervals.of(exact[chosen], texts[chosen]),
            f1=intervals.of(f1[chosen], texts[chosen]),
        )

    words = np.array([question_word(question.question) for question in asked])
    lengths = np.searchsorted(LENGTH_BOUNDS, [_length(question.question) for question in asked])
    names = [*(f"up to {bound}" for bound in LENGTH_BOUNDS), f"over {LENGTH_BOUNDS[-1]}"]
    return report.AnswerScores(
        null_threshold=null_threshold,
        overall=of(np.ones(len(asked), bool)),
        with_answer=of(has_answer) if has_answer.any() else None,
        without_answer=of(~has_answer) if (~has_answer).any() else None,
        answered=sum(map(bool, given)),
        best=best_thresholds(asked, predictions, definition),
        by_word={str(word): of(words == word) for word in np.unique(words)},
        by_length={names[group]: of(lengths == group) for group in np.unique(lengths)},
    )


def wrong_answers(
    asked: Sequence[Asked],
    predictions: Predictions,
    null_threshold: float,
    definition: Definition,
    most: int,
) -> list[report.WrongAnswer]:
    """Answers that are not right exactly, those with the least F1 first, then the surest."""
    right, given = _right(asked), predictions.at(null_threshold)
    exact, f1 = answer_scores(given, right, definition)
    sure = np.abs(predictions.gaps - null_threshold)
    order = np.lexsort((-sure, f1))
    return [
        report.WrongAnswer(
            id=asked[n].id,
            question=asked[n].question,
            right=list(dict.fromkeys(right[n])),
            given=given[n],
            f1=float(f1[n]),
            gap=float(predictions.gaps[n]),
        )
        for n in order[exact[order] < 1][:most].tolist()
    ]


def _right(asked: Sequence[Asked]) -> list[list[str]]:
    return [question.texts for question in asked]


def _length(question: str) -> int:
    """Words, and characters where spaces part none: a single word, and always in Chinese."""
    words = question.split()
    return len(words) if len(words) > 1 and not has_han(question) else len("".join(words))
