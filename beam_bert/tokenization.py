"""DocumentBatch -> TokenBatch: text becomes the token ids of the windows a model reads.

Documents longer than a window are cut to their start, or read whole in overlapping windows. All of
it is array work on flat ids: the tokenizer (the checkpoint's own, Hugging Face `tokenizers`) gives
ids without special tokens, and the windows with theirs are gathered in one go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from beam_bert.batch import SliceBatch
from beam_bert.errors import ConfigError, ModelError

# The tokenizer spreads a call over the cores; a chunk bounds the Python lists that it returns.
CHUNK_DOCUMENTS = 2_048
CHUNK_CHARACTERS = 8 * 2**20

# Without any of these, transformers would make up a tokenizer that knows no word.
VOCABULARY_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")


@dataclass(frozen=True)
class WindowSettings:
    """How documents are cut to what a model can read.

    Attributes:
      max_length: tokens of a window, special ones included.
      overlapping: read long documents whole, in windows; else their start only.
      stride: tokens that neighbouring windows share.
    """

    max_length: int
    overlapping: bool = False
    stride: int = 0


@dataclass(frozen=True)
class Windows:
    """Windows over documents that lie end to end in one flat array of ids.

    Attributes:
      counts: int64 [documents], windows of each document.
      starts: int64 [windows], where a window begins in the flat array.
      lengths: int64 [windows], its tokens.
    """

    counts: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray


def plan_windows(lengths: np.ndarray, room: np.ndarray, settings: WindowSettings) -> Windows:
    """Cut documents of `lengths` tokens into windows of at most `room` tokens each.

    Args:
      lengths: int64 [documents], tokens of each document.
      room: int64 [documents], tokens of it that fit a window; over `settings.stride` throughout.
    """
    first = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(lengths) else lengths
    if not settings.overlapping:
        return Windows(np.ones_like(lengths), first, np.minimum(lengths, room))
    step = room - settings.stride
    counts = 1 + np.maximum(0, -(-(lengths - room) // step))
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    offsets = within * np.repeat(step, counts)
    left = np.repeat(lengths, counts) - offsets
    return Windows(
        counts, np.repeat(first, counts) + offsets, np.minimum(left, np.repeat(room, counts))
    )


def fit_pair(
    first: np.ndarray, second: np.ndarray, room: int, settings: WindowSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of each segment that fit `room` together.

    Without windows the longer segment gives way first, as `truncation="longest_first"` does; with
    windows the second keeps at most half, since it is repeated beside each window of the first.

    Returns:
      int64 [documents] twice: tokens of the first segment in a window, tokens of the second.
    """
    if settings.overlapping:
        kept = np.minimum(second, room // 2)
        return room - kept, kept
    shorter = np.minimum(first, second)
    both_long = shorter > room // 2
    kept_shorter = np.where(both_long, room // 2, shorter)
    kept_longer = np.minimum(np.maximum(first, second), room - kept_shorter)
    first_is_shorter = first <= second
    return (
        np.where(first_is_shorter, kept_shorter, kept_longer),
        np.where(first_is_shorter, kept_longer, kept_shorter),
    )


class DocumentTokenizer:
    """A checkpoint's tokenizer, and the windows that its model reads.

    Raises:
      ModelError: the folder has no tokenizer that `tokenizers` can run.
      ConfigError: the window has no room for text beside its special tokens and the stride.
    """

    def __init__(self, folder: Path, settings: WindowSettings, *, pair: bool = False) -> None:
        self._backend = _load_backend(folder)
        self._settings = settings
        self._single = _Template.of(self._backend, pair=False)
        self._pair = _Template.of(self._backend, pair=True) if pair else None
        template = self._pair or self._single
        room = settings.max_length - template.special_tokens
        needed = (settings.stride if settings.overlapping else 0) + 1
        if (room // 2 if pair and settings.overlapping else room) < needed:
            raise ConfigError(
                f"--max_length {settings.max_length} leaves {max(room, 0)} tokens for text, too "
                f"few with --stride {settings.stride}; raise --max_length or lower --stride"
            )
        self._room = room

    @property
    def vocab_size(self) -> int:
        """Ids that the tokenizer can give, added tokens included."""
        return int(self._backend.get_vocab_size())

    def tokenize(self, batch: SliceBatch) -> SliceBatch:
        """Add `input_ids`, `num_tokens`, `truncated` (and `first_lengths` for pairs) to the rows.

        Documents without a token (only characters that the tokenizer drops) become rejects.
        """
        texts = batch.rows["text"].to_pylist()
        ids, lengths = self._encode(texts)
        empty = np.flatnonzero(lengths == 0)
        if len(empty):
            # Their ids take no room in the flat array, so it stays right for the others.
            message = "the tokenizer drops every character of this text"
            batch = batch.reject(empty.tolist(), "no_tokens", [message] * len(empty))
            lengths = lengths[lengths > 0]
        if self._pair is None:
            return self._single_segment(batch, ids, lengths)
        return self._two_segments(batch, ids, lengths, self._pair)

    def _single_segment(
        self, batch: SliceBatch, ids: np.ndarray, lengths: np.ndarray
    ) -> SliceBatch:
        room = np.full_like(lengths, self._room)
        windows = plan_windows(lengths, room, self._settings)
        prefix, suffix = self._single.prefix, self._single.suffix
        values, offsets = _lay_out(
            [prefix, (ids, windows.starts, windows.lengths), suffix], len(windows.starts)
        )
        truncated = (lengths > room) & (not self._settings.overlapping)
        return _with_tokens(batch, values, offsets, windows.counts, lengths, truncated, None)

    def _two_segments(
        self, batch: SliceBatch, ids: np.ndarray, lengths: np.ndarray, template: _Template
    ) -> SliceBatch:
        second_ids, second_lengths = self._encode(batch.rows["text_pair"].to_pylist())
        first_room, second_kept = fit_pair(lengths, second_lengths, self._room, self._settings)
        windows = plan_windows(lengths, first_room, self._settings)
        second_starts = np.cumsum(second_lengths) - second_lengths
        values, offsets = _lay_out(
            [
                template.prefix,
                (ids, windows.starts, windows.lengths),
                template.middle,
                (
                    second_ids,
                    np.repeat(second_starts, windows.counts),
                    np.repeat(second_kept, windows.counts),
                ),
                template.suffix,
            ],
            len(windows.starts),
        )
        first_lengths = len(template.prefix) + windows.lengths + template.middle_in_first
        if not template.has_types:
            first_lengths = np.diff(offsets)
        cut = (second_kept < second_lengths) | (
            (lengths > first_room) & (not self._settings.overlapping)
        )
        return _with_tokens(
            batch, values, offsets, windows.counts, lengths + second_lengths, cut, first_lengths
        )

    def _encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all texts end to end, int32 [tokens], and their lengths, int64 [texts]."""
        pieces: list[np.ndarray] = []
        lengths = np.zeros(len(texts), np.int64)
        for start, stop in _chunks(texts):
            encodings = self._backend.encode_batch_fast(
                list(texts[start:stop]), add_special_tokens=False
            )
            for row, encoding in enumerate(encodings, start):
                piece = np.array(encoding.ids, np.int32)
                pieces.append(piece)
                lengths[row] = len(piece)
        return (np.concatenate(pieces) if pieces else np.zeros(0, np.int32)), lengths


@dataclass(frozen=True)
class _Template:
    """Where a tokenizer puts its special tokens, learnt from what it does with a probe."""

    prefix: np.ndarray
    middle: np.ndarray
    suffix: np.ndarray
    middle_in_first: int
    has_types: bool

    @property
    def special_tokens(self) -> int:
        return len(self.prefix) + len(self.middle) + len(self.suffix)

    @staticmethod
    def of(backend: Any, *, pair: bool) -> _Template:
        segments = ("a", "b") if pair else ("a",)
        encoding = backend.encode(*segments)
        ids = np.array(encoding.ids, np.int32)
        # None marks a special token, else it is the segment's number.
        owners = np.array([-1 if each is None else each for each in encoding.sequence_ids])
        first = np.flatnonzero(owners == 0)
        last = np.flatnonzero(owners == (1 if pair else 0))
        middle = slice(first[-1] + 1, last[0]) if pair else slice(0, 0)
        types = np.array(encoding.type_ids)
        return _Template(
            prefix=ids[: first[0]],
            middle=ids[middle],
            suffix=ids[last[-1] + 1 :],
            middle_in_first=int((types[middle] == 0).sum()),
            has_types=bool(types.any()),
        )


def _load_backend(folder: Path) -> Any:
    if not any(path for name in VOCABULARY_FILES for path in folder.glob(name)):
        raise ModelError(f"model {folder} has no tokenizer; it needs tokenizer.json or vocab.txt")
    from transformers import AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
        backend = tokenizer.backend_tokenizer
    except Exception as error:  # whatever a damaged file makes a parser raise
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"model {folder}: its tokenizer cannot be loaded ({reason})") from None
    backend.no_truncation()
    backend.no_padding()
    return backend


def _chunks(texts: Sequence[str]) -> list[tuple[int, int]]:
    chunks, start, characters = [], 0, 0
    for row, text in enumerate(texts):
        if row > start and (
            row - start >= CHUNK_DOCUMENTS or characters + len(text) > CHUNK_CHARACTERS
        ):
            chunks.append((start, row))
            start, characters = row, 0
        characters += len(text)
    if start < len(texts):
        chunks.append((start, len(texts)))
    return chunks


def _lay_out(
    parts: Sequence[np.ndarray | tuple[np.ndarray, np.ndarray, np.ndarray]], windows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Join, for each window, constant tokens and ranges gathered from flat ids.

    Args:
      parts: constant int32 [n], or (ids int32 [tokens], starts int64 [windows], lengths int64
        [windows]).

    Returns:
      int32 [total] ids of all windows end to end, and int64 [windows + 1] where each begins.
    """
    sizes = [
        np.full(windows, len(part)) if isinstance(part, np.ndarray) else part[2] for part in parts
    ]
    offsets = np.concatenate([[0], np.cumsum(sum(sizes[1:], sizes[0]))]).astype(np.int64)
    values = np.empty(offsets[-1], np.int32)
    at = offsets[:-1].copy()
    for part, size in zip(parts, sizes, strict=True):
        if isinstance(part, np.ndarray):
            values[at[:, None] + np.arange(len(part))] = part
        else:
            ids, starts, lengths = part
            within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            values[np.repeat(at, lengths) + within] = ids[np.repeat(starts, lengths) + within]
        at += size
    return values, offsets


def _with_tokens(
    batch: SliceBatch,
    values: np.ndarray,
    offsets: np.ndarray,
    counts: np.ndarray,
    num_tokens: np.ndarray,
    truncated: np.ndarray,
    first_lengths: np.ndarray | None,
) -> SliceBatch:
    window_offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    ids = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))
    columns: dict[str, pa.Array] = {"input_ids": pa.ListArray.from_arrays(window_offsets, ids)}
    if first_lengths is not None:
        lengths = pa.array(first_lengths, pa.int32())
        columns["first_lengths"] = pa.ListArray.from_arrays(window_offsets, lengths)
    columns["num_tokens"] = pa.array(num_tokens, pa.int32())
    columns["truncated"] = pa.array(truncated, pa.bool_())
    rows = batch.rows
    for name, column in columns.items():
        rows = rows.append_column(name, column)
    return batch.with_rows(rows, tokens=float(num_tokens.sum()), tokens_read=float(len(values)))
