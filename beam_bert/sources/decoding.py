"""Encodings: files that are not UTF-8 are recoded as a stream, before anything is cut or split."""

from __future__ import annotations

import codecs
from functools import lru_cache

from beam_bert.sources.compression import Readable

UTF8_BOM = b"\xef\xbb\xbf"
# UTF-32 first: its little-endian mark begins with UTF-16's.
WIDE_BOMS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_READ_BYTES = 1 << 20
_SAMPLE_BYTES = 64 << 10
# What files in the wild are in; the names are Python's.
_LIKELY = ("cp1252", "cp1251", "gb18030", "shift_jis", "euc_jp", "euc_kr", "big5")


# Bytes that are no character become one that UTF-8 has not, so that their row is rejected alone.
def _marked(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


codecs.register_error("beam_bert.invalid", _marked)


def wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 where the file's first bytes are that encoding's mark."""
    for bom, encoding in WIDE_BOMS.items():
        if head.startswith(bom):
            return encoding
    return None


def is_utf8(encoding: str) -> bool:
    """Whether a name of an encoding, or auto, stands for bytes that need no recoding."""
    return encoding == "auto" or codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


@lru_cache
def is_single_byte(encoding: str) -> bool:
    """Whether every byte is one character and ASCII is ASCII, so that files can be cut at any.

    Elsewhere a byte of a line break may be part of a character.
    """
    for value in range(256):
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        text = decoder.decode(bytes([value]))
        if len(text) != 1 or (value < 128 and text != chr(value)):
            return False
    return True


class Recoded:
    """A stream in another encoding as UTF-8; what is no character becomes an invalid byte."""

    def __init__(self, source: Readable, encoding: str) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder(encoding)("beam_bert.invalid")
        self._pending = b""
        self._finished = False

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; none only at the end."""
        while not self._pending and not self._finished:
            raw = self._source.read(min(max(size, 1), _READ_BYTES))
            self._finished = not raw
            text = self._decoder.decode(raw, final=self._finished)
            self._pending = text.encode("utf-8", "surrogateescape")
        given, self._pending = self._pending[:size], self._pending[size:]
        return given


def likely_encoding(data: bytes) -> str | None:
    """The encoding that bytes fit which are not UTF-8, for advice; None: no guess."""
    import charset_normalizer

    sample = data[:_SAMPLE_BYTES]
    if sample.count(b"\0") * 4 > len(sample):
        return "utf-16-le" if sample[1::2].count(0) > sample[::2].count(0) else "utf-16-be"
    best = charset_normalizer.from_bytes(sample, cp_isolation=list(_LIKELY)).best()
    return None if best is None else str(best.encoding)
