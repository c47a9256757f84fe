"""Plain text: a document a line, or a document a file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from beam_bert.sources.compression import DamagedFileError, Readable
from beam_bert.sources.documents import MESSAGES, Columns, Reject
from beam_bert.sources.formats import UTF8_BOM, recode_hint, wide_encoding
from beam_bert.sources.records import Lines, Offsets
from beam_bert.sources.spec import SourceSpec
from beam_bert.sources.stream import Block
from beam_bert.sources.utf8 import invalid_records, is_valid_utf8

_READ_BYTES = 1 << 20


def text_splitter(spec: SourceSpec) -> Lines:
    """Lines of at most the largest document and its CRLF."""
    return Lines(spec.max_document_bytes + 2)


def parse_text(block: Block, spec: SourceSpec) -> tuple[Columns, list[Reject]]:
    """The lines of a block as documents; every line is a row, a blank one too."""
    bad = block.bad | dict.fromkeys(invalid_records(block), "invalid_utf8")
    rejects = [
        Reject(int(block.rows[i]), reason, MESSAGES[reason], block.raw(i))
        for i, reason in sorted(bad.items())
    ]
    if bad:
        keep = np.ones(len(block), bool)
        keep[list(bad)] = False
        block = block.only(keep)
    text = line_array(block)
    return _columns(block.rows, text, block.raw, spec), rejects


def whole_file(
    source: Readable, path: str, spec: SourceSpec
) -> tuple[Columns | None, list[Reject], bytes]:
    """A file as one document, its row 0, and the bytes it was made of; none if it is empty."""
    content = b""
    size = 0
    try:
        while chunk := source.read(_READ_BYTES):
            size += len(chunk)
            if len(content) <= spec.max_document_bytes + len(UTF8_BOM):
                content += chunk
    except DamagedFileError as damage:
        return None, [Reject(None, "damaged_file", str(damage), content, size)], content
    reason = None
    if encoding := wide_encoding(content):
        message = recode_hint(path, encoding)
        return None, [Reject(None, "wide_encoding", message, content, size)], content
    document = content.removeprefix(UTF8_BOM)
    if not document:
        return None, [], content
    if size - len(content) + len(document) > spec.max_document_bytes:
        reason = "too_large"
    elif not is_valid_utf8(document):
        reason = "invalid_utf8"
    if reason:
        return None, [Reject(0, reason, MESSAGES[reason], content, size)], content
    text = pa.array([document.decode()], pa.string())
    return _columns(np.zeros(1, np.int64), text, lambda _: document, spec), [], content


def _columns(
    rows: Offsets, text: pa.Array, raw: Callable[[int], bytes], spec: SourceSpec
) -> Columns:
    """The documents of plain text, whose one column can be carried too."""
    carried = [
        text.cast(field.type) if name in spec.text_columns else pa.nulls(len(text), field.type)
        for name, field in zip(spec.carried_from, spec.resolved, strict=True)
    ]
    ids = None if spec.id_column is None else pa.nulls(len(text), pa.string())
    pair = None if spec.text_pair_column is None else pa.nulls(len(text), pa.string())
    return Columns(rows, [text], pair, ids, carried, raw)


def line_array(block: Block) -> pa.Array:
    """The records of a block, which is valid UTF-8, as one string array.

    The terminators are taken out by a mask, about 1 GB/s; splitting in Python is ten times slower.
    """
    array = np.frombuffer(block.data, np.uint8)
    keep = np.ones(len(array) + 1, bool)
    nexts = np.append(block.starts[1:], len(array))
    keep[block.stops[block.stops < nexts]] = False
    keep[block.stops[block.stops + 1 < nexts] + 1] = False
    offsets = np.zeros(len(block) + 1, np.int32)
    np.cumsum(block.stops - block.starts, out=offsets[1:])
    values = array[keep[:-1]]
    return pa.StringArray.from_buffers(len(block), pa.py_buffer(offsets), pa.py_buffer(values))
