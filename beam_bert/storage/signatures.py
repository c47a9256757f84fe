"""First bytes give a file away: what it is, where that is not what its name says."""

from __future__ import annotations

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
    (b"PAR1", "Parquet", "give its name the ending .parquet, or say that its format is parquet"),
    (b"ARROW1\x00\x00", "an Arrow file", "write it as Parquet"),
    (b"Obj\x01", "Avro", "write it as Parquet or JSON lines"),
    (b"ORC\x00", "ORC", "write it as Parquet"),
    (b"%PDF-", "a PDF", "bring its text: pdftotext"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document", "save it as CSV"),
    (b"{\\rtf", "an RTF document", "save it as text"),
    (b"SQLite format 3\x00", "an SQLite database", "export the table as CSV"),
    (b"\x89PNG\r\n", "a picture", "bring text"),
    (b"\x89HDF\r\n\x1a\n", "HDF5", "write it as Parquet or safetensors"),
    (b"GGUF\x03\x00", "GGUF", "bring the model it was made of"),
    *(
        (bytes([0x80, n]), "a pickle", "it can run code: save it without pickle")
        for n in (2, 3, 4, 5)
    ),
)


def kind_of(head: bytes) -> tuple[str, str] | None:
    """What a file with these first bytes is, and what to do about it; None: it may be text."""
    if head.startswith(_GIT_LFS):
        return "a Git LFS pointer, not the file itself", "fetch it: git lfs pull"
    if head.startswith(b"BZh") and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):
        return "bzip2", "give its name the ending .bz2"
    if head.startswith(b"PK\x03\x04") and b"/data.pkl" in head[30:SIGNATURE_BYTES]:
        return "a pickle of torch.save", "it can run code: save it without pickle"
    for mark, kind, advice in _SIGNATURES:
        # Text may begin with these letters, but holds no NUL.
        if head.startswith(mark) and (b"\0" in mark or not mark.isascii() or _binary(head, mark)):
            return kind, advice
    if head[257:262] == b"ustar":
        return "a tar archive", "unpack it: tar -xf"
    return None


def markup(head: bytes) -> tuple[str, str] | None:
    """As `kind_of`, of HTML and XML, which plain text may be."""
    begin = head[:SIGNATURE_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if begin.startswith((b"<!doctype html", b"<html")):
        return "an HTML page", "it may be an error or a login page: fetch the file again"
    if begin.startswith(b"<?xml"):
        return "XML", "write it as JSON lines, CSV or Parquet"
    return None


def _binary(head: bytes, mark: bytes) -> bool:
    return mark in (b"%PDF-", b"{\\rtf") or b"\0" in head or len(head) <= len(mark)
