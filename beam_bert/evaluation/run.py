"""`python -m pipelines.evaluate`: measure a model on labelled rows, and write down what was found.

The rows go through the model once, slice by slice, as in a classify job (`evaluation.collecting`);
what follows is arithmetic on the numbers that they left.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from beam_bert.errors import ConfigError, ModelError
from beam_bert.evaluation import output as evaluation_output
from beam_bert.evaluation.audit import Answers, BiasAudit
from beam_bert.evaluation.collecting import Collector
from beam_bert.evaluation.comparison import (
    Difference,
    GateDecision,
    GateRule,
    check_gate,
)
from beam_bert.evaluation.data import open_source
from beam_bert.evaluation.document import comparison, document
from beam_bert.evaluation.identity_terms import load_identity_terms
from beam_bert.evaluation.intervals import Interval
from beam_bert.evaluation.metrics import (
    Array,
    FloatArray,
)
from beam_bert.evaluation.scoring import Scorer, check_comparable, load_scorer
from beam_bert.evaluation.targets import TargetReader
from beam_bert.labelled.labels import read_label_names
from beam_bert.reports import evaluation as report
from beam_bert.reports import render_evaluation
from beam_bert.settings.evaluation import EvaluateConfig
from beam_bert.tasks.sentiment import valences


def evaluate(config: EvaluateConfig) -> report.Evaluation:
    """Evaluate as the settings say, write evaluation.json and report.html, and show a summary.

    Raises:
      UserError: something about settings, rows, labels, models or output is wrong.
      RunFailed: the report cannot be written.
    """
    started = time.monotonic()
    evaluation_output.check(config.output)
    evaluation = measure(config)
    evaluation_output.write(evaluation, config.output, render_evaluation)
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
    evaluation = document(config, scorer, found, source.language_column)
    if other is not None:
        evaluation = evaluation.model_copy(
            update={"comparison": comparison(config, scorer, other[0], found)}
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
      minimum, max_fall, rule: as in `evaluation.comparison.check_gate`.

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
    """A difference as `evaluation.comparison` has it."""
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
