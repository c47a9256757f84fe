"""Close calls of a fast precision are made at fp32: fp32's answers for little of its work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_bert.encoder import load_classifier
from beam_bert.encoder.spans import best_spans
from beam_bert.inference.compute_options import ComputeOptions
from beam_bert.inference.fp32_recheck import RecheckedModel
from beam_bert.inference.model_handler import BertModelHandler
from beam_bert.models import resolve_model
from beam_bert.slices.token_arrays import TokenArrays
from beam_bert.tasks import AnswerTask, ClassificationTask, Task
from beam_bert.tasks.classification import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from beam_bert.tokenization import DocumentTokenizer, WindowSettings
from tests.tokenization.test_documents import TEXTS, documents

NAN = float("nan")
LABELS = ("a", "b", "c")


def rows_of(windows: list[int]) -> pa.RecordBatch:
    """As much of a TokenBatch as tells the windows of each document."""
    ids = [[[1]] * count for count in windows]
    return pa.RecordBatch.from_pydict({"input_ids": pa.array(ids, pa.list_(pa.list_(pa.int32())))})


@pytest.mark.parametrize(
    ("outputs", "reference", "problem_type", "expected"),
    [
        ([[1, 2], [2, 1]], [[0, 9], [0, 1]], SINGLE_LABEL, [True, False]),
        ([[1, 2], [NAN, 1]], [[0, 9], [2, 1]], SINGLE_LABEL, [True, False]),
        ([[-1, 2], [2, 1]], [[-9, 9], [2, -1]], MULTI_LABEL, [True, False]),
        ([[1.0], [2.0]], [[1.0], [9.0]], REGRESSION, [True, False]),
        (np.zeros((0, 2)), np.zeros((0, 2)), SINGLE_LABEL, []),
    ],
)
def test_what_counts_as_the_same(outputs, reference, problem_type, expected) -> None:
    found = np.array(outputs, float)
    task = ClassificationTask(("a", "b")[: found.shape[1]], problem_type=problem_type)
    same = task.same(rows_of([1] * len(found)), found, np.array(reference, float))
    assert same.tolist() == expected


def check(task: Task, rows: pa.RecordBatch, fast: np.ndarray, exact: np.ndarray, gap: float):
    """With the windows of close calls exchanged for exact ones, every call is the exact one."""
    chosen = task.low_margin(rows, fast, gap)
    mixed = np.where(chosen[:, None], exact, fast)
    assert task.same(rows, mixed, exact).all()


@given(
    seed=st.integers(0, 2**32 - 1),
    windows=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    problem_type=st.sampled_from([SINGLE_LABEL, MULTI_LABEL]),
    combine=st.sampled_from(["mean", "max"]),
    moved=st.sampled_from([0.01, 0.1, 0.5]),
)
@settings(max_examples=200, deadline=None)
def test_labels_are_the_exact_models_where_no_logit_moves_by_a_quarter_of_the_gap(
    seed: int, windows: list[int], problem_type: str, combine: str, moved: float
) -> None:
    random = np.random.default_rng(seed)
    exact = random.normal(-1, 1, (sum(windows), 3)).astype(np.float32)
    fast = exact + random.choice([-moved, moved], exact.shape).astype(np.float32)
    task = ClassificationTask(LABELS, problem_type=problem_type, threshold=0.1, combine=combine)
    # Of several windows a ratio of probabilities moves by four times as much, of one by twice.
    check(task, rows_of(windows), fast, exact, 4.001 * moved)


@given(
    seed=st.integers(0, 2**32 - 1),
    windows=st.lists(st.integers(1, 4), min_size=2, max_size=6).filter(lambda w: len(w) % 2 == 0),
    top_k=st.integers(1, 3),
    threshold=st.sampled_from([-1.0, 0.0, 1.0, 1e9]),
    moved=st.sampled_from([0.01, 0.1, 0.5]),
)
@settings(max_examples=200, deadline=None)
def test_answers_are_the_exact_models_where_no_score_moves_by_half_the_gap(
    seed: int, windows: list[int], top_k: int, threshold: float, moved: float
) -> None:
    random = np.random.default_rng(seed)
    tokens, count = 6, sum(windows)
    logits = random.normal(0, 1, (count * (tokens + 1), 2)).astype(np.float32)
    near = logits + random.uniform(-moved / 2, moved / 2, logits.shape).astype(np.float32)
    task = AnswerTask(("p", "q"), top_k=top_k, null_threshold=threshold)
    ranges = torch.tensor([[1, tokens, 0, tokens]] * count)
    first = torch.arange(count) * (tokens + 1)
    exact, fast = (
        best_spans(torch.tensor(each), first, ranges, tokens, 3, task.top_spans).numpy()
        for each in (logits, near)
    )
    # Two questions a document, each with windows of its own, that begin apart.
    numbers = [[0] * a + [1] * b for a, b in zip(windows[::2], windows[1::2], strict=True)]
    begins = [[10 * n for n in range(len(each))] for each in numbers]
    rows = pa.RecordBatch.from_pydict({"questions": numbers, "begins": begins})
    check(task, rows, fast, exact, 2.001 * moved)


def test_of_a_long_document_only_windows_near_the_best_answer_are_computed_again() -> None:
    task = AnswerTask(("q",), null_threshold=0.0)
    nothing = [-1.0] * 16  # 8 spans a window, of which one is there
    scores = [5.0, 4.95, 1.0, 4.99, -3.0]
    outputs = np.array(
        [[-9.0, score, *[-1e30] * 7, 2.0, *nothing[:7], 3.0, *nothing[:7]] for score in scores],
        np.float32,
    )
    rows = pa.RecordBatch.from_pydict({"questions": [[0] * 5], "begins": [[0, 9, 18, 27, 36]]})
    assert task.low_margin(rows, outputs, 0.1).tolist() == [True, True, False, True, False]
    assert not task.low_margin(rows, outputs, 0.001).any()
    outputs[:, 0] = [3, 4, 5.02, 9, 9]  # the least null score decides, here clearly against it
    assert task.low_margin(rows, outputs, 0.1).tolist() == [True, True, False, True, False]
    outputs[:, 0] = [9, 9, 5.02, 9, 5.5]  # and here barely for it
    assert task.low_margin(rows, outputs, 0.1).tolist() == [True, True, True, True, False]
    outputs[[1, 3], 1] = 2.0  # one best answer, by far: the null score alone is close
    assert task.low_margin(rows, outputs, 0.1).tolist() == [True, False, True, False, False]
    outputs[:, 0] = 9  # no answer, by far: which one it would be does not matter
    assert not task.low_margin(rows, outputs, 0.1).any()


class Says:
    """A model whose windows are one token each, the number of the line that it answers with."""

    precision, device = "bf16", "cpu"

    def __init__(self, lines: list[list[float]]) -> None:
        self.lines = np.array(lines, np.float32)
        self.width = self.lines.shape[1]

    def outputs(self, input_ids: np.ndarray, *_others: object, **_more: object) -> np.ndarray:
        return self.lines[input_ids]


def test_what_falls_back_to_other_windows_once_exact_is_compared_again() -> None:
    def windows(*scores: float) -> list[list[float]]:  # one span each, the first of 8
        nothing = [-1.0] * 7
        return [[-9, score, *[-1e30] * 7, 2, *nothing, 3, *nothing] for score in scores]

    # Window 0 seems to win by far, window 1 beside it; exactly, it is window 2.
    fast, exact = Says(windows(9.0, 8.9, 8.2, 0.0)), Says(windows(8.3, 8.2, 8.4, 5.0))
    task = AnswerTask(("q",))
    model = RecheckedModel.of(fast, task, lambda: exact, 0.4)
    ids = pa.array([[[0], [1], [2], [3]]], pa.list_(pa.list_(pa.int32())))
    rows = pa.RecordBatch.from_pydict(
        {"input_ids": ids, "questions": [[0] * 4], "begins": [[0, 9, 18, 27]]}
    )
    found = model.outputs(rows)
    assert found.again == 3
    assert found.values[:, 1].tolist() == pytest.approx([8.3, 8.2, 8.4, 0.0])


@pytest.mark.parametrize(("top_k", "close"), [(1, False), (2, True), (3, True)])
def test_whether_a_second_answer_beats_none_may_be_close_too(top_k: int, close: bool) -> None:
    task, outputs = AnswerTask(("q",), top_k=top_k), np.full((1, 25), -1e30, np.float32)
    outputs[0, :4] = [1.0, 9.0, 1.02, -4.0]  # no answer, and three spans
    outputs[0, 9:] = [0, 1, 2, *[-1] * 5] * 2
    rows = pa.RecordBatch.from_pydict({"questions": [[0]], "begins": [[0]]})
    assert task.low_margin(rows, outputs, 0.1).tolist() == [close]


def test_a_regression_makes_no_calls_and_what_is_no_number_is_close() -> None:
    values = np.array([[1.0], [NAN]], np.float32)
    task = ClassificationTask(("value",), problem_type=REGRESSION)
    assert task.close_gap("int8") == 0
    assert not task.low_margin(rows_of([1, 1]), values, 9.0).any()
    broken = np.array([[5.0, 0.0], [NAN, 0.0]], np.float32)
    assert ClassificationTask(("a", "b")).low_margin(rows_of([1, 1]), broken, 0.1).tolist() == [
        False,
        True,
    ]


def test_windows_taken_out_of_many_are_the_same_windows(bert: Path) -> None:
    tokenizer = DocumentTokenizer(bert, WindowSettings(16, overlapping=True, stride=4), pair=True)
    rows = tokenizer.tokenize(documents(TEXTS, TEXTS[::-1])).rows
    tokens, chosen = TokenArrays.of(rows), np.array([0, 3, 2])
    taken = tokens.windows(chosen)
    every = [window for windows in rows["input_ids"].to_pylist() for window in windows]
    parts = np.split(taken.ids, taken.offsets[1:-1])
    assert [part.tolist() for part in parts] == [every[number] for number in chosen]
    assert tokens.first_lengths is not None and taken.first_lengths is not None
    assert taken.first_lengths.tolist() == tokens.first_lengths[chosen].tolist()


def test_the_job_runs_int8_and_makes_close_calls_at_fp32(bert: Path) -> None:
    batch = DocumentTokenizer(bert, WindowSettings(64)).tokenize(documents(TEXTS))
    task = ClassificationTask(LABELS)
    exact = RecheckedModel(load_classifier(bert, precision="fp32", device="cpu")).outputs(
        batch.rows
    )

    def run(recheck_margin: float | None) -> tuple[np.ndarray, float]:
        handler = BertModelHandler(
            resolve_model(str(bert)),
            task=task,
            options=ComputeOptions("int8", "cpu", recheck_margin=recheck_margin),
        )
        (scored,) = handler.run_inference(batch, handler.load_model())
        again = scored.stats["windows_rechecked"]
        return np.concatenate([np.array(each) for each in scored.rows["logits"].to_pylist()]), again

    never, none = run(0)
    assert none == 0
    assert not np.array_equal(never, exact.values)
    always, every = run(1e6)
    assert every == len(TEXTS)
    np.testing.assert_array_equal(always, exact.values)
    gaps = np.diff(np.sort(never, axis=1)[:, -2:], axis=1)[:, 0]
    middle = float(np.median(gaps))
    some, few = run(middle)
    close = gaps < middle
    assert 0 < few == close.sum() < len(TEXTS)
    np.testing.assert_allclose(some[close], exact.values[close], atol=1e-5)
    np.testing.assert_array_equal(some[~close], never[~close])
