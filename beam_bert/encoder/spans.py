"""The best spans of each sequence of a packed batch: a banded maximum, where the logits are.

An extractive head says of each token how well an answer starts and ends there (Devlin et al. 2018,
arXiv:1810.04805, section 4.2); a span's score is start + end. Spans are counted in tokens of the
context, the part of a sequence that may hold the answer. Tokens at one place of the text (the bytes
of an emoji) are one start or end, with the best of their logits. Only the few best spans leave the
device.

    ranges   int32 [n, 4 + 4 * words]: token at which the context begins, its tokens; of the spans,
             the least sum of first and last token that is looked at, and the first that is not any
             more (both tokens counted from the context's first); then bits, one for each token of
             the context, 32 a word: may it start a span; is it the first of those that start one
             at the same place of the text; may it end one; is it the last of those that end one
             at the same place; without words any token may, each at a place of its own
    output   float32 [n, 1 + 3 * count]: the null score (start + end at the first token: no
             answer), then `count` scores, falling, their starts, and their ends (inclusive)

Where a sequence has fewer spans, the rest has start and end -1. Positions are whole numbers far
below 2^24, so float32 holds them exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

# Less than any sum of two logits, and finite: what is left out never wins, nor becomes NaN.
_OUT = -1e30


def best_spans(
    logits: torch.Tensor,
    first_tokens: torch.Tensor,
    ranges: torch.Tensor,
    longest: int,
    max_tokens: int,
    count: int,
) -> torch.Tensor:
    """The `count` best spans of each sequence; equal ones in order of start, then end.

    Args:
      logits: float32 [total_tokens, 2], start and end.
      first_tokens: int64 [n], where each sequence begins.
      ranges: int64 [n, 4 + 4 * words], see the module.
      longest: tokens of the longest context, at least 1.
      max_tokens: of a span.
      count: spans of a sequence, at least 1.

    Returns:
      float32 [n, 1 + 3 * count] on the same device, see the module. A sequence whose logits hold a
      NaN has a null score of NaN.
    """
    begin, tokens, first_sum, no_sum = ranges[:, :4].unsqueeze(2).unbind(1)
    place = torch.arange(longest, device=logits.device)
    rows = (first_tokens[:, None] + begin + place).clamp_(max=len(logits) - 1)
    inside = place < tokens
    may_start, is_first, may_end, is_last = (inside & b for b in _bits(ranges[:, 4:], place))
    start = _best_of_place(logits[:, 0][rows], may_start, is_first)
    end = _best_of_place(logits[:, 1][rows].flip(1), may_end.flip(1), is_last.flip(1)).flip(1)
    # [n, longest, max_tokens]: the ends that a span from each start may have.
    ends = F.pad(end, (0, max_tokens - 1), value=_OUT).unfold(1, max_tokens, 1)
    sums = 2 * place[:, None] + torch.arange(max_tokens, device=logits.device)
    is_judged = (sums >= first_sum[:, :, None]) & (sums < no_sum[:, :, None])
    ends = torch.where(is_judged, ends, _OUT)
    best = start + ends.amax(dim=2)
    # The best `count` spans start at the best `count` starts. Stable: ties keep their order.
    starts = best.sort(dim=1, descending=True, stable=True).indices[:, :count].sort(dim=1).values
    chosen_ends = ends.gather(1, starts[:, :, None].expand(-1, -1, max_tokens))
    scores = (start.gather(1, starts)[:, :, None] + chosen_ends).flatten(1)
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    scores, order = scores[:, :count], order[:, :count]
    span_start = starts.gather(1, order // max_tokens)
    span_end = span_start + order % max_tokens
    missing = scores < _OUT / 2
    columns = [scores, span_start.masked_fill(missing, -1), span_end.masked_fill(missing, -1)]
    short = count - scores.shape[1]
    padded = [F.pad(values.float(), (0, short), value=-1) for values in columns]
    null = logits[first_tokens].sum(dim=1)
    broken = torch.where(inside, logits[rows].sum(dim=2), 0.0).isnan().any(dim=1)
    return torch.cat([null.masked_fill(broken, torch.nan)[:, None], *padded], dim=1)


def _best_of_place(logits: torch.Tensor, may: torch.Tensor, is_first: torch.Tensor) -> torch.Tensor:
    """For the first token of each place the best logit of its tokens; `_OUT` for the others."""
    place = is_first.cumsum(dim=1) - 1
    # What comes before the first place of the context has its first token outside.
    logits = torch.where(may & (place >= 0), logits, _OUT)
    place = place.clamp_(min=0)
    best = torch.full_like(logits, _OUT).scatter_reduce(1, place, logits, "amax")
    return torch.where(is_first, best.gather(1, place), _OUT)


def _bits(words: torch.Tensor, place: torch.Tensor) -> list[torch.Tensor]:
    """The four bits of each token, bool [n, longest] or, where all are set, [longest]."""
    if words.shape[1] == 0:
        return [torch.ones_like(place, dtype=torch.bool)] * 4
    return [((bits[:, place // 32] >> place % 32) & 1).bool() for bits in words.chunk(4, dim=1)]


@dataclass(frozen=True, eq=False)
class Spans:
    """The output of `best_spans`, taken apart.

    Attributes:
      null: float32 [n].
      scores: float32 [n, count].
      starts: int64 [n, count], -1 where there are no more spans; `ends` likewise, inclusive.
    """

    null: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    @staticmethod
    def of(output: npt.NDArray[np.float32]) -> Spans:
        """Take float32 [n, 1 + 3 * count] apart."""
        scores, starts, ends = np.split(output[:, 1:], 3, axis=1)
        return Spans(output[:, 0], scores, starts.astype(np.int64), ends.astype(np.int64))
