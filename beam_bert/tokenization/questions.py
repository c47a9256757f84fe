"""`QuestionTokenizer`: documents to windows, each a question and a part of the text.

The layout is BERT's for SQuAD (Devlin et al. 2018, arXiv:1810.04805): question first, context
second, long contexts in overlapping windows that repeat the question. Which of several windows
judges a span says `beam_bert.tokenization.windows.judged_spans`, where answers may begin and end
`beam_bert.tokenization.token_places`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_bert.errors import ConfigError
from beam_bert.settings.naming import named
from beam_bert.slices.batch import SliceBatch
from beam_bert.tokenization.backend import Template, encode
from beam_bert.tokenization.loading import load_backend
from beam_bert.tokenization.token_places import TokenPlaces
from beam_bert.tokenization.unknown import Unknown
from beam_bert.tokenization.windows import WindowSettings, cut_windows, lay_out

# A longer text needs this share of a window beside the question: with less, its windows would be
# questions, over and over.
LEAST_ROOM = 1 / 4


class QuestionTokenizer:
    """A checkpoint's tokenizer, and the windows in which its model looks for answers.

    Args:
      folder: of the checkpoint.
      settings: of the windows; they overlap by `stride` whatever `overlapping` says.
      questions: asked of every document; None: each row has its own in `text_pair`.

    Raises:
      ModelError: the folder has no tokenizer that `tokenizers` can run.
      ConfigError: a question has no token, or leaves the text too little room in a window.
    """

    def __init__(
        self,
        folder: Path,
        settings: WindowSettings,
        questions: Sequence[str] | None,
    ) -> None:
        self._backend = load_backend(folder)
        self._unknown = Unknown(folder, self._backend)
        self._template = Template.of(self._backend, pair=True)
        self._max_length, self._stride = settings.max_length, settings.stride
        self._room = settings.max_length - self._template.special_tokens
        self._least_room = max(int(settings.max_length * LEAST_ROOM), 1)
        if self._stride >= self._max_length:
            raise ConfigError(
                f"{named('stride', self._stride)} leaves no room in windows of "
                f"{self._max_length} tokens"
            )
        self._questions = None if questions is None else _Flat.of(self._backend, questions)
        if self._questions is not None and questions is not None:
            for place, why in self._questions.faults.items():
                raise ConfigError(f"--question {questions[place][:80]!r}: {why}")
            for text, length in zip(questions, self._questions.lengths, strict=True):
                self._check(text, int(length))

    def _check(self, question: str, length: int) -> None:
        if length == 0:
            raise ConfigError(
                f"{named('question')} {question!r}: the tokenizer drops every character"
            )
        if self._room - length < self._least_room:
            raise ConfigError(
                f"{named('question')} {question[:80]!r} has {length} tokens and leaves "
                f"{max(self._room - length, 0)} of a window for text, which needs "
                f"{self._least_room}; shorten it or raise {named('max_length')}"
            )

    @property
    def shared_tokens(self) -> int:
        """Tokens that neighbouring windows share beside the longest question that is known.

        An answer of so many stands whole in some window, wherever it stands.
        """
        longest = 1 if self._questions is None else self._questions.lengths.max()
        return int(self._strides(np.array(self._room - longest)))

    def _strides(self, room: np.ndarray) -> np.ndarray:
        """Tokens that windows share beside questions that leave so much room.

        `--stride`, or less where a long question leaves little: a window moves on by a quarter of
        its room, or half as far as it would beside no question where that is less.
        """
        least_step = np.minimum(room // 4, (self._room - self._stride) // 2)
        return np.minimum(self._stride, room - np.maximum(least_step, 1))

    def tokenize(self, batch: SliceBatch) -> SliceBatch:
        """Add the columns of slices.schema's TokenBatch for questions.

        A document whose text or question has no token, or whose question leaves the text too little
        room, becomes a reject. Equal texts and equal questions of a slice are tokenized once.
        """
        texts, text_of = TokenPlaces.distinct(self._backend, batch.rows["text"])
        self._unknown.look_at(texts.ids)
        lengths = texts.lengths[text_of]
        questions, asked = self._asked(batch)
        question_lengths = questions.lengths[asked]  # [documents, questions a document]
        room = self._room - question_lengths
        # Reason, which rows have the fault, and the message of all, or of the number that each has.
        faults: list[tuple[str, np.ndarray, str | tuple[np.ndarray, dict[int, str]]]] = [
            *(
                ("tokenizer_failed", np.isin(numbers, list(why)), (numbers, why))
                for numbers, why in ((text_of, texts.faults), (asked[:, 0], questions.faults))
            ),
            ("no_tokens", lengths == 0, "the tokenizer drops every character of this text"),
            (
                "no_question_tokens",
                (question_lengths == 0).any(axis=1),
                "the tokenizer drops every character of the question",
            ),
            (
                "question_too_long",
                (room < np.minimum(lengths[:, None], self._least_room)).any(axis=1),
                f"the question leaves no room for text in a window of {self._max_length} tokens: "
                f"longer texts need {self._least_room} of them",
            ),
        ]
        keep = np.ones(len(batch), bool)
        for reason, fault, message in faults:
            now = np.flatnonzero(fault[keep])  # of the rows that are still there
            if isinstance(message, str):
                said = [message] * len(now)
            else:
                said = [message[1][number] for number in message[0][keep][now].tolist()]
            batch = batch.reject(now.tolist(), reason, said)
            keep &= ~fault
        return self._with_windows(batch, texts, text_of[keep], questions, asked[keep])

    def _asked(self, batch: SliceBatch) -> tuple[_Flat, np.ndarray]:
        """The questions, and which of them each document is asked: int64 [documents, each]."""
        if self._questions is None:
            questions, asked = _Flat.distinct(self._backend, batch.rows["text_pair"])
            return questions, asked[:, None]
        everything = np.arange(len(self._questions.lengths))
        return self._questions, np.tile(everything, (len(batch), 1))

    def _with_windows(
        self,
        batch: SliceBatch,
        texts: TokenPlaces,
        text_of: np.ndarray,
        questions: _Flat,
        asked: np.ndarray,
    ) -> SliceBatch:
        template, per_document = self._template, asked.shape[1]
        # From here on, a pair is a document and one of its questions.
        text, question = np.repeat(text_of, per_document), asked.reshape(-1)
        lengths, question_lengths = texts.lengths[text], questions.lengths[question]
        room = self._room - question_lengths
        windows = cut_windows(lengths, room, self._strides(room))
        pair = np.repeat(np.arange(len(lengths)), windows.counts)
        begins = windows.starts - (np.cumsum(lengths) - lengths)[pair]
        before, before_offsets = lay_out(
            [
                template.prefix,
                (questions.ids, questions.starts[question], question_lengths),
                template.middle,
            ],
            len(question),
        )
        asked_of = _offsets(np.full(len(batch), per_document))
        windows_of = _offsets(windows.counts.reshape(-1, per_document).sum(axis=1))
        columns = {
            **_gathered(texts, text_of),
            "before": pa.ListArray.from_arrays(
                asked_of,
                pa.ListArray.from_arrays(pa.array(before_offsets, pa.int32()), pa.array(before)),
            ),
            "after": pa.ListArray.from_arrays(
                _offsets(np.full(len(batch), len(template.suffix))),
                pa.array(np.tile(template.suffix, len(batch))),
            ),
            "begins": pa.ListArray.from_arrays(windows_of, pa.array(begins, pa.int32())),
            "context_lengths": pa.ListArray.from_arrays(
                windows_of, pa.array(windows.lengths, pa.int32())
            ),
            "questions": pa.ListArray.from_arrays(
                windows_of, pa.array(pair % per_document, pa.int32())
            ),
            "num_tokens": pa.array(texts.lengths[text_of], pa.int32()),
            "truncated": pa.repeat(pa.scalar(False), len(batch)),
        }
        if template.has_types:
            first = len(template.prefix) + question_lengths + template.middle_in_first
            columns["first_lengths"] = pa.ListArray.from_arrays(
                asked_of, pa.array(first, pa.int32())
            )
        rows = batch.rows
        for name, column in columns.items():
            rows = rows.append_column(name, column)
        extra = template.special_tokens + question_lengths
        return batch.with_rows(
            rows,
            tokens=float(texts.lengths[text_of].sum()),
            tokens_read=float(windows.lengths.sum() + (extra * windows.counts).sum()),
            questions=float(len(lengths)),
        )


def _offsets(counts: np.ndarray) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())


def _gathered(texts: TokenPlaces, text_of: np.ndarray) -> dict[str, pa.Array]:
    """The tokens of each row's text, and their places."""
    offsets, wanted = _offsets(texts.lengths), pa.array(text_of)
    columns = {"text_ids": texts.ids, "token_starts": texts.starts, "token_ends": texts.ends}
    return {
        name: pa.ListArray.from_arrays(offsets, pa.array(values)).take(wanted)
        for name, values in columns.items()
    }


@dataclass(frozen=True, eq=False)
class _Flat:
    """Texts as token ids, end to end; those in `faults` the tokenizer cannot take."""

    ids: np.ndarray
    lengths: np.ndarray
    faults: dict[int, str]

    @property
    def starts(self) -> np.ndarray:
        return np.cumsum(self.lengths) - self.lengths

    @staticmethod
    def of(backend: Any, texts: Sequence[str]) -> _Flat:
        return _Flat(*encode(backend, texts))

    @staticmethod
    def distinct(backend: Any, texts: pa.Array) -> tuple[_Flat, np.ndarray]:
        """The distinct texts, and which of them each row is."""
        coded = pc.dictionary_encode(texts)
        return (
            _Flat.of(backend, coded.dictionary.to_pylist()),
            coded.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        )
