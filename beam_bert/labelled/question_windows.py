"""What an extractive head learns from: windows, and where in each the answer starts and ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from beam_bert.encoder.config import EncoderConfig
from beam_bert.encoder.plan import Int64Array
from beam_bert.errors import InputError
from beam_bert.labelled.answers import Asked
from beam_bert.labelled.rows import document_rows, slice_of
from beam_bert.settings.answer import DEFAULT_MAX_LENGTH
from beam_bert.settings.answer_training import AnswerEvaluateConfig, AnswerFinetuneConfig
from beam_bert.settings.inference import stride_of, window_length
from beam_bert.slices.batch import SliceBatch
from beam_bert.slices.token_arrays import TokenArrays
from beam_bert.tokenization import QuestionTokenizer, WindowSettings, windows_of
from beam_bert.tokenization.token_places import tokens_of

_QUESTIONS = 64  # checked together: few texts in memory


@dataclass(frozen=True, eq=False)
class AnswerWindows:
    """Windows of questions and contexts, with their targets.

    Attributes:
      tokens: the windows, as the encoder takes them.
      starts: int64 [windows], token of the window at which the answer starts; 0, the first token,
        where the whole answer is not in it (Devlin et al. 2018, section 4.3). `ends` likewise.
      asked: int64 [windows], the question of each.
      lost: int64 [lost], questions left out, since no window holds all of their answer's tokens.
    """

    tokens: TokenArrays
    starts: Int64Array
    ends: Int64Array
    asked: Int64Array
    lost: Int64Array

    @property
    def has_answer(self) -> np.ndarray:
        """bool [windows]."""
        return np.asarray(self.ends > 0)

    def sample(self, without_answer: float, seed: Sequence[int]) -> Int64Array:
        """Windows to train on: all with an answer, and `without_answer` times as many others."""
        have, lack = np.flatnonzero(self.has_answer), np.flatnonzero(~self.has_answer)
        count = min(len(lack), round(without_answer * max(len(have), 1)))
        chosen = np.random.default_rng(seed).choice(lack, count, replace=False)
        return np.sort(np.concatenate([have, chosen]))


def question_tokenizer(
    folder: Path, encoder: EncoderConfig, config: AnswerFinetuneConfig | AnswerEvaluateConfig
) -> QuestionTokenizer:
    """How questions of a file are laid out for a model, as `pipelines.answer` does.

    Raises:
      ConfigError: the model does not read windows that long, or the stride leaves them no room.
      ModelError: the folder has no tokenizer, or another model's.
    """
    length = window_length(config.max_length, encoder.max_length, DEFAULT_MAX_LENGTH)
    windows = WindowSettings(length, True, stride_of(config, length, config.max_answer_tokens))
    return QuestionTokenizer(folder, windows, None)


def asked_batch(asked: Sequence[Asked]) -> SliceBatch:
    """Questions as the document rows of one slice."""
    return slice_of(
        document_rows(
            [question.id for question in asked],
            [question.context for question in asked],
            [question.question for question in asked],
            [question.place for question in asked],
        )
    )


def check_questions(asked: Sequence[Asked], tokenizer: QuestionTokenizer) -> None:
    """See that every question can be asked, before hours go into the others.

    Raises:
      InputError: a question or context has no token, or a question leaves its context no room.
    """
    for first in range(0, len(asked), _QUESTIONS):
        _refuse_rejects(tokenizer.tokenize(asked_batch(asked[first : first + _QUESTIONS])))


def _refuse_rejects(batch: SliceBatch) -> None:
    if batch.rejects.num_rows:
        first = batch.rejects.slice(0, 1).to_pylist()[0]
        raise InputError(f"{first['source_file']}: {first['message']}; remove the question")


def answer_windows(asked: Sequence[Asked], tokenizer: QuestionTokenizer) -> AnswerWindows:
    """Lay out questions for training; each learns its first answer.

    Args:
      asked: questions whose labels were checked.
      tokenizer: made with `questions=None`.

    Raises:
      InputError: a question or context has no token, or a question leaves its context no room.
    """
    batch = tokenizer.tokenize(asked_batch(asked))
    _refuse_rejects(batch)
    rows = batch.rows
    windows = windows_of(rows)
    owners = np.repeat(np.arange(len(asked)), windows.counts)
    begins, context = (
        rows[name].flatten().to_numpy().astype(np.int64) for name in ("begins", "context_lengths")
    )
    first, last = (_label_tokens(asked, rows)[owners] - begins[:, None]).T
    inside = (first >= 0) & (last < context)
    is_labelled = np.array([bool(question.answers) for question in asked], bool)
    lost = np.setdiff1d(np.flatnonzero(is_labelled), owners[inside])
    kept = np.flatnonzero(~np.isin(owners, lost))
    tokens = windows.everything().windows(kept)
    assert tokens.ranges is not None  # windows of questions have them
    inside, before = inside[kept], tokens.ranges[:, 0]
    return AnswerWindows(
        tokens=tokens,
        starts=np.where(inside, before + first[kept], 0),
        ends=np.where(inside, before + last[kept], 0),
        asked=owners[kept],
        lost=lost,
    )


def _label_tokens(asked: Sequence[Asked], rows: pa.RecordBatch) -> np.ndarray:
    """First and last token of each question's first answer, int64 [questions, 2]; -1: none."""
    spans = np.full((len(asked), 2), -1, np.int64)
    for number, question in enumerate(asked):
        if question.answers:
            start, text = question.answers[0]
            starts, ends = (
                rows[name][number].values.to_numpy() for name in ("token_starts", "token_ends")
            )
            spans[number] = tokens_of(starts, ends, start, start + len(text))
    return spans
