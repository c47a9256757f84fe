"""Read rows to train on, and tell the person who waits what was found, left out or refused."""

from __future__ import annotations

from collections.abc import Sequence

from beam_bert.errors import ConfigError, InputError
from beam_bert.labelled.rows import LabelsWanted, Rows, read_rows
from beam_bert.sources import SourceSpec
from beam_bert.training.setup import say

_DEFAULT_MAX_LENGTH = 512


def window_length(max_length: int | None, limit: int) -> int:
    """Tokens of a window: `--max_length`, else as many as the model reads, 512 at most.

    Raises:
      ConfigError: it is more than the model reads, which is `limit`.
    """
    if max_length is not None and max_length > limit:
        raise ConfigError(f"--max_length {max_length}: the model reads {limit} at most")
    return max_length or min(limit, _DEFAULT_MAX_LENGTH)


def read_and_tell(
    patterns: Sequence[str],
    spec: SourceSpec,
    *,
    labels: LabelsWanted | None,
    max_reject_rate: float,
    flag: str,
) -> Rows:
    """`beam_bert.labelled.rows.read_rows`, with what it found out about labels, and a line about
    rows that it had to leave out.
    """
    rows = read_rows(patterns, spec, labels=labels, max_reject_rate=max_reject_rate, flag=flag)
    for line in rows.meaning.lines() if rows.meaning else ():
        say(line if line.startswith("warning: ") else f"{flag}: {line}")
    if rows.rejected:
        say(f"warning: {rows.rejected:,} rows of {flag} cannot be used and are left out")
    return rows


def check_emptied(
    lost: int, flaw: str, *, rejected: int, rows_read: int, max_reject_rate: float
) -> None:
    """Tell of rows of whose text the tokenizer leaves nothing.

    Args:
      lost: how many these are.
      flaw: where one of them stands, and what is wrong with it.
      rejected: rows that could not be used before.
      rows_read: all that were read.
      max_reject_rate: share of them to go on without.

    Raises:
      InputError: there are more rejects than that.
    """
    if not lost:
        return
    if lost + rejected > max_reject_rate * rows_read:
        raise InputError(
            f"{lost + rejected} of {rows_read} rows cannot be used, such as {flaw}; mend them, or "
            f"raise --max_reject_rate (now {max_reject_rate:g}) to go on without them"
        )
    say(f"warning: of {lost:,} rows the tokenizer leaves nothing, so they are left out: {flaw}")


def report_leaks(leaks: Sequence[str], total: int, what: str, policy: str) -> None:
    """Tell what of the training stands in dev too.

    Args:
      leaks: places of those that do.
      total: of how many.
      what: they are, for the message.
      policy: "remove" or "refuse", as `--train_dev_overlap`.

    Raises:
      InputError: there are some, and they are refused.
    """
    if not leaks:
        return
    found = f"{len(leaks)} of {total} {what} stand in --dev too, the first is {leaks[0]}"
    if policy == "refuse":
        raise InputError(f"{found}; take them out, or say --train_dev_overlap remove")
    say(f"warning: {found}; they are left out of the training")
