"""From the numbers that a pass over the rows left to the document of the report."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

import numpy as np

from beam_bert.evaluation.balance import balance
from beam_bert.evaluation.collecting import Collected
from beam_bert.evaluation.comparison import compare
from beam_bert.evaluation.data import LabelledSource
from beam_bert.evaluation.intervals import Bootstrap, bootstrap
from beam_bert.evaluation.metrics import (
    DEFAULT_METRIC,
    ERRORS,
    Array,
    LabelCounts,
    baseline,
    calibration_bins,
    calibration_error_by_chance,
    confusion_matrix,
    given_labels,
    score_metrics,
    true_labels,
)
from beam_bert.evaluation.scoring import Scorer
from beam_bert.reports import evaluation as report
from beam_bert.settings.evaluation import EvaluateConfig
from beam_bert.software import software_versions
from beam_bert.tasks.classification import REGRESSION, SINGLE_LABEL, ClassificationTask

SLICE_VALUES = 30  # of a column; rarer ones are put together


def document(
    config: EvaluateConfig,
    source: LabelledSource,
    scorer: Scorer,
    other: Scorer | None,
    collected: Collected,
    audit: report.Audit | None,
) -> report.Evaluation:
    """The document, from the numbers of one pass and what the audit of it found."""
    task = scorer.task
    scores = np.concatenate(collected.scores).astype(np.float64)
    targets = np.concatenate(collected.targets)
    of_task = targets, task.problem_type
    replicates, seed = config.replicates, config.seed

    def drawn(rows: Array | slice) -> Bootstrap:
        (of_rows,) = bootstrap(
            [scores[rows]],
            targets[rows],
            task.problem_type,
            task.threshold,
            replicates=replicates,
            seed=seed,
        )
        return of_rows

    whole = drawn(slice(None))
    values = score_metrics(scores, *of_task, task.threshold)
    metrics = {name: report.Metric(value=value) for name, value in values.items()}
    metrics |= whole.intervals()
    classes, single = task.problem_type != REGRESSION, task.problem_type == SINGLE_LABEL
    compared = None
    if other is not None:
        compared = compare(
            scores,
            np.concatenate(collected.other_scores).astype(np.float64),
            *of_task,
            task.threshold,
            name=scorer.resolved.name,
            other=_model(other),
            replicates=replicates,
            seed=seed,
        )
    return report.Evaluation(
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        model=_model(scorer),
        problem_type=task.problem_type,
        labels=list(task.labels),
        rows=report.RowTotals(
            read=collected.rows_read,
            evaluated=collected.rows,
            rejected=sum(collected.rejects.values()),
            rejects_by_reason=dict(sorted(collected.rejects.items())),
            trained_on=collected.trained_on,
        ),
        main_metric=DEFAULT_METRIC[task.problem_type],
        metrics=metrics,
        baseline=baseline(*of_task, len(task.labels)),
        replicates=len(next(iter(whole.replicates.values()))),
        per_label=_per_label(task, scores, targets, whole) if classes else [],
        confusion=report.Confusion(
            labels=list(task.labels),
            counts=confusion_matrix(scores.argmax(axis=1), targets, len(task.labels)).tolist(),
        )
        if single
        else None,
        calibration=calibration_bins(scores, *of_task) if classes else [],
        calibration_error_by_chance=(
            calibration_error_by_chance(scores, *of_task) if classes else None
        ),
        slices=_slices(collected, metrics, DEFAULT_METRIC[task.problem_type], drawn),
        hardest=[
            example for _, _, example in sorted(collected.hardest, key=lambda e: (-e[0], -e[1]))
        ],
        comparison=compared,
        audit=audit,
        balance=balance(collected, targets, task, source.language_column),
        inputs=[file.path for file in source.files],
        settings=config.model_dump(mode="json"),
        versions={**software_versions(), "numpy": np.__version__},
    )


def _model(scorer: Scorer) -> report.Model:
    return report.Model(
        name=scorer.resolved.name,
        version=scorer.resolved.shown_version,
        precision=scorer.checked.model.precision,
        device=scorer.checked.model.device,
    )


def _per_label(
    task: ClassificationTask, scores: Array, targets: Array, whole: Bootstrap
) -> list[report.LabelResult]:
    given = given_labels(scores, task.problem_type, task.threshold)
    counts = LabelCounts.of(given, true_labels(targets, task.problem_type, len(task.labels)))
    intervals = whole.label_f1_intervals()
    return [
        report.LabelResult(
            label=label,
            support=int(counts.true[i]),
            given=int(counts.given[i]),
            precision=float(counts.precision[i]),
            recall=float(counts.recall[i]),
            f1=report.Metric(
                value=float(counts.f1[i]), low=float(intervals[i, 0]), high=float(intervals[i, 1])
            ),
        )
        for i, label in enumerate(task.labels)
    ]


def _slices(
    collected: Collected,
    whole: dict[str, report.Metric],
    main_metric: str,
    drawn: Callable[[Array], Bootstrap],
) -> list[report.SliceMetrics]:
    """The metrics of the rows with each value of each slice column, the commonest value first."""
    slices = []
    for column, pieces in collected.slices.items():
        codes = np.concatenate(pieces)
        values = list(collected.slice_values[column])
        by_size = np.argsort(-np.bincount(codes), kind="stable")
        # One rare value is as well shown by its name as put together with no other.
        named = len(by_size) if len(by_size) == SLICE_VALUES + 1 else SLICE_VALUES
        groups = [([code], values[code]) for code in by_size[:named]]
        if len(rare := by_size[named:]):
            groups.append((list(rare), None))
        for members, value in groups:
            rows = np.isin(codes, members)
            metrics = drawn(rows).intervals()
            slices.append(
                report.SliceMetrics(
                    column=column,
                    value=value,
                    rows=int(rows.sum()),
                    metrics=metrics,
                    worse=_is_worse(main_metric, metrics[main_metric], whole[main_metric].value),
                    merged_values=len(members) if len(members) > 1 else 0,
                )
            )
    return slices


def _is_worse(name: str, metric: report.Metric, whole: float) -> bool:
    """Whether the metric's interval lies wholly on the bad side of the whole's value."""
    if metric.low is None or metric.high is None:
        return False
    return metric.low > whole if name in ERRORS else metric.high < whole
