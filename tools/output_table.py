"""Writes the table of types in docs/output.md from the rules: run it after changing them.

python -m tools.output_table           write the page
python -m tools.output_table --check   say whether it is stale; exit code 1 then
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from beam_bert.sinks.table_types import RULES

PAGE = Path(__file__).parents[1] / "docs" / "output.md"
BEGIN, END = "<!-- types: made by python -m tools.output_table -->", "<!-- end of types -->"


def page() -> str:
    """The page with its table of types as the rules are now."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    lines = ["| you carry | in the file | why |", "| --- | --- | --- |"]
    for rule in RULES:
        lines.append(
            f"| {rule.name} | {rule.becomes} | {rule.why or 'one layout for all nights'} |"
        )
    return "\n".join([f"{before}{BEGIN}", "", *lines, "", END]) + rest.split(END)[1]


def main(argv: Sequence[str]) -> int:
    """Write or check the page; returns the exit code."""
    if "--check" not in argv:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        print(f"{PAGE} is stale: run python -m tools.output_table", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
