"""The table that a person sees at the end of a run."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from beam_bert.errors import printable
from beam_bert.sinks import Manifest
from beam_bert.terminal import TERMINAL, after_commit

SHOWN_LABELS = 10
# A reject for one of these stands for a file or the rest of one, not for a row.
FILE_REASONS = ("wide_encoding", "bad_header", "damaged_file", "missing_file", "unreadable_file")


@after_commit("the summary")
def summary(
    manifest: Manifest, output: str, seconds: float, loading_s: float | None = None
) -> None:
    """Print the table that ends a run: rows, rejects by reason, labels, speed, where it is.

    Args:
      manifest: of the committed run.
      output: where it is.
      seconds: of the whole run.
      loading_s: of those, loading the model on a worker; None where that is not known.
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
    for reason, rows in _largest(counts.rejects_by_reason):
        row(f"  {reason}", f"{rows:,}")
    for label, rows in _largest(counts.label_counts)[:SHOWN_LABELS]:
        row(f"label {label}", f"{rows:,}")
    if len(counts.label_counts) > SHOWN_LABELS:
        row("other labels", f"{len(counts.label_counts) - SHOWN_LABELS:,} more, in the manifest")
    tokens = manifest.stats.get("tokens_read", 0.0)
    if tokens:
        row("tokens", f"{tokens:,.0f}")
    if loading_s is not None:
        row("seconds to load the model", f"{loading_s:,.1f}")
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
    place = output.rstrip("/")
    manifest_path = f"{place}/runs/{manifest.run_id}/manifest.json"
    lost = sum(rows for reason, rows in counts.rejects_by_reason.items() if reason in FILE_REASONS)
    if lost:
        TERMINAL.warn(f"{lost} files were not read to their end: their other rows are missing")
    TERMINAL.show(
        f"{manifest.job} {manifest.run_id}",
        table,
        # Outside the table, so that a long path is neither cut nor wrapped in a box.
        f"predictions: {place}/predictions/{manifest.partition}",
    )
    if counts.rows_rejected:
        TERMINAL.show(f"rejects:     {place}/rejects/{manifest.partition}")
    TERMINAL.show(f"manifest:    {manifest_path}")
    TERMINAL.result(
        "committed",
        {
            "job": manifest.job,
            "run_id": manifest.run_id,
            **counts.model_dump(mode="json"),
            "seconds": round(seconds, 3),
            "manifest": manifest_path,
        },
        f"{manifest.job} {manifest.run_id}: {counts.rows_read:,} rows read, "
        f"{counts.rows_predicted:,} predicted, {counts.rows_rejected:,} rejected; {manifest_path}",
    )


def _largest(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
