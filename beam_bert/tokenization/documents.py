"""`DocumentTokenizer`: documents of one or two segments, cut to their start or into windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from beam_bert.errors import ConfigError
from beam_bert.settings.naming import named
from beam_bert.slices.batch import SliceBatch
from beam_bert.tokenization.backend import Template, encode
from beam_bert.tokenization.loading import load_backend
from beam_bert.tokenization.unknown import Unknown
from beam_bert.tokenization.windows import WindowSettings, fit_pair, lay_out, plan_windows


class DocumentTokenizer:
    """A checkpoint's tokenizer, and the windows that its model reads.

    Raises:
      ModelError: the folder has no tokenizer that `tokenizers` can run.
      ConfigError: the window has no room for text beside its special tokens and the stride.
    """

    def __init__(self, folder: Path, settings: WindowSettings, *, pair: bool = False) -> None:
        self._backend = load_backend(folder)
        self._settings = settings
        self._unknown = Unknown(folder, self._backend)
        self._single = Template.of(self._backend, pair=False)
        self._pair = Template.of(self._backend, pair=True) if pair else None
        template = self._pair or self._single
        room = settings.max_length - template.special_tokens
        needed = (settings.stride if settings.overlapping else 0) + 1
        if (room // 2 if pair and settings.overlapping else room) < needed:
            raise ConfigError(
                f"{named('max_length', settings.max_length)} leaves {max(room, 0)} tokens for "
                f"text, too few with {named('stride', settings.stride)}; raise the one or lower "
                "the other"
            )
        self._room = room

    def tokenize(self, batch: SliceBatch) -> SliceBatch:
        """Add `input_ids`, `num_tokens`, `truncated` (and `first_lengths` for pairs) to the rows.

        Documents without a token (only characters that the tokenizer drops), and those that it
        fails at, become rejects.
        """
        ids, lengths, faults = encode(self._backend, batch.rows["text"].to_pylist())
        self._unknown.look_at(ids)
        # The ids of what is rejected take no room in the flat array: it stays right for the others.
        batch, lengths = _without(batch, faults, lengths)
        empty = np.flatnonzero(lengths == 0)
        if len(empty):
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
        values, offsets = lay_out(
            [prefix, (ids, windows.starts, windows.lengths), suffix], len(windows.starts)
        )
        truncated = (lengths > room) & (not self._settings.overlapping)
        return _with_tokens(batch, values, offsets, windows.counts, lengths, truncated, None)

    def _two_segments(
        self, batch: SliceBatch, ids: np.ndarray, lengths: np.ndarray, template: Template
    ) -> SliceBatch:
        second_ids, second_lengths, faults = encode(
            self._backend, batch.rows["text_pair"].to_pylist()
        )
        if faults:
            ids = ids[np.repeat([row not in faults for row in range(len(lengths))], lengths)]
            batch, lengths, second_lengths = _without(batch, faults, lengths, second_lengths)
        first_room, second_kept = fit_pair(lengths, second_lengths, self._room, self._settings)
        windows = plan_windows(lengths, first_room, self._settings)
        second_starts = np.cumsum(second_lengths) - second_lengths
        values, offsets = lay_out(
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


def _without(batch: SliceBatch, faults: dict[int, str], *of_rows: np.ndarray) -> Any:
    """The batch, and arrays with a value a row, without what the tokenizer fails at."""
    rows = sorted(faults)
    batch = batch.reject(rows, "tokenizer_failed", [faults[row] for row in rows])
    return batch, *(np.delete(values, rows) for values in of_rows)


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
