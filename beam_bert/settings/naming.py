"""What the caller calls a setting, for messages: `--max_length` is a flag on the command line only.

The caller is the process: the command line says so once it knows its flags, and anything else is
Python. What goes into the output must not hang on it, so reasons of rejects use plain words.
"""

from __future__ import annotations

from collections.abc import Collection

_flags: frozenset[str] | None = None


def called_by_flags(flags: Collection[str] | None) -> None:
    """Say which settings are flags of the command that runs; None: it is called from Python.

    Those that its YAML file gave, or that stand in one of the file's sections, are not among them.
    """
    global _flags
    _flags = None if flags is None else frozenset(flags)


def named(setting: str, value: object = None) -> str:
    """A setting as its caller writes it, with a value if there is one.

    `--format csv` for a flag, `format: csv` for a line of YAML, `format='csv'` from Python.
    """
    if _flags is None:
        return setting if value is None else f"{setting}={value!r}"
    if setting in _flags:
        return f"--{setting}" if value is None else f"--{setting} {value}"
    return setting if value is None else f"{setting}: {value}"
