"""Look at the beginning of files for their columns: headers, footers, the first JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO

import pyarrow as pa

from beam_bert.errors import InputError
from beam_bert.slices.plan import FileEntry
from beam_bert.sources.compression import DamagedFileError, Readable, seekable, unpacked
from beam_bert.sources.delimited import HeaderError, header_of
from beam_bert.sources.fitting import plain_type
from beam_bert.sources.formats import (
    UTF8_BOM,
    compression_of,
    format_of,
    is_packed,
    recode_hint,
    wide_encoding,
)
from beam_bert.sources.json_types import Shape, shape_of
from beam_bert.sources.json_values import deeper_than_allowed
from beam_bert.sources.jsonl import jsonl_splitter
from beam_bert.sources.opening import AHEAD_BYTES, ChangedFileError, is_gs, open_listed
from beam_bert.sources.parquet import ParquetDamage, open_parquet, read_footer
from beam_bert.sources.segments import HEADER_BYTES
from beam_bert.sources.spec import Format, SourceSpec
from beam_bert.storage.kept_bytes import KEPT

_MAX_FILES = 1_000
_SAMPLE_BYTES = 1 << 20
_ALL_SAMPLES_BYTES = 64 << 20
_THREADS = 16
_HEADER_LOOK_BYTES = 64 << 10  # a longer header is read on


@dataclass
class Sample:
    """What was seen of one file.

    Attributes:
      types: type of each column of a Parquet file, string for those of CSV and plain text.
      shapes: shapes of the values of each column of JSON lines.
      spread_out: "array" or "object" where the file begins like one over many lines.
      first_record_fields: of a file without header, fields in its first record.
    """

    path: str
    format: Format
    types: dict[str, pa.DataType] = field(default_factory=dict)
    shapes: dict[str, dict[Shape, None]] = field(default_factory=dict)
    spread_out: str | None = None
    first_record_fields: int | None = None

    @property
    def columns(self) -> Iterable[str]:
        """Names of the columns, in the file's order."""
        return self.types or self.shapes


def sample_files(files: Sequence[FileEntry], spec: SourceSpec) -> list[Sample]:
    """Look at up to 1,000 of the files, spread evenly, in the listing's order.

    Raises:
      InputError: a name tells no format (of all files), a file is in UTF-16 or UTF-32, is gone or
        may not be read, or is Parquet inside .gz, .bz2 or .zst.
    """
    for file in files:
        if format_of(file.path, spec) == "parquet" and compression_of(file.path):
            raise InputError(f"{file.path}: Parquet compresses inside; unpack the file first")
    count = min(len(files), _MAX_FILES)
    chosen = [files[i * len(files) // count] for i in range(count)]
    limit = min(_SAMPLE_BYTES, max(_SAMPLE_BYTES >> 4, _ALL_SAMPLES_BYTES // max(count, 1)))
    if any(is_gs(file.path) for file in chosen):
        KEPT.begin()
    with ThreadPoolExecutor(min(_THREADS, max(count, 1))) as threads:
        return list(threads.map(lambda file: _sample(file, spec, limit), chosen))


def _sample(file: FileEntry, spec: SourceSpec, limit: int) -> Sample:
    path = file.path
    sample = Sample(path, format_of(path, spec))
    try:
        if sample.format == "parquet":
            with open_listed(file, ahead=AHEAD_BYTES if is_packed(file) else 0) as opened:
                _look_at_footer(opened, file, sample)
            return sample
        is_json = sample.format == "jsonl"
        with open_listed(file, ahead=limit if is_json else _HEADER_LOOK_BYTES, keep=True) as opened:
            source = unpacked(opened, file)
            if is_json:
                _look_at_objects(source, sample, spec, limit)
            else:
                _look_at_header(source, sample, spec)
    except ChangedFileError as error:
        raise InputError(f"{error}; run again when nobody writes it") from error
    except FileNotFoundError as error:
        raise InputError(f"{path} is gone; list the input again") from error
    except PermissionError as error:
        raise InputError(
            f"{path} may not be read ({error.strerror}); grant read permission to it"
        ) from error
    except HeaderError:
        pass  # a reject when it is read
    return sample


def _look_at_footer(opened: BinaryIO, file: FileEntry, sample: Sample) -> None:
    try:
        whole = seekable(opened, file)
        schema = open_parquet(whole, read_footer(whole)).schema_arrow
    except (ParquetDamage, DamagedFileError):
        return  # a reject when it is read
    for column in schema:
        sample.types.setdefault(column.name, plain_type(column.type))


def _look_at_header(source: Readable, sample: Sample, spec: SourceSpec) -> None:
    head, final = _read(source, b"", _HEADER_LOOK_BYTES)
    _refuse_wide(head, sample.path)
    if sample.format == "text":
        sample.types = dict.fromkeys(spec.text_columns[:1], pa.string())
        return
    try:
        names, begin = header_of(head, final, sample.format, spec)
    except HeaderError:
        if final or len(head) < _HEADER_LOOK_BYTES:
            raise
        head, final = _read(source, head, HEADER_BYTES)
        names, begin = header_of(head, final, sample.format, spec)
    sample.types = dict.fromkeys(names, pa.string())
    if spec.column_names is not None and len(head) > begin:
        headed, _ = header_of(head, final, sample.format, spec.without_column_names())
        sample.first_record_fields = len(headed)


def _look_at_objects(source: Readable, sample: Sample, spec: SourceSpec, limit: int) -> None:
    data, final = _read(source, b"", limit)
    _refuse_wide(data, sample.path)
    while not final and b"\n" not in data and len(data) < jsonl_splitter(spec).max_record_bytes:
        data, final = _read(source, data, 2 * len(data))
    lines = data.removeprefix(UTF8_BOM).split(b"\n")
    first = data.removeprefix(UTF8_BOM).lstrip().split(b"\n", 1)[0].rstrip()
    sample.spread_out = "array" if first.startswith(b"[") else "object" if first == b"{" else None
    for line in lines if final else lines[:-1]:
        if deeper_than_allowed(line):
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue  # a reject when it is read
        if isinstance(value, dict):
            for key, item in value.items():
                sample.shapes.setdefault(key, {})[shape_of(item)] = None


def _read(source: Readable, begun: bytes, size: int) -> tuple[bytes, bool]:
    """Read on until `size` bytes are there, and tell whether the source ended."""
    try:
        while len(begun) < size:
            more = source.read(size - len(begun))
            if not more:
                return begun, True
            begun += more
    except DamagedFileError:
        return begun, False
    return begun, False


def _refuse_wide(head: bytes, path: str) -> None:
    if encoding := wide_encoding(head):
        raise InputError(recode_hint(path, encoding))
