"""Question answering as the papers say it, one window at a time: what the product is held to.

Plain on purpose: transformers' tokenizer and `AutoModelForQuestionAnswering`, a loop over windows,
all spans of a window in one table, the rules of
https://github.com/google-research/bert/blob/master/run_squad.py.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

KEPT = 500  # spans of a window to sort: far more than `top_k` different answers need


@dataclass(frozen=True)
class Found:
    """An answer, or (start and end None) that there is none."""

    start: int | None
    end: int | None
    score: float
    null_score: float
    window: int


@dataclass(frozen=True)
class Settings:
    max_length: int = 384
    stride: int = 128
    max_answer_tokens: int = 30
    top_k: int = 1
    null_threshold: float = 0.0


def answer(model: Any, tokenizer: Any, question: str, text: str, settings: Settings) -> list[Found]:
    """The best answers to a question on a text."""
    windows = tokenizer(
        question,
        text,
        truncation="only_second",
        max_length=settings.max_length,
        stride=settings.stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    contexts = [np.flatnonzero(np.array(each.sequence_ids) == 1) for each in windows.encodings]
    begins = context_begins([len(context) for context in contexts], settings.stride)
    owners = [best_window(begins, contexts, at) for at in range(begins[-1] + len(contexts[-1]))]
    spans = []
    nulls = []
    for number, context in enumerate(contexts):
        start, end = logits(model, windows, number)
        nulls.append(start[0] + end[0])
        table = start[context][:, None] + end[context][None, :]
        own = np.array(owners[begins[number] :][: len(context)]) == number
        allowed = band(len(context), settings.max_answer_tokens) & own[:, None]
        offsets = windows["offset_mapping"][number]
        best = np.argsort(-table[allowed], kind="stable")[:KEPT]
        for first, last in np.argwhere(allowed)[best].tolist():
            tokens = (begins[number] + first, begins[number] + last)
            place = (offsets[context[first]][0], offsets[context[last]][1])
            spans.append((-table[first, last], *tokens, number, place))
    return decide(text, spans, min(nulls), settings)


def decide(text: str, spans: list[Any], null: float, settings: Settings) -> list[Found]:
    """The best different spans that beat the null score; else one row without an answer."""
    spans = sorted(spans)
    found: dict[tuple[int, int], Found] = {}
    for negative, _, _, window, offsets in spans:
        score = -negative
        if float(null) - float(score) > settings.null_threshold or len(found) == settings.top_k:
            break
        place = trimmed(text, *offsets)
        if place is not None:
            found.setdefault(place, Found(*place, score, null, window))
    if found:
        return list(found.values())
    return [Found(None, None, -spans[0][0], null, spans[0][3])]


def logits(model: Any, windows: Any, number: int) -> tuple[np.ndarray, np.ndarray]:
    names = [name for name in windows if name in ("input_ids", "token_type_ids", "attention_mask")]
    with torch.inference_mode():
        output = model(**{name: torch.tensor([windows[name][number]]) for name in names})
    return output.start_logits[0].numpy(), output.end_logits[0].numpy()


def context_begins(lengths: list[int], stride: int) -> list[int]:
    """The token of the text that each window's context begins with."""
    return [number * (lengths[0] - stride) for number in range(len(lengths))]


def band(tokens: int, longest: int) -> np.ndarray:
    """Which (start, end) are spans, bool [tokens, tokens]."""
    return np.triu(np.ones((tokens, tokens), bool)) & np.tri(tokens, k=longest - 1, dtype=bool)


def best_window(begins: list[int], contexts: list[Any], position: int) -> int:
    """The window in which a token has the most context: run_squad.py's `_check_is_max_context`."""
    best, best_score = -1, -1.0
    for number, (begin, context) in enumerate(zip(begins, contexts, strict=True)):
        end = begin + len(context) - 1
        if not begin <= position <= end:
            continue
        score = min(position - begin, end - position) + 0.01 * len(context)
        if score > best_score:
            best, best_score = number, score
    return best


def trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The place without white space around it, with the marks of its last letter; None: nothing."""
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    while start < end < len(text) and unicodedata.category(text[end]).startswith("M"):
        end += 1
    return (start, end) if start < end else None
