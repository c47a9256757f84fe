"""Find the few that are refused among many that are accepted."""

from __future__ import annotations

from collections.abc import Callable


def refused(
    indices: list[int], accepts: Callable[[list[int]], bool], at_once: int = 1
) -> list[int]:
    """Those of `indices` that `accepts` refuses, by bisection: few calls where few are bad.

    With `at_once` over 1 bisection ends at so many, and good ones among these are in the answer.
    """
    if not indices or accepts(indices):
        return []
    if len(indices) <= at_once:
        return indices
    half = len(indices) // 2
    return [
        *refused(indices[:half], accepts, at_once),
        *refused(indices[half:], accepts, at_once),
    ]
