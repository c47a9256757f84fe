"""Question answering as the papers say it, one window at a time: what the product is held to.

Plain on purpose: transformers' tokenizer and `AutoModelForQuestionAnswering`, a loop over windows,
every stretch of text looked at in every window.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Found:
    """An answer, or (start and end None) that there is none, or (all None) that none can be."""

    start: int | None
    end: int | None
    score: float | None
    null_score: float
    window: int | None


@dataclass(frozen=True)
class Settings:
    max_length: int = 384
    stride: int = 128
    max_answer_tokens: int = 30
    top_k: int = 1
    null_threshold: float = 0.0


def answer(model: Any, tokenizer: Any, question: str, text: str, settings: Settings) -> list[Found]:
    """The best answers to a question on a text.

    Every stretch of the text that begins and ends with tokens of some window is looked at in all of
    them; the one counts that has the most context on its poorer side, the first of equal ones.
    """
    windows = tokenizer(
        question,
        text,
        truncation="only_second",
        max_length=settings.max_length,
        stride=settings.stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    whole = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    starts, ends = places(text, whole["offset_mapping"])
    contexts = [np.flatnonzero(np.array(each.sequence_ids) == 1) for each in windows.encodings]
    begins = context_begins([len(context) for context in contexts], settings.stride)
    judged: dict[tuple[int, int], tuple[int, float, int]] = {}
    nulls = []
    for number, context in enumerate(contexts):
        start, end = logits(model, windows, number)
        nulls.append(float(start[0] + end[0]))
        begin, stop = begins[number], begins[number] + len(context)
        of_start = best_of_places(starts, start[context], begin)
        of_end = best_of_places(ends, end[context], begin)
        of_last = {last: (to, logit) for to, (_, last, logit) in of_end.items()}
        for from_, (first, _, start_logit) in of_start.items():
            for last in range(first, min(stop, first + settings.max_answer_tokens)):
                if first < begin or last not in of_last:
                    continue
                to, end_logit = of_last[last]
                around = min(first - begin, stop - 1 - last)
                if around > judged.get((from_, to), (-1,))[0]:
                    judged[from_, to] = around, start_logit + end_logit, number
    return decide(judged, min(nulls), settings)


def decide(
    judged: dict[tuple[int, int], tuple[int, float, int]], null: float, settings: Settings
) -> list[Found]:
    """The best stretches that beat the null score; else one row without an answer."""
    best = sorted((-score, place, window) for place, (_, score, window) in judged.items())
    found = [
        Found(*place, -negative, null, window)
        for negative, place, window in best[: settings.top_k]
        if null + negative <= settings.null_threshold
    ]
    if found or not best:
        return found or [Found(None, None, None, null, None)]
    return [Found(None, None, -best[0][0], null, best[0][2])]


def places(text: str, offsets: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Where an answer begins (and ends) that begins (and ends) at each token; -1: at none."""
    starts, ends = [], []
    for start, end in offsets:
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
        if start == end:
            start = end = -1
        while start > 0 and is_mark(text[start]) and not text[start - 1].isspace():
            start -= 1
        while 0 < end < len(text) and is_mark(text[end]):
            end += 1
        starts.append(start)
        ends.append(end)
    return starts, ends


def is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def best_of_places(
    places: list[int], logits: np.ndarray, begin: int
) -> dict[int, tuple[int, int, float]]:
    """For each place of a window: its first and last token in the text, and its best logit."""
    found = {}
    tokens_at: dict[int, list[int]] = {}
    for token, each in enumerate(places):
        tokens_at.setdefault(each, []).append(token)
    for place in set(places[begin : begin + len(logits)]) - {-1}:
        tokens = tokens_at[place]
        seen = [logits[token - begin] for token in tokens if 0 <= token - begin < len(logits)]
        found[place] = tokens[0], tokens[-1], float(max(seen))
    return found


def logits(model: Any, windows: Any, number: int) -> tuple[np.ndarray, np.ndarray]:
    names = [name for name in windows if name in ("input_ids", "token_type_ids", "attention_mask")]
    with torch.inference_mode():
        output = model(**{name: torch.tensor([windows[name][number]]) for name in names})
    return output.start_logits[0].numpy(), output.end_logits[0].numpy()


def context_begins(lengths: list[int], stride: int) -> list[int]:
    """The token of the text that each window's context begins with."""
    return [number * (lengths[0] - stride) for number in range(len(lengths))]
