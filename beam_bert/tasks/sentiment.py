"""Sentiment: a classification whose labels say how good or bad a text is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from beam_bert.errors import ModelError
from beam_bert.slices.schema import described
from beam_bert.tasks.classification import SINGLE_LABEL, ClassificationTask

_STARS = re.compile(r"(\d+)[ _-]?stars?", re.IGNORECASE)
SENTIMENTS = ("negative", "neutral", "positive")


@dataclass(frozen=True)
class SentimentTask(ClassificationTask):
    """Classification columns, with `sentiment` and `polarity` before them.

    `polarity` is the expected valence of the label: for negative, neutral, positive it is
    p(positive) - p(negative). Labels may also be graded (very negative … very positive, 1 star …
    5 stars); `sentiment` is then the side that the best label stands on.

    Raises:
      ModelError: the labels do not say which is good and which is bad.
    """

    valences: np.ndarray = field(init=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "valences", valences(self.labels, self.problem_type))

    def fields(self) -> list[pa.Field]:
        """The columns that `decode` gives, with their documentation."""
        return [
            described("sentiment", pa.string(), "negative, neutral or positive."),
            described("polarity", pa.float32(), "-1 (all negative) to 1 (all positive)."),
            *super().fields(),
        ]

    def columns(self, scores: np.ndarray) -> list[pa.Array]:
        """The columns of `fields`, from scores float64 [documents, labels]."""
        side = np.sign(self.valences[scores.argmax(axis=1)]).astype(np.int64) + 1
        return [
            pa.array(SENTIMENTS, pa.string()).take(pa.array(side)),
            pa.array(scores @ self.valences, pa.float32()),
            *super().columns(scores),
        ]


def valences(labels: tuple[str, ...], problem_type: str = SINGLE_LABEL) -> np.ndarray:
    """How good each label is, float64 [labels] from -1 to 1, read from the labels' names.

    Raises:
      ModelError: the names do not tell, or the model does not choose one label.
    """
    stars = [_STARS.fullmatch(label.strip()) for label in labels]
    values: list[float] = []
    if len(labels) > 1 and all(stars):
        numbers = np.array([int(match.group(1)) for match in stars if match], float)
        low, high = numbers.min(), numbers.max()
        values = list((2 * numbers - low - high) / max(high - low, 1))
    else:
        words = [re.sub(r"[^a-z]+", " ", label.lower()).strip() for label in labels]
        graded = any(word.startswith(("very ", "extremely ")) for word in words)
        values = [_valence(word, graded) for word in words]
    known = not np.isnan(values).any() and min(values, default=0) < 0 < max(values, default=0)
    if not known or problem_type != SINGLE_LABEL:
        shown = ", ".join(labels[:8])
        raise ModelError(
            f"the model's labels ({shown}) do not say which is negative and which positive; "
            "use beam-bert classify, or rename them in id2label of its config.json"
        )
    return np.array(values)


def _valence(word: str, graded: bool) -> float:
    strong = word.startswith(("very ", "extremely "))
    plain = word.split(" ", 1)[1] if strong else word
    side = {"neg": -1.0, "negative": -1.0, "neutral": 0.0, "neu": 0.0, "mixed": 0.0}
    side |= {"pos": 1.0, "positive": 1.0}
    value = side.get(plain, float("nan"))
    return value if strong or not graded else value / 2
