"""Pages that a command writes: `python -m tools.NAME`, or `--check` says whether one is stale."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path


def write_or_check(path: Path, page: Callable[[], str], command: str, argv: Sequence[str]) -> int:
    """Write the page, or with `--check` compare it; returns the exit code."""
    if "--check" not in argv:
        path.write_text(page(), encoding="utf-8")
    elif path.read_text(encoding="utf-8") != page():
        print(f"{path} is stale: run python -m {command}", file=sys.stderr)
        return 1
    return 0
