"""Plain text: a document a line, or a document a file."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from beam_bert.sources.compression import Readable
from beam_bert.sources.documents import Columns
from beam_bert.sources.lost import LostFile
from beam_bert.sources.records import Lines, Offsets
from beam_bert.sources.rejects import MESSAGES, Raws, Rejects
from beam_bert.sources.spec import SourceSpec
from beam_bert.sources.stream import Block
from beam_bert.sources.utf8 import is_valid_utf8

_READ_BYTES = 1 << 20


def text_splitter(spec: SourceSpec) -> Lines:
    """Lines of at most the largest document and its CRLF."""
    return Lines(spec.max_document_bytes + 2)


def parse_text(block: Block, spec: SourceSpec) -> tuple[Columns, Rejects]:
    """The lines of a block as documents; every line is a row, a blank one too."""
    rejects = Rejects()
    block = rejects.without_unreadable(block)
    lines = block.raws(np.arange(len(block))).view(pa.string())
    return _columns(block.rows, lines, block.raws, spec), rejects


def whole_file(source: Readable, spec: SourceSpec) -> tuple[Columns | None, Rejects, bytes]:
    """A file as one document, its row 0, and the bytes it was made of; an empty one is a reject.

    Args:
      source: its bytes as UTF-8, without mark.
      spec: how to read it.
    """
    content = b""
    size = 0
    try:
        while chunk := source.read(_READ_BYTES):
            size += len(chunk)
            if len(content) <= spec.max_document_bytes:
                content += chunk
    except LostFile as damage:
        return None, Rejects.of_file(damage, content, size), content
    rejects = Rejects()
    reason = None
    if not content:
        reason = "empty_text"
    elif size > spec.max_document_bytes:
        reason = "too_large"
    elif not is_valid_utf8(content):
        reason = "invalid_utf8"
    row = np.zeros(1, np.int64)
    raw = pa.array([content], pa.binary())
    if reason:
        rejects.add(row, (reason, MESSAGES[reason]), raw, raw_size=size)
        return None, rejects, content
    text = pa.array([content.decode()], pa.string())
    return _columns(row, text, raw.take, spec), rejects, content


def _columns(rows: Offsets, text: pa.Array, raw: Raws, spec: SourceSpec) -> Columns:
    """The documents of plain text, whose one column can be carried too."""
    ids = None if spec.id_column is None else pa.nulls(len(text), pa.string())
    pair = None if spec.text_pair_column is None else pa.nulls(len(text), pa.string())
    carried = dict.fromkeys(spec.text_columns, text)
    return Columns(rows, [text], pair, ids, carried, raw)
