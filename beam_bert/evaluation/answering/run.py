"""`python -m pipelines.evaluate --task answer`: measure a question-answering model."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timezone
from functools import partial

from beam_bert.encoder import load_span_finder
from beam_bert.evaluation.answering.scoring import (
    TOP_SPANS,
    Intervals,
    answers_of,
    evaluate_answers,
    wrong_answers,
)
from beam_bert.evaluation.output import evaluated, show_answers
from beam_bert.inference.fp32_recheck import RecheckedModel
from beam_bert.labelled.answers import read_asked
from beam_bert.labelled.question_windows import check_questions, question_tokenizer
from beam_bert.models import fetch_model, resolve_model
from beam_bert.reports import answering as report
from beam_bert.reports.evaluation import Model
from beam_bert.reports.pages import render_answer_evaluation
from beam_bert.reports.progress import Snapshot, show_progress
from beam_bert.settings.answer_training import AnswerEvaluateConfig
from beam_bert.software import software_versions
from beam_bert.sources import list_files
from beam_bert.storage.billing import bill_to
from beam_bert.tasks import AnswerTask


def evaluate(config: AnswerEvaluateConfig) -> report.AnswerEvaluation:
    """Evaluate as the settings say, write evaluation.json and report.html, and show a summary.

    Raises:
      UserError: something about settings, questions, model or output is wrong.
      RunFailed: the report cannot be written.
    """
    return evaluated(config, partial(measure, config), render_answer_evaluation, show_answers)


def measure(config: AnswerEvaluateConfig) -> report.AnswerEvaluation:
    """As `evaluate`, writing nothing.

    Raises:
      UserError: as there.
    """
    bill_to(config.billing_project)
    asked, labels = read_asked(
        config.input,
        config.columns(),
        file_format=config.format,
        max_reject_rate=config.max_reject_rate,
        need_places=False,
    )
    resolved = resolve_model(config.model)
    folder = fetch_model(resolved)
    load = partial(
        load_span_finder,
        folder,
        device=config.device,
        batch_tokens=config.batch_tokens,
        max_answer_tokens=config.max_answer_tokens,
        top_spans=TOP_SPANS,
    )
    model = load(precision=config.precision)
    tokenizer = question_tokenizer(folder, model.config, config)
    check_questions(asked, tokenizer)
    threshold = config.null_threshold
    threshold = model.config.null_threshold if threshold is None else threshold
    job_task = AnswerTask(None, null_threshold=threshold)
    checked = RecheckedModel.of(
        model, job_task, partial(load, precision="fp32"), config.recheck_margin
    )
    done = 0

    def count(questions: int) -> None:
        nonlocal done
        done += questions

    with show_progress(lambda: Snapshot(done, done / len(asked), "questions")):
        predictions = answers_of(asked, tokenizer, checked, on_questions=count)
    return report.AnswerEvaluation(
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        model=Model(
            name=resolved.name,
            version=resolved.shown_version,
            precision=model.precision,
            device=model.device,
        ),
        definition=config.definition,
        labels=report.LabelTotals(**dataclasses.asdict(labels)),
        texts=len({question.context for question in asked}),
        windows=predictions.windows,
        scores=evaluate_answers(
            asked,
            predictions,
            null_threshold=threshold,
            definition=config.definition,
            intervals=Intervals(config.replicates, config.seed),
        ),
        replicates=config.replicates,
        wrong=wrong_answers(asked, predictions, threshold, config.definition, config.examples),
        inputs=[file.path for file in list_files(config.input)],
        settings=config.model_dump(mode="json"),
        versions=software_versions(),
    )
