"""Writes the tables of docs/output.md from the rules and what readers see: run it after changes.

python -m tools.output_table           write the page
python -m tools.output_table --check   say whether it is stale; exit code 1 then
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from beam_bert.sinks.table_types import RULES
from tools.pages import write_or_check
from tools.readers_table import readers_table

PAGE = Path(__file__).parents[1] / "docs" / "output.md"


def page() -> str:
    """The page with its tables as the rules and the record are now."""
    text = PAGE.read_text(encoding="utf-8")
    for name, lines in (("types", _types()), ("readers", readers_table())):
        begin = f"<!-- {name}: made by python -m tools.output_table -->"
        before, rest = text.split(begin)
        end = f"<!-- end of {name} -->"
        text = "\n".join([f"{before}{begin}", "", *lines, "", end]) + rest.split(end)[1]
    return text


def _types() -> list[str]:
    lines = ["| you carry | in the file | why |", "| --- | --- | --- |"]
    for rule in RULES:
        lines.append(
            f"| {rule.name} | {rule.becomes} | {rule.why or 'one layout for all nights'} |"
        )
    return lines


def main(argv: Sequence[str]) -> int:
    """Write or check the page; returns the exit code."""
    return write_or_check(PAGE, page, "tools.output_table", argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
