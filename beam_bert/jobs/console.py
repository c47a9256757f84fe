"""The table that a person sees at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table
from rich.text import Text

from beam_bert.errors import printable, shortened
from beam_bert.reports.pages import Examples
from beam_bert.reports.wording import by_size, cell_text
from beam_bert.sinks.manifest import Manifest, OutputFile
from beam_bert.storage.places import open_storage
from beam_bert.terminal import TERMINAL, after_commit

SHOWN_LABELS = 10
EXAMPLES, REJECTS = 5, 3  # rows that a run ends with
_EXAMPLE_COLUMNS, _EXAMPLE_CHARACTERS = 6, 59
_MOST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class RunnerMetrics:
    """What a runner tells of a run that is not in its manifest.

    Attributes:
      loading_s: seconds that loading the model took, the longest of all workers; None: not known.
      slices_reused: whose shards an earlier launch had made.
    """

    loading_s: float | None = None
    slices_reused: int = 0


@after_commit("the summary")
def summary(
    manifest: Manifest, lines: Sequence[str], seconds: float, measured: RunnerMetrics
) -> None:
    """Print the table that ends a run: rows, rejects by reason, labels, speed, where it is.

    Args:
      manifest: of the committed run.
      places: where its files are, a line each.
      seconds: of the whole run.
      measured: by the runner.
    """
    counts = manifest.counts
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")

    def row(*cells: str) -> None:
        # Labels are the model's words: their [brackets] are no markup, their bytes no commands.
        table.add_row(*(Text(printable(cell)) for cell in cells))

    row("rows read", f"{counts.rows_read:,}")
    row("rows predicted", f"{counts.rows_predicted:,}")
    questions = manifest.stats.get("questions", 0.0)
    if questions:
        row("questions asked", f"{questions:,.0f}")
        answered = manifest.stats.get("questions_answered", 0.0)
        row("  with an answer", f"{answered:,.0f}")
    if proof := manifest.model.get("precision_check"):
        agreeing = f"{proof['agreement']:.2%} of {proof['documents']:,}"
        row(f"{proof['precision']} says what fp32 says", agreeing)
    if again := manifest.stats.get("windows_rechecked", 0.0):
        share = again / max(manifest.stats.get("windows", 0.0), 1.0)
        row("low margins rechecked at fp32", f"{again:,.0f} windows, {share:.1%}")
    row("rows rejected", f"{counts.rows_rejected:,}")
    for reason, rows in by_size(counts.rejects_by_reason):
        row(f"  {reason}", f"{rows:,}")
    if counts.files_lost:
        row("files lost", f"{counts.files_lost:,}")
    if manifest.files_left_out:
        row("files left out", f"{manifest.files_left_out:,}")
    for label, rows in by_size(counts.label_counts)[:SHOWN_LABELS]:
        row(f"label {label}", f"{rows:,}")
    if len(counts.label_counts) > SHOWN_LABELS:
        row("other labels", f"{len(counts.label_counts) - SHOWN_LABELS:,} more, in the manifest")
    tokens = manifest.stats.get("tokens_read", 0.0)
    if tokens:
        row("tokens", f"{tokens:,.0f}")
    if measured.slices_reused:
        row("shards taken over from an earlier launch", f"{measured.slices_reused:,}")
    if measured.loading_s is not None:
        row("seconds to load the model", f"{measured.loading_s:,.1f}")
    inference_s = manifest.stats.get("inference_s", 0.0)
    if inference_s:
        row("tokens/s in the model", f"{tokens / inference_s:,.0f}")
        row("seconds in the model", f"{inference_s:,.1f}")
    if batches := manifest.micro_batches():
        row("micro-batches", batches.replace("; ", "\n"))
    padding = manifest.stats.get("padding_tokens_saved", 0.0)
    if padding:
        share = padding / (padding + manifest.stats.get("tokens_computed", 0.0))
        row("padding saved", f"{share:.0%}")
    row("documents/s, all in all", f"{counts.rows_read / max(seconds, 1e-9):,.0f}")
    lost = [file for file in manifest.inputs if file.lost]
    if lost:
        TERMINAL.warn(
            f"{len(lost):,} files were not read to their end, so rows are missing: "
            f"{lost[0].path}: {lost[0].lost}"
        )
    # Places stand outside the table, so that a long path is neither cut nor wrapped in a box.
    TERMINAL.show(f"{manifest.job} {manifest.run_id}", table, *lines)
    TERMINAL.result(
        "committed",
        {
            "job": manifest.job,
            "run_id": manifest.run_id,
            **counts.model_dump(mode="json"),
            "seconds": round(seconds, 3),
            "slices_reused": measured.slices_reused,
            "output": [place.split(": ", 1)[-1].strip() for place in lines],
        },
        f"{manifest.job} {manifest.run_id}: {counts.rows_read:,} rows read, "
        f"{counts.rows_predicted:,} predicted, {counts.rows_rejected:,} rejected; {lines[-1]}",
    )


def places(manifest: Manifest, output: str) -> list[str]:
    """Where a run's table, rejects and manifest are, a line each."""
    place = output.rstrip("/")
    lines = [f"predictions: {place}/predictions/{manifest.partition}"]
    if manifest.counts.rows_rejected:
        lines.append(f"rejects:     {place}/rejects/{manifest.partition}")
    return [*lines, f"manifest:    {place}/runs/{manifest.run_id}/manifest.json"]


def examples(manifest: Manifest, output: str, columns: Sequence[str]) -> Examples:
    """The first predictions of a run, with the columns that say what came out, and rejects."""
    return Examples(
        columns=["doc_id", *columns][:_EXAMPLE_COLUMNS],
        predictions=_first_rows(output, manifest.outputs, EXAMPLES),
        rejects=_first_rows(output, manifest.rejects, EXAMPLES),
    )


@after_commit("the first rows")
def show_examples(examples: Examples) -> None:
    """Print them as tables: five predictions, three rejects with their places."""
    if examples.predictions:
        TERMINAL.show(example_table(examples.predictions, examples.columns))
    if examples.rejects:
        rows = [
            {**row, "where": f"{row['source_file']}#{row['source_row']}"}
            for row in examples.rejects[:REJECTS]
        ]
        TERMINAL.show(example_table(rows, ["where", "reason", "message"]))


def _first_rows(output: str, files: Sequence[OutputFile], count: int) -> list[dict[str, Any]]:
    """A few rows of the first file that has any; none where that would take long to fetch."""
    file = next((file for file in files if file.rows), None)
    if file is None or file.bytes > _MOST_BYTES:
        return []
    data = open_storage(output).read(file.path)
    if data is None:
        return []
    batches = pq.ParquetFile(pa.BufferReader(data)).iter_batches(batch_size=count)
    rows: list[dict[str, Any]] = next(batches).to_pylist()
    return rows


def example_table(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], *, wrap: bool = False
) -> Table:
    """The named columns of rows, their cells shortened, and on one line unless they may wrap."""
    table = Table()
    for name in names:
        table.add_column(name, no_wrap=not wrap)
    for row in rows:
        texts = [cell_text(row.get(name)) for name in names]
        table.add_row(*(Text(printable(shortened(text, _EXAMPLE_CHARACTERS))) for text in texts))
    return table
