"""The exceptions that users see: each says what was wrong, where, and what to do next."""

from __future__ import annotations

import re

# Controls, marks that turn the direction of writing, the lines' and paragraphs' ends of Unicode,
# and halves of surrogate pairs, which no encoding can write. Line ends stay.
_STEERING = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)

# What libraries say has several lines, and a column's name may have a line end.
_LINE_ENDS = re.compile(r"\s*[\n\r]\s*")

_MOST_CHARACTERS = 2_000  # of a message: values are cut where it is made, lists of them may be long


def printable(text: str) -> str:
    """Text from outside as a terminal or page may have it: what would steer it, as escapes."""
    return _STEERING.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def shortened(text: str, most: int = 200) -> str:
    """The start of a text from outside, for a message."""
    return text if len(text) <= most else f"{text[:most]}…"


def shown(value: object, most: int = 80) -> str:
    """A value from outside as a message shows it: its start, on one line."""
    if isinstance(value, (str, bytes)):
        value = value[: most + 1]
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits; thousands of levels
        text = f"a {type(value).__name__}"
    return printable(shortened(text, most))


def one_line(error: BaseException) -> str:
    """An error's message for a terminal."""
    return printable(shortened(_LINE_ENDS.sub(" ", str(error)).strip(), _MOST_CHARACTERS))


class BeamBertError(Exception):
    """Base of everything this package raises on purpose; `str()` is one line for a person.

    Attributes:
      exit_code: of a command that ends with it.
      to_paste: lines that a person may want to copy into a file, where there are such.
    """

    exit_code = 1
    to_paste = ""

    def __str__(self) -> str:
        return _LINE_ENDS.sub(" ", super().__str__())


class UserError(BeamBertError):
    """Something that the caller can mend before trying again."""

    exit_code = 2


class ConfigError(UserError):
    """A flag or a field of the configuration file is unknown, missing or out of range."""


class InputError(UserError):
    """The input cannot be used: nothing matches, no such column, an unreadable header."""


class NoFilesError(InputError):
    """A folder or pattern that is as it should be, with no file in it, or none yet."""


class ModelError(UserError):
    """The model cannot be used: missing, not an encoder we know, no head, cut short."""


class OutputError(UserError):
    """The output place cannot be used: it holds a committed run, or cannot be written."""


class RunFailed(BeamBertError):
    """The run did not finish and committed nothing; what was computed waits in staging."""


class CommittedUnread(BeamBertError):
    """The run is committed, but its manifest could not be read back to tell of it."""

    exit_code = 0


class StoreConflict(BeamBertError):
    """Somebody else moved an alias of the model store first; nothing was changed."""
