"""What a checkpoint's tokenizer makes of texts: flat ids, and where its special tokens stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from beam_bert.errors import ModelError, shown
from beam_bert.settings.limits import NORMALIZED_BYTES
from beam_bert.tokenization.growth import grows_too_far, growth_of
from beam_bert.tokenization.loading import is_of_tokenizer

# The tokenizer spreads a call over the cores; a chunk bounds the Python lists that it returns.
CHUNK_DOCUMENTS = 2_048
CHUNK_CHARACTERS = 8 * 2**20
TOO_MUCH = "the tokenizer's normalizer makes far too much of this text"


def encode(backend: Any, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Ids of all texts end to end, int32 [tokens], and their lengths, int64 [texts].

    The third are the texts that the tokenizer cannot take, with the reason: they have no ids.
    """
    pieces: list[np.ndarray] = []
    lengths = np.zeros(len(texts), np.int64)
    growth = growth_of(backend)
    faults: dict[int, str] = {}
    for row, text in enumerate(texts):
        if grows_too_far(backend, text, growth):
            faults[row] = TOO_MUCH
    for start, stop in chunks(texts, growth):
        rows = [row for row in range(start, stop) if row not in faults]
        for row, encoding in zip(rows, encodings(backend, texts, rows, faults), strict=True):
            if encoding is not None:
                piece = np.array(encoding.ids, np.int32)
                pieces.append(piece)
                lengths[row] = len(piece)
    return (np.concatenate(pieces) if pieces else np.zeros(0, np.int32)), lengths, faults


def encodings(
    backend: Any,
    texts: Sequence[str],
    rows: Sequence[int],
    faults: dict[int, str],
    *,
    offsets: bool = False,
) -> list[Any]:
    """Encodings of these rows; None where the tokenizer fails, which goes into `faults`.

    A regular expression that gives up (panics), or a word that a vocabulary without unknown token
    has not, fails the whole call: then each text is tried alone.
    """
    try:
        call = backend.encode_batch if offsets else backend.encode_batch_fast
        return list(call([texts[row] for row in rows], add_special_tokens=False))
    except BaseException as error:
        if not is_of_tokenizer(error):
            raise
        if len(rows) == 1:
            faults[rows[0]] = f"the tokenizer fails at this text: {shown(str(error), 200)}"
            return [None]
    one_by_one = (encodings(backend, texts, [row], faults, offsets=offsets) for row in rows)
    return [encoding for alone in one_by_one for encoding in alone]


@dataclass(frozen=True)
class Template:
    """Where a tokenizer puts its special tokens, learnt from what it does with a probe."""

    prefix: np.ndarray
    middle: np.ndarray
    suffix: np.ndarray
    middle_in_first: int
    has_types: bool

    @property
    def special_tokens(self) -> int:
        """Special tokens of a window."""
        return len(self.prefix) + len(self.middle) + len(self.suffix)

    @staticmethod
    def of(backend: Any, *, pair: bool) -> Template:
        """What the tokenizer puts around one segment, or around two."""
        segments = ("a", "b") if pair else ("a",)
        try:
            encoding = backend.encode(*segments)
        except BaseException as error:  # without unknown token it may have no "a"
            if not is_of_tokenizer(error):
                raise
            raise ModelError(
                f"the model's tokenizer fails at the text {' '.join(segments)!r} "
                f"({shown(str(error), 200)}); mend tokenizer.json"
            ) from None
        ids = np.array(encoding.ids, np.int64)
        # None marks a special token, else it is the segment's number.
        owners = np.array([-1 if segment is None else segment for segment in encoding.sequence_ids])
        spans = [np.flatnonzero(owners == number) for number in range(len(segments))]
        if not all(len(span) and span[-1] - span[0] + 1 == len(span) for span in spans) or any(
            one[-1] > other[0] for one, other in pairwise(spans)
        ):
            raise ModelError(
                "the model's tokenizer does not keep its texts in one piece and in order; mend the "
                "post_processor of its tokenizer.json"
            )
        first, last = spans[0], spans[-1]
        strange = [
            int(token) for token in ids[owners == -1] if backend.id_to_token(int(token)) is None
        ]
        if strange:
            raise ModelError(
                f"the model's tokenizer puts {strange[0]} around a text, which is no token of its; "
                "mend the post_processor of its tokenizer.json"
            )
        ids = ids.astype(np.int32)
        middle = slice(first[-1] + 1, last[0]) if pair else slice(0, 0)
        types = np.array(encoding.type_ids)
        return Template(
            prefix=ids[: first[0]],
            middle=ids[middle],
            suffix=ids[last[-1] + 1 :],
            middle_in_first=int((types[middle] == 0).sum()),
            has_types=bool(types.any()),
        )


def chunks(texts: Sequence[str], growth: int = 1) -> list[tuple[int, int]]:
    """Where to cut `texts` into calls of a tokenizer with that growth: start and stop of each."""
    most = min(CHUNK_CHARACTERS, NORMALIZED_BYTES // growth)
    cuts, start, characters = [], 0, 0
    for row, text in enumerate(texts):
        if row > start and (row - start >= CHUNK_DOCUMENTS or characters + len(text) > most):
            cuts.append((start, row))
            start, characters = row, 0
        characters += len(text)
    if start < len(texts):
        cuts.append((start, len(texts)))
    return cuts
