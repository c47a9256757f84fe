"""What a file's name and first bytes say: its format, its compression, its encoding."""

from __future__ import annotations

from typing import Literal

from beam_bert.errors import InputError
from beam_bert.slices.plan import FileEntry
from beam_bert.sources.spec import Format, SourceSpec

Compression = Literal["gzip", "bzip2", "zstd"]

FORMAT_OF_SUFFIX: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "text",
    ".text": "text",
    ".parquet": "parquet",
    ".pq": "parquet",
}
COMPRESSION_OF_SUFFIX: dict[str, Compression] = {
    ".gz": "gzip",
    ".bz2": "bzip2",
    ".zst": "zstd",
}
UTF8_BOM = b"\xef\xbb\xbf"
# UTF-32 first: its little-endian mark begins with UTF-16's.
WIDE_BOMS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


def compression_of(path: str) -> Compression | None:
    """How the file is compressed, by its last suffix."""
    return COMPRESSION_OF_SUFFIX.get(_suffix(path))


def is_packed(file: FileEntry) -> bool:
    """Whether its stored bytes must be unpacked, by its name or its Content-Encoding."""
    return file.encoding == "gzip" or compression_of(file.path) is not None


def named_format(path: str) -> Format | None:
    """The format that the file's name tells, whatever its compression; None if it tells none."""
    if compression_of(path):
        path = path[: path.rindex(".")]
    return FORMAT_OF_SUFFIX.get(_suffix(path))


def format_of(path: str, spec: SourceSpec) -> Format:
    """The file's format: the spec's, or by name.

    Raises:
      InputError: the spec says "auto" and the name tells nothing.
    """
    if spec.format != "auto":
        return spec.format
    if (format_ := named_format(path)) is None:
        raise InputError(
            f"{path}: the name does not tell the format; "
            "add --format text, jsonl, csv, tsv or parquet"
        )
    return format_


def wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 where the file's first bytes are that encoding's mark."""
    for bom, encoding in WIDE_BOMS.items():
        if head.startswith(bom):
            return encoding
    return None


def recode_hint(path: str, encoding: str) -> str:
    """What to tell a person whose file is in a wide encoding."""
    return (
        f"{path} is {encoding}, not UTF-8; recode it: "
        f"iconv -f {encoding} -t UTF-8 {path} > {path}.utf8"
    )


def _suffix(path: str) -> str:
    name = path[path.rfind("/") + 1 :]
    dot = name.rfind(".")
    return name[dot:].lower() if dot >= 0 else ""
