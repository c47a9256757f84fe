"""The best spans of each sequence of a packed batch: a banded maximum, where the logits are.

An extractive head says of each token how well an answer starts and ends there (Devlin et al. 2018,
arXiv:1810.04805, section 4.2); a span's score is start + end. Spans are counted in tokens of the
context, the part of a sequence that may hold the answer. Only the few best leave the device.

    ranges   int32 [n, 4]: token at which the context begins, its tokens; first start that is
             allowed, first one that is not any more (both counted from the context's first token)
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
      ranges: int64 [n, 4], see the module.
      longest: tokens of the longest context, at least 1.
      max_tokens: of a span.
      count: spans of a sequence, at least 1.

    Returns:
      float32 [n, 1 + 3 * count] on the same device, see the module. A sequence whose logits hold a
      NaN has a null score of NaN.
    """
    begin, tokens, first_start, no_start = ranges.unsqueeze(2).unbind(1)
    place = torch.arange(longest, device=logits.device)
    rows = (first_tokens[:, None] + begin + place).clamp_(max=len(logits) - 1)
    inside = place < tokens
    may_start = (place >= first_start) & (place < no_start) & inside
    start = torch.where(may_start, logits[:, 0][rows], _OUT)
    end = torch.where(inside, logits[:, 1][rows], _OUT)
    # [n, longest, max_tokens], a view: the ends that a span from each start may have.
    ends = F.pad(end, (0, max_tokens - 1), value=_OUT).unfold(1, max_tokens, 1)
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
    found = [scores, span_start.masked_fill(missing, -1), span_end.masked_fill(missing, -1)]
    short = count - scores.shape[1]
    padded = [F.pad(each.float(), (0, short), value=-1) for each in found]
    null = logits[first_tokens].sum(dim=1)
    broken = torch.where(inside, logits[rows].sum(dim=2), 0.0).isnan().any(dim=1)
    return torch.cat([null.masked_fill(broken, torch.nan)[:, None], *padded], dim=1)


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
