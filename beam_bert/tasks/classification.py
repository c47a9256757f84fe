"""Sequence classification: single-label, multi-label and regression, over one or many windows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_bert.encoder.precision import EIGHT_BITS
from beam_bert.slices.schema import described

SINGLE_LABEL = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
REGRESSION = "regression"

# Logits. What keeps 99.5 % of fp32's labels in 8 bits, with room to spare; bf16 keeps as many by
# itself (benchmarks/README.md, "Low margins"). One of several labels is close more often.
_CLOSE_GAP = {SINGLE_LABEL: 0.1, MULTI_LABEL: 0.2, REGRESSION: 0.0}


@dataclass(frozen=True)
class ClassificationTask:
    """Turns the logits of a document's windows into the columns that the user reads.

    Attributes:
      labels: names of the classes, in the order of the logits (`id2label`); for regression, of
        the values.
      problem_type: as in a Hugging Face config.
      top_k: labels and scores to keep, best first.
      all_scores: keep the score of every label, in the model's order.
      threshold: multi-label only: a label is given from this probability on.
      combine: how the probabilities (regression: values) of the windows become the document's.
    """

    labels: tuple[str, ...]
    problem_type: str = SINGLE_LABEL
    top_k: int = 1
    all_scores: bool = False
    threshold: float = 0.5
    combine: Literal["mean", "max"] = "mean"
    kept: int = field(init=False)

    def __post_init__(self) -> None:
        wanted = len(self.labels) if self.all_scores else self.top_k
        object.__setattr__(self, "kept", min(wanted, len(self.labels)))

    @property
    def has_lists(self) -> bool:
        """Whether rows have the columns `labels` and `scores` beside `label` and `score`."""
        return self.kept > 1 or self.problem_type == MULTI_LABEL

    def fields(self) -> list[pa.Field]:
        """The columns that `decode` gives, with their documentation."""
        if self.problem_type == REGRESSION:
            columns = [described("score", pa.float32(), "The model's value.")]
            if len(self.labels) > 1:
                columns += self._list_fields("Names of the values.", "The values, in that order.")
            return columns
        fields = [
            described("label", pa.string(), "Best label; null where none reached the threshold."),
            described("score", pa.float32(), "Probability of the best label."),
        ]
        if not self.has_lists:
            return fields
        order = "in the model's order" if self.all_scores else "best first"
        if self.problem_type == MULTI_LABEL and not self.all_scores and self.top_k == 1:
            order = f"best first, from probability {self.threshold:g} on"
        return fields + self._list_fields(f"Labels, {order}.", "Their probabilities.")

    @staticmethod
    def _list_fields(labels: str, scores: str) -> list[pa.Field]:
        return [
            described("labels", pa.list_(pa.string()), labels),
            described("scores", pa.list_(pa.float32()), scores),
        ]

    def probabilities(self, logits: np.ndarray, windows: np.ndarray) -> np.ndarray:
        """Scores of documents from the logits of their windows.

        Args:
          logits: float32 [windows, labels].
          windows: int64 [documents], how many of them each document has, all positive.

        Returns:
          float64 [documents, labels]: softmax or sigmoid probabilities (regression: values). Where
          `combine` is max, single-label scores are scaled to sum to 1 again.
        """
        values = logits.astype(np.float64)
        if self.problem_type == SINGLE_LABEL:
            values = np.exp(values - values.max(axis=1, keepdims=True))
            values /= values.sum(axis=1, keepdims=True)
        elif self.problem_type == MULTI_LABEL:
            values = 0.5 * (1 + np.tanh(values / 2))  # the sigmoid, without overflow
        if len(values) == len(windows):
            return values
        starts = np.cumsum(windows) - windows
        if self.combine == "mean":
            return np.add.reduceat(values, starts) / windows[:, None]
        values = np.maximum.reduceat(values, starts)
        if self.problem_type == SINGLE_LABEL:
            values /= values.sum(axis=1, keepdims=True)
        return values

    def close_gap(self, precision: str) -> float:
        """See `beam_bert.tasks.Task`; a regression makes no calls."""
        return _CLOSE_GAP[self.problem_type] if precision in EIGHT_BITS else 0.0

    def low_margin(self, rows: pa.RecordBatch, outputs: np.ndarray, gap: float) -> np.ndarray:
        """See `beam_bert.tasks.Task`: all windows of documents with a low margin.

        The gap is that between the best two labels; where several may be right, that between any
        label and the threshold. Of several windows it is taken after they were combined.
        """
        windows = _windows(rows)
        if self.problem_type == REGRESSION or len(windows) == 0:
            return np.zeros(len(outputs), bool)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.problem_type == MULTI_LABEL:
                scores = self.probabilities(outputs, windows)
                distances = np.abs(_log_odds(scores) - _log_odds(self.threshold)).min(axis=1)
            elif len(self.labels) == 1:
                distances = np.full(len(windows), np.inf)
            else:
                best_two = np.log(np.sort(self.probabilities(outputs, windows), axis=1)[:, -2:])
                distances = best_two[:, 1] - best_two[:, 0]
        return np.repeat(~(distances >= gap), windows)

    def logits(self, outputs: np.ndarray) -> np.ndarray:
        """See `beam_bert.tasks.Task`: all of them."""
        return outputs

    def same(self, rows: pa.RecordBatch, outputs: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """See `beam_bert.tasks.Task`: the same label, or labels.

        Regression: values that differ by less than a hundredth of the reference's deviation.
        """
        windows = _windows(rows)
        if len(windows) == 0:
            return np.zeros(0, bool)
        probabilities, expected = (
            self.probabilities(logits, windows) for logits in (outputs, reference)
        )
        broken, is_to_be = (np.isnan(values).any(axis=1) for values in (probabilities, expected))
        if self.problem_type == REGRESSION:
            same = (np.abs(probabilities - expected) <= 0.01 * np.nanstd(expected)).all(axis=1)
        elif self.problem_type == MULTI_LABEL:
            same = ((probabilities >= self.threshold) == (expected >= self.threshold)).all(axis=1)
        else:
            same = probabilities.argmax(axis=1) == expected.argmax(axis=1)
        return np.where(broken | is_to_be, broken & is_to_be, same)

    def decode(self, logits: np.ndarray, windows: np.ndarray) -> list[pa.Array]:
        """The columns of `fields`, from logits as `probabilities` takes them."""
        if len(windows) == 0:
            return [pa.array([], column.type) for column in self.fields()]
        return self.columns(self.probabilities(logits, windows))

    def columns(self, scores: np.ndarray) -> list[pa.Array]:
        """The columns of `fields`, from scores float64 [documents, labels]."""
        if self.problem_type == REGRESSION:
            columns = [pa.array(scores[:, 0], pa.float32())]
            if len(self.labels) > 1:
                everything = np.tile(np.arange(scores.shape[1]), (len(scores), 1))
                columns += self._lists(scores, everything, np.full(len(scores), scores.shape[1]))
            return columns
        best_first = np.argsort(-scores, axis=1, kind="stable")
        best = best_first[:, 0]
        best_scores = np.take_along_axis(scores, best[:, None], axis=1)[:, 0]
        below = best_scores < self.threshold if self.problem_type == MULTI_LABEL else None
        names = pa.array(self.labels, pa.string())
        columns = [
            names.take(pa.array(best, pa.int64(), mask=below)),
            pa.array(best_scores, pa.float32()),
        ]
        if self.has_lists:
            columns += self._kept_lists(scores, best_first)
        return columns

    def _kept_lists(self, scores: np.ndarray, best_first: np.ndarray) -> list[pa.Array]:
        if self.all_scores:
            order = np.tile(np.arange(scores.shape[1]), (len(scores), 1))
            return self._lists(scores, order, np.full(len(scores), scores.shape[1]))
        if self.problem_type == MULTI_LABEL and self.top_k == 1:
            return self._lists(scores, best_first, (scores >= self.threshold).sum(axis=1))
        return self._lists(scores, best_first, np.full(len(scores), self.kept))

    def _lists(self, scores: np.ndarray, order: np.ndarray, kept: np.ndarray) -> list[pa.Array]:
        """Lists of the first `kept` labels of each row of `order`, and of their scores."""
        chosen = np.arange(order.shape[1]) < kept[:, None]
        offsets = pa.array(np.concatenate([[0], np.cumsum(kept)]), pa.int32())
        names = pa.array(self.labels, pa.string()).take(pa.array(order[chosen], pa.int64()))
        values = pa.array(np.take_along_axis(scores, order, axis=1)[chosen], pa.float32())
        return [
            pa.ListArray.from_arrays(offsets, names),
            pa.ListArray.from_arrays(offsets, values),
        ]


def _windows(rows: pa.RecordBatch) -> np.ndarray:
    """Windows of each document of a TokenBatch, int64 [documents]."""
    counts = pc.list_value_length(rows["input_ids"]).to_numpy(zero_copy_only=False)
    return counts.astype(np.int64)


def _log_odds(probability: np.ndarray | float) -> np.ndarray:
    return np.log(probability) - np.log1p(-np.asarray(probability))
