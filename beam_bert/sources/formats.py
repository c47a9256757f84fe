"""What a file's name says: its format and its compression."""

from __future__ import annotations

from typing import Literal

from beam_bert.errors import InputError
from beam_bert.settings.naming import named
from beam_bert.slices.plan import FileEntry
from beam_bert.sources.spec import Format, SourceSpec

Compression = Literal["gzip", "bzip2", "zstd", "zip"]

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
    ".zip": "zip",
}
# Archives hold files, and nobody knows which of them is meant.
ARCHIVE_SUFFIXES = {
    ".tar": "tar -xf",
    ".tgz": "tar -xzf",
    ".tar.gz": "tar -xzf",
    ".tar.bz2": "tar -xjf",
    ".tar.zst": "tar --zstd -xf",
    ".7z": "7z x",
    ".rar": "unrar x",
    ".xz": "xz -d",
    ".lz4": "lz4 -d",
    ".snappy": "snzip -d",
}


def compression_of(path: str) -> Compression | None:
    """How the file is compressed, by its last suffix."""
    return COMPRESSION_OF_SUFFIX.get(_suffix(path))


def is_packed(file: FileEntry) -> bool:
    """Whether its stored bytes must be unpacked, by its name or its Content-Encoding."""
    return bool(file.encoding) or compression_of(file.path) is not None


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
    if advice := archive_advice(path):
        raise InputError(advice)
    if spec.format != "auto":
        return spec.format
    if (format_ := named_format(path)) is None:
        raise InputError(
            f"{path}: the name does not tell the format; "
            f"set {named('format')} to text, jsonl, csv, tsv or parquet"
        )
    return format_


def archive_advice(path: str) -> str | None:
    """What to do about a file whose name says that it is an archive; None: it says nothing so."""
    name = path[path.rfind("/") + 1 :].lower()
    for suffix, command in ARCHIVE_SUFFIXES.items():
        if name.endswith(suffix):
            return f"{path}: {suffix} is not read; unpack it first: {command} {path}"
    return None


def _suffix(path: str) -> str:
    name = path[path.rfind("/") + 1 :]
    dot = name.rfind(".")
    return name[dot:].lower() if dot >= 0 else ""
