"""Look at the beginning of files for their columns: headers, footers, the first JSON lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa

from beam_bert.errors import InputError
from beam_bert.settings.naming import named
from beam_bert.slices.plan import FileEntry
from beam_bert.sources.compression import Readable, seekable, unpacked
from beam_bert.sources.decoding import likely_encoding
from beam_bert.sources.delimited import delimited_splitter, header_of
from beam_bert.sources.dialects import first_records, looks_like_data
from beam_bert.sources.fitting import plain_type
from beam_bert.sources.formats import compression_of, format_of, is_packed
from beam_bert.sources.json_types import Shape, shape_of
from beam_bert.sources.json_values import sampled
from beam_bert.sources.jsonl import jsonl_splitter
from beam_bert.sources.layouts import LOOK_BYTES, Opened, open_layout
from beam_bert.sources.lost import ChangedFileError, LostFile
from beam_bert.sources.opening import AHEAD_BYTES, is_gs, open_listed
from beam_bert.sources.parquet import PARQUET_ERRORS, open_parquet, read_footer, type_at
from beam_bert.sources.parquet_types import column_types_of, finer_than_microseconds
from beam_bert.sources.spec import Format, SourceSpec
from beam_bert.sources.utf8 import is_valid_utf8
from beam_bert.storage.kept_bytes import KEPT
from beam_bert.storage.signatures import markup

_MAX_FILES = 1_000
_SAMPLE_BYTES = 1 << 20
_ALL_SAMPLES_BYTES = 64 << 20
_THREADS = 16
_OBJECTS = re.compile(rb"^[ \t\r]*\{.*\}[ \t\r]*$", re.MULTILINE)


@dataclass
class FileSample:
    """What was seen of one file.

    Attributes:
      types: type of each column of a Parquet file, string for those of CSV and plain text.
      shapes: shapes of the values of each column of JSON lines.
      first_record_fields: of a file without header, fields in its first record.
      finer: columns of Parquet files with times that microseconds do not hold exactly.
      lost: why the file cannot be read.
      notes: what a person should know of how it is read, as `about` to one sentence.
    """

    path: str
    format: Format
    types: dict[str, pa.DataType] = field(default_factory=dict)
    shapes: dict[str, dict[Shape, None]] = field(default_factory=dict)
    first_record_fields: int | None = None
    finer: frozenset[str] = frozenset()
    lost: LostFile | None = None
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> Iterable[str]:
        """Names of the columns, in the file's order."""
        return self.types or self.shapes

    @cached_property
    def _schema(self) -> pa.Schema:  # thousands of columns are looked up in it
        return pa.schema(list(self.types.items()))

    def nested_type(self, path: str) -> pa.DataType | None:
        """Type of a member of a struct in a Parquet file, `a.b`."""
        if self.format != "parquet":
            return None
        type_ = type_at(self._schema, path)
        return None if type_ is None else plain_type(type_)


