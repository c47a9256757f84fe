"""How numbers and names are written, on the terminal and in HTML alike."""

from __future__ import annotations

from collections.abc import Mapping

from beam_bert.reports.answering import LabelTotals
from beam_bert.reports.evaluation import Metric

_NAMES = {
    "f1": "F1",
    "exact": "exact match",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "loss": "loss",
    "calibration_error": "expected calibration error",
    "spearman": "Spearman correlation",
    "pearson": "Pearson correlation",
    "mean_absolute_error": "mean absolute error",
    "root_mean_squared_error": "root mean squared error",
}


def name_text(name: str) -> str:
    """A metric's name for a person."""
    return _NAMES.get(name, name.replace("_", " "))


def label_text(labels: LabelTotals) -> str:
    """What became of the labels of a question-answering set."""
    return "; ".join(
        [
            f"{labels.right:,} labels stand where they say, {labels.mended:,} were mended, "
            f"{labels.left_out:,} stand elsewhere (their texts count all the same)",
            f"{labels.without_answer:,} questions have no answer, "
            f"{labels.blank:,} are blank and left out",
            *labels.units,
        ]
    )


def by_size(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Names and their counts, the largest first."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def cell_text(value: object) -> str:
    """A value of a row."""
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def share_text(metric: Metric) -> str:
    """The same for a share, in percent: `4.4 % (2.7 to 6.9)`."""
    text = f"{100 * metric.value:.1f} %"
    if metric.low is None or metric.high is None:
        return text
    return f"{text} ({100 * metric.low:.1f} to {100 * metric.high:.1f})"


def metric_text(metric: Metric, *, signed: bool = False) -> str:
    """The value, and its interval where there is one: `0.934 (0.921 to 0.946)`."""
    sign = "+" if signed else ""
    text = f"{metric.value:{sign}.4g}" if abs(metric.value) >= 10 else f"{metric.value:{sign}.4f}"
    if metric.low is None or metric.high is None:
        return text
    return f"{text} ({metric.low:{sign}.3f} to {metric.high:{sign}.3f})"
