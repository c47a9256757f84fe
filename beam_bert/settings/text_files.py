"""What a person may say about text files: the checked types of these settings."""

from __future__ import annotations

import codecs
from typing import Annotated

from pydantic import AfterValidator

from beam_bert.errors import shown

# Names for codecs that hold no text of many lines, or need a whole text at once.
_NO_FILES = ("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem")


def _checked_encoding(value: str) -> str:
    if value == "auto":
        return value
    try:
        codec = codecs.lookup(value)
    except (LookupError, ValueError):
        codec = None
    is_text = codec is not None and codec._is_text_encoding
    if not is_text or codec.name.replace("-", "_") in _NO_FILES:  # type: ignore[union-attr]
        raise ValueError(
            f"{shown(value)} is no encoding that Python knows; such as utf-8, cp1252, latin-1, "
            "utf-16, gb18030, shift_jis, euc-kr, or auto"
        )
    return value


def _checked_character(value: str | None) -> str | None:
    if value is None:
        return None
    meant = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}.get(value.lower(), value)
    if len(meant) > 1 and meant.startswith("\\") and meant.isascii():
        try:
            meant = meant.encode().decode("unicode_escape")  # '\t' as a shell hands it on
        except UnicodeDecodeError:
            meant = value
    if len(meant) != 1 or not meant.isascii() or meant in "\r\n\0":
        raise ValueError(f"must be one ASCII character, such as ';' or '\\t', got {shown(value)}")
    return meant


Encoding = Annotated[str, AfterValidator(_checked_encoding)]
Character = Annotated[str, AfterValidator(_checked_character)]
OptionalCharacter = Annotated[str | None, AfterValidator(_checked_character)]
