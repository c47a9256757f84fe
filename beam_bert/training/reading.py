"""Read rows to train on, and tell the person who waits what was found, left out or refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from beam_bert.encoder.plan import Int64Array
from beam_bert.errors import InputError
from beam_bert.labelled.rows import Rows, check_rejects
from beam_bert.settings.naming import named
from beam_bert.slices.token_arrays import TokenArrays
from beam_bert.terminal import tell

# Rows -> their tokens, see `beam_bert.labelled.rows.tokenize_rows`.
TokensReader = Callable[[Rows], tuple[TokenArrays, Int64Array, str]]


def tell_of(rows: Rows, setting: str) -> Rows:
    """Say what was found out about labels, and how many rows are left out; returns the rows."""
    for line in rows.meaning.lines() if rows.meaning else ():
        tell(line if line.startswith("warning: ") else f"{named(setting)}: {line}")
    if rows.rejected:
        tell(f"warning: {rows.rejected:,} rows of {named(setting)} cannot be used and are left out")
    return rows


def tokenized_parts(
    parts: Sequence[Rows],
    read: TokensReader,
    *,
    rejected: int,
    rows_read: int,
    max_reject_rate: float,
    setting: str,
) -> list[tuple[TokenArrays, Int64Array]]:
    """Tokens of each part of the rows, and which of its rows they are of.

    Tells of rows of whose text the tokenizer leaves nothing.

    Args:
      parts: of the rows.
      read: makes tokens, see `beam_bert.labelled.rows.tokenize_rows`.
      rejected: rows that could not be used before.
      rows_read: all that were read.
      max_reject_rate: share of them to go on without.
      setting: that named their files.

    Raises:
      InputError: there are more rejects than that.
    """
    results = [read(part) for part in parts]
    emptied = sum(map(len, parts)) - sum(len(used) for _, used, _ in results)
    if emptied:
        flaw = next(flaw for *_, flaw in results if flaw)
        check_rejects(emptied + rejected, rows_read, max_reject_rate, flaw, setting)
        tell(
            f"warning: of {emptied:,} rows the tokenizer leaves nothing, so they are left out: "
            f"{flaw}"
        )
    return [(tokens, used) for tokens, used, _ in results]


def report_leaks(leaks: Sequence[str], total: int, what: str, policy: str) -> None:
    """Tell what of the training stands in dev too.

    Args:
      leaks: places of those that do.
      total: of how many.
      what: they are, for the message.
      policy: "remove" or "refuse", as `train_dev_overlap`.

    Raises:
      InputError: there are some, and they are refused.
    """
    if not leaks:
        return
    told = f"{len(leaks)} of {total} {what} stand in {named('dev')} too, the first is {leaks[0]}"
    if policy == "refuse":
        remove = named("train_dev_overlap", "remove")
        raise InputError(f"{told}; take them out, or say {remove}")
    tell(f"warning: {told}; they are left out of the training")
