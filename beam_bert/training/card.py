"""The model card: README.md of the model's folder, with the Hugging Face hub's metadata on top.

https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData

from beam_bert.errors import printable
from beam_bert.labelled.provenance import SourceRecord
from beam_bert.reports import evaluation as report


@dataclass(frozen=True)
class Card:
    """What a card tells.

    Attributes:
      name: of the model.
      summary: one sentence.
      base: the model that it was trained from, with its version; `teacher` likewise.
      base_model: what that was asked for as.
      base_licence: of it.
      task: the hub's name for what it does.
      labels: of the model, in its order.
      sources: what it was trained on.
      rows: counts, such as "trained on" -> 9,003.
      notes: things that a reader must know, one line each.
      metrics: on the rows held out, by name.
      calibration: by name.
      settings: of the run.
      versions: of the software.
      audit: of the dev rows.
      curve: metrics after each epoch.
    """

    name: str
    summary: str
    base: str
    base_model: str
    base_licence: str
    task: str
    teacher: str | None
    labels: Sequence[str]
    sources: Sequence[SourceRecord]
    rows: Mapping[str, int]
    notes: Sequence[str]
    metrics: Mapping[str, float]
    calibration: Mapping[str, float]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    audit: report.Audit | None = None
    curve: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


def render(card: Card) -> str:
    """The card as Markdown."""
    parts = [
        f"---\n{_metadata(card).to_yaml()}\n---\n",
        _lines([f"# {card.name}"]),
        _lines([card.summary]),
        _lines(
            [
                f"- Trained from: {card.base}, licence {card.base_licence}",
                *([f"- Taught by: {card.teacher}"] if card.teacher else []),
                *([f"- Labels: {', '.join(card.labels)}"] if card.labels else []),
                *(f"- {name[:1].upper()}{name[1:]}: {n:,}" for name, n in card.rows.items()),
            ]
        ),
    ]
    if card.notes:
        parts += ["## To know before you use it\n", _lines(f"- {note}" for note in card.notes)]
    parts += [
        "## Data\n",
        _table(
            ("file", "used for", "origin", "licence", "date", "sha256"),
            [
                (
                    s.path,
                    s.use,
                    s.origin or "not declared",
                    (s.licence or "not declared") + ("" if s.allowed else " (accepted as it is)"),
                    s.date or "",
                    s.sha256,
                )
                for s in card.sources
            ],
        ),
        "## Metrics\n",
        "On the rows held out or given as dev, which also chose the epoch: expect a little less.\n",
        _table(("metric", "value"), [(k, f"{v:.4f}") for k, v in card.metrics.items()]),
    ]
    if card.calibration:
        parts += [
            "## Calibration\n",
            "The temperature is part of the last layer's weights: scores are calibrated already.\n",
            _table(("", "value"), [(k, f"{v:.4f}") for k, v in card.calibration.items()]),
        ]
    if card.audit is not None:
        parts += _audit(card.audit)
    if card.curve:
        columns = list(card.curve[0])
        rows = [[str(point.get(name, "")) for name in columns] for point in card.curve]
        parts += ["## Epochs\n", _table(columns, rows)]
    settings = yaml.safe_dump(dict(card.settings), sort_keys=False, allow_unicode=True)
    parts += ["## Settings\n", f"```yaml\n{settings}```\n"]
    parts += ["## Software\n", _table(("package", "version"), list(card.versions.items()))]
    return printable("\n".join(parts))


def _audit(audit: report.Audit) -> list[str]:
    """What swapping identity terms did; see `pipelines.evaluate --audit` for all of it."""
    looked_at = f"{audit.rows:,} of the dev rows, {audit.variants:,} swapped texts"
    axes = [axis for axis in audit.axes if axis.rows_with_terms]
    if not axes:
        return ["## Bias audit\n", f"No identity term stands in {looked_at}.\n"]
    rows = [
        (
            axis.axis,
            f"{axis.rows_with_terms:,}",
            f"{axis.flip_rate.value:.4f} ({axis.flip_rate.low or 0:.4f} to "
            f"{axis.flip_rate.high or 0:.4f})",
            f"{axis.change.value:.4f}",
        )
        for axis in axes
    ]
    return [
        "## Bias audit\n",
        f"Identity terms swapped in {looked_at}. Change: {audit.change_of}.\n",
        _table(("terms of", "rows", "answer changed (95 % interval)", "mean change"), rows),
    ]


def _metadata(card: Card) -> ModelCardData:
    declared = [*(s.licence for s in card.sources), *card.base_licence.split(", ")]
    licences = sorted({licence for licence in declared if licence})
    return ModelCardData(
        library_name="transformers",
        pipeline_tag=card.task,
        base_model=card.base_model,
        license="other",
        license_name=", ".join(licences),
        tags=["beam-bert", card.task],
        metrics=[name for name in card.metrics if name != "loss"],
        model_name=card.name,
        eval_results=[
            EvalResult(card.task, "private", "held-out rows", name, round(value, 5))
            for name, value in card.metrics.items()
        ],
    )


def _lines(lines: Iterable[str]) -> str:
    """Lines of text from outside: what would end a line, or steer a terminal, is written out."""
    return "\n".join(map(_written_out, lines)) + "\n"


def _written_out(line: str) -> str:
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return "".join(shown)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return _lines([line(columns), line(["---"] * len(columns)), *map(line, rows)])
