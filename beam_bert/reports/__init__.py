"""What people read after a job: HTML reports that need no network, and the documents behind them.

    render_evaluation(evaluation) -> report.html of `python -m pipelines.evaluate`
    render_answer_evaluation(…)   -> the same with `--task answer`
    render_run_report(manifest)   -> report.html of a classify run

All need the extra [report] (jinja2, matplotlib), which is imported when they are called.
"""

from beam_bert.reports.answering import AnswerEvaluation
from beam_bert.reports.evaluation import Evaluation
from beam_bert.reports.pages import (
    MissingExtra,
    render_answer_evaluation,
    render_evaluation,
    render_run_report,
)

__all__ = [
    "AnswerEvaluation",
    "Evaluation",
    "MissingExtra",
    "render_answer_evaluation",
    "render_evaluation",
    "render_run_report",
]
