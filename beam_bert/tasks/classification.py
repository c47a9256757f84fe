"""Sequence classification: single-label, multi-label and regression, over one or many windows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa

from beam_bert.schema import described

SINGLE_LABEL = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
REGRESSION = "regression"


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
            found = [described("score", pa.float32(), "The model's value.", nullable=False)]
            if len(self.labels) > 1:
                found += self._list_fields("Names of the values.", "The values, in that order.")
            return found
        fields = [
            described("label", pa.string(), "Best label; null where none reached the threshold."),
            described("score", pa.float32(), "Probability of the best label.", nullable=False),
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
            described("labels", pa.list_(pa.string()), labels, nullable=False),
            described("scores", pa.list_(pa.float32()), scores, nullable=False),
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

    def decode(self, logits: np.ndarray, windows: np.ndarray) -> list[pa.Array]:
        """The columns of `fields`, from logits as `probabilities` takes them."""
        if len(windows) == 0:
            return [pa.array([], each.type) for each in self.fields()]
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
