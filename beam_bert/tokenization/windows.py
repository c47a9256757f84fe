"""Which tokens of a document a model reads together: pure functions over lengths and flat ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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
    if settings.overlapping:
        return cut_windows(lengths, room, np.full_like(lengths, settings.stride))
    first = np.cumsum(lengths) - lengths
    return Windows(np.ones_like(lengths), first, np.minimum(lengths, room))


def cut_windows(lengths: np.ndarray, room: np.ndarray, strides: np.ndarray) -> Windows:
    """Cut documents of `lengths` tokens into overlapping windows of at most `room` tokens each.

    Args:
      lengths: int64 [documents], tokens of each document.
      room: int64 [documents], tokens of it that fit a window.
      strides: int64 [documents], tokens that neighbouring windows share; below `room` throughout.
    """
    first = np.cumsum(lengths) - lengths
    step = room - strides
    counts = 1 + np.maximum(0, -(-(lengths - room) // step))
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    offsets = within * np.repeat(step, counts)
    left = np.repeat(lengths, counts) - offsets
    return Windows(
        counts, np.repeat(first, counts) + offsets, np.minimum(left, np.repeat(room, counts))
    )


def judged_spans(begins: np.ndarray, lengths: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Which spans each window judges, so that every span is judged once, where it is seen best.

    A span may stand whole in several windows. It is judged by the one with the most context around
    all of it, min(tokens before it, tokens after it); the first wins a tie. That context falls with
    the distance of the span's middle from the window's, so of neighbours the left one judges the
    spans whose first and last token add up to at most its own last token + the right one's first.

    Args:
      begins: int64 [windows], first token of each in its document; rising within a document.
      lengths: int64 [windows], its tokens; all of a document's are of one length but the last.
      owners: int64 [windows], its document.

    Returns:
      int64 [windows, 2]: the sums of first and last token, both counted from the window's begin,
      that it judges: the first one, and the one after the last.
    """
    judged = np.column_stack([np.zeros_like(begins), 2 * lengths - 1])
    left = np.flatnonzero(owners[1:] == owners[:-1])
    right = left + 1
    boundary = begins[left] + lengths[left] + begins[right]
    judged[left, 1] = boundary - 2 * begins[left]
    judged[right, 0] = boundary - 2 * begins[right]
    return judged


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


def lay_out(
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
