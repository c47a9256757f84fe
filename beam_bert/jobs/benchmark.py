"""`python -m pipelines.bench`: what a model costs on your own text and machine, and how precise.

Every precision runs over the same documents, in turns, so that a machine whose speed drifts does
not favour one; medians are shown, and each precision's answers are compared with fp32's. Each runs
as in a job, low margins rechecked at fp32 included.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from beam_bert.encoder import SequenceClassifier, load_classifier
from beam_bert.encoder.plan import PADDED_BATCH, padded_tokens
from beam_bert.errors import ConfigError
from beam_bert.inference.fp32_recheck import Outputs, RecheckedModel
from beam_bert.jobs.first_look import source_spec
from beam_bert.jobs.plan import window_settings
from beam_bert.jobs.precision_check import LEAST_AGREEMENT
from beam_bert.jobs.sampling import SLICE_BYTES, sample_documents
from beam_bert.models import fetch_model, resolve_model
from beam_bert.pipeline.classify import task_of
from beam_bert.settings.inference import BenchConfig
from beam_bert.settings.naming import named
from beam_bert.sources import inspect_source, list_files
from beam_bert.storage.billing import bill_to
from beam_bert.terminal import TERMINAL
from beam_bert.tokenization import DocumentTokenizer


@dataclass(frozen=True)
class Measured:
    """One precision on the sample.

    Attributes:
      documents_per_s, tokens_per_s: medians over the rounds; tokens are real, none is padding.
      agreement: share of documents that say what they say at fp32.
      computed_again: share of windows whose calls were close and made at fp32.
      largest_difference: of a logit from fp32's.
      batch_tokens: of a micro-batch, measured beforehand unless it was given.
    """

    precision: str
    documents_per_s: float
    tokens_per_s: float
    agreement: float
    computed_again: float
    largest_difference: float
    batch_tokens: int


@dataclass(frozen=True)
class BenchReport:
    """What `bench` measured, and what it advises.

    Attributes:
      broken: windows whose logits at fp32 are not finite numbers.
      padding_saved: share of the arithmetic that batches of 32 in input order would spend on
        padding.
      skipped: precisions that did not run, and why.
    """

    device: str
    documents: int
    tokens: int
    broken: int
    padding_saved: float
    measured: tuple[Measured, ...]
    skipped: dict[str, str]
    recommended: str
    price_an_hour: float | None

    def cost_of_a_million(self, precision: str) -> float | None:
        """Price of a million documents like these, in the currency of `price_an_hour`."""
        if self.price_an_hour is None:
            return None
        (row,) = [measured for measured in self.measured if measured.precision == precision]
        return 1e6 / row.documents_per_s / 3600 * self.price_an_hour


def bench(config: BenchConfig) -> BenchReport:
    """Measure every precision that runs here on a sample of the input, print and return it.

    Raises:
      UserError: the input or model cannot be used.
    """
    bill_to(config.billing_project)
    folder = fetch_model(resolve_model(config.model))
    models, skipped = _load(folder, config)
    reference = models["fp32"]
    windows = window_settings(config, reference.config)
    tokenizer = DocumentTokenizer(folder, windows, pair=config.text_pair_column is not None)
    files = list_files(config.input)
    spec = inspect_source(files, source_spec(config, SLICE_BYTES), ())
    sample = sample_documents(files, spec, tokenizer, config.documents)
    rows, tokens = sample.rows, sample.tokens
    task = task_of(reference.config)
    checked = {
        precision: RecheckedModel.of(model, task, lambda: reference, config.recheck_margin)
        for precision, model in models.items()
    }
    for model in models.values():
        model.choose_batch_tokens(tokens.ids, tokens.offsets)
    seconds: dict[str, list[float]] = {precision: [] for precision in models}
    outputs: dict[str, Outputs] = {}
    for number in range(config.rounds + 1):
        for precision, model_in in checked.items():
            started = time.perf_counter()
            outputs[precision] = model_in.outputs(rows)
            if number:  # the first round warms up
                seconds[precision].append(time.perf_counter() - started)
    expected = outputs["fp32"].values
    measured = tuple(
        Measured(
            precision,
            rows.num_rows / statistics.median(seconds[precision]),
            len(tokens.ids) / statistics.median(seconds[precision]),
            float(task.same(rows, outputs[precision].values, expected).mean()),
            outputs[precision].again / len(expected),
            float(np.nanmax(np.abs(outputs[precision].values - expected), initial=0)),
            model.batch_tokens,
        )
        for precision, model in models.items()
    )
    lengths = np.diff(tokens.offsets)
    sound = [row for row in measured if row.agreement >= LEAST_AGREEMENT]
    report = BenchReport(
        device=reference.device,
        documents=rows.num_rows,
        tokens=len(tokens.ids),
        broken=int((~np.isfinite(expected).all(axis=1)).sum()),
        padding_saved=float(1 - lengths.sum() / padded_tokens(lengths)),
        measured=measured,
        skipped=skipped,
        recommended=max(sound, key=lambda row: row.documents_per_s).precision,
        price_an_hour=config.price_an_hour,
    )
    _print(report)
    return report


def _load(
    folder: Path, config: BenchConfig
) -> tuple[dict[str, SequenceClassifier], dict[str, str]]:
    models: dict[str, SequenceClassifier] = {}
    skipped: dict[str, str] = {}
    for precision in ("fp32", *config.precisions):
        try:
            models[precision] = load_classifier(
                folder,
                precision=precision,
                device=config.device,
                batch_tokens=config.batch_tokens,
            )
        except ConfigError as error:
            if precision == "fp32":
                raise
            skipped[precision] = str(error)
    return models, skipped


def _print(report: BenchReport) -> None:
    TERMINAL.show(f"{report.documents:,} documents, {report.tokens:,} tokens, on {report.device}")
    table = Table()
    # So narrow that 80 columns hold all of it, which is what a file or a pipe is given.
    for name in ("", "docs/s", "tokens/s", "same", "recheck", "logit change", "batch"):
        table.add_column(name, justify="right")
    if report.price_an_hour is not None:
        table.add_column("a million cost", justify="right")
    for row in report.measured:
        cells = [
            row.precision,
            f"{row.documents_per_s:,.1f}",
            f"{row.tokens_per_s:,.0f}",
            f"{row.agreement:.2%}",
            f"{row.computed_again:.1%}",
            f"{row.largest_difference:.4f}",
            f"{row.batch_tokens:,}",
        ]
        cost = report.cost_of_a_million(row.precision)
        table.add_row(*cells, *([] if cost is None else [f"{cost:,.2f}"]))
    TERMINAL.show(table)
    for precision, reason in report.skipped.items():
        TERMINAL.show(f"{precision} was not measured: {reason}")
    if report.broken:
        TERMINAL.show(f"{report.broken:,} windows break the model: a job rejects their documents")
    padding = f"{report.padding_saved:.0%}"
    TERMINAL.show(f"padding in batches of {PADDED_BATCH}, in input order: {padding}; here none")
    TERMINAL.show("same: documents that get fp32's label; batch: tokens computed at once")
    TERMINAL.show(
        f"recheck: windows with a low margin, computed again at fp32 ({named('recheck_margin')})"
    )
    TERMINAL.show(
        f"use {named('precision', report.recommended)}: the fastest that keeps "
        f"{LEAST_AGREEMENT:.1%} of fp32's labels"
    )
    cost = report.cost_of_a_million(report.recommended)
    if cost is None:
        TERMINAL.show(f"{named('price_an_hour')} N says what a million documents like these cost")
    else:
        TERMINAL.show(f"a million documents like these cost {cost:,.2f} then")
    TERMINAL.result("measured", asdict(report), f"use {named('precision', report.recommended)}")
