"""The banded maximum finds the spans that a loop over all of them finds."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_bert.encoder import Spans, load_span_finder
from beam_bert.encoder.spans import best_spans
from beam_bert.errors import ModelError


@st.composite
def windows(draw: st.DrawFn) -> tuple[list[list[tuple[float, float]]], list[list[int]]]:
    """Logits of some windows, few values so that there are ties, and the ranges looked at."""
    number = st.integers(-2, 2).map(float)
    logits, ranges = [], []
    for _ in range(draw(st.integers(1, 4))):
        tokens = draw(st.integers(1, 9))
        before, after = draw(st.integers(1, 3)), draw(st.integers(0, 2))
        size = before + tokens + after
        logits.append(draw(st.lists(st.tuples(number, number), min_size=size, max_size=size)))
        first = draw(st.integers(0, 2 * tokens))
        bits = [draw(st.integers(0, 2**tokens - 1)) for _ in range(4)]
        bits[1] &= bits[0]
        bits[3] &= bits[2]
        ranges.append([before, tokens, first, draw(st.integers(first, 2 * tokens)), *bits])
    return logits, ranges


def by_loops(
    logits: list[tuple[float, float]], span_range: list[int], max_tokens: int, count: int
) -> list[tuple[float, int, int]]:
    begin, tokens, first, stop, *bits = span_range
    may_start, is_first, may_end, is_last = (
        {place for place in range(tokens) if word >> place & 1} for word in bits or [2**30 - 1] * 4
    )
    # Tokens of a place up to the next place's first one, or down to the last one before.
    best_start = {
        start: max(
            logits[begin + each][0]
            for each in range(start, min((f for f in is_first if f > start), default=tokens))
            if each in may_start
        )
        for start in is_first
    }
    best_end = {
        end: max(
            logits[begin + each][1]
            for each in range(max((f for f in is_last if f < end), default=-1) + 1, end + 1)
            if each in may_end
        )
        for end in is_last
    }
    spans = [
        (-(best_start[start] + best_end[end]), start, end)
        for start in is_first
        for end in is_last
        if 0 <= end - start < max_tokens and first <= start + end < stop
    ]
    return [(-score, start, end) for score, start, end in sorted(spans)[:count]]


def found_in(
    logits: list[list[tuple[float, float]]], ranges: list[list[int]], max_tokens: int, count: int
) -> Spans:
    sizes = [len(each) for each in logits]
    output = best_spans(
        torch.tensor([pair for each in logits for pair in each]),
        torch.tensor([0, *np.cumsum(sizes)[:-1]]),
        torch.tensor(ranges),
        max(each[1] for each in ranges),
        max_tokens,
        count,
    )
    assert output.shape == (len(logits), 1 + 3 * count)
    return Spans.of(output.numpy())


@given(given_windows=windows(), max_tokens=st.integers(1, 10), count=st.integers(1, 6))
@settings(max_examples=300, deadline=None)
def test_the_best_spans_are_those_of_a_loop_ties_by_start_and_end(
    given_windows: tuple[list[list[tuple[float, float]]], list[list[int]]],
    max_tokens: int,
    count: int,
) -> None:
    logits, ranges = given_windows
    spans = found_in(logits, ranges, max_tokens, count)
    for row, (each, looked_at) in enumerate(zip(logits, ranges, strict=True)):
        assert spans.null[row] == sum(each[0])
        expected = by_loops(each, looked_at, max_tokens, count)
        there = spans.starts[row] >= 0
        assert there.tolist() == [number < len(expected) for number in range(count)]
        found = zip(
            spans.scores[row][there], spans.starts[row][there], spans.ends[row][there], strict=True
        )
        assert list(found) == expected


def test_a_nan_in_the_context_marks_its_window_and_no_other() -> None:
    good = [(0.0, 0.0)] * 4
    for place in (1, 3):
        bad = list(good)
        bad[place] = (float("nan"), 0.0) if place == 1 else (0.0, float("nan"))
        spans = found_in([good, bad, good], [[1, 3, 0, 1]] * 3, 2, 2)
        assert np.isnan(spans.null).tolist() == [False, True, False]


def test_what_stands_outside_the_context_is_never_an_answer() -> None:
    logits = [[(9.0, 9.0), (0.0, 1.0), (1.0, 0.0), (9.0, 9.0)], [(9.0, 9.0)] * 3]
    spans = found_in(logits, [[1, 2, 0, 4], [1, 1, 0, 4]], 4, 3)
    assert spans.starts[0].tolist() == [0, 1, 0]
    assert spans.ends[0].tolist() == [0, 1, 1]
    assert spans.starts[1].tolist() == [0, -1, -1]


def test_a_window_has_the_same_spans_in_any_company(reader: Path) -> None:
    model = load_span_finder(reader, precision="fp32", device="cpu", top_spans=4)
    random = np.random.default_rng(0)
    lengths = random.integers(6, 90, 40)
    ids = random.integers(5, 100, int(lengths.sum())).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ranges = np.column_stack([np.full(40, 3), lengths - 4, np.zeros(40), 2 * lengths])
    ranges = ranges.astype(np.int32)
    together = model.outputs(ids, offsets, None, ranges)
    for row, (start, stop) in enumerate(pairwise(offsets.tolist())):
        alone = model.outputs(
            ids[start:stop], np.array([0, stop - start]), None, ranges[row : row + 1]
        )
        # Matrix products round by their size, so the last bits may move, and nothing else.
        np.testing.assert_allclose(alone[0], together[row], atol=1e-5)


def test_equal_tokens_with_other_ranges_are_not_taken_for_each_other(reader: Path) -> None:
    model = load_span_finder(reader, precision="fp32", device="cpu", top_spans=1)
    ids = np.tile(np.arange(5, 25, dtype=np.int32), 2)
    ranges = np.array([[2, 16, 0, 8], [2, 16, 8, 32]], np.int32)
    spans = Spans.of(model.outputs(ids, np.array([0, 20, 40]), None, ranges))
    first, second = (spans.starts + spans.ends)[:, 0]
    assert first < 8 <= second


def test_a_model_without_the_head_is_refused_with_the_pipeline_that_takes_it(bert: Path) -> None:
    with pytest.raises(ModelError, match=r"no question-answering head.*beam-bert classify"):
        load_span_finder(bert)


def test_a_classifier_is_not_loaded_from_a_reader(reader: Path) -> None:
    from beam_bert.encoder import load_classifier

    with pytest.raises(ModelError, match=r"BertForQuestionAnswering.*beam-bert answer"):
        load_classifier(reader)