def sample_files(files: Sequence[FileEntry], spec: SourceSpec) -> list[FileSample]:
    """Look at up to 1,000 of the files, spread evenly, in the listing's order.

    Raises:
      InputError: a name tells no format (of all files), a file is gone or may not be read, or is
        Parquet inside .gz, .bz2, .zst or .zip.
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


def _sample(file: FileEntry, spec: SourceSpec, limit: int) -> FileSample:
    path = file.path
    sample = FileSample(path, format_of(path, spec))
    try:
        if sample.format == "parquet":
            with open_listed(file, ahead=AHEAD_BYTES if is_packed(file) else 0) as stored:
                whole = seekable(stored, file)
                parquet = open_parquet(whole, read_footer(whole))
                sample.types = column_types_of(parquet)
                sample.finer = finer_than_microseconds(parquet, sample.types, PARQUET_ERRORS)
            return sample
        is_json = sample.format == "jsonl"
        with open_listed(file, ahead=limit if is_json else LOOK_BYTES, keep=True) as stored:
            opened = open_layout(unpacked(stored, file), sample.format, spec)
            _look_at_encoding(opened, sample)
            if is_json:
                _look_at_objects(opened.records, sample, spec, limit)
            elif sample.format == "text":
                sample.types = dict.fromkeys(spec.text_columns[:1], pa.string())
                if found := markup(opened.head):
                    sample.notes["markup"] = f"begins as {found[0]}, and is read as text"
            else:
                _look_at_header(opened, sample, spec)
    except LostFile as lost:
        sample.lost = lost  # a reject when it is read
    except ChangedFileError as error:
        raise InputError(f"{error}; run again when nobody writes it") from error
    except FileNotFoundError as error:
        raise InputError(f"{path} is gone; list the input again") from error
    except PermissionError as error:
        raise InputError(
            f"{path} may not be read ({error.strerror}); grant read permission to it"
        ) from error
    return sample


def _look_at_encoding(opened: Opened, sample: FileSample) -> None:
    """Say what a file may be in that is not UTF-8."""
    if is_valid_utf8(opened.head):
        return
    lines = opened.head.split(b"\n")
    lines = lines if opened.final else lines[:-1]
    invalid = sum(not is_valid_utf8(line) for line in lines)
    if not invalid:
        return
    if opened.encoding:
        advice = f"is not {opened.encoding} in {invalid} of {len(lines)} lines"
    else:
        fits = likely_encoding(opened.head)
        mend = f"it fits {fits}: add {named('encoding', fits)}"
        mend = mend if fits else f"name its {named('encoding')}"
        advice = f"is not UTF-8 in {invalid} of its first {len(lines)} lines; {mend}"
    sample.notes["encoding"] = advice


def _look_at_header(opened: Opened, sample: FileSample, spec: SourceSpec) -> None:
    names, dialect = opened.names, opened.dialect
    sample.types = dict.fromkeys(names, pa.string())
    if spec.column_names is not None:
        if opened.head[dialect.begin :]:
            without = spec.without_column_names()
            headed, _ = header_of(opened.head, opened.final, dialect, without)
            sample.first_record_fields = len(headed)
    elif looks_like_data(names, first_records(opened.head, dialect)[1:]):
        sample.notes["header"] = (
            f"begins with a line that looks like data ({', '.join(names[:3])[:60]}) and is taken "
            f"for its header; if it has none, name its columns: {named('column_names')}"
        )
    if dialect.recognized:
        name = {"\t": "a tab"}.get(dialect.delimiter, dialect.delimiter)
        sample.notes["delimiter"] = (
            f"is read with {name} as its delimiter ({named('delimiter')} sets it)"
        )
    if dialect.quote and not dialect.escape and b"\\" + dialect.quote.encode() in opened.head:
        body = opened.head[opened.begin :]
        if delimited_splitter(dialect, spec).split(body, opened.final).bad:
            sample.notes["escape"] = (
                "has quotes with backslashes before them; if these are escapes (as Spark writes "
                f"them), add {named('escape_char')} '\\'"
            )


def _look_at_objects(source: Readable, sample: FileSample, spec: SourceSpec, limit: int) -> None:
    data, final, lost = _read(source, b"", limit)
    most = jsonl_splitter(spec).max_record_bytes
    while not final and not lost and b"\n" not in data and len(data) < most:
        data, final, lost = _read(source, data, 2 * len(data))
    # Of a million blank or broken lines only what may be an object costs more than its bytes.
    for line in _OBJECTS.finditer(data, 0, len(data) if final else data.rfind(b"\n") + 1):
        for key, item in (sampled(line[0]) or {}).items():
            sample.shapes.setdefault(key, {})[shape_of(item)] = None
    sample.lost = lost


def _read(source: Readable, begun: bytes, size: int) -> tuple[bytes, bool, LostFile | None]:
    """Read on until `size` bytes are there; whether the source ended, or why it cannot go on."""
    try:
        while len(begun) < size:
            more = source.read(size - len(begun))
            if not more:
                return begun, True, None
            begun += more
    except LostFile as lost:
        return begun, False, lost
    return begun, False, None
