"""Token ids of texts, and where an answer would begin and end if it did so at each token.

The tokenizer says which code points each token stands for. From that follow two columns, by which
spans are searched and answers cut out of the text:

    starts   where an answer begins that starts with this token: white space before it is left out,
             and a combining mark is not parted from the letter before it
    ends     where one ends that ends with it, likewise

Both are -1 for a token that stands for nothing but white space, which neither starts nor ends an
answer. Tokens that begin at one place (the bytes of an emoji) are one start, whichever of them a
model points at, and likewise those that end at one place; the first and the last stand for them
all. So each stretch of text is one pair of tokens, and no answer comes twice.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_bert.settings.limits import NORMALIZED_BYTES
from beam_bert.tokenization.backend import TOO_MUCH, encodings
from beam_bert.tokenization.growth import grows_too_far, growth_of

# A long text goes through the tokenizer in pieces, several at once: it keeps hundreds of bytes for
# each character that it works on.
PIECE_CHARACTERS = 2**16
CALL_CHARACTERS = 2**18
CALL_TEXTS = 2_048
# A text is cut where the tokenizer gives so much on both sides the tokens that it gives the whole.
_AROUND = 64
_TRIED = 32  # places, before a piece is made longer

_SPACES = np.array([code for code in range(0x3001) if chr(code).isspace()], np.uint32)
_FIRST_MARK = 0x300  # no combining mark before it


@dataclass(frozen=True, eq=False)
class TokenPlaces:
    """Texts as tokens, end to end.

    Attributes:
      ids: int32 [tokens].
      starts, ends: int32 [tokens], code points in the text, see the module.
      lengths: int64 [texts], tokens of each.
      faults: the texts that the tokenizer cannot take, with the reason: they have no tokens.
    """

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    lengths: np.ndarray
    faults: dict[int, str]

    @property
    def firsts(self) -> np.ndarray:
        """int64 [texts], where the tokens of each begin."""
        return np.cumsum(self.lengths) - self.lengths

    @staticmethod
    def of(backend: Any, texts: Sequence[str]) -> TokenPlaces:
        """Tokenize texts with a checkpoint's own tokenizer, `tokenizers.Tokenizer`."""
        parts: list[tuple[np.ndarray, ...]] = [(np.zeros(0, np.int32),) * 3]
        lengths = np.zeros(len(texts), np.int64)
        faults: dict[int, str] = {}
        for piece, encoding in _encoded(backend, texts, faults):
            ids = np.array(encoding.ids, np.int32)
            offsets = np.array(encoding.offsets, np.int32).reshape(-1, 2)
            starts, ends = places_of(piece.text, offsets)
            for characters in (starts, ends):
                characters[characters >= 0] += piece.begin
            parts.append((ids, starts, ends))
            lengths[piece.number] += len(ids)
        ids, starts, ends = map(np.concatenate, zip(*parts, strict=True))
        return TokenPlaces(ids, starts, ends, lengths, faults).without_faults()

    def without_faults(self) -> TokenPlaces:
        """No tokens of texts that the tokenizer took in part."""
        if not self.lengths[list(self.faults)].any():
            return self
        is_whole = ~np.isin(np.arange(len(self.lengths)), list(self.faults))
        kept = np.repeat(is_whole, self.lengths)
        lengths = self.lengths * is_whole
        return TokenPlaces(self.ids[kept], self.starts[kept], self.ends[kept], lengths, self.faults)

    @staticmethod
    def distinct(backend: Any, texts: pa.Array) -> tuple[TokenPlaces, np.ndarray]:
        """Tokens of the distinct texts, and which of them each row is, int64 [rows]."""
        coded = pc.dictionary_encode(texts)
        return (
            TokenPlaces.of(backend, coded.dictionary.to_pylist()),
            coded.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        )


