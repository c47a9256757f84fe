"""Unpack .gz, .bz2, .zst and .zip as a stream, in bounded memory, and say where one is damaged.

The standard readers either lose what they unpacked before the damage (gzip's BufferedReader) or
do not notice that a file is cut short (zstandard's stream reader), so the decompressors are driven
here.
"""

from __future__ import annotations

import bz2
import errno
import lzma
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol, cast

from beam_bert.slices.plan import FileEntry
from beam_bert.sources.formats import Compression, compression_of, is_packed
from beam_bert.sources.lost import DamagedFileError
from beam_bert.sources.recognition import not_compressed
from beam_bert.storage.signatures import SIGNATURE_BYTES

# zstd has no bound on what one call unpacks; 2 KiB become 64 MiB at its very best ratio (measured),
# and feeding it so little costs nothing (1.1 GB/s, as fast as 64 KiB).
_ZSTD_FEED_BYTES = 2 << 10
_FEED_BYTES = 256 << 10
# What follows a member's end is copied for the next one, and a member may have twenty bytes.
_MEMBER_FEED_BYTES = 16 << 10
_UNPACK_BYTES = 1 << 20
_ZSTD_WINDOW_BYTES = 128 << 20  # the decompressor's own limit: zstd --long=27


class Readable(Protocol):
    """Anything with `read(n)`: n bytes at most, none only at the end."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`."""
        ...


class Rewound:
    """A stream with some bytes that were read from it put back in front."""

    def __init__(self, head: bytes, rest: Readable) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        """What was put back, then the rest."""
        if not self._head:
            return self._rest.read(size)
        given, self._head = self._head[:size], self._head[size:]
        return given


def unpacked(stored: Readable, file: FileEntry) -> Readable:
    """The stored bytes of a file, unpacked as its metadata and its name say.

    Cloud Storage's `Content-Encoding: gzip` counts whatever the name is. Of a name in .gz that has
    it too nobody knows whether it was packed once or twice, so there the bytes decide.
    """
    named = compression_of(file.path)
    if file.encoding:
        for encoding in file.encoding.split(","):
            if encoding != "gzip":
                raise DamagedFileError(
                    f"its Content-Encoding is {encoding}, which is not unpacked here; store it "
                    "as it was, or packed with gzip"
                )
            stored = _unpacked_if(stored, "gzip")
        return _unpacked_if(stored, named) if named else stored
    return Unpacked(stored, named) if named else stored


def seekable(opened: BinaryIO, file: FileEntry) -> BinaryIO:
    """A file that is read here and there: where it is packed, its unpacked bytes, on the disk.

    Raises:
      DamagedFileError: it cannot be unpacked.
    """
    if not is_packed(file):
        return opened
    whole = tempfile.TemporaryFile()  # noqa: SIM115 - it goes with the last who holds it
    source = unpacked(opened, file)
    while piece := source.read(_UNPACK_BYTES):
        whole.write(piece)
    whole.seek(0)
    return cast(BinaryIO, whole)


def _unpacked_if(stored: Readable, compression: Compression) -> Readable:
    try:
        head = stored.read(len(_MAGIC[compression]))
    except DamagedFileError:  # comes again when it is read
        return stored
    stored = Rewound(head, stored)
    return Unpacked(stored, compression) if head == _MAGIC[compression] else stored


class Unpacked:
    """The unpacked bytes of a compressed file, all members and frames of it, as a `Readable`.

    `read` gives exactly the bytes asked for until the end; where the file is damaged it first gives
    all bytes before the damage and raises DamagedFileError after those.
    """

    def __init__(self, stored: Readable, compression: Compression) -> None:
        self._pieces = _checked(stored, compression)
        self._pending = bytearray()
        self._damage: DamagedFileError | None = None
        self._finished = False

    def read(self, size: int, /) -> bytes:
        """The next `size` bytes."""
        while len(self._pending) < size and not self._finished:
            try:
                self._pending += next(self._pieces)
            except StopIteration:
                self._finished = True
            except DamagedFileError as damage:
                self._finished = True
                self._damage = damage
        if not self._pending and self._damage is not None and size > 0:
            raise self._damage
        given = bytes(self._pending[:size])
        del self._pending[:size]
        return given


def _checked(stored: Readable, compression: Compression) -> Iterator[bytes]:
    head = stored.read(SIGNATURE_BYTES)
    if problem := not_compressed(head, compression):
        raise DamagedFileError(problem)
    yield from _UNPACKERS[compression](Rewound(head, stored))


