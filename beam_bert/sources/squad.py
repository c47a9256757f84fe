"""SQuAD's JSON as input of a job: a row for each question, with the context that it is asked on.

`{"version": …, "data": [articles]}`, or the list of articles alone, is read as a stream, an article
at a time, and handed on as JSON lines, like other JSON that is not one object a line. The context
has the name of the text column, the question of the text pair's; `{"data": [rows]}` is read too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from beam_bert.sources.compression import Readable
from beam_bert.sources.json_documents import AsLines
from beam_bert.sources.lost import LostFile
from beam_bert.sources.spec import SourceSpec

QUESTION = "question"  # its name where no column of a second text is asked for
_READ_BYTES = 1 << 20
# What stands before the list: fields such as the version, but no other list or object.
_DATA = re.compile(rb'\s*\{[^\[\]{}]*"data"\s*:\s*(?=\[\s*\{)')
_ARTICLES = re.compile(rb'\s*(?=\[\s*\{[^\[\]{}]*"paragraphs"\s*:\s*\[\s*\{)')


def list_begin(head: bytes) -> int | None:
    """Where the list of articles, or rows, begins in a file that begins so; None: it is no such."""
    beginning = _DATA.match(head) or _ARTICLES.match(head)
    return None if beginning is None else beginning.end()


class SquadRows:
    """The questions of a stream of SQuAD's JSON, as JSON lines.

    Args:
      source: the stream, from the list on.
      spec: names the columns.
      max_record_bytes: of one article.
    """

    def __init__(self, source: Readable, spec: SourceSpec, max_record_bytes: int) -> None:
        self._parts = _Parts(source, "array", max_record_bytes)
        self._context = spec.text_columns[0]
        self._question = spec.text_pair_column or QUESTION
        self._rest = b""
        self._ready = bytearray()
        self._damage: LostFile | None = None

    def read(self, size: int, /) -> bytes:
        """The next bytes of the lines."""
        while len(self._ready) < size and self._damage is None:
            try:
                some = self._parts.read(_READ_BYTES)
            except LostFile as damage:
                self._damage = damage
                break
            *lines, self._rest = (self._rest + some).split(b"\n")
            for line in lines:
                try:
                    # Bytes that are no UTF-8 become halves of surrogate pairs: of their row alone.
                    rows = list(self._rows(json.loads(line.decode("utf-8", "surrogateescape"))))
                except (ValueError, RecursionError):  # thousands of digits or levels
                    self._ready += line + b"\n"  # the reader of JSON lines says what is wrong
                    continue
                for row in rows:
                    self._ready += json.dumps(row).encode() + b"\n"
            if not some:
                break
        if not self._ready and self._damage and size > 0:
            raise self._damage
        given = bytes(self._ready[:size])
        del self._ready[:size]
        return given

    def _rows(self, part: Any) -> Iterator[Any]:
        """The rows of an article; whatever is none is a row itself."""
        paragraphs = part.get("paragraphs") if isinstance(part, dict) else None
        if not isinstance(paragraphs, list):
            yield part
            return
        about = {name: value for name, value in part.items() if name != "paragraphs"}
        for paragraph in paragraphs:
            questions = paragraph.get("qas") if isinstance(paragraph, dict) else None
            if not isinstance(questions, list):
                yield paragraph
                continue
            for asked in questions:
                if not isinstance(asked, dict):
                    yield asked
                    continue
                row = about | asked | {self._context: paragraph.get("context")}
                if self._question != QUESTION:
                    row[self._question] = row.pop(QUESTION, None)
                yield row


class _Parts(AsLines):
    """The elements of the list; fields that stand behind it are read and left."""

    def _close(self, rest: str) -> None:
        while self._source.read(_READ_BYTES):
            pass
        self._closed = True
