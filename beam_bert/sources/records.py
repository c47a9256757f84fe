"""Split bytes into records: lines, or CSV records whose quoted fields hold line breaks.

The same splitter serves the reader and the cutter (`beam_bert.sources.cutting`), so a file that is
cut gives exactly the rows that the whole file gives.

A CSV field is quoted where a quote is its first byte, and then ends at a quote before a delimiter,
a line end or the end of the file; a doubled quote inside stands for one; quotes elsewhere are
literal. A quoted field that breaks these rules, or that does not end within `max_record_bytes`,
costs its first line only, which is marked bad; the next line starts afresh. So one stray quote
never swallows the rows after it in silence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

Offsets = npt.NDArray[np.int64]

_LF, _CR = b"\n\r"
# Reasons a splitter gives.
UNCLOSED_QUOTE = "unclosed_quote"
TOO_LARGE = "too_large"


@dataclass
class Split:
    """Where the complete records of a buffer end.

    Attributes:
      ends: end of each record in the buffer, its terminator included; records touch.
      bad: indices of the records that cannot be used, by reason.
    """

    ends: Offsets
    bad: dict[str, Offsets] = field(default_factory=dict)


class Splitter(Protocol):
    """Splits a buffer that begins at a record's start.

    Attributes:
      max_record_bytes: size, terminator included, above which a record is bad.
      line_end: what ends a line that is too long to hold in memory.
    """

    max_record_bytes: int
    line_end: re.Pattern[bytes]

    def split(self, data: bytes, final: bool) -> Split:
        """The complete records of `data`; with `final` its end ends the last one."""
        ...

    def numbered(self, data: bytes, ends: Offsets) -> npt.NDArray[np.bool_]:
        """Which of the records count as rows."""
        ...

    def stops(self, array: npt.NDArray[np.uint8], starts: Offsets, ends: Offsets) -> Offsets:
        """`ends` without the terminators."""
        ...


class Lines:
    """Records are lines, ended by LF or CRLF; a lone CR is content. Every line has a number."""

    line_end = re.compile(rb"\n")

    def __init__(self, max_record_bytes: int) -> None:
        self.max_record_bytes = max_record_bytes

    def split(self, data: bytes, final: bool) -> Split:
        """The lines of `data`."""
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == _LF).astype(np.int64) + 1
        if final and len(data) > (ends[-1] if len(ends) else 0):
            ends = np.append(ends, len(data))
        long = np.flatnonzero(np.diff(ends, prepend=0) > self.max_record_bytes)
        return Split(ends, {TOO_LARGE: long} if len(long) else {})

    def numbered(self, data: bytes, ends: Offsets) -> npt.NDArray[np.bool_]:
        """All of them."""
        return np.ones(len(ends), bool)

    def stops(self, array: npt.NDArray[np.uint8], starts: Offsets, ends: Offsets) -> Offsets:
        """Without LF or CRLF."""
        ended = array[ends - 1] == _LF
        stops = ends - ended
        result: Offsets = stops - (ended & (stops > starts) & (array[stops - 1] == _CR))
        return result


class Delimited:
    """Records of CSV or TSV, ended by LF, CRLF or CR; an empty line is no record."""

    line_end = re.compile(rb"[\r\n]")
    _any_line_end = re.compile(rb"\r\n?|\n")

    def __init__(
        self,
        delimiter: bytes,
        quoting: bool,
        max_record_bytes: int,
        *,
        quote: bytes = b'"',
        escape: bytes | None = None,
    ) -> None:
        self.max_record_bytes = max_record_bytes
        self._delimiter = delimiter[0]
        self._quoting = quoting
        self._quote = quote
        self._quote_byte = quote[0] if quoting else -1
        self._quotes = re.compile(rb"%b+" % re.escape(quote))
        self._opener_or_end = re.compile(
            rb"(?<=%b)%b|\r\n?|\n" % (re.escape(delimiter), re.escape(quote))
            if quoting
            else rb"\r\n?|\n"
        )
        self._escape = escape
        self._escaped = re.compile(rb"%b." % re.escape(escape), re.DOTALL) if escape else None

    def split(self, data: bytes, final: bool) -> Split:
        """The records of `data`: by parity of the quotes where these are as they should be."""
        if self._escape is None or self._escaped is None or self._escape not in data:
            return self._split(data, final)
        # What is escaped ends nothing: of the same length, and of no meaning.
        masked = self._escaped.sub(b"__", data)
        split = self._split(masked, final)
        if final and masked.endswith(self._escape):
            last = len(split.ends) - 1
            bad = split.bad.get(UNCLOSED_QUOTE, np.array([], np.int64))
            split.bad[UNCLOSED_QUOTE] = np.append(bad[bad < last], last)
        return split

    def _split(self, data: bytes, final: bool) -> Split:
        array = np.frombuffer(data, np.uint8)
        ends = self._line_ends(array, data, final)
        if self._quoting and self._quote in data:
            quotes = np.flatnonzero(array == self._quote_byte)
            if not self._quotes_are_regular(array, quotes):
                return self._split_with_care(data, final)
            ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
            open_at_end = final and len(quotes) % 2
            if open_at_end or len(data) - _last(ends) > self.max_record_bytes:
                return self._split_with_care(data, final)
        if final and len(data) > _last(ends):
            ends = np.append(ends, len(data))
        if (np.diff(ends, prepend=0) > self.max_record_bytes).any():
            return self._split_with_care(data, final)
        return Split(ends)

    def numbered(self, data: bytes, ends: Offsets) -> npt.NDArray[np.bool_]:
        """Those that are more than a line end."""
        array = np.frombuffer(data, np.uint8)
        first = array[np.concatenate([[0], ends])[: len(ends)].astype(np.int64)]
        blank = (first == _LF) | (first == _CR)
        result: npt.NDArray[np.bool_] = ~blank
        return result

    def stops(self, array: npt.NDArray[np.uint8], starts: Offsets, ends: Offsets) -> Offsets:
        """Without LF, CRLF or CR."""
        stops = ends - (array[ends - 1] == _LF)
        has_return = (stops > starts) & (array[stops - 1] == _CR)
        if self._escape is not None:
            has_return &= (stops - 1 <= starts) | (array[stops - 2] != self._escape[0])
        result: Offsets = stops - has_return
        return result

    def _line_ends(self, array: npt.NDArray[np.uint8], data: bytes, final: bool) -> Offsets:
        ends = np.flatnonzero(array == _LF).astype(np.int64) + 1
        if b"\r" not in data:
            return ends
        returns = np.flatnonzero(array == _CR).astype(np.int64) + 1
        # A CR at the buffer's end may be the first half of a CRLF.
        followed = returns < len(array)
        alone = np.full(len(returns), final)
        alone[followed] = array[returns[followed]] != _LF
        if not alone.any():
            return ends
        return np.sort(np.concatenate([ends, returns[alone]]), kind="stable")

    def _quotes_are_regular(self, array: npt.NDArray[np.uint8], quotes: Offsets) -> bool:
        """Whether quotes open and close in turn, so that their count tells which is which.

        A quote that opens stands after a delimiter or line end, or doubles the one before it; one
        that closes stands before a delimiter or line end, or is doubled by the next.
        """
        before = array[quotes[0::2] - 1]
        if quotes[0] == 0:
            before[0] = _LF
        closing = quotes[1::2]
        after = array[np.minimum(closing + 1, len(array) - 1)]
        if len(closing) and closing[-1] == len(array) - 1:
            after[-1] = _LF
        opens = self._is_border(before) | (before == self._quote_byte)
        closes = self._is_border(after) | (after == self._quote_byte)
        return bool(opens.all() and closes.all())

    def _is_border(self, values: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        borders: npt.NDArray[np.bool_] = (
            (values == self._delimiter) | (values == _LF) | (values == _CR)
        )
        return borders

    def field_counts(self, data: bytes, starts: Offsets, stops: Offsets) -> Offsets:
        """Fields of each record (int64; -1: its quotes or escapes are to be looked at one by one).

        Args:
          data: the records' bytes.
          starts: where they begin.
          stops: where they end, terminators left out.
        """
        if not len(starts) or (self._escape is not None and self._escape in data):
            return np.full(len(starts), -1)
        array = np.frombuffer(data, np.uint8)
        delimiters = np.flatnonzero(array == self._delimiter)
        if not self._quoting or self._quote not in data:
            return _counted(delimiters, starts, stops) + 1
        quotes = np.flatnonzero(array == self._quote_byte)
        literal, regular = self._quotes_of(array, quotes, starts, stops)
        before = (
            np.searchsorted(quotes, delimiters)
            - np.searchsorted(quotes, starts)[np.searchsorted(starts, delimiters, side="right") - 1]
        )
        outside = _counted(delimiters[before % 2 == 0], starts, stops)
        counts = np.where(literal, _counted(delimiters, starts, stops), outside) + 1
        return np.where(literal | regular, counts, -1)

    def _quotes_of(
        self, array: npt.NDArray[np.uint8], quotes: Offsets, starts: Offsets, stops: Offsets
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Of some spans: whether all quotes in each are literal, and whether they are regular."""
        first, last = np.searchsorted(quotes, starts), np.searchsorted(quotes, stops)
        owner = np.searchsorted(starts, quotes, side="right") - 1
        before = array[quotes - 1]
        before[quotes == starts[owner]] = _LF
        after = array[np.minimum(quotes + 1, len(array) - 1)]
        after[quotes + 1 == stops[owner]] = _LF
        opens = self._is_border(before)
        is_opener = (np.arange(len(quotes)) - first[owner]) % 2 == 0
        good = np.where(
            is_opener,
            opens | (before == self._quote_byte),
            self._is_border(after) | (after == self._quote_byte),
        )
        literal = _sums(opens, first, last) == 0
        regular = ((last - first) % 2 == 0) & (_sums(~good, first, last) == 0)
        return literal, regular

    def _broken_lines(
        self, array: npt.NDArray[np.uint8], quotes: Offsets, starts: Offsets
    ) -> npt.NDArray[np.bool_]:
        """Lines whose first quoted field, wherever it ends, is followed by what no field is.

        Of the others nothing is said.
        """
        opens = np.flatnonzero(self._is_border(array[quotes - 1]) | (quotes == 0))
        first = np.searchsorted(quotes[opens], starts)
        opener = np.append(opens, len(quotes))[first]
        at = np.append(quotes, [len(array)] * 3)
        closer = at[opener + 1]
        behind = np.append(array, np.uint8(_LF))[np.minimum(closer + 1, len(array))]
        return np.asarray(
            (closer + 1 < np.minimum(starts + self.max_record_bytes, len(array)))
            & (at[opener + 2] != closer + 1)
            & ~self._is_border(behind)
        )

    def _split_with_care(self, data: bytes, final: bool) -> Split:
        """The same where quotes are stray or records oversized.

        Lines that are a record by themselves, or cannot begin one, are found all at once; only the
        others are looked at one by one.
        """
        array = np.frombuffer(data, np.uint8)
        line_ends = self._line_ends(array, data, final)
        if final and len(data) > _last(line_ends):
            line_ends = np.append(line_ends, len(data))
        line_starts = np.concatenate([[0], line_ends[:-1]]).astype(np.int64)[: len(line_ends)]
        quotes = np.flatnonzero(array == self._quote_byte)
        stops = self.stops(array, line_starts, line_ends)
        of_lines = quotes[: np.searchsorted(quotes, _last(line_ends))]
        literal, regular = self._quotes_of(array, of_lines, line_starts, stops)
        whole = literal | regular
        broken = ~whole & self._broken_lines(array, quotes, line_starts)
        sure = (whole | broken) & (line_ends - line_starts < self.max_record_bytes)
        unsure = [*np.flatnonzero(~sure).tolist(), len(line_ends)]
        begins = [*line_starts.tolist(), len(data)]
        ends: list[int] = []
        bad: dict[str, list[int]] = {UNCLOSED_QUOTE: [], TOO_LARGE: []}
        start = line = next_unsure = 0
        while start < len(data):
            while begins[line] < start:
                line += 1
            while unsure[next_unsure] < line:
                next_unsure += 1
            some = slice(line, unsure[next_unsure])
            if begins[line] == start and some.start < some.stop:
                bad[UNCLOSED_QUOTE] += (len(ends) + np.flatnonzero(broken[some])).tolist()
                ends += line_ends[some].tolist()
            else:
                found = self._record_at(data, start, final)
                if found is None:
                    break
                if found[1]:
                    bad[found[1]].append(len(ends))
                ends.append(found[0])
            start = ends[-1]
        return Split(
            np.array(ends, np.int64),
            {reason: np.array(indices) for reason, indices in bad.items() if indices},
        )

    def _record_at(self, data: bytes, start: int, final: bool) -> tuple[int, str] | None:
        """End of the record at `start`, and why it is bad; None: more is to be read for it."""
        limit = min(start + self.max_record_bytes, len(data))
        end, reason = self._record_end(data, start, limit, final), ""
        if end == _UNKNOWN:
            # One byte more than a record may have must be in sight to call it too long.
            if not final and len(data) <= limit:
                return None
            end = _BROKEN
        if end == _BROKEN:
            end, reason = self._first_line(data, start, limit, final)
        return None if end == _UNKNOWN else (end, reason)

    def _record_end(self, data: bytes, start: int, limit: int, final: bool) -> int:
        """End of the record at `start`; _UNKNOWN: not before `limit`; _BROKEN: stray quotes."""
        at_end = final and limit == len(data)
        position = start
        opener: int | None = start if data[start] == self._quote_byte else None
        while True:
            if opener is not None:
                position = self._field_end(data, opener, limit)
                if position == _UNKNOWN:
                    return _BROKEN if at_end else _UNKNOWN
                if position == limit:
                    return limit if at_end else _UNKNOWN
                if data[position] not in (self._delimiter, _LF, _CR):
                    return _BROKEN
            match = self._opener_or_end.search(data, position, limit)
            if match is None:
                return limit if at_end else _UNKNOWN
            if match.group() == self._quote:
                opener = match.start()
            elif match.end() == limit and match.group() == b"\r" and not at_end:
                return _UNKNOWN  # perhaps half of a CRLF
            else:
                return match.end()

    def _field_end(self, data: bytes, opener: int, limit: int) -> int:
        """End of the field that a quote opens, after its closing quote; _UNKNOWN: not in sight."""
        position = opener + 1
        while quotes := self._quotes.search(data, position, limit):
            position = quotes.end()
            if (position - quotes.start()) % 2:
                return position
        return _UNKNOWN

    def _first_line(self, data: bytes, start: int, limit: int, final: bool) -> tuple[int, str]:
        """End of the line at `start`, _UNKNOWN if out of sight, and why the line is lost."""
        for since, reason in ((start, UNCLOSED_QUOTE), (limit, TOO_LARGE)):
            stop = limit if since == start else len(data)
            line_end = self._any_line_end.search(data, since, stop)
            if line_end and (final or line_end.end() < len(data) or line_end.group() != b"\r"):
                return line_end.end(), reason
        if not final:
            return _UNKNOWN, TOO_LARGE
        return len(data), TOO_LARGE if limit < len(data) else UNCLOSED_QUOTE


_UNKNOWN, _BROKEN = -1, -2


def _counted(places: Offsets, starts: Offsets, stops: Offsets) -> Offsets:
    """How many of some places lie in each span."""
    return np.searchsorted(places, stops) - np.searchsorted(places, starts)


def _sums(flags: npt.NDArray[np.bool_], first: Offsets, last: Offsets) -> Offsets:
    """How many flags are set in each span."""
    totals = np.concatenate([[0], np.cumsum(flags)])
    return totals[last] - totals[first]


def _last(ends: Offsets) -> int:
    return int(ends[-1]) if len(ends) else 0
