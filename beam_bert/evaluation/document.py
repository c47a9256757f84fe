"""From the numbers that a pass over the rows left to the document of the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone

import numpy as np

from beam_bert.evaluation.balance import balance
from beam_bert.evaluation.collecting import Collected
from beam_bert.evaluation.comparison import (
    compare,
    in_words,
    main_difference,
)
from beam_bert.evaluation.intervals import Bootstrap, Interval, bootstrap
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
    config: EvaluateConfig, scorer: Scorer, found: Collected, language_column: str | None
) -> report.Evaluation:
    """The document of all but a comparison and an audit, from the numbers of one pass."""
    task = scorer.task
    scores = np.concatenate(found.scores).astype(np.float64)
    targets = np.concatenate(found.targets)
    drawn = _drawn(config, task, scores, targets)
    metrics = {
        name: report.Metric(value=value)
        for name, value in score_metrics(scores, targets, task.problem_type, task.threshold).items()
    }
    metrics |= {name: as_metric(interval) for name, interval in drawn.intervals().items()}
    classes = task.problem_type != REGRESSION
    return report.Evaluation(
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        model=_model(scorer),
        problem_type=task.problem_type,
        labels=list(task.labels),
        rows=report.RowTotals(
            read=found.rows_read,
            evaluated=found.rows,
            rejected=sum(found.rejects.values()),
            rejects_by_reason=dict(sorted(found.rejects.items())),
            trained_on=found.trained_on,
        ),
        main_metric=DEFAULT_METRIC[task.problem_type],
        metrics=metrics,
        baseline=baseline(targets, task.problem_type, len(task.labels)),
        replicates=len(next(iter(drawn.replicates.values()))),
        per_label=_per_label(scorer, scores, targets, drawn) if classes else [],
        confusion=_confusion(scorer, scores, targets)
        if task.problem_type == SINGLE_LABEL
        else None,
        calibration=_calibration(scores, targets, task.problem_type) if classes else [],
        calibration_error_by_chance=(
            calibration_error_by_chance(scores, targets, task.problem_type) if classes else None
        ),
        slices=_slices(config, scorer, found, scores, targets, metrics),
        hardest=[example for _, _, example in sorted(found.hardest, key=lambda e: (-e[0], -e[1]))],
        balance=balance(
            found.sources,
            targets,
            task.labels,
            task.problem_type,
            np.concatenate(found.num_tokens),
            found.truncated,
            found.languages,
            language_column,
        ),
        inputs=[],
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
    scorer: Scorer, scores: Array, targets: Array, drawn: Bootstrap
) -> list[report.LabelResult]:
    task = scorer.task
    given = given_labels(scores, task.problem_type, task.threshold)
    counts = LabelCounts.of(given, true_labels(targets, task.problem_type, len(task.labels)))
    intervals = drawn.label_f1_intervals()
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


def _confusion(scorer: Scorer, scores: Array, targets: Array) -> report.Confusion:
    labels = list(scorer.task.labels)
    counts = confusion_matrix(scores.argmax(axis=1), targets, len(labels))
    return report.Confusion(labels=labels, counts=counts.tolist())


def _calibration(scores: Array, targets: Array, problem_type: str) -> list[report.CalibrationPoint]:
    return [
        report.CalibrationPoint(
            low=each.low,
            high=each.high,
            count=each.count,
            confidence=each.confidence,
            right=report.Metric(value=each.right, low=each.right_low, high=each.right_high),
        )
        for each in calibration_bins(scores, targets, problem_type)
    ]


def _slices(
    config: EvaluateConfig,
    scorer: Scorer,
    found: Collected,
    scores: Array,
    targets: Array,
    whole: Mapping[str, report.Metric],
) -> list[report.SliceMetrics]:
    slices = []
    for column, pieces in found.slices.items():
        codes = np.concatenate(pieces)
        counts = np.bincount(codes)
        values = list(found.slice_values[column])
        by_size = np.argsort(-counts, kind="stable")
        # One rare value is as well shown by its name as put together with no other.
        named = len(by_size) if len(by_size) == SLICE_VALUES + 1 else SLICE_VALUES
        groups = [([code], values[code]) for code in by_size[:named]]
        if len(rare := by_size[named:]):
            groups.append((list(rare), None))
        for members, value in groups:
            rows = np.isin(codes, members)
            slices.append(
                _slice(
                    config, scorer, column, value, len(members), scores[rows], targets[rows], whole
                )
            )
    return slices


def _slice(
    config: EvaluateConfig,
    scorer: Scorer,
    column: str,
    value: str | None,
    values: int,
    scores: Array,
    targets: Array,
    whole: Mapping[str, report.Metric],
) -> report.SliceMetrics:
    task = scorer.task
    drawn = _drawn(config, task, scores, targets)
    metrics = {name: as_metric(interval) for name, interval in drawn.intervals().items()}
    main = DEFAULT_METRIC[task.problem_type]
    return report.SliceMetrics(
        column=column,
        value=value,
        rows=len(scores),
        metrics=metrics,
        worse=is_worse(main, metrics[main], whole[main].value),
        merged_values=values if values > 1 else 0,
    )


def _drawn(
    config: EvaluateConfig, task: ClassificationTask, scores: Array, targets: Array
) -> Bootstrap:
    return bootstrap(
        scores,
        targets,
        task.problem_type,
        task.threshold,
        replicates=config.replicates,
        seed=config.seed,
    )


def is_worse(name: str, metric: report.Metric, whole: float) -> bool:
    """Whether the metric's interval lies wholly on the bad side of the whole's value."""
    if metric.low is None or metric.high is None:
        return False
    return metric.low > whole if name in ERRORS else metric.high < whole


def comparison(
    config: EvaluateConfig, scorer: Scorer, other: Scorer, found: Collected
) -> report.ComparedModels:
    """The part about two models, from the scores that both gave the same rows."""
    task = scorer.task
    compared = compare(
        np.concatenate(found.scores).astype(np.float64),
        np.concatenate(found.other_scores).astype(np.float64),
        np.concatenate(found.targets),
        task.problem_type,
        task.threshold,
        replicates=config.replicates,
        seed=config.seed,
    )
    names = scorer.resolved.name, other.resolved.name
    return report.ComparedModels(
        other=_model(other),
        only_model_right=compared.only_first,
        only_other_right=compared.only_second,
        verdict=in_words(main_difference(compared, task.problem_type), *names),
        differences=[
            report.MetricDifference(
                metric=name,
                model=each.first,
                other=each.second,
                change=as_metric(each.change),
                at_least=each.at_least,
                at_most=each.at_most,
                p_value=each.p_value,
                test=each.test,
                more_than_chance=each.more_than_chance,
                in_words=in_words(each, *names),
            )
            for name, each in compared.differences.items()
        ],
    )


def as_metric(interval: Interval) -> report.Metric:
    """An interval as the document has it."""
    if math.isnan(interval.low):
        return report.Metric(value=interval.value)
    return report.Metric(value=interval.value, low=interval.low, high=interval.high)
