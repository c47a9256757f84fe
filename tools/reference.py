"""Writes docs/reference.md, every command's flags, from the settings: run it after changing them.

python -m tools.reference           write the file
python -m tools.reference --check   say whether it is stale; exit code 1 then
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import BaseModel

from beam_bert.jobs.command_line import default_text
from beam_bert.jobs.commands import COMMANDS
from beam_bert.settings.fields import is_fixed
from beam_bert.settings.inference import ClassifyConfig
from tools.pages import write_or_check

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


def flags_table(config: type[BaseModel], beside: type[BaseModel] | None = None) -> str:
    """A Markdown table of the flags.

    Args:
      config: the settings.
      beside: leave out the flags that these settings have, and say, too.
    """
    known = _flag_rows(beside) if beside is not None else []
    rows = [row for row in _flag_rows(config) if row not in known]
    return "\n".join(["| flag | default | what it does |", "| --- | --- | --- |", *rows])


def _flag_rows(config: type[BaseModel]) -> list[str]:
    lines = []
    for name, field in config.model_fields.items():
        if is_fixed(config, name):
            continue
        text = field.description or ""
        if get_origin(field.annotation) is Literal:
            text += " One of " + ", ".join(map(str, get_args(field.annotation))) + "."
        lines.append(f"| `--{name}` | {default_text(field) or 'required'} | {text} |")
    return lines


def main(argv: Sequence[str]) -> int:
    """Write or check the page; returns the exit code."""
    return write_or_check(REFERENCE, reference, "tools.reference", argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
