"""What the offsets of a file's labels count: code points, or what another tool took for characters.

JavaScript counts UTF-16 units, some tools bytes; one on Windows may have counted line ends as two
characters that are one since, or the other way round; some count from 1. One label does not tell,
since its text may stand nearby by chance; all labels of a file do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

# A label as it stands in a file: context, answer_start, text.
Label = tuple[str, int, str]

MOST_LOOKED_AT = 2_000
_NAMES = {1: "code points", 2: "UTF-16 units", 3: "UTF-8 bytes"}
_LINE_ENDS = {0: "", 1: ", line ends as two", -1: r", \r\n as one"}


@dataclass(frozen=True)
class OffsetUnit:
    """How offsets count.

    Attributes:
      width: 1: code points; 2: UTF-16 units; 3: UTF-8 bytes.
      line_ends: 1: a lone line feed counts as two characters; -1: carriage return and line feed
        count as one; 0: as they are.
      first: offset of the first character.
    """

    width: Literal[1, 2, 3] = 1
    line_ends: Literal[-1, 0, 1] = 0
    first: Literal[0, 1] = 0

    def __str__(self) -> str:
        name = _NAMES[self.width] + _LINE_ENDS[self.line_ends]
        return f"{name}, from 1" if self.first else name

    def offsets(self, context: str) -> np.ndarray:
        """The offset of each code point, and of the end, int64 [code points + 1]."""
        codes = np.frombuffer(context.encode("utf-32-le", "surrogatepass"), np.uint32)
        widths = np.ones(len(codes), np.int64)
        if self.width == 2:
            widths += codes > 0xFFFF
        elif self.width == 3:
            widths += sum((codes > most).astype(np.int64) for most in (0x7F, 0x7FF, 0xFFFF))
        if self.line_ends:
            feed, ret = codes == 0x0A, codes == 0x0D
            after_return = feed & np.append(False, ret)[:-1]
            widths += np.where(self.line_ends > 0, feed & ~after_return, 0)
            widths -= np.where(self.line_ends < 0, after_return, 0)
        return np.append(0, np.cumsum(widths)) + self.first


CODE_POINTS = OffsetUnit()
_UNITS = [
    OffsetUnit(width, line_ends, first)  # type: ignore[arg-type] # product forgets literals
    for width, line_ends, first in product((1, 2, 3), (0, 1, -1), (0, 1))
]


def code_points_of(labels: Sequence[Label], unit: OffsetUnit) -> list[int]:
    """Where the labels start in code points; an offset inside of a character is the character's."""
    if unit == CODE_POINTS:
        return [start for _, start, _ in labels]
    known: dict[str, np.ndarray] = {}
    code_points = []
    for context, start, _ in labels:
        if context not in known:
            known = {context: unit.offsets(context)}  # labels of a context stand together
        offsets = known[context]
        # Beyond the context one counts on, so that what is off stays as far off.
        beyond = max(start - int(offsets[-1]), 0) + min(start - int(offsets[0]), 0)
        code_points.append(max(int(np.searchsorted(offsets, start, side="right")) - 1, 0) + beyond)
    return code_points


def fitting(labels: Sequence[Label], unit: OffsetUnit) -> int:
    """How many labels stand where they say."""
    starts = code_points_of(labels, unit)
    return sum(
        start >= 0 and context.startswith(text, start)
        for start, (context, _, text) in zip(starts, labels, strict=True)
    )


@dataclass(frozen=True)
class FoundUnit:
    """What the offsets of a file count, and how many of its labels say so, and say code points."""

    unit: OffsetUnit
    fitting: int
    as_code_points: int
    labels: int

    def __str__(self) -> str:
        return (
            f"answer_start counts {self.unit}: {self.fitting:,} of {self.labels:,} labels looked "
            f"at stand there, {self.as_code_points:,} where code points say; converted"
        )


def unit_of(labels: Sequence[Label]) -> FoundUnit:
    """The unit under which a file's labels stand where they say.

    Another one than code points needs two labels more, and half as many that stand elsewhere.
    """
    step = max(len(labels) // MOST_LOOKED_AT, 1)
    some = labels[::step]
    right = fitting(some, CODE_POINTS)
    as_they_are = FoundUnit(CODE_POINTS, right, right, len(some))
    if right == len(some):
        return as_they_are
    counts = [fitting(some, unit) for unit in _UNITS]
    best = max(counts)
    if best < right + 2 or 2 * (len(some) - best) > len(some) - right:
        return as_they_are
    return FoundUnit(_UNITS[counts.index(best)], best, right, len(some))
