"""Why a file that begins so cannot be what its name says."""

from __future__ import annotations

from beam_bert.sources.spec import Format
from beam_bert.storage.signatures import SIGNATURE_BYTES, kind_of, markup

_COMPRESSED = {
    "gzip": (b"\x1f\x8b",),
    "bzip2": (b"BZh",),
    # Skippable frames (0x184D2A50 to ...5F) may come first.
    "zstd": (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + i]) + b"\x2a\x4d\x18" for i in range(16))),
    "zip": (b"PK",),
}


def foreign(head: bytes, format_: Format) -> str | None:
    """Why a file that begins so cannot be of that format; None: it may be.

    Args:
      head: the file's first bytes, unpacked if it is compressed.
      format_: as its name or the settings say.
    """
    kind_and_advice = kind_of(head[:SIGNATURE_BYTES])
    if format_ == "parquet":
        if head.startswith(b"PAR"):
            return None
        if kind_and_advice is None and (kind_and_advice := markup(head)) is None:
            return None
    elif kind_and_advice is None and format_ != "text":
        kind_and_advice = markup(head)
    if kind_and_advice is None:
        return None
    kind, advice = kind_and_advice
    return f"the file is {kind}; {advice}"


def not_compressed(head: bytes, compression: str) -> str | None:
    """Why these bytes are not compressed as the name says; None: they begin as they should."""
    if not head or head.startswith(_COMPRESSED[compression]):
        return None
    if any(mark.startswith(head) for mark in _COMPRESSED[compression]):
        return None
    what, advice = kind_of(head) or ("", "bring the file again")
    if not what and b"\0" not in head:
        what, advice = "plain text", "take the ending off its name"
    return f"the file is not {compression}" + (f" but {what}; {advice}" if what else f"; {advice}")
