"""`QuestionTokenizer`: documents to windows, each a question and a part of the text.

The layout is BERT's for SQuAD (Devlin et al. 2018, arXiv:1810.04805): question first, context
second, long contexts in overlapping windows that repeat the question. A token that stands in
several windows may start an answer only where it has the most context around it, the "max context"
rule of https://github.com/google-research/bert/blob/master/run_squad.py: every span is then judged
once, where the model sees most of its surroundings.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_bert.errors import ConfigError
from beam_bert.slices.batch import SliceBatch
from beam_bert.tokenization.backend import Template, chunks, encode
from beam_bert.tokenization.growth import growth_of
from beam_bert.tokenization.loading import id_count, load_backend
from beam_bert.tokenization.windows import WindowSettings, lay_out, plan_windows


class QuestionTokenizer:
    """A checkpoint's tokenizer, and the windows in which its model looks for answers.

    Args:
      folder: of the checkpoint.
      settings: of the windows; they overlap by `stride` whatever `overlapping` says.
      questions: asked of every document; None: each row has its own in `text_pair`.

    Raises:
      ModelError: the folder has no tokenizer that `tokenizers` can run.
      ConfigError: a question has no token, or leaves the text no room in a window.
    """

    def __init__(
        self, folder: Path, settings: WindowSettings, questions: Sequence[str] | None
    ) -> None:
        self._backend = load_backend(folder)
        self._template = Template.of(self._backend, pair=True)
        self._stride = settings.stride
        self._windows = WindowSettings(settings.max_length, True, settings.stride)
        self._room = settings.max_length - self._template.special_tokens
        self._questions = None if questions is None else _Flat.of(self._backend, questions)
        if self._questions is not None and questions is not None:
            for text, length in zip(questions, self._questions.lengths, strict=True):
                self._check(text, int(length))

    def _check(self, question: str, length: int) -> None:
        if length == 0:
            raise ConfigError(f"--question {question!r}: the tokenizer drops every character")
        if self._room - length <= self._stride:
            raise ConfigError(
                f"--question {question[:80]!r} has {length} tokens and leaves "
                f"{max(self._room - length, 0)} of a window for text, too few with --stride "
                f"{self._stride}; shorten it, raise --max_length or lower --stride"
            )

    @property
    def vocab_size(self) -> int:
        """Ids that the tokenizer can give, added tokens included."""
        return id_count(self._backend)

    def tokenize(self, batch: SliceBatch) -> SliceBatch:
        """Add the columns of slices.schema's TokenBatch, and those of question answering.

        A document whose text or question has no token, or whose question leaves the text no room,
        becomes a reject. Equal texts and equal questions of a slice are tokenized once.
        """
        texts, text_of = _Flat.distinct(self._backend, batch.rows["text"])
        lengths = texts.lengths[text_of]
        questions, asked = self._asked(batch)
        question_lengths = questions.lengths[asked]  # [documents, questions a document]
        room = self._room - question_lengths
        faults = [
            ("no_tokens", lengths == 0, "the tokenizer drops every character of this text"),
            (
                "no_question_tokens",
                (question_lengths == 0).any(axis=1),
                "the tokenizer drops every character of the question",
            ),
            (
                "question_too_long",
                (room < np.minimum(lengths[:, None], self._stride + 1)).any(axis=1),
                f"the question leaves no room for text in a window of {self._windows.max_length} "
                f"tokens with a stride of {self._stride}",
            ),
        ]
        keep = np.ones(len(batch), bool)
        for reason, fault, message in faults:
            now = np.flatnonzero(fault[keep])  # of the rows that are still there
            batch = batch.reject(now.tolist(), reason, [message] * len(now))
            keep &= ~fault
        return self._lay_out(batch, texts, text_of[keep], questions, asked[keep])

    def _asked(self, batch: SliceBatch) -> tuple[_Flat, np.ndarray]:
        """The questions, and which of them each document is asked: int64 [documents, each]."""
        if self._questions is None:
            questions, asked = _Flat.distinct(self._backend, batch.rows["text_pair"])
            return questions, asked[:, None]
        everything = np.arange(len(self._questions.lengths))
        return self._questions, np.tile(everything, (len(batch), 1))

    def _lay_out(
        self,
        batch: SliceBatch,
        texts: _Flat,
        text_of: np.ndarray,
        questions: _Flat,
        asked: np.ndarray,
    ) -> SliceBatch:
        template, each = self._template, asked.shape[1]
        # From here on, a pair is a document and one of its questions.
        text, question = np.repeat(text_of, each), asked.reshape(-1)
        lengths, question_lengths = texts.lengths[text], questions.lengths[question]
        room = self._room - question_lengths
        # A text that fits is one window, however little a longer one would move on.
        room = np.where(room >= lengths, np.maximum(room, self._stride + 1), room)
        windows = plan_windows(lengths, room, self._windows)
        pair = np.repeat(np.arange(len(lengths)), windows.counts)
        begins = windows.starts - (np.cumsum(lengths) - lengths)[pair]
        values, offsets = lay_out(
            [
                template.prefix,
                (questions.ids, questions.starts[question][pair], question_lengths[pair]),
                template.middle,
                (texts.ids, texts.starts[text][pair] + begins, windows.lengths),
                template.suffix,
            ],
            len(pair),
        )
        before = len(template.prefix) + question_lengths[pair]
        allowed = most_context(begins, windows.lengths, pair)
        ranges = np.column_stack([before + len(template.middle), windows.lengths, allowed])
        first = before + template.middle_in_first if template.has_types else np.diff(offsets)
        per_document = windows.counts.reshape(-1, each).sum(axis=1)
        lists = pa.array(np.concatenate([[0], np.cumsum(per_document)]), pa.int32())
        ids = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))
        columns = {
            "input_ids": pa.ListArray.from_arrays(lists, ids),
            "first_lengths": pa.ListArray.from_arrays(lists, pa.array(first, pa.int32())),
            "ranges": pa.ListArray.from_arrays(
                lists, pa.FixedSizeListArray.from_arrays(pa.array(ranges.ravel(), pa.int32()), 4)
            ),
            "begins": pa.ListArray.from_arrays(lists, pa.array(begins, pa.int32())),
            "questions": pa.ListArray.from_arrays(lists, pa.array(pair % each, pa.int32())),
            "num_tokens": pa.array(texts.lengths[text_of], pa.int32()),
            "truncated": pa.repeat(pa.scalar(False), len(batch)),
        }
        rows = batch.rows
        for name, column in columns.items():
            rows = rows.append_column(name, column)
        return batch.with_rows(
            rows,
            tokens=float(texts.lengths[text_of].sum()),
            tokens_read=float(len(values)),
            questions=float(len(lengths)),
        )

    def locate(
        self, texts: Sequence[str], text_of: np.ndarray, starts: np.ndarray, ends: np.ndarray
    ) -> np.ndarray:
        """Where spans of tokens stand in their texts, white space around them left out.

        A span does not part a letter from combining marks that follow it.

        Args:
          texts: documents, of which only those in `text_of` are tokenized again, with offsets.
          text_of: int64 [spans], the text of each; rising.
          starts: int64 [spans], first token of the span in the document; `ends` likewise, the last.

        Returns:
          int64 [spans, 2]: code points in the text as it came in, start and end (exclusive); -1
          where the span is blank or its tokens stand for no characters.
        """
        found = np.full((len(starts), 2), -1, np.int64)
        for text, encoding, span in self._encoded(texts, text_of):
            found[span] = _characters(text, encoding, int(starts[span]), int(ends[span]))
        return found

    def tokens_of(
        self, texts: Sequence[str], text_of: np.ndarray, starts: np.ndarray, ends: np.ndarray
    ) -> np.ndarray:
        """The other way round: first and last token of stretches of text, for training.

        Args:
          texts, text_of: as in `locate`.
          starts: int64 [spans], code points; `ends` likewise, exclusive.

        Returns:
          int64 [spans, 2]: tokens in the document; -1 where the stretch has none.
        """
        found = np.full((len(starts), 2), -1, np.int64)
        for _, encoding, span in self._encoded(texts, text_of):
            start, end = int(starts[span]), int(ends[span])
            found[span] = (
                _token_at(encoding, range(start, end)),
                _token_at(encoding, range(end - 1, start - 1, -1)),
            )
        return found

    def _encoded(self, texts: Sequence[str], text_of: np.ndarray) -> Iterator[tuple[str, Any, int]]:
        """Each span's text, its encoding with offsets, and the span's number; texts once each."""
        wanted, first = np.unique(text_of, return_index=True)
        bounds = np.append(first, len(text_of))
        some = [texts[int(number)] for number in wanted]
        for begin, stop in chunks(some, growth_of(self._backend)):
            encodings = self._backend.encode_batch(some[begin:stop], add_special_tokens=False)
            for place, encoding in enumerate(encodings, begin):
                for span in range(bounds[place], bounds[place + 1]):
                    yield some[place], encoding, span


def _token_at(encoding: Any, characters: range) -> int:
    """The token of the first of these characters that has one; -1 where none has."""
    tokens = (encoding.char_to_token(place) for place in characters)
    return next((token for token in tokens if token is not None), -1)


def _characters(text: str, encoding: Any, first: int, last: int) -> tuple[int, int]:
    tokens = (encoding.token_to_chars(first), encoding.token_to_chars(last))
    if None in tokens:
        return -1, -1
    start, end = tokens[0][0], tokens[1][1]
    answer = text[start:end]
    start += len(answer) - len(answer.lstrip())
    end = start + len(answer.strip())
    if start == end:
        return -1, -1
    # An accent of its own, which the tokenizer drops, belongs to the letter before it.
    while end < len(text) and unicodedata.category(text[end]).startswith("M"):
        end += 1
    return start, end


def most_context(begins: np.ndarray, lengths: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """For each window, the tokens that have the most context in it, of all windows that hold them.

    A token's context in a window is min(tokens before it, tokens after it) + 0.01 * the window's
    tokens, and the first window wins a tie, as in run_squad.py. Windows of one document are of one
    length but for the last, so each wins one stretch, and only neighbours compete.

    Args:
      begins: int64 [windows], first token of each in its document; rising within a document.
      lengths: int64 [windows], its tokens.
      owners: int64 [windows], its document.

    Returns:
      int64 [windows, 2]: first token and the one after the last, counted from the window's begin.
    """
    last = begins + lengths - 1
    allowed = np.column_stack([np.zeros_like(begins), lengths])
    left = np.flatnonzero(owners[1:] == owners[:-1])
    right = left + 1
    # In hundredths. Between two centres the left window falls and the right one rises.
    gain = lengths[left] - lengths[right]
    meeting = (100 * (last[left] + begins[right]) + gain) // 200 + 1
    # Where both fall, the later end wins, if not outweighed by a much shorter window.
    right_ends_later = 100 * (last[right] - last[left]) > gain
    boundary = np.where(right_ends_later, np.minimum(meeting, last[left] + 1), last[left] + 1)
    allowed[left, 1] = boundary - begins[left]
    allowed[right, 0] = boundary - begins[right]
    return allowed


@dataclass(frozen=True, eq=False)
class _Flat:
    """Texts as token ids, end to end."""

    ids: np.ndarray
    lengths: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        return np.cumsum(self.lengths) - self.lengths

    @staticmethod
    def of(backend: Any, texts: Sequence[str]) -> _Flat:
        ids, lengths, _ = encode(backend, texts)  # what it cannot take has no token
        return _Flat(ids, lengths)

    @staticmethod
    def distinct(backend: Any, texts: pa.Array) -> tuple[_Flat, np.ndarray]:
        """The distinct texts, and which of them each row is."""
        coded = pc.dictionary_encode(texts)
        return (
            _Flat.of(backend, coded.dictionary.to_pylist()),
            coded.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        )
