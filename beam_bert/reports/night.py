"""What a page about a night shows: the verdict, and whether the numbers are as they were."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from beam_bert.reports.wording import by_size
from beam_bert.sinks.manifest import Failure, Manifest

MOST_LABELS = 6  # columns of shares; the manifests have all
# A share has drifted that differs from the earlier runs' by three standard errors and by this much:
# of 100,000 rows a difference that nobody would act on is no chance either.
DRIFT_ERRORS, DRIFT_SHARE = 3.0, 0.05

_HEADS = {
    "promoted": "PROMOTED",
    "approved": "APPROVED, not promoted yet",
    "kept": "KEPT",
    "failed": "FAILED",
}


@dataclass(frozen=True)
class Share:
    """A share of a run's rows.

    Attributes:
      value: between 0 and 1; None: the run has no rows to have a share of.
      moved: how it differs from that of the earlier runs together, where it has drifted.
    """

    value: float | None
    moved: float | None = None


@dataclass(frozen=True)
class RunLine:
    """A run of the last nights; `manifest` or `failure` is None."""

    manifest: Manifest | None
    failure: Failure | None = None
    rejected: Share = Share(None)
    labels: Mapping[str, Share] = field(default_factory=dict)


def headline(night: Mapping[str, Any]) -> tuple[str, str]:
    """What a night came to in a word or two, and why.

    Args:
      night: the fields of the JSON line that ends it.
    """
    if night["decision"] in _HEADS:
        why = night["errors"][0] if night["decision"] == "failed" else night["reason"]
        return _HEADS[night["decision"]], why
    if night["errors"]:
        return "FAILED", night["errors"][0]
    why = night["reason"] or "no model was judged"
    return ("NOTHING TO DO" if night["status"] == "nothing_to_do" else "DONE"), why


def run_lines(runs: Sequence[Manifest | Failure]) -> list[RunLine]:
    """Runs with the shares of their rejects and labels, each held against those before it.

    Args:
      runs: oldest first.
    """
    lines: list[RunLine] = []
    read = rejected = 0
    labels: Counter[str] = Counter()
    for run in runs:
        if not isinstance(run, Manifest):
            lines.append(RunLine(None, run))
            continue
        now, given = run.counts, Counter(run.counts.label_counts)
        shares = {
            name: _share(given[name], given.total(), labels[name], labels.total())
            for name in {**labels, **given}
        }
        rejects = _share(now.rows_rejected, now.rows_read, rejected, read)
        lines.append(RunLine(run, rejected=rejects, labels=shares))
        read, rejected = read + now.rows_read, rejected + now.rows_rejected
        labels.update(given)
    return lines


def shown_labels(lines: Sequence[RunLine]) -> list[str]:
    """The labels whose shares are shown: those that drifted, then the most frequent."""
    rows: Counter[str] = Counter()
    drifted: dict[str, None] = {}
    for line in lines:
        if line.manifest is not None:
            rows.update(line.manifest.counts.label_counts)
        drifted |= {name: None for name, share in line.labels.items() if share.moved is not None}
    frequent = [name for name, _ in by_size(rows)]
    return list(dict.fromkeys([*drifted, *frequent]))[:MOST_LABELS]


def _share(count: int, rows: int, earlier: int, earlier_rows: int) -> Share:
    if not rows:
        return Share(None)
    value = count / rows
    if not earlier_rows:
        return Share(value)
    moved = value - earlier / earlier_rows
    pooled = (count + earlier) / (rows + earlier_rows)
    error = math.sqrt(pooled * (1 - pooled) * (1 / rows + 1 / earlier_rows))
    has_drifted = abs(moved) >= DRIFT_SHARE and abs(moved) > DRIFT_ERRORS * error
    return Share(value, moved if has_drifted else None)
