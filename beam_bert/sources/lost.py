"""Why a file, or the rest of one, cannot be read: nobody knows how many rows are missing then."""

from __future__ import annotations

from typing import ClassVar


class ChangedFileError(Exception):
    """The version that was listed is gone: the file was replaced, or is being written."""


class LostFile(Exception):
    """A file that cannot be read (to its end); its reject has no row."""

    reason: ClassVar[str]


class DamagedFileError(LostFile):
    """The stream ends early or is corrupt; all bytes before that were given out."""

    reason = "damaged_file"


class NotSupportedError(LostFile):
    """The file is whole, but has what pyarrow does not read, such as integers of 128 bits."""

    reason = "not_supported"


class HeaderError(LostFile):
    """A file's first line cannot be its header."""

    reason = "bad_header"


class WrongKindError(LostFile):
    """The file's first bytes say that it is something else than its name says."""

    reason = "wrong_kind"


class WideEncodingError(LostFile):
    """The file is in UTF-16 or UTF-32, and another encoding was named."""

    reason = "wide_encoding"


class MissingFileError(LostFile):
    """The file has gone since it was listed."""

    reason = "missing_file"


class UnreadableFileError(LostFile):
    """The file may not be read (any more)."""

    reason = "unreadable_file"


class ReplacedFileError(LostFile):
    """The file has changed since it was listed."""

    reason = "changed_file"
