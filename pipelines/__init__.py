"""Entry points: `python -m pipelines.<job>`; each parses, calls one library function and exits."""

from __future__ import annotations

from collections.abc import Sequence

from beam_bert.terminal import stoppable


def run(name: str, argv: Sequence[str] | None = None) -> int:
    """Run the command of that name; returns its exit code."""

    def command() -> int:
        from beam_bert.jobs.commands import run_command  # takes a while, and may be stopped

        return run_command(name, argv)

    return stoppable(command)
