"""`python -m pipelines.evaluate`: measure a model on labelled rows, and write down what was found.

The rows go through the model once, slice by slice, as in a classify job (`evaluation_collecting`);
what follows is arithmetic on the numbers that they left.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

import numpy as np

import beam_bert
from beam_bert.errors import ConfigError, ModelError
from beam_bert.reports import evaluation as report
from beam_bert.tasks.classification import REGRESSION, SINGLE_LABEL
from beam_bert.tasks.sentiment import valences
from beam_bert.training import evaluation_output
from beam_bert.training.audit import Answers, BiasAudit
from beam_bert.training.evaluation_balance import balance
from beam_bert.training.evaluation_collecting import Collected, Collector
from beam_bert.training.evaluation_comparison import (
    Difference,
    GateDecision,
    GateRule,
    check_gate,
    compare,
    in_words,
    main_difference,
)
from beam_bert.training.evaluation_config import EvaluateConfig
from beam_bert.training.evaluation_data import open_source
from beam_bert.training.evaluation_intervals import Bootstrap, Interval, bootstrap
from beam_bert.training.evaluation_scoring import Scorer, check_comparable, load_scorer
from beam_bert.training.evaluation_targets import TargetReader
from beam_bert.training.identity_terms import load_identity_terms
from beam_bert.training.labels import read_label_names
from beam_bert.training.languages import HOW
from beam_bert.training.metrics import (
    DEFAULT_METRIC,
    ERRORS,
    Array,
    FloatArray,
    LabelCounts,
    calibration_bins,
    confusion_matrix,
    given_labels,
    score_metrics,
    true_labels,
)

SOFTWARE = ("torch", "transformers", "tokenizers", "pyarrow", "numpy")
SLICE_VALUES = 30  # of a column; rarer ones are put together


def evaluate(config: EvaluateConfig) -> report.Evaluation:
    """Evaluate as the settings say, write evaluation.json and report.html, and show a summary.

    Raises:
      UserError: something about settings, rows, labels, models or output is wrong.
      RunFailed: the report cannot be written.
    """
    started = time.monotonic()
    evaluation_output.check(config.output)
    evaluation = measure(config)
    evaluation_output.write(evaluation, config.output)
    evaluation_output.show(evaluation, config.output, time.monotonic() - started)
    return evaluation


def measure(config: EvaluateConfig) -> report.Evaluation:
    """As `evaluate`, writing nothing: for jobs that go on with what was found.

    Raises:
      UserError: as there.
    """
    source = open_source(config)
    names = read_label_names(config.label_names)
    scorer = load_scorer(config, config.model)
    task = scorer.task
    reader = TargetReader(
        config.label_column, task.labels, task.problem_type, config.label_separator, names
    )
    other = None
    if config.compare is not None:
        second = load_scorer(config, config.compare)
        other = second, check_comparable(scorer, second)
    audit = _audit(config, scorer) if config.audit else None
    collector = Collector(config, source, reader, scorer, other, audit)
    with evaluation_output.progress(collector.collected, collector.check()):
        found = collector.run()
    evaluation = _document(config, scorer, found, source.language_column)
    if other is not None:
        evaluation = evaluation.model_copy(
            update={"comparison": _comparison(config, scorer, other[0], found)}
        )
    if audit is not None:
        evaluation = evaluation.model_copy(update={"audit": audit.result()})
    return evaluation.model_copy(update={"inputs": [file.path for file in source.files]})


def gate(
    evaluation: report.Evaluation,
    metric: str | None = None,
    *,
    minimum: float | None = None,
    max_fall: float = 0.0,
    rule: GateRule = "proven_fall",
) -> GateDecision:
    """Whether the evaluated model may replace the one that it was compared with, and why.

    Args:
      evaluation: with `comparison` where there is a model to replace.
      metric: name of the metric to judge by; None: the main one.
      minimum, max_fall, rule: as in `evaluation_comparison.check_gate`.

    Raises:
      ConfigError: the metric is none of this evaluation's, or none that models are compared by.
    """
    name = metric or evaluation.main_metric
    compared = (
        {d.metric: d for d in evaluation.comparison.differences} if evaluation.comparison else {}
    )
    known = compared or evaluation.metrics
    if name not in known:
        raise ConfigError(f"metric {name!r} cannot be judged here; one of {', '.join(known)} can")
    return check_gate(
        name,
        evaluation.metrics[name].value,
        minimum=minimum,
        difference=_difference(compared[name]) if compared else None,
        max_fall=max_fall,
        rule=rule,
    )


def _difference(found: report.Difference) -> Difference:
    """A difference as `evaluation_comparison` has it."""
    change = found.change
    assert change.low is not None
    assert change.high is not None
    return Difference(
        found.metric,
        found.model,
        found.other,
        Interval(change.value, change.low, change.high),
        found.p_value,
        found.test,
    )


def _audit(config: EvaluateConfig, scorer: Scorer) -> BiasAudit:
    task = scorer.task
    try:
        sides = valences(task.labels, task.problem_type)
    except ModelError:  # the labels have no good or bad side
        sides = None

    def score(texts: Sequence[str], pairs: Sequence[str] | None) -> tuple[Array, FloatArray]:
        scored = scorer.score_texts(texts, pairs)
        return scored.positions, scored.scores

    return BiasAudit(
        load_identity_terms(config.audit_terms),
        config.audit_terms or "package",
        Answers(task.labels, task.problem_type, task.threshold, sides),
        score,
        config.audit_variants,
    )


def _document(
    config: EvaluateConfig, scorer: Scorer, found: Collected, language_column: str | None
) -> report.Evaluation:
    task = scorer.task
    scores = np.concatenate(found.scores).astype(np.float64)
    targets = np.concatenate(found.targets)
    drawn = bootstrap(
        scores,
        targets,
        task.problem_type,
        task.threshold,
        replicates=config.replicates,
        seed=config.seed,
    )
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
        rows=report.Rows(
            read=found.rows_read,
            evaluated=found.rows,
            rejected=sum(found.rejects.values()),
            rejects_by_reason=dict(sorted(found.rejects.items())),
        ),
        main_metric=DEFAULT_METRIC[task.problem_type],
        metrics=metrics,
        replicates=len(next(iter(drawn.replicates.values()))),
        per_label=_per_label(scorer, scores, targets, drawn) if classes else [],
        confusion=_confusion(scorer, scores, targets)
        if task.problem_type == SINGLE_LABEL
        else None,
        calibration=_calibration(scores, targets, task.problem_type) if classes else [],
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
            HOW if language_column is None else f"column {language_column}",
        ),
        inputs=[],
        settings=config.model_dump(mode="json"),
        versions=_versions(),
    )


def _model(scorer: Scorer) -> report.Model:
    return report.Model(
        name=scorer.resolved.name,
        version=scorer.resolved.shown_version,
        precision=scorer.model.precision,
        device=scorer.model.device,
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
) -> list[report.Slice]:
    slices = []
    for column, pieces in found.slices.items():
        codes = np.concatenate(pieces)
        counts = np.bincount(codes)
        values = list(found.slice_values[column])
        by_size = np.argsort(-counts, kind="stable")
        groups = [([code], values[code]) for code in by_size[:SLICE_VALUES]]
        if len(rare := by_size[SLICE_VALUES:]):
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
) -> report.Slice:
    task = scorer.task
    drawn = bootstrap(
        scores,
        targets,
        task.problem_type,
        task.threshold,
        replicates=config.replicates,
        seed=config.seed,
    )
    metrics = {name: as_metric(interval) for name, interval in drawn.intervals().items()}
    main = DEFAULT_METRIC[task.problem_type]
    return report.Slice(
        column=column,
        value=value,
        rows=len(scores),
        metrics=metrics,
        worse=is_worse(main, metrics[main], whole[main].value),
        merged_values=values if values > 1 else 0,
    )


def is_worse(name: str, metric: report.Metric, whole: float) -> bool:
    """Whether the metric's interval lies wholly on the bad side of the whole's value."""
    if metric.low is None or metric.high is None:
        return False
    return metric.low > whole if name in ERRORS else metric.high < whole


def _comparison(
    config: EvaluateConfig, scorer: Scorer, other: Scorer, found: Collected
) -> report.Comparison:
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
    return report.Comparison(
        other=_model(other),
        only_model_right=compared.only_first,
        only_other_right=compared.only_second,
        verdict=in_words(main_difference(compared, task.problem_type), *names),
        differences=[
            report.Difference(
                metric=name,
                model=each.first,
                other=each.second,
                change=as_metric(each.change),
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
    return report.Metric(value=interval.value, low=interval.low, high=interval.high)


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in SOFTWARE}
    return {"beam-bert": beam_bert.__version__, **versions}
