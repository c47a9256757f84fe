"""How good a question-answering model is on questions whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from beam_bert.answering import decode
from beam_bert.encoder import load_span_finder
from beam_bert.errors import InputError
from beam_bert.handler import score
from beam_bert.models import ResolvedModel
from beam_bert.tasks import AnswerTask
from beam_bert.tokenization import QuestionTokenizer, WindowSettings
from beam_bert.training.answering_data import Asked
from beam_bert.training.answering_features import asked_batch
from beam_bert.training.answering_metrics import (
    BestThreshold,
    Definition,
    answer_scores,
    best_null_threshold,
    question_word,
)

# More than any score gap: every question gets its best span, and the threshold is chosen after.
_ALWAYS = 1e30
LENGTH_BOUNDS = (5, 10, 20)  # words of a question (Chinese: characters), up to and including


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the model says of each question, in their order.

    Attributes:
      answers: its best span's text, whatever the null score.
      starts: int64 [n], where it stands in the context, in code points.
      gaps: float64 [n], null score - score.
    """

    answers: list[str]
    starts: npt.NDArray[np.int64]
    gaps: npt.NDArray[np.float64]

    def at(self, null_threshold: float) -> list[str]:
        """The answers, "" where there is none."""
        pairs = zip(self.answers, self.gaps, strict=True)
        return [text if gap <= null_threshold else "" for text, gap in pairs]


def predict_answers(
    folder: Path,
    asked: Sequence[Asked],
    windows: WindowSettings,
    *,
    max_answer_tokens: int = 30,
    precision: str = "auto",
    device: str = "auto",
    batch_tokens: int | None = None,
) -> Predictions:
    """The best answer to each question, by the steps of the inference job.

    Raises:
      ModelError: the folder holds no question-answering model.
      InputError: a question cannot be asked (no token, no room in a window).
    """
    task = AnswerTask(None, null_threshold=_ALWAYS)
    tokenizer = QuestionTokenizer(folder, windows, None)
    model = load_span_finder(
        folder,
        precision=precision,
        device=device,
        batch_tokens=batch_tokens,
        max_answer_tokens=max_answer_tokens,
        top_spans=task.top_spans,
    )
    scored = score(tokenizer.tokenize(asked_batch(asked)), model)
    found = decode(scored, tokenizer, task=task, model=ResolvedModel("", "", ""))
    if found.rejects.num_rows:
        first = found.rejects.slice(0, 1).to_pylist()[0]
        raise InputError(f"{first['source_file']}: {first['message']}; remove the question")
    rows = found.rows
    scores = [rows[name].to_numpy().astype(np.float64) for name in ("null_score", "score")]
    return Predictions(
        answers=rows["answer"].to_pylist(),
        starts=rows["answer_start"].to_numpy(zero_copy_only=False),
        gaps=scores[0] - scores[1],
    )


@dataclass(frozen=True)
class GroupScore:
    """Exact match and F1, from 0 to 1, of some of the questions."""

    questions: int
    exact: float
    f1: float


@dataclass(frozen=True)
class AnswerEvaluation:
    """Everything `pipelines.evaluate --task answer` shows.

    Attributes:
      overall, with_answer, without_answer: at `null_threshold`; None where there are none.
      best_exact, best_f1: the null threshold that would be best for each, and what it gives.
      by_word, by_length: overall scores by what is asked for, and by the question's length.
    """

    null_threshold: float
    overall: GroupScore
    with_answer: GroupScore | None
    without_answer: GroupScore | None
    best_exact: BestThreshold
    best_f1: BestThreshold
    by_word: dict[str, GroupScore]
    by_length: dict[str, GroupScore]

    def as_dict(self) -> dict[str, object]:
        """JSON types only."""
        return asdict(self)


def evaluate_answers(
    asked: Sequence[Asked],
    predictions: Predictions,
    *,
    null_threshold: float = 0.0,
    definition: Definition = "auto",
) -> AnswerEvaluation:
    """Compare predictions with the answers that are right (see `answering_metrics`)."""
    right = [[text for _, text in each.answers] for each in asked]
    has_answer = np.array([bool(each) for each in right])
    exact, f1 = answer_scores(predictions.at(null_threshold), right, definition)
    raw_exact, raw_f1 = answer_scores(predictions.answers, right, definition)

    def of(chosen: npt.NDArray[np.bool_]) -> GroupScore:
        return GroupScore(int(chosen.sum()), float(exact[chosen].mean()), float(f1[chosen].mean()))

    def by(key: Callable[[str], str]) -> dict[str, GroupScore]:
        keys = np.array([key(each.question) for each in asked])
        return {str(name): of(keys == name) for name in np.unique(keys)}

    return AnswerEvaluation(
        null_threshold=null_threshold,
        overall=of(np.ones(len(asked), bool)),
        with_answer=of(has_answer) if has_answer.any() else None,
        without_answer=of(~has_answer) if (~has_answer).any() else None,
        best_exact=best_null_threshold(raw_exact, predictions.gaps, has_answer),
        best_f1=best_null_threshold(raw_f1, predictions.gaps, has_answer),
        by_word=by(question_word),
        by_length=by(_length_group),
    )


def _length_group(question: str) -> str:
    words = len(question.split())
    length = words if words > 1 else len(question)
    for bound in LENGTH_BOUNDS:
        if length <= bound:
            return f"up to {bound}"
    return f"over {LENGTH_BOUNDS[-1]}"
