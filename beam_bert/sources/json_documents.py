"""JSON that is not one object a line: one array of them, or objects over several lines.

Either is read as a stream and handed on as JSON lines, so the rules for a row stand in one place;
the number of a row is its place in the array. Line breaks may stand between the parts of an object
alone (within strings JSON has none), so blanks in their place change no value.
"""

from __future__ import annotations

import json
import re
from typing import Literal

from beam_bert.sources.compression import Readable
from beam_bert.sources.lost import DamagedFileError, LostFile

Layout = Literal["lines", "array", "objects"]

_READ_BYTES = 1 << 20
_BLANKS = re.compile(r"[ \t\r\n]*")
_LINE_BREAKS = str.maketrans("\r\n", "  ")
# An error so near to the end may be for want of what follows.
_NEAR_END = 32
_LOOKED_AT = 100  # lines
# Elements of a few bytes, as a parser would take each: the next ones of an array, all at once.
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_TEXT = r'"[^"\\,\x00-\x1f]*"'
_SMALL = rf"{_NUMBER}|true|false|null|\[\]|{_TEXT}"
_GAP = r"[ \t\r\n]*"
_SMALL_ONES = re.compile(
    rf"(?:{_GAP},{_GAP}(?:{_SMALL}|\{{(?:{_TEXT}{_GAP}:{_GAP}(?:{_SMALL}))?\}})){{1,1000}}(?={_GAP},)"
)
_SEPARATOR = re.compile(rf"{_GAP},{_GAP}")


def _nothing(_: str) -> None:
    return None


# Only the end of each object is looked for: numbers may have any number of digits.
_DECODER = json.JSONDecoder(parse_int=_nothing, parse_float=_nothing, parse_constant=_nothing)


def layout_of(head: bytes, final: bool) -> Layout:
    """How the objects of a file that begins so are laid out.

    An array is one if its first object is whole (or so long that nobody can see); whatever else is
    read line by line, so that a single broken line costs itself alone.

    Args:
      head: its beginning, without mark.
      final: whether that is all of it.
    """
    text = head.decode("utf-8", "replace").lstrip(" \t\r\n")
    first_line = text.split("\n", 1)[0]
    if text.startswith("["):
        begin = _skip_blanks(text, 1)
        if text[begin : begin + 1] == "]":
            return "array" if final and not text[begin + 1 :].strip(" \t\r\n") else "lines"
        if text[begin : begin + 1] != "{" or (_is_json(first_line) and not _is_all(text, final)):
            return "lines"
        end = _end_of(text, begin)
        if end is not None:
            return "lines" if not text[begin + 1 : end - 1].strip() else "array"
        return "lines" if final else "array"
    if text.startswith("{") and not _is_json(first_line):
        end = _end_of(text, 0)
        if end is not None and "\n" in text[:end] and not _has_whole_lines(text[end:]):
            return "objects"
    return "lines"


def is_long(head: bytes) -> bool:
    """Whether the first object of a file that begins so is longer than that."""
    text = head.lstrip(b" \t\r\n")
    if not text.startswith((b"{", b"[")) or (
        b"\n" in text and _is_json(text.split(b"\n", 1)[0].decode("utf-8", "replace"))
    ):
        return False
    shown = text.decode("utf-8", "replace")
    return _end_of(shown, _skip_blanks(shown, 1) if shown.startswith("[") else 0) is None


def _has_whole_lines(text: str) -> bool:
    """Whether objects stand on lines of their own, so that the first one is just a broken line."""
    lines = text.split("\n")[:_LOOKED_AT]
    return any(line.startswith("{") and _is_json(line.rstrip("\r")) for line in lines)


def _is_all(text: str, final: bool) -> bool:
    return final and "\n" not in text.rstrip(" \t\r\n")


def _is_json(line: str) -> bool:
    end = _end_of(line, 0)
    return end is not None and not line[end:].strip(" \t\r\n")


def _end_of(text: str, begin: int) -> int | None:
    try:
        return _DECODER.raw_decode(text, begin)[1]
    except (ValueError, RecursionError):
        return None


def _skip_blanks(text: str, begin: int) -> int:
    blanks = _BLANKS.match(text, begin)
    return blanks.end() if blanks else begin