def _gzip(stored: Readable) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(wbits=31)
    started = False
    feed = b""
    while True:
        if not feed:
            feed = stored.read(_MEMBER_FEED_BYTES)
        if not feed:
            if started:
                raise DamagedFileError("the gzip stream ends early")
            return
        try:
            piece = decompressor.decompress(feed, _UNPACK_BYTES)
        except zlib.error as error:
            raise DamagedFileError(f"corrupt gzip data: {error}") from None
        started = True
        yield piece
        if decompressor.eof:
            # The next member follows at once or after padding with zeros.
            feed = decompressor.unused_data.lstrip(b"\0")
            while not feed and (more := stored.read(_MEMBER_FEED_BYTES)):
                feed = more.lstrip(b"\0")
            decompressor = zlib.decompressobj(wbits=31)
            started = False
        else:
            feed = decompressor.unconsumed_tail


def _bzip2(stored: Readable) -> Iterator[bytes]:
    decompressor = bz2.BZ2Decompressor()
    started = False
    feed = b""
    while True:
        if not feed and decompressor.needs_input:
            feed = stored.read(_MEMBER_FEED_BYTES)
            if not feed:
                if started:
                    raise DamagedFileError("the bzip2 stream ends early")
                return
        try:
            piece = decompressor.decompress(feed, _UNPACK_BYTES)
        except (OSError, ValueError) as error:
            raise DamagedFileError(f"corrupt bzip2 data: {error}") from None
        started = True
        feed = b""
        yield piece
        if decompressor.eof:
            feed = decompressor.unused_data
            decompressor = bz2.BZ2Decompressor()
            started = False


def _zstd(stored: Readable) -> Iterator[bytes]:
    import zstandard

    frames = zstandard.ZstdDecompressor()
    decompressor = frames.decompressobj()
    started = False
    feed, at = b"", 0  # a frame may have nine bytes: what follows it is not copied
    window = 0
    while True:
        if at == len(feed):
            feed, at = stored.read(_FEED_BYTES), 0
        if not feed:
            if started:
                raise DamagedFileError("the zstd stream ends early")
            return
        head = feed[at : at + _ZSTD_FEED_BYTES]
        if not started:
            window = _window_of(head)
        try:
            piece = decompressor.decompress(head)
        except zstandard.ZstdError as error:
            if wide := _window_advice(window):
                raise DamagedFileError(wide) from None
            raise DamagedFileError(f"corrupt zstd data: {error}") from None
        started = True
        at += len(head)
        if piece:
            yield piece
        if decompressor.eof:
            at -= len(decompressor.unused_data)
            decompressor = frames.decompressobj()
            started = False


def _window_of(frame: bytes) -> int:
    """The memory that a frame asks for; 0 where its header does not tell."""
    import zstandard

    try:
        return int(zstandard.get_frame_parameters(frame).window_size)
    except zstandard.ZstdError:
        return 0


def _window_advice(window: int) -> str | None:
    if window <= _ZSTD_WINDOW_BYTES:
        return None
    size = f"{window / 2**30:.3g} GiB" if window >= 2**30 else f"{window / 2**20:.4g} MiB"
    return (
        f"the zstd data needs a window of {size}, {_ZSTD_WINDOW_BYTES >> 20} MiB is the most that "
        f"is given; unpack it: zstd -d --long={(window - 1).bit_length()}"
    )


def _zip(stored: Readable) -> Iterator[bytes]:
    try:
        # Its table of contents stands at the end.
        whole = tempfile.TemporaryFile()  # noqa: SIM115 - it goes with the last who holds it
        while piece := stored.read(_UNPACK_BYTES):
            whole.write(piece)
        archive = zipfile.ZipFile(whole)
        members = [  # macOS puts what it knows of a file beside it
            member
            for member in archive.infolist()
            if not member.is_dir() and not member.filename.startswith("__MACOSX/")
        ]
        if len(members) != 1:
            raise DamagedFileError(
                f"the zip archive holds {len(members)} files, one is read; unpack it: unzip"
            )
        if members[0].flag_bits & 1:
            raise DamagedFileError("the zip archive is encrypted; unpack it: unzip")
        with archive.open(members[0]) as member:
            while piece := member.read(_UNPACK_BYTES):
                yield piece
    # zipfile lets out whatever its decompressors and struct raise.
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise DamagedFileError(f"corrupt zip archive: {error}") from None
    except (OSError, RuntimeError, OverflowError, struct.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # of the file system, and may pass
        raise DamagedFileError(f"corrupt zip archive: {error}") from None


_MAGIC: dict[Compression, bytes] = {
    "gzip": b"\x1f\x8b",
    "bzip2": b"BZh",
    "zstd": b"\x28\xb5\x2f\xfd",
    "zip": b"PK\x03\x04",
}
_UNPACKERS = {"gzip": _gzip, "bzip2": _bzip2, "zstd": _zstd, "zip": _zip}
