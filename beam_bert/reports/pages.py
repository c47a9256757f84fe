"""HTML pages that stand alone: one file each, styles and figures inside, no script, no network.

Everything that comes from documents goes through jinja's autoescaping; only the SVG of
`beam_bert.reports.figures` is marked safe, and that escapes what it is given itself. Each raises
MissingExtra where jinja2, or the matplotlib that its figures need, is not installed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from beam_bert.errors import printable
from beam_bert.models.records import AliasMove
from beam_bert.reports import figures
from beam_bert.reports.answering import AnswerEvaluation
from beam_bert.reports.evaluation import FEWEST_FOR_INTERVAL, Evaluation
from beam_bert.reports.figures import MissingExtra
from beam_bert.reports.headlines import evaluation_headline, run_headline
from beam_bert.reports.night import DRIFT_ERRORS, DRIFT_SHARE, headline, run_lines, shown_labels
from beam_bert.reports.wording import (
    by_size,
    cell_text,
    label_text,
    metric_text,
    name_text,
    share_text,
)
from beam_bert.settings.answer import JOBS
from beam_bert.sinks.manifest import Failure, Manifest

REPORT = "report.html"  # of a run, and of an evaluation
TEMPLATES = Path(__file__).parent / "templates"
MOST_ROWS = 100  # of a table or figure; the JSON has all
MOST_MOVED = 25  # the same for groups and terms of the audit
_CONFUSIONS = 20


def render_evaluation(evaluation: Evaluation) -> str:
    """report.html of an evaluation."""
    shown, few = _by_rows(evaluation.per_label, lambda label: label.support)
    # Worst first; errors are worst where they are large.
    slices = sorted(evaluation.slices, key=lambda part: part.metrics[evaluation.main_metric].value)
    slices_shown, slices_few = _by_rows(slices, lambda part: part.rows)
    return _page(
        "evaluation.html",
        e=evaluation,
        headline=evaluation_headline(evaluation),
        labels_shown=shown,
        labels_few=few,
        slices_shown=slices_shown,
        slices_few=slices_few,
        balance=by_size(evaluation.balance.labels),
        figures=_evaluation_figures(evaluation),
        confusions=_largest_confusions(evaluation),
        most_rows=MOST_ROWS,
        most_moved=MOST_MOVED,
        drawn_labels=figures.MOST_CONFUSION_LABELS,
        fewest=FEWEST_FOR_INTERVAL,
    )


def render_answer_evaluation(evaluation: AnswerEvaluation) -> str:
    """report.html of an evaluation of question answering."""
    scores = evaluation.scores
    groups = [(name, group) for name, group in scores.by_word.items() if group.questions]
    drawn = figures.intervals(
        [f"{name} ({group.questions:,})" for name, group in groups],
        [group.f1 for _, group in groups],
        "F1 by what is asked for (questions)",
        whole=scores.overall.f1.value,
    )
    return _page("answering.html", e=evaluation, s=scores, figure=drawn)


@dataclass(frozen=True)
class Examples:
    """The first rows of a run: predictions with the columns that say what came out, and rejects."""

    columns: Sequence[str] = ()
    predictions: Sequence[Mapping[str, Any]] = ()
    rejects: Sequence[Mapping[str, Any]] = ()


def render_run_report(manifest: Manifest, examples: Examples | None = None) -> str:
    """report.html of a run, from its manifest and the first of its rows."""
    counts = manifest.counts
    changed, unchanged = _settings_of(manifest)
    paths = [file.path for file in manifest.inputs]
    return _page(
        "run.html",
        m=manifest,
        headline=run_headline(manifest),
        inputs=", ".join(paths[:3]) + (f" and {len(paths) - 3:,} more" * (len(paths) > 3)),
        examples=examples or Examples(),
        labels=by_size(counts.label_counts),
        rejects=by_size(counts.rejects_by_reason),
        lost=[file for file in manifest.inputs if file.lost],
        speed=_speed(manifest),
        changed=changed,
        unchanged=unchanged,
        most_rows=MOST_ROWS,
    )


def render_failure(failure: Failure) -> str:
    """report.html of a run that committed nothing."""
    counts = failure.counts
    return _page(
        "failed.html",
        f=failure,
        rejects=by_size(counts.rejects_by_reason) if counts else [],
        most_rows=MOST_ROWS,
    )


def render_night(
    night: Mapping[str, Any],
    *,
    store: str,
    links: Sequence[tuple[str, str]],
    moves: Sequence[AliasMove],
    runs: Sequence[Manifest | Failure],
) -> str:
    """night.html: what a night came to, and the nights before it.

    Args:
      night: the fields of the JSON line that ends it.
      store: the model store.
      links: to other pages, text and target.
      moves: of the store's history, newest first.
      runs: the last runs of the output, oldest first.
    """
    word, why = headline(night)
    lines = run_lines(runs)
    return _page(
        "night.html",
        n=night,
        word=word,
        why=why,
        store=store,
        links=links,
        moves=moves,
        lines=lines,
        labels=shown_labels(lines),
        drift_share=DRIFT_SHARE,
        drift_errors=DRIFT_ERRORS,
    )


def _settings_of(manifest: Manifest) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings that somebody gave, and those at their defaults."""
    fields = JOBS[manifest.job].model_fields if manifest.job in JOBS else {}
    defaults = {name: field.get_default() for name, field in fields.items()}
    changed: dict[str, Any] = {}
    unchanged: dict[str, Any] = {}
    for name, value in manifest.config.items():
        default = defaults.get(name)
        is_default = value == (list(default) if isinstance(default, tuple) else default)
        (unchanged if is_default else changed)[name] = value
    return changed, unchanged