class AsLines:
    """A stream of an array, or of objects one after another, as JSON lines.

    What cannot be an element ends the file: from there on nobody knows where one begins.
    """

    def __init__(self, source: Readable, layout: Layout, max_record_bytes: int) -> None:
        self._source = source
        self._in_array = layout == "array"
        self._max_record = max_record_bytes
        self._text = ""
        self._tail = b""
        self._at_end = False
        self._damage: LostFile | None = None
        self._elements = 0
        self._begun = False
        self._closed = False
        self._ready = bytearray()

    def read(self, size: int, /) -> bytes:
        """The next bytes of the lines."""
        while len(self._ready) < size and not (self._closed or self._damage):
            self._advance()
        if not self._ready and self._damage and size > 0:
            raise self._damage
        given = bytes(self._ready[:size])
        del self._ready[:size]
        return given

    def _advance(self) -> None:
        """Put some elements into what is ready; at least one more, or the end."""
        try:
            if not self._text or not self._take_elements():
                self._fill()
        except LostFile as damage:
            self._damage = damage

    def _fill(self) -> None:
        """Twice what is pending, so that a long element is looked through few times."""
        if self._at_end:
            self._finish()
            return
        raw = self._source.read(max(_READ_BYTES, len(self._text)))
        self._at_end = not raw
        raw = self._tail + raw
        # A character may be cut in two; bytes that are none pass through to their row's reject.
        cut = 0 if self._at_end else _open_bytes(raw)
        self._text += raw[: len(raw) - cut].decode("utf-8", "surrogateescape")
        self._tail = raw[len(raw) - cut :]

    def _finish(self) -> None:
        if self._text.strip(" \t\r\n"):
            raise self._broken("is cut short or broken", self._text)
        if self._in_array:
            raise self._broken("ends before its ]", "")
        self._closed = True

    def _take_elements(self) -> bool:
        """Whether any element, or the array's end, was in what is pending."""
        text, place, taken = self._text, 0, False
        if self._in_array and not self._begun:
            place = _skip_blanks(text, 0) + 1  # the bracket
            self._begun = True
        while True:
            start = _skip_blanks(text, place)
            if start == len(text):
                break
            if self._in_array and text[start] == "]":
                self._close(text[start + 1 :])
                return True
            begin = start
            if self._in_array and self._elements:
                if text[start] != ",":
                    raise self._broken("is broken", text[start:])
                if small := _SMALL_ONES.match(text, start):
                    lines, count = _SEPARATOR.subn("\n", small.group().translate(_LINE_BREAKS))
                    self._ready += lines[1:].encode("utf-8", "surrogateescape") + b"\n"
                    self._elements += count
                    taken, place = True, small.end()
                    continue
                begin = _skip_blanks(text, start + 1)
            end = self._element_end(text, begin)
            if end is None:
                break
            line = text[begin:end].translate(_LINE_BREAKS)
            self._ready += line.encode("utf-8", "surrogateescape") + b"\n"
            self._elements += 1
            taken, place = True, end
        self._text = text[place:]
        return taken

    def _element_end(self, text: str, begin: int) -> int | None:
        """End of the element at `begin`; None: it is not all there yet."""
        try:
            end = _DECODER.raw_decode(text, begin)[1]
        except RecursionError:
            raise self._broken("is nested too deep", text[begin:]) from None
        except json.JSONDecodeError as error:
            whole = error.pos < len(text) - _NEAR_END and not error.msg.startswith("Unterminated")
            if whole or len(text) - begin > self._max_record or self._at_end:
                how = "is cut short or broken" if self._at_end else "is broken"
                raise self._broken(f"{how} ({error.msg})", text[begin:]) from None
            return None
        # The last digits of a number may be missing yet.
        return None if end == len(text) and not self._at_end else end

    def _close(self, rest: str) -> None:
        self._text, self._in_array = rest, False
        while not self._at_end and not self._text.strip(" \t\r\n"):
            self._text = ""
            self._fill()
        if self._text.strip(" \t\r\n"):
            raise self._broken("goes on behind its ]", self._text)
        self._closed = True

    def _broken(self, what: str, rest: str) -> DamagedFileError:
        return DamagedFileError(
            f"the JSON {what} behind {self._elements:,} records; what follows is not read: "
            f"{rest.lstrip()[:40]!r}"
        )


def _open_bytes(raw: bytes) -> int:
    """How many bytes at the end begin a character that goes on behind it."""
    for back in range(1, min(4, len(raw)) + 1):
        byte = raw[-back]
        if byte >= 0xC0:
            return back if back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) else 0
        if byte < 0x80:
            return 0
    return 0
