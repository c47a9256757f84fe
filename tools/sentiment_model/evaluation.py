"""Measure a sentiment model: sides, three classes, calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beam_bert.evaluation.metrics import (
    LabelCounts,
    calibration_error,
    probabilities,
    true_labels,
)
from beam_bert.tasks.classification import SINGLE_LABEL
from tools.sentiment_model.data import LABELS, NEGATIVE, NEUTRAL, POSITIVE, Example


@dataclass(frozen=True)
class Scores:
    """What a model got right on one set.

    `side_accuracy`: among texts with a side (the label is not neutral), the share whose polarity
    p(positive) - p(negative) has the right sign. `any_side_accuracy`: the same over every text
    whose rating is not 0, however mild. The rest is about three classes.
    """

    rows: int
    sided_rows: int
    side_accuracy: float
    any_side_accuracy: float
    accuracy: float
    macro_f1: float
    calibration_error: float


def score(scores: np.ndarray, examples: Sequence[Example]) -> Scores:
    """Compare probabilities [rows, 3] with the examples' labels."""
    labels = np.array([example.label for example in examples])
    ratings = np.array([e.label - 1.0 if e.rating is None else e.rating for e in examples])
    right = np.sign(polarity(scores)) == np.sign(ratings)
    sided = labels != NEUTRAL
    predicted = scores.argmax(1)
    given, true = (true_labels(each, SINGLE_LABEL, len(LABELS)) for each in (predicted, labels))
    return Scores(
        rows=len(examples),
        sided_rows=int(sided.sum()),
        side_accuracy=float(right[sided].mean()),
        any_side_accuracy=float(right[ratings != 0].mean()),
        accuracy=float((predicted == labels).mean()),
        macro_f1=float(LabelCounts.of(given, true).f1.mean()),
        calibration_error=calibration_error(scores, labels, SINGLE_LABEL, bins=10),
    )


def polarity(scores: np.ndarray) -> np.ndarray:
    """p(positive) - p(negative), from -1 to 1."""
    return scores[:, POSITIVE] - scores[:, NEGATIVE]


def best_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature that gives the least cross entropy against targets [rows, 3]."""
    candidates = np.exp(np.linspace(np.log(0.4), np.log(3.0), 121))
    losses = [
        -(targets * np.log(probabilities(logits / t, SINGLE_LABEL) + 1e-9)).sum(1).mean()
        for t in candidates
    ]
    return float(candidates[int(np.argmin(losses))])


def markdown_table(results: dict[str, dict[str, Scores]]) -> str:
    """Lay out {model: {set: scores}} as a Markdown table."""
    lines = [
        "| model | set | rows | pos/neg right | pos/neg right, any rating but 0"
        " | three classes right | macro F1 | calibration error |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for model, sets in results.items():
        for name, s in sets.items():
            lines.append(
                f"| {model} | {name} | {s.rows} ({s.sided_rows} with a side)"
                f" | {s.side_accuracy:.3f} | {s.any_side_accuracy:.3f} | {s.accuracy:.3f}"
                f" | {s.macro_f1:.3f} | {s.calibration_error:.3f} |"
            )
    return "\n".join(lines)
