"""An answer is found wherever it stands, at the borders of windows too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_bert.tokenization import WindowSettings
from beam_bert.tokenization.windows import judged_spans, plan_windows
from tests.pipeline.answering.product import answers
from tests.pipeline.answering.reference import Settings

PLACES = 150


@pytest.mark.parametrize(
    ("max_length", "stride", "longest"),
    [
        (128, 42, 30),
        (64, 21, 30),
        (64, 30, 30),
        (64, 8, 8),
        (40, 1, 1),
        (40, 20, 4),
        (128, 100, 99),
    ],
)
def test_an_answer_that_windows_share_is_found_at_every_place(
    finder: Path, max_length: int, stride: int, longest: int
) -> None:
    tokens = min(stride, longest)
    words = ["love", *["day"] * (tokens - 2), "hate"]
    answer = " ".join(words[:tokens])
    texts = [
        " ".join(["good"] * place + [answer] + ["bad"] * (PLACES - place))
        for place in range(PLACES + 1)
    ]
    asked = Settings(max_length, stride, longest, null_threshold=1e9)
    found = answers(finder, ["who ?"] * len(texts), texts, asked).rows.to_pylist()
    assert [row["answer"] for row in found] == [answer] * len(texts)
    assert all(row["num_windows"] > 1 for row in found)


@given(
    length=st.integers(1, 200), room=st.integers(2, 40), stride=st.integers(0, 39), data=st.data()
)
@settings(max_examples=100, deadline=None)
def test_every_span_that_stands_in_a_window_is_judged_once_where_it_has_most_context(
    length: int, room: int, stride: int, data: st.DataObject
) -> None:
    stride = min(stride, room - 1)
    windows = plan_windows(np.array([length]), np.array([room]), WindowSettings(room, True, stride))
    begins, lengths = windows.starts.tolist(), windows.lengths.tolist()
    judged = judged_spans(windows.starts, windows.lengths, np.zeros(len(begins), int)).tolist()
    start = data.draw(st.integers(0, length - 1))
    end = data.draw(st.integers(start, min(start + room, length) - 1))
    around = [
        min(start - begin, begin + size - 1 - end)
        for begin, size in zip(begins, lengths, strict=True)
    ]
    judges = [
        number
        for number, (begin, (first, no)) in enumerate(zip(begins, judged, strict=True))
        if around[number] >= 0 and first <= start + end - 2 * begin < no
    ]
    assert judges == ([around.index(max(around))] if max(around) >= 0 else [])
    assert max(around) >= 0 or end - start + 1 > stride
