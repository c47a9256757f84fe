"""Extractive question answering: the best spans of windows become the answers of documents.

Scores are sums of logits, start + end, never a window's own probabilities, so that they compare
across the windows of a document. The null score is how well "no answer" does, in the window where
it does worst; a question has no answer where it beats the best span by more than a threshold
(SQuAD 2.0: Rajpurkar et al. 2018, arXiv:1806.03822; the rules are those of
https://github.com/google-research/bert/blob/master/run_squad.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_bert.encoder import Spans
from beam_bert.slices.schema import described

# Logits; see benchmarks/README.md, "Low margins". Spans that differ by a token are often near.
_CLOSE_GAP = {"bf16": 0.4, "int8": 0.5, "fp8": 0.5}


TEXT = "text"  # column of the text itself, where the task shows it


@dataclass(frozen=True, eq=False)
class Candidates:
    """Spans that may answer, of many questions, each on one document (a pair), best first.

    Attributes:
      pair: int64 [n], rising; within a pair scores fall.
      start: int64 [n], first token in the document; `end` the last one.
      score: float32 [n].
      window: int64 [n], number of the window among the pair's, from 0.
      null: float32 [pairs].
    """

    pair: np.ndarray
    start: np.ndarray
    end: np.ndarray
    score: np.ndarray
    window: np.ndarray
    null: np.ndarray

    def take(self, indices: np.ndarray) -> Candidates:
        """Some of the spans, in that order."""
        return Candidates(
            pair=self.pair[indices],
            start=self.start[indices],
            end=self.end[indices],
            score=self.score[indices],
            window=self.window[indices],
            null=self.null,
        )


def merge_windows(
    null: np.ndarray,
    scores: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    begins: np.ndarray,
    windows: np.ndarray,
) -> Candidates:
    """The best spans of each pair over all of its windows.

    Args:
      null: float32 [windows].
      scores: float32 [windows, count], falling; `starts` and `ends` int64 likewise, tokens of the
        window's context, -1 where there is no span.
      begins: int64 [windows], the document's token at which the window's context begins.
      windows: int64 [pairs], windows of each pair, all positive.

    Returns:
      As many spans of a pair as a window has, at most; equal scores in order of start and end.
    """
    count = scores.shape[1]
    first = np.cumsum(windows) - windows
    pair = np.repeat(np.arange(len(windows)), windows)
    number = np.arange(len(pair)) - first[pair]
    there = (starts >= 0).ravel()
    spread = [np.repeat(per_window, count)[there] for per_window in (pair, begins, number)]
    candidates = Candidates(
        pair=spread[0],
        start=starts.ravel()[there] + spread[1],
        end=ends.ravel()[there] + spread[1],
        score=scores.ravel()[there],
        window=spread[2],
        null=np.minimum.reduceat(null, first) if len(windows) else null[:0],
    )
    best_first = candidates.take(
        np.lexsort((candidates.end, candidates.start, -candidates.score, candidates.pair))
    )
    return best_first.take(np.flatnonzero(rank_within(best_first.pair) < count))


def candidates_of(
    rows: pa.RecordBatch, outputs: np.ndarray, per_document: int
) -> tuple[Candidates, np.ndarray]:
    """The best spans of all pairs of a document and a question.

    Args:
      rows: of a TokenBatch or ScoreBatch.
      outputs: float32 [windows, width], see `beam_bert.encoder.spans`.
      each: questions a document.

    Returns:
      The spans, and the windows of each pair, int64 [pairs].
    """
    spans, pairs = Spans.of(outputs), _pairs(rows, per_document)
    windows = np.bincount(pairs, minlength=len(rows) * per_document)
    begins = rows["begins"].flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    merged = merge_windows(spans.null, spans.scores, spans.starts, spans.ends, begins, windows)
    return merged, windows


def _pairs(rows: pa.RecordBatch, per_document: int) -> np.ndarray:
    """The pair that each window belongs to, int64 [windows], rising."""
    windows = pc.list_value_length(rows["begins"]).to_numpy(zero_copy_only=False)
    documents = np.repeat(np.arange(len(rows)), windows)
    numbers = rows["questions"].flatten().to_numpy(zero_copy_only=False)
    return documents * per_document + numbers.astype(np.int64)


def rank_within(groups: np.ndarray) -> np.ndarray:
    """Place of each element in its group, from 0; int64 [n] of rising group numbers."""
    numbers = np.arange(len(groups))
    is_first = np.append(True, groups[1:] != groups[:-1]) if len(groups) else np.zeros(0, bool)
    return numbers - np.maximum.accumulate(np.where(is_first, numbers, 0))


@dataclass(frozen=True)
class AnswerTask:
    """Which answers are kept, and the columns that the user reads.

    Attributes:
      questions: asked of every document; None: each row has its own.
      names: of the questions, as many; None where they have none.
      layout: long: a row an answer; wide: a row a document, a struct column a named question.
      top_k: answers to keep of a question.
      null_threshold: a question has no answer where null score - score is above it.
      shows_text: whether the text that offsets refer to is a column: it stands nowhere else where
        several columns were joined.
    """

    questions: tuple[str, ...] | None
    names: tuple[str | None, ...] | None = None
    layout: Literal["long", "wide"] = "long"
    top_k: int = 1
    null_threshold: float = 0.0
    shows_text: bool = False

    @property
    def top_spans(self) -> int:
        """Spans of a window to look at: those that are shown, and what the last may lose to."""
        return self.top_k + 1

    def fields(self) -> list[pa.Field]:
        """The task's columns, with their documentation."""
        text = described(TEXT, pa.string(), "The text columns, joined: what offsets refer to.")
        shown = [text] if self.shows_text else []
        if self.layout == "wide":
            type_ = pa.struct(_answer_fields())
            return [
                *(
                    described(str(name), type_, question)
                    for name, question in zip(self.names or (), self.questions or (), strict=True)
                ),
                *shown,
            ]
        return [
            described("question_name", pa.string(), "Name of the question, where it has one."),
            described("question", pa.string(), "What was asked."),
            *_answer_fields(),
            described("rank", pa.int32(), "1 for the best answer to the question."),
            *shown,
        ]

    @property
    def questions_a_document(self) -> int:
        """How many questions each document is asked."""
        return 1 if self.questions is None else len(self.questions)

    def close_gap(self, precision: str) -> float:
        """See `beam_bert.tasks.Task`."""
        return _CLOSE_GAP.get(precision, 0.0)

    def low_margin(self, rows: pa.RecordBatch, outputs: np.ndarray, gap: float) -> np.ndarray:
        """See `beam_bert.tasks.Task`: the windows between whose spans the call is close.

        A call is close where two of the first `top_k` + 1 spans, or one that is shown and no
        answer, are; only windows that come near to those are wanted, few of a long document.
        """
        per_document = self.questions_a_document
        spans, pairs = Spans.of(outputs), _pairs(rows, per_document)
        candidates, windows = candidates_of(rows, outputs, per_document)
        rank = rank_within(candidates.pair)
        # One span more than is shown: what the last of them might lose to.
        ranked = np.full((len(windows), self.top_k + 1), -np.inf)
        shown = rank <= self.top_k
        ranked[candidates.pair[shown], rank[shown]] = candidates.score[shown]
        with np.errstate(invalid="ignore"):
            nearest = np.nan_to_num(ranked[:, :-1] - ranked[:, 1:], nan=np.inf).min(axis=1)
            leads = ranked[:, :-1] - candidates.null[:, None] + self.null_threshold
            null_is_close = ~(np.abs(leads) >= gap).all(axis=1)
            is_close = (~(nearest >= gap) & ~(leads[:, 0] < -gap)) | null_is_close
            matters = ~(spans.scores[:, 0] < ranked[pairs, self.top_k - 1] - gap)
            is_null = ~(spans.null > candidates.null[pairs] + gap)
        return np.asarray(is_close[pairs] & (matters | (null_is_close[pairs] & is_null)))

    def logits(self, outputs: np.ndarray) -> np.ndarray:
        """See `beam_bert.tasks.Task`: the null score and the best span's, sums of two logits."""
        return outputs[:, :2]

    def same(self, rows: pa.RecordBatch, outputs: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """See `beam_bert.tasks.Task`: the same answers to a question in the same places."""
        calls, expected = (self._calls(rows, logits) for logits in (outputs, reference))
        return np.asarray((calls == expected).all(axis=(1, 2)))

    def _calls(self, rows: pa.RecordBatch, outputs: np.ndarray) -> np.ndarray:
        """First and last token of each answer, int64 [questions asked, top_k, 2]; -1: none."""
        candidates, windows = candidates_of(rows, outputs, self.questions_a_document)
        calls = np.full((len(windows), self.top_k, 2), -1, np.int64)
        rank = rank_within(candidates.pair)
        shown = (rank < self.top_k) & self.beats_null(candidates)
        token_spans = np.column_stack([candidates.start, candidates.end])[shown]
        calls[candidates.pair[shown], rank[shown]] = token_spans
        return calls

    def beats_null(self, candidates: Candidates) -> np.ndarray:
        """Which spans are answers, bool [spans]."""
        gap = candidates.null[candidates.pair].astype(np.float64) - candidates.score
        return np.asarray(gap <= self.null_threshold)

    def shown(self, candidates: Candidates) -> tuple[Candidates, np.ndarray]:
        """What is shown of each pair, and whether it is an answer, bool [n].

        Its best `top_k` answers; where there is none, its best span, which is none; where no span
        is left, one with a score of NaN and -1 for the rest.
        """
        rank = rank_within(candidates.pair)
        is_answer = self.beats_null(candidates) & (rank < self.top_k)
        chosen = np.flatnonzero(is_answer | (rank == 0))
        lack = np.setdiff1d(np.arange(len(candidates.null)), candidates.pair)
        none = np.full(len(lack), -1)
        shown = Candidates(
            pair=np.concatenate([candidates.pair[chosen], lack]),
            start=np.concatenate([candidates.start[chosen], none]),
            end=np.concatenate([candidates.end[chosen], none]),
            score=np.concatenate([candidates.score[chosen], none * np.float32(np.nan)]),
            window=np.concatenate([candidates.window[chosen], none]),
            null=candidates.null,
        )
        order = np.argsort(shown.pair, kind="stable")
        is_answer = np.concatenate([is_answer[chosen], np.zeros(len(lack), bool)])
        return shown.take(order), is_answer[order]


def _answer_fields() -> list[pa.Field]:
    return [
        described("answer", pa.string(), "Text of the answer; null where there is none."),
        described(
            "answer_start",
            pa.int64(),
            "First code point of the answer in the document's text: answer == text[start:end].",
        ),
        described("answer_end", pa.int64(), "Code point after its last."),
        described(
            "score",
            pa.float32(),
            "Start + end logit of the answer; where there is none, of the best span; null where "
            "the text has no characters that could be one.",
        ),
        described(
            "null_score",
            pa.float32(),
            "The same for no answer, in the window where it is least.",
        ),
        described(
            "has_answer",
            pa.bool_(),
            "Whether null_score - score stays within the null threshold.",
        ),
        described(
            "window",
            pa.int32(),
            "Number, from 0, of the window it was found in; null where the score is.",
        ),
    ]


def answer_arrays(
    candidates: Candidates, char_spans: np.ndarray, texts: list[str | None]
) -> list[pa.Array]:
    """The columns of `_answer_fields`, a row a candidate.

    Args:
      candidates: the spans to show.
      places: int64 [n, 2], code points in the text; -1 where there is no answer.
      texts: the answers; None where there is none.
    """
    none = char_spans[:, 0] < 0
    return [
        pa.array(texts, pa.string()),
        pa.array(char_spans[:, 0], pa.int64(), mask=none),
        pa.array(char_spans[:, 1], pa.int64(), mask=none),
        pa.array(candidates.score, pa.float32(), mask=candidates.window < 0),
        pa.array(candidates.null[candidates.pair], pa.float32()),
        pa.array(~none),
        pa.array(candidates.window, pa.int32(), mask=candidates.window < 0),
    ]
