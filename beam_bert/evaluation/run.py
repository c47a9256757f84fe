"""`python -m pipelines.evaluate`: measure a model on labelled rows, and write down what was found.

The rows go through the model once, slice by slice, as in a classify job (`evaluation.collecting`);
what follows is arithmetic on the numbers that they left.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from beam_bert.evaluation.audit import Answers, BiasAudit
from beam_bert.evaluation.collecting import Collector, TrainedRows
from beam_bert.evaluation.data import open_source
from beam_bert.evaluation.document import document
from beam_bert.evaluation.identity_terms import load_identity_terms
from beam_bert.evaluation.metrics import Array, FloatArray
from beam_bert.evaluation.output import evaluated, show
from beam_bert.evaluation.scoring import Scorer, check_comparable, load_scorer
from beam_bert.labelled.labels import label_settings, model_labels
from beam_bert.labelled.trained_rows import read_trained_rows
from beam_bert.reports import evaluation as report
from beam_bert.reports.pages import render_evaluation
from beam_bert.reports.progress import Snapshot, show_progress
from beam_bert.settings.evaluation import EvaluateConfig
from beam_bert.storage.billing import bill_to
from beam_bert.terminal import tell


def evaluate(config: EvaluateConfig, *, leave_out_trained: bool = False) -> report.Evaluation:
    """Evaluate as the settings say, write evaluation.json and report.html, and show a summary.

    Args:
      config: the settings.
      leave_out_trained: measure without rows whose text a model was trained on.

    Raises:
      UserError: something about settings, rows, labels, models or output is wrong.
      RunFailed: the report cannot be written.
    """
    measured = partial(measure, config, leave_out_trained=leave_out_trained)
    return evaluated(config, measured, render_evaluation, show)


def measure(config: EvaluateConfig, *, leave_out_trained: bool = False) -> report.Evaluation:
    """As `evaluate`, writing nothing: for jobs that go on with what was found.

    Raises:
      UserError: as there.
    """
    bill_to(config.billing_project)
    source = open_source(config)
    settings = label_settings(config)
    scorer = load_scorer(config, config.model)
    vocabulary = model_labels(scorer.task.labels, scorer.task.problem_type, settings)
    other = None
    if config.compare is not None:
        second = load_scorer(config, config.compare)
        other = second, check_comparable(scorer, second)
    audit = _audit(config, scorer) if config.audit else None
    scorers = [scorer, *([other[0]] if other else [])]
    trained_on = frozenset().union(*(read_trained_rows(model.resolved) for model in scorers))
    trained = TrainedRows(trained_on, leave_out_trained)
    collector = Collector(config, source, vocabulary, scorer, other, audit, trained)
    rows = collector.check()
    for line in collector.said():
        tell(line)
    collected = collector.collected
    with show_progress(
        lambda: Snapshot(collected.rows, collected.rows_read / max(rows, 1), "rows")
    ):
        collector.run()
    audited = None if audit is None else audit.result()
    return document(config, source, scorer, other[0] if other else None, collected, audited)


def _audit(config: EvaluateConfig, scorer: Scorer) -> BiasAudit:
    def score(texts: Sequence[str], pairs: Sequence[str] | None) -> tuple[Array, FloatArray]:
        scored = scorer.score_texts(texts, pairs)
        return scored.positions, scored.scores

    task = scorer.task
    return BiasAudit(
        load_identity_terms(config.audit_terms),
        config.audit_terms or "package",
        Answers.of(task.labels, task.problem_type, task.threshold),
        score,
        config.audit_variants,
    )
