"""Where an evaluation goes: evaluation.json, report.html, and a summary on the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rich.table import Table
from rich.text import Text

from beam_bert.errors import OutputError, one_line, printable
from beam_bert.reports.answering import AnswerEvaluation
from beam_bert.reports.evaluation import Evaluation
from beam_bert.reports.figures import MissingExtra
from beam_bert.reports.wording import label_text, metric_text, name_text, share_text
from beam_bert.settings.evaluation import ReportConfig
from beam_bert.storage.base import Wording
from beam_bert.storage.billing import bill_to
from beam_bert.storage.places import open_storage
from beam_bert.terminal import TERMINAL, after_commit

Document = TypeVar("Document", Evaluation, AnswerEvaluation)
JSON_NAME = "evaluation.json"
HTML_NAME = "report.html"
_OUTPUT = Wording(place="output", error=OutputError, again="run the same command again")
_SHOWN = 10


def check(output: str) -> None:
    """Raise OutputError where nothing could be written, before any work is done."""
    open_storage(output, _OUTPUT).size(JSON_NAME)


def evaluated(
    config: ReportConfig,
    measure: Callable[[], Document],
    render: Callable[[Document], str],
    show: Callable[[Document, str, float], None],
) -> Document:
    """What `measure` finds, written to the output, and shown."""
    started = time.monotonic()
    bill_to(config.billing_project)
    check(config.output)
    evaluation = measure()
    write(evaluation, config.output, render)
    show(evaluation, config.output, time.monotonic() - started)
    return evaluation


def write(evaluation: Document, output: str, render: Callable[[Document], str]) -> None:
    """Write both files, each whole or not at all; without the extra [report], the JSON alone."""
    storage = open_storage(output, _OUTPUT)
    try:
        html = render(evaluation)
    except Exception as error:  # the extra is missing, or it cannot draw this: the JSON has all
        reason = "" if isinstance(error, MissingExtra) else f"{type(error).__name__}: "
        TERMINAL.warn(f"no {HTML_NAME}: {reason}{one_line(error)}")
    else:
        storage.write(HTML_NAME, html.encode())
    storage.write(JSON_NAME, evaluation.to_json())


@after_commit("the summary")
def show(evaluation: Evaluation, output: str, seconds: float) -> None:
    """Print the table that ends an evaluation."""
    rows = evaluation.rows
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    _add_row(table, "rows evaluated", f"{rows.evaluated:,}")
    for reason, count in rows.rejects_by_reason.items():
        _add_row(table, f"rejected: {reason}", f"{count:,}")
    for name, metric in evaluation.metrics.items():
        _add_row(table, name_text(name), metric_text(metric))
    if evaluation.calibration_error_by_chance is not None:
        by_chance = f"{evaluation.calibration_error_by_chance:.4f}"
        _add_row(table, "that of so few rows, were every confidence right", by_chance)
    weakest = sorted((r for r in evaluation.per_label if r.support), key=lambda r: r.f1.value)
    for label in weakest[: _SHOWN // 2]:
        _add_row(table, f"F1 of {label.label} ({label.support:,} rows)", metric_text(label.f1))
    for part in [part for part in evaluation.slices if part.worse][:_SHOWN]:
        name = f"{part.column}={part.value} ({part.rows:,} rows), worse than the whole"
        _add_row(table, name, metric_text(part.metrics[evaluation.main_metric]))
    if evaluation.audit is not None:
        for axis in (a for a in evaluation.audit.axes if a.rows_with_terms):
            name = f"answer changes when {axis.axis} is swapped ({axis.rows_with_terms:,} rows)"
            _add_row(table, name, share_text(axis.flip_rate))
    TERMINAL.show(f"evaluate {evaluation.model.name} (version {evaluation.model.version})")
    TERMINAL.show(table)
    if evaluation.comparison is not None:
        TERMINAL.show(evaluation.comparison.verdict)
    values = {name: metric.value for name, metric in evaluation.metrics.items()}
    _show_place(output, seconds, {"rows": rows.evaluated, "metrics": values})


@after_commit("the summary")
def show_answers(evaluation: AnswerEvaluation, output: str, seconds: float) -> None:
    """The same for question answering."""
    scores = evaluation.scores
    table = Table("", "questions", "exact match", "F1")
    groups = {
        "all": scores.overall,
        "with an answer": scores.with_answer,
        "without": scores.without_answer,
        **scores.by_word,
        **{f"length {name}": group for name, group in scores.by_length.items()},
    }
    for name, group in groups.items():
        if group is not None:
            count = f"{group.questions:,}"
            _add_row(table, name, count, share_text(group.exact), share_text(group.f1))
    TERMINAL.show(f"evaluate {evaluation.model.name} (version {evaluation.model.version})")
    TERMINAL.show(label_text(evaluation.labels))
    TERMINAL.show(table)
    TERMINAL.show(
        f"at a null threshold of {scores.null_threshold:g}; "
        + "; ".join(
            f"{name_text(name)} would be best at {best.threshold:.4g}: {100 * best.value:.1f} %"
            for name, best in scores.best.items()
        )
    )
    overall = scores.overall
    values = {"exact": overall.exact.value, "f1": overall.f1.value}
    _show_place(output, seconds, {"questions": overall.questions, "metrics": values})


def _show_place(output: str, seconds: float, numbers: Mapping[str, Any]) -> None:
    place = f"{output.rstrip('/')}/{JSON_NAME}"
    TERMINAL.show(f"in {seconds:,.1f} s: {place}, {HTML_NAME}")
    TERMINAL.result("evaluated", {**numbers, "evaluation": place}, place)


def _add_row(table: Table, *cells: str) -> None:
    # Labels and values come from documents: [brackets] are no markup, escape codes no commands.
    table.add_row(*(Text(printable(cell)) for cell in cells))
