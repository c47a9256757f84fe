"""Writes docs/reference.md, every command's flags, from the settings: run it after changing them.

python -m tools.reference           write the file
python -m tools.reference --check   say whether it is stale; exit code 1 then
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from beam_bert.jobs.command_line import flags_table
from beam_bert.jobs.commands import COMMANDS
from beam_bert.settings.inference import ClassifyConfig

REFERENCE = Path(__file__).parents[1] / "docs" / "reference.md"
OPENING = """# Reference

Made by `python -m tools.reference` from the settings themselves. The same names stand in the YAML
file of `--config`; flags win. Where a command runs on Beam, any other flag or name goes to Beam
(`--runner`, `--project`, `--direct_num_workers`, …).
"""


def reference() -> str:
    """The page: a table of flags for each command, for some only those that classify has not."""
    parts = [OPENING]
    for name, command in COMMANDS.items():
        beside = ClassifyConfig if name in ("sentiment", "answer", "bench") else None
        parts.append(f"## {name}\n")
        if beside:
            parts.append("The flags of [classify](#classify), as far as they make sense, and:\n")
        parts.append(flags_table(command.settings, beside) + "\n")
        for task, (settings, _) in command.tasks.items():
            parts.append(f"### {name} --task {task}\n")
            parts.append(flags_table(settings, command.settings) + "\n")
    return "\n".join(parts)


def main(argv: Sequence[str]) -> int:
    """Write or check the page; returns the exit code."""
    if "--check" not in argv:
        REFERENCE.write_text(reference(), encoding="utf-8")
    elif REFERENCE.read_text(encoding="utf-8") != reference():
        print(f"{REFERENCE} is stale: run python -m tools.reference", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
