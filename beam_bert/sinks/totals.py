"""The totals of a run: records in, sums out, and the checks that may stop it. No files here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from beam_bert.errors import RunFailed
from beam_bert.settings.naming import named
from beam_bert.sinks.records import Counts, ShardRecord, SourceFile

N = TypeVar("N", int, float)
_SHOWN_REASONS = 5
_SLICE = re.compile(r"part-\d+-\d+-")  # a shard's name without its key


@dataclass(frozen=True)
class Totals:
    """Checked records, by name, and their sums."""

    records: tuple[ShardRecord, ...]
    counts: Counts
    stats: dict[str, float]
    inputs: tuple[SourceFile, ...]

    @property
    def reject_rate(self) -> float:
        """Share of the rows that was rejected; the marks of lost files are no rows."""
        lost = sum(bool(file.lost) for record in self.records for file in record.files)
        return max(self.counts.rows_rejected - lost, 0) / max(self.counts.rows_read - lost, 1)


def close_totals(records: Iterable[ShardRecord]) -> Totals:
    """Count a record that a runner delivered twice once, check each one, and sum up.

    Raises:
      RunFailed: a row is missing or too many, or one name stands for two different shards.
    """
    unique: dict[str, ShardRecord] = {}
    for record in records:
        known = unique.setdefault(record.name, record)
        # Timings differ from attempt to attempt; all else is a function of the slice.
        if known is not record and known.model_copy(update={"stats": record.stats}) != record:
            raise RunFailed(
                f"shard {record.name} was made twice and differs: the input changed while it was "
                "read, or two versions of this package ran at once; nothing was committed"
            )
    ordered = tuple(unique[name] for name in sorted(unique))
    slices: dict[str, str] = {}
    for record in ordered:
        slice_ = _SLICE.match(record.name)
        other = slices.setdefault(slice_[0], record.name) if slice_ else record.name
        if other != record.name:
            raise RunFailed(
                f"one slice was made twice and differs, as {other} and as {record.name}: the input "
                "changed while it was read, or machines compute in different precisions (give "
                f"{named('precision')}); nothing was committed"
            )
    for record in ordered:
        _check(record)
    files: dict[str, SourceFile] = {}
    for file in (file for record in ordered for file in record.files):
        known_file = files.get(file.path)
        files[file.path] = file if known_file is None else _sum_of(known_file, file)
    inputs = tuple(files[path] for path in sorted(files))
    numbers = ("rows_read", "rows_predicted", "rows_written", "rows_rejected")
    counts = Counts(
        **{name: sum(getattr(record, name) for record in ordered) for name in numbers},
        files_lost=sum(bool(file.lost) for file in inputs),
        rejects_by_reason=_sum(record.rejects_by_reason for record in ordered),
        label_counts=_sum(record.label_counts for record in ordered),
    )
    return Totals(ordered, counts, _sum(record.stats for record in ordered), inputs)


def _sum_of(first: SourceFile, second: SourceFile) -> SourceFile:
    """Two parts of one file; size and version of the listing stay, if both parts were read."""
    return first.model_copy(
        update={
            "rows": first.rows + second.rows,
            "bytes": first.bytes + second.bytes,
            "version": first.version if second.version else "",
            "lost": first.lost or second.lost,
        }
    )


def check_reject_rate(totals: Totals, max_reject_rate: float, staged_rejects: str) -> None:
    """Stop a run that lost too much of its input.

    Raises:
      RunFailed: more than `max_reject_rate` of the rows were rejected.
    """
    if totals.reject_rate > max_reject_rate:
        counts = totals.counts
        common = Counter(counts.rejects_by_reason).most_common(_SHOWN_REASONS)
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in common)
        raise RunFailed(
            f"{counts.rows_rejected:,} of {counts.rows_read:,} rows ({totals.reject_rate:.2%}) "
            f"were rejected, {named('max_reject_rate', max_reject_rate)} allows "
            f"{max_reject_rate:.2%}: {reasons}; nothing was committed, see the rejects in "
            f"{staged_rejects}"
        )


def check_lost_files(totals: Totals, max_lost_files: int) -> None:
    """Stop a run that could not read files to their end: nobody knows how many rows are missing.

    Raises:
      RunFailed: more than `max_lost_files` of the files were lost.
    """
    lost = [file for file in totals.inputs if file.lost]
    if len(lost) > max_lost_files:
        raise RunFailed(
            f"{len(lost):,} of {len(totals.inputs):,} files could not be read to their end, "
            f"{named('max_lost_files', max_lost_files)} allows {max_lost_files}: {lost[0].path}: "
            f"{lost[0].lost}; nothing was committed; mend the files, or raise "
            f"{named('max_lost_files')} to keep what could be read of them"
        )


def _check(record: ShardRecord) -> None:
    """Rows read = rows predicted + rows rejected, and the files hold what the record says."""
    predicted = record.predictions.rows if record.predictions else 0
    rejected = record.rejects.rows if record.rejects else 0
    counted = sum(file.rows for file in record.files) if record.files else record.rows_read
    if (
        record.rows_read != record.rows_predicted + record.rows_rejected
        or record.rows_written < record.rows_predicted
        or (predicted, rejected) != (record.rows_written, record.rows_rejected)
        or counted != record.rows_read
        or sum(record.rejects_by_reason.values()) != record.rows_rejected
    ):
        raise RunFailed(
            f"shard {record.name}: {counted} rows were read, but {record.rows_predicted} predicted "
            f"and {record.rows_rejected} rejected (files hold {predicted} and {rejected}); this "
            "is a defect, nothing was committed"
        )


def _sum(counts: Iterable[Mapping[str, N]]) -> dict[str, N]:
    total: dict[str, N] = {}
    for count in counts:
        for key, value in count.items():
            total[key] = total[key] + value if key in total else value
    return dict(sorted(total.items()))
