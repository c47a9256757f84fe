"""First bytes give a file away: what it is, where that is not what its name says."""

from __future__ import annotations

from beam_bert.sources.spec import Format

# The longest that one of the signatures needs: tar's stands at 257.
SIGNATURE_BYTES = 512

_GIT_LFS = b"version https://git-lfs.github.com/spec/"
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b\x08", "gzip", "give its name the ending .gz"),
    (b"\x28\xb5\x2f\xfd", "zstd", "give its name the ending .zst"),
    (b"PK\x03\x04", "a zip archive", "give its name the ending .zip, or unpack it"),
    (b"PK\x05\x06", "an empty zip archive", "bring the data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it: 7z x"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it: unrar x"),
    (b"\xfd7zXZ\x00", "xz", "unpack it: xz -d"),
    (b"PAR1", "Parquet", "give its name the ending .parquet, or add --format parquet"),
    (b"ARROW1\x00\x00", "an Arrow file", "write it as Parquet"),
    (b"Obj\x01", "Avro", "write it as Parquet or JSON lines"),
    (b"ORC\x00", "ORC", "write it as Parquet"),
    (b"%PDF-", "a PDF", "bring its text: pdftotext"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document", "save it as CSV"),
    (b"{\\rtf", "an RTF document", "save it as text"),
    (b"SQLite format 3\x00", "an SQLite database", "export the table as CSV"),
    (b"\x89PNG\r\n", "a picture", "bring text"),
)
_COMPRESSED = {
    "gzip": (b"\x1f\x8b",),
    "bzip2": (b"BZh",),
    # Skippable frames (0x184D2A50 to ...5F) may come first.
    "zstd": (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + i]) + b"\x2a\x4d\x18" for i in range(16))),
    "zip": (b"PK",),
}


def kind_of(head: bytes) -> tuple[str, str] | None:
    """What the bytes are and what to do about it; None where they may be text."""
    if head.startswith(_GIT_LFS):
        return "a Git LFS pointer, not the file itself", "fetch it: git lfs pull"
    if head.startswith(b"BZh") and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        return "bzip2", "give its name the ending .bz2"
    for mark, kind, advice in _SIGNATURES:
        # Text may begin with these letters, but holds no NUL.
        if head.startswith(mark) and (b"\0" in mark or not mark.isascii() or _binary(head, mark)):
            return kind, advice
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it: tar -xf"
    return None


def foreign(head: bytes, format_: Format) -> str | None:
    """Why a file that begins so cannot be of that format; None: it may be.

    Args:
      head: the file's first bytes, unpacked if it is compressed.
      format_: as its name or the settings say.
    """
    found = kind_of(head[:SIGNATURE_BYTES])
    if format_ == "parquet":
        if head.startswith(b"PAR"):
            return None
        if found is None and (found := _markup(head)) is None:
            return None
    elif found is None and format_ != "text":
        found = _markup(head)
    if found is None:
        return None
    kind, advice = found
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


def _binary(head: bytes, mark: bytes) -> bool:
    return mark in (b"%PDF-", b"{\\rtf") or b"\0" in head or len(head) <= len(mark)


def _markup(head: bytes) -> tuple[str, str] | None:
    begin = head[:SIGNATURE_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if begin.startswith((b"<!doctype html", b"<html")):
        return "an HTML page", "it may be an error or a login page: fetch the data again"
    if begin.startswith(b"<?xml"):
        return "XML", "write it as JSON lines, CSV or Parquet"
    return None