T = TypeVar("T")


def _by_rows(parts: Sequence[T], rows: Callable[[T], int]) -> tuple[list[T], list[T]]:
    """Those of enough rows to say something of, and the others."""
    enough = [part for part in parts if rows(part) >= FEWEST_FOR_INTERVAL]
    return enough, [part for part in parts if rows(part) < FEWEST_FOR_INTERVAL]


def _page(template: str, **values: Any) -> str:
    """A page with a place to jump to at each heading, and a list of them at the top."""
    headings: list[tuple[str, str]] = []

    def with_anchor(heading: re.Match[str]) -> str:
        anchor = f"part-{len(headings) + 1}"
        headings.append((anchor, heading[1]))
        return f'<h2 id="{anchor}">{heading[1]}</h2>'

    page = _environment().get_template(template).render(**values)
    page = re.sub(r"<h2>(.*?)</h2>", with_anchor, page)
    links = "".join(f'<a href="#{anchor}">{text}</a>' for anchor, text in headings)
    contents = f'<nav aria-label="contents">{links}</nav>\n'
    return page.replace("<h2 ", contents + "<h2 ", 1) if len(headings) > 2 else page


def _setting(value: Any) -> str:
    if value is None:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _p_value(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _environment() -> Any:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise MissingExtra.of(error) from None
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        # Escaped HTML may still turn the direction of what stands around it.
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "metric": metric_text,
        "signed": lambda metric: metric_text(metric, signed=True),
        "share": share_text,
        "labels": label_text,
        "name": name_text,
        "count": lambda value: f"{value:,}",
        "percent": lambda value: f"{100 * value:.1f} %",
        "svg": Markup,
        "cell": cell_text,
        "setting": _setting,
        "pvalue": _p_value,
    }
    return environment


def _evaluation_figures(e: Evaluation) -> dict[str, str]:
    svgs: dict[str, str] = {}
    if e.calibration:
        svgs["calibration"] = figures.calibration_curve(e.calibration)
    if e.confusion is not None:
        svgs["confusion"] = figures.confusion_heatmap(e.confusion)
    labels = sorted((r for r in e.per_label if r.support), key=lambda r: r.f1.value)
    labels = labels[: figures.MOST_CONFUSION_LABELS]
    if labels:
        svgs["labels"] = figures.intervals(
            [r.label for r in labels],
            [r.f1 for r in labels],
            "F1, weakest first",
            whole=e.metrics["macro_f1"].value,
        )
    if e.slices:
        svgs["slices"] = figures.intervals(
            [f"{s.column} = {slice_value(s.value, s.merged_values)}" for s in e.slices],
            [s.metrics[e.main_metric] for s in e.slices],
            name_text(e.main_metric),
            whole=e.metrics[e.main_metric].value,
            marked=[s.worse for s in e.slices],
        )
    if e.audit is not None:
        terms = [t for t in e.audit.by_term if t.rows >= FEWEST_FOR_INTERVAL][:MOST_MOVED]
    if e.audit is not None and terms:
        svgs["audit"] = figures.intervals(
            [f"{t.term} ({t.rows:,})" for t in terms],
            [t.change for t in terms],
            "mean absolute change when swapped (rows)",
        )
    lengths = e.balance.lengths
    svgs["lengths"] = figures.histogram(lengths.edges, lengths.counts, "tokens a row")
    return svgs


def slice_value(value: str | None, merged_values: int) -> str:
    """A slice's value for a person."""
    return f"{merged_values:,} rarer values" if merged_values else (value or "(none)")


def _largest_confusions(e: Evaluation) -> list[tuple[str, str, int, float]]:
    """True label, given label, rows, share of the true label's rows; the most frequent first."""
    if e.confusion is None:
        return []
    names, confusions = e.confusion.labels, []
    for i, row in enumerate(e.confusion.counts):
        confusions += [
            (names[i], names[j], count, count / sum(row))
            for j, count in enumerate(row)
            if count and i != j
        ]
    return sorted(confusions, key=lambda confusion: (-confusion[2], confusion[:2]))[:_CONFUSIONS]


def _speed(manifest: Manifest) -> Sequence[tuple[str, str]]:
    """What the sums of a run say about lengths and speed, in words and numbers."""
    stats, rows = manifest.stats, manifest.counts.rows_predicted
    lines = []
    tokens, read = stats.get("tokens", 0.0), stats.get("tokens_read", 0.0)
    if rows and tokens:
        lines.append(("tokens a document, mean", f"{tokens / rows:,.1f}"))
        lines.append(("windows a document, mean", f"{stats.get('windows', rows) / rows:,.2f}"))
    if "truncated" in stats:
        lines.append(("documents whose end was not read", f"{stats['truncated']:,.0f}"))
    if read:
        lines.append(("tokens through the model", f"{read:,.0f}"))
    seconds = stats.get("inference_s", 0.0)
    if seconds:
        lines.append(("seconds in the model, over all workers", f"{seconds:,.1f}"))
        lines.append(("tokens a second in the model", f"{read / seconds:,.0f}"))
    if batches := manifest.micro_batches():
        lines.append(("micro-batches", batches))
    for name, value in sorted(stats.items()):
        if name.startswith("rows_"):
            lines.append(
                (f"documents computed in {name[5:].replace('_', ' on ')}", f"{value:,.0f}")
            )
    return lines
