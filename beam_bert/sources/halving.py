"""Find the few that are refused among many that are accepted."""

from __future__ import annotations

from collections.abc import Callable


def refused(indices: list[int], accepts: Callable[[list[int]], bool]) -> list[int]:
    """Those of `indices` that `accepts` refuses alone, by halving: few calls where few are bad."""
    if not indices or accepts(indices):
        return []
    if len(indices) == 1:
        return indices
    half = len(indices) // 2
    return refused(indices[:half], accepts) + refused(indices[half:], accepts)
