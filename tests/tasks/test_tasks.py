"""Logits become the labels, scores and polarity that a reader of the output expects."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from beam_bert.errors import ModelError
from beam_bert.tasks import ClassificationTask, SentimentTask
from beam_bert.tasks.classification import MULTI_LABEL, REGRESSION, SINGLE_LABEL

LABELS = ("negative", "neutral", "positive")
LOGITS = np.array([[2.0, 1.0, -1.0], [0.0, 0.5, 3.0], [-80.0, 90.0, 0.0]], np.float32)
ONE_WINDOW = np.array([1, 1, 1])


def decoded(task: ClassificationTask, logits: np.ndarray, windows: np.ndarray) -> list[dict]:
    columns = task.decode(logits, windows)
    schema = pa.schema(task.fields())
    return pa.RecordBatch.from_arrays(columns, schema=schema).to_pylist()


def test_one_label_gets_its_softmax_probability() -> None:
    rows = decoded(ClassificationTask(LABELS), LOGITS, ONE_WINDOW)
    expected = torch.softmax(torch.tensor(LOGITS), 1).max(1)
    assert [row["label"] for row in rows] == ["negative", "positive", "neutral"]
    assert [row["score"] for row in rows] == pytest.approx(expected.values.tolist(), abs=1e-6)
    assert list(rows[0]) == ["label", "score"]


def test_top_k_keeps_the_best_first_and_all_scores_the_models_order() -> None:
    top = decoded(ClassificationTask(LABELS, top_k=2), LOGITS, ONE_WINDOW)
    assert [row["labels"] for row in top][:2] == [["negative", "neutral"], ["positive", "neutral"]]
    every = decoded(ClassificationTask(LABELS, all_scores=True), LOGITS, ONE_WINDOW)
    assert [row["labels"] for row in every] == [list(LABELS)] * 3
    assert [sum(row["scores"]) for row in every] == pytest.approx([1, 1, 1])
    assert len(decoded(ClassificationTask(LABELS, top_k=99), LOGITS, ONE_WINDOW)[0]["labels"]) == 3


def test_multi_label_gives_every_label_from_the_threshold_on_and_null_where_none_is() -> None:
    task = ClassificationTask(LABELS, problem_type=MULTI_LABEL, threshold=0.6)
    logits = np.array([[2.0, 1.0, -1.0], [-3.0, -4.0, -5.0]], np.float32)
    first, second = decoded(task, logits, np.array([1, 1]))
    assert first["label"] == "negative"
    assert first["labels"] == ["negative", "neutral"]
    assert first["scores"] == pytest.approx(torch.sigmoid(torch.tensor([2.0, 1.0])).tolist())
    assert (second["label"], second["labels"]) == (None, [])
    assert second["score"] == pytest.approx(float(torch.sigmoid(torch.tensor(-3.0))))


def test_regression_gives_the_models_value_as_score() -> None:
    task = ClassificationTask(("LABEL_0",), problem_type=REGRESSION)
    assert decoded(task, np.array([[2.5], [-1.0]], np.float32), np.array([1, 1])) == [
        {"score": 2.5},
        {"score": -1.0},
    ]


@pytest.mark.parametrize("combine", ["mean", "max"])
def test_windows_are_combined_by_their_probabilities_not_their_logits(combine: str) -> None:
    task = ClassificationTask(LABELS, all_scores=True, combine=combine)  # type: ignore[arg-type]
    rows = decoded(task, LOGITS, np.array([2, 1]))
    probabilities = torch.softmax(torch.tensor(LOGITS).double(), 1)
    pooled = (
        getattr(torch, f"a{combine}")(probabilities[:2], dim=0)
        if combine == "max"
        else (probabilities[:2].mean(0))
    )
    assert rows[0]["scores"] == pytest.approx((pooled / pooled.sum()).tolist(), abs=1e-6)
    assert rows[1]["label"] == "neutral"


def test_no_documents_are_no_rows() -> None:
    empty = np.zeros((0, 3), np.float32)
    for task in (ClassificationTask(LABELS, top_k=3), SentimentTask(LABELS)):
        assert decoded(task, empty, np.zeros(0, np.int64)) == []


def test_polarity_is_positive_minus_negative_and_sentiment_the_best_side() -> None:
    rows = decoded(SentimentTask(LABELS), LOGITS, ONE_WINDOW)
    probabilities = torch.softmax(torch.tensor(LOGITS), 1)
    expected = (probabilities[:, 2] - probabilities[:, 0]).tolist()
    assert [row["polarity"] for row in rows] == pytest.approx(expected, abs=1e-6)
    assert [row["sentiment"] for row in rows] == ["negative", "positive", "neutral"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("NEGATIVE", "POSITIVE"), [-1, 1]),
        (("pos", "neg"), [1, -1]),
        (
            tuple(f"{stars} star{'s' if stars > 1 else ''}" for stars in range(1, 6)),
            [-1, -0.5, 0, 0.5, 1],
        ),
        (
            ("Very Negative", "Negative", "Neutral", "Positive", "Very Positive"),
            [-1, -0.5, 0, 0.5, 1],
        ),
    ],
)
def test_valence_is_read_from_the_names_that_published_models_use(
    labels: tuple[str, ...], expected: list[float]
) -> None:
    assert SentimentTask(labels).valences.tolist() == expected


@pytest.mark.parametrize(
    "labels", [("LABEL_0", "LABEL_1"), ("joy", "anger"), ("neutral", "positive")]
)
def test_labels_that_do_not_say_which_is_bad_are_refused_with_the_way_out(
    labels: tuple[str, ...],
) -> None:
    with pytest.raises(ModelError, match=r"beam-bert classify, or rename them in id2label"):
        SentimentTask(labels)


@pytest.mark.parametrize("problem_type", [SINGLE_LABEL, MULTI_LABEL, REGRESSION])
def test_what_breaks_a_model_in_both_precisions_is_the_same_in_both(problem_type: str) -> None:
    rows = pa.RecordBatch.from_pydict({"input_ids": [[[1]], [[2]], [[3]]]})
    broken = LOGITS.copy()
    broken[1] = np.nan
    task = ClassificationTask(LABELS, problem_type=problem_type)
    assert task.same(rows, broken, broken.copy()).tolist() == [True, True, True]
    assert task.same(rows, broken, LOGITS).tolist()[1] is False
