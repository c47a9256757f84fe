"""Committed files that are read again: they may have been removed, changed or damaged since."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from beam_bert.errors import OutputError, RunFailed, one_line, shortened
from beam_bert.storage.base import Storage

_UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError, IndexError, OverflowError)


@contextmanager
def or_damaged(place: str) -> Iterator[None]:
    """The body reads the Parquet file at `place`; OutputError where that cannot be done."""
    try:
        yield
    except _UNREADABLE as error:
        raise OutputError(
            f"{place} is damaged, or was changed by hand ({shortened(one_line(error))}); nothing "
            "was committed: bring it back, or remove it and read its input again"
        ) from error


def read_rows(storage: Storage, path: str) -> pa.Table:
    """The rows of the committed file at `path`.

    Raises:
      RunFailed: it has gone.
      OutputError: it cannot be read.
    """
    data = storage.read(path)
    if data is None:
        raise RunFailed(
            f"{storage.uri(path)} was removed by somebody else; nothing was committed, run again: "
            "what is in staging is used again"
        )
    with or_damaged(storage.uri(path)):
        rows = pq.read_table(io.BytesIO(data))
        rows.validate(full=True)
    return rows
