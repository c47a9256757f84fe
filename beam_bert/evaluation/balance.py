"""What labelled rows are: how many of each source, label, length and language."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from beam_bert.evaluation.collecting import Collected
from beam_bert.evaluation.metrics import Array, true_labels
from beam_bert.reports import evaluation as report
from beam_bert.reports.wording import by_size
from beam_bert.tasks.classification import REGRESSION, ClassificationTask

_SOURCES_SHOWN = 50
_HISTOGRAM_BINS = 30
_VALUE_RANGES = 10
_QUANTILES = {"min": 0, "5 %": 5, "25 %": 25, "50 %": 50, "75 %": 75, "95 %": 95, "max": 100}


def balance(
    collected: Collected, targets: Array, task: ClassificationTask, language_column: str | None
) -> report.Balance:
    """Put the counts together; `targets` are those of the rows."""
    sources = by_size(collected.sources)
    counts = label_counts(targets, task.labels, task.problem_type)
    present = [count for count in counts.values() if count]
    classes = task.problem_type != REGRESSION
    return report.Balance(
        sources=dict(sources[:_SOURCES_SHOWN]),
        sources_left_out=max(0, len(sources) - _SOURCES_SHOWN),
        labels=counts,
        imbalance=max(present) / min(present) if classes and present else None,
        missing_labels=[label for label, count in counts.items() if not count] if classes else [],
        lengths=lengths(np.concatenate(collected.num_tokens), collected.truncated),
        languages=dict(by_size(collected.languages)),
        language_column=language_column,
    )


def label_counts(targets: Array, labels: Sequence[str], problem_type: str) -> dict[str, int]:
    """Rows in which each label is true; regression: rows in each of ten ranges of values."""
    if problem_type != REGRESSION:
        support = true_labels(targets, problem_type, len(labels)).sum(axis=0)
        return {label: int(count) for label, count in zip(labels, support, strict=True)}
    counts, edges = np.histogram(targets, bins=_VALUE_RANGES)
    return {
        f"{low:.4g} to {high:.4g}": int(count)
        for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True)
    }


def lengths(num_tokens: Array, truncated: int) -> report.Lengths:
    """Quantiles and a histogram to the 99th percentile; its last bin takes all that is longer."""
    top = max(int(np.quantile(num_tokens, 0.99)), int(num_tokens.min()) + 1)
    bins = min(_HISTOGRAM_BINS, top - int(num_tokens.min()))
    edges = np.unique(np.linspace(num_tokens.min(), top, bins + 1).astype(np.int64))
    edges[-1] = max(int(num_tokens.max()), top)
    counts, _ = np.histogram(num_tokens, bins=edges)
    quantiles = np.percentile(num_tokens, list(_QUANTILES.values()))
    return report.Lengths(
        mean=float(num_tokens.mean()),
        quantiles={name: round(q) for name, q in zip(_QUANTILES, quantiles, strict=True)},
        edges=[int(edge) for edge in edges],
        counts=[int(count) for count in counts],
        truncated=truncated,
    )