def places_of(text: str, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where answers start and end at each token.

    Args:
      text: that was tokenized.
      offsets: int32 [tokens, 2], the code points that each token stands for.

    Returns:
      int32 [tokens] twice, see the module.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    size = len(codes)
    place = np.arange(size + 1, dtype=np.int32)
    is_text = ~np.isin(codes, _SPACES)
    is_mark = _is_mark(codes)
    # For each place the next one that holds text, and the end of the text before it.
    next_text = np.append(np.where(is_text, place[:-1], size), size)
    next_text = np.minimum.accumulate(next_text[::-1])[::-1]
    text_end = np.maximum.accumulate(np.append(0, np.where(is_text, place[1:], 0)))
    # Marks after a letter are its own; those after white space stand for themselves.
    is_own = is_text & ~(is_mark & np.append(False, is_text)[:-1])
    letter = np.append(np.maximum.accumulate(np.where(is_own, place[:-1], 0)), size)
    next_letter = np.append(np.where(is_mark, size, place[:-1]), size)
    next_letter = np.minimum.accumulate(next_letter[::-1])[::-1]

    first, stop = np.clip(offsets.T, 0, size)
    starts, ends = next_text[first], text_end[stop]
    is_blank = starts >= ends
    starts = np.where(is_blank, -1, letter[starts])
    ends = np.where(is_blank, -1, next_letter[ends])
    return _in_order(starts), _in_order(ends)


def _in_order(characters: np.ndarray) -> np.ndarray:
    """-1 for a place before an earlier one, of a tokenizer that changes the order of characters."""
    return np.where(characters < np.maximum.accumulate(characters), -1, characters).astype(np.int32)


def represent(characters: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Which tokens are the first of those that start at one place, bool [tokens].

    Args:
      places: int32 [tokens], `starts` of texts end to end. (For `ends` give all of it backwards:
        the last of those that end at one place comes first then.)
      lengths: int64 [texts], tokens of each.
    """
    text = np.repeat(np.arange(len(lengths)), lengths)
    previous = np.maximum.accumulate(np.where(characters >= 0, np.arange(len(characters)), -1))
    previous = np.append(-1, previous)[: len(characters)]
    is_same = (previous >= 0) & (text[previous] == text) & (characters[previous] == characters)
    return np.asarray((characters >= 0) & ~is_same)


def tokens_of(starts: np.ndarray, ends: np.ndarray, begin: int, stop: int) -> tuple[int, int]:
    """The other way round: first and last token of a stretch of text, for training.

    Args:
      starts, ends: of the text's tokens, see the module.
      begin, stop: code points, exclusive; a token that stands for more of the text is whole.

    Returns:
      -1 twice where the stretch has no token.
    """
    can_start, can_end = np.flatnonzero(starts >= 0), np.flatnonzero(ends >= 0)
    first, last = starts[can_start], ends[can_end]
    at = int(np.searchsorted(first, begin, side="right")) - 1
    # What begins there may end before the stretch: between lies what the tokenizer drops.
    at += at < 0 or 0 <= ends[can_start[at]] <= begin
    to = int(np.searchsorted(last, stop))
    to -= to == len(last) or starts[can_end[to]] >= stop
    if at == len(first) or to < 0:
        return -1, -1
    start = can_start[np.searchsorted(first, first[at])]
    end = can_end[np.searchsorted(last, last[to], side="right") - 1]
    return (int(start), int(end)) if start <= end else (-1, -1)


def _is_mark(codes: np.ndarray) -> np.ndarray:
    marks = [
        code
        for code in np.unique(codes[codes >= _FIRST_MARK]).tolist()
        if unicodedata.category(chr(code)).startswith("M")
    ]
    return np.isin(codes, np.array(marks, np.uint32))


@dataclass(frozen=True)
class _Piece:
    number: int
    begin: int
    text: str


def _encoded(
    backend: Any, texts: Sequence[str], faults: dict[int, str]
) -> Iterator[tuple[_Piece, Any]]:
    """The texts' pieces with their encodings; `faults` gets the texts that have none."""
    growth = growth_of(backend)
    most = min(CALL_CHARACTERS, NORMALIZED_BYTES // growth)
    waiting: list[_Piece] = []
    characters = 0
    for number, text in enumerate(texts):
        if grows_too_far(backend, text, growth):
            faults[number] = TOO_MUCH
            continue
        for begin, stop in pieces(backend, text):
            waiting.append(_Piece(number, begin, text[begin:stop]))
            characters += stop - begin
            if characters >= most or len(waiting) == CALL_TEXTS:
                yield from _call(backend, waiting, faults)
                waiting, characters = [], 0
    yield from _call(backend, waiting, faults)


def _call(
    backend: Any, some: Sequence[_Piece], faults: dict[int, str]
) -> Iterator[tuple[_Piece, Any]]:
    failed: dict[int, str] = {}
    given = [piece.text for piece in some]
    encoded = encodings(backend, given, range(len(given)), failed, offsets=True)
    faults |= {some[place].number: why for place, why in failed.items()}
    yield from (
        (piece, encoding)
        for piece, encoding in zip(some, encoded, strict=True)
        if encoding is not None
    )


def pieces(backend: Any, text: str) -> Iterator[tuple[int, int]]:
    """Where to cut a long text so that its pieces have the tokens that it has: start and stop."""
    begin, stop = 0, PIECE_CHARACTERS
    while stop + PIECE_CHARACTERS < len(text):
        cuts = (place for place in _candidates(text, stop) if _is_cut(backend, text, place))
        if (place := next(cuts, None)) is not None:
            yield begin, place
            begin = stop = place
        stop += PIECE_CHARACTERS
    yield begin, len(text)


def _candidates(text: str, near: int) -> Iterator[int]:
    """Places from there on: before white space, or else wherever no mark follows."""
    some = range(near, near + PIECE_CHARACTERS // 2)
    before_space = [p for p in some[: 64 * _TRIED] if text[p].isspace() > text[p - 1].isspace()]
    anywhere = [p for p in some[:_TRIED] if not unicodedata.category(text[p]).startswith("M")]
    yield from before_space[:_TRIED]
    yield from anywhere


def _is_cut(backend: Any, text: str, place: int) -> bool:
    sides = text[place - _AROUND : place], text[place : place + _AROUND]
    failed: dict[int, str] = {}
    left, right, both = encodings(backend, [*sides, "".join(sides)], range(3), failed)
    return not failed and bool(left.ids + right.ids == both.ids)
