"""gs:// through google-cloud-storage.

Beam's own file systems were the other choice: they have no preconditions (`if_generation_match`, by
which a manifest is written once), and show neither size with checksum in a listing nor a copy's
checksum. One listing here answers for every shard of a run, without reading one byte of them. And
they fetch 16 MiB wherever one byte is asked for, of whatever version there is by then.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud import storage
from requests.exceptions import RequestException
from typing_extensions import override
from urllib3.exceptions import HTTPError

from beam_bert.errors import RunFailed, shown
from beam_bert.storage.base import (
    OUTPUT,
    Storage,
    StoredFile,
    Wording,
    crc32c_base64,
    crc32c_text,
    is_safe_path,
)
from beam_bert.storage.billing import billed_project
from beam_bert.storage.gcs_client import CONNECTIONS, LOGIN, process_client, reason_of
from beam_bert.storage.reach import require_gs
from beam_bert.storage.retrying import RETRY, fetched, persistently

_LISTED = "items(name,size,generation,contentEncoding,crc32c),prefixes,nextPageToken"
_RANGE_BYTES = 16 << 20
_SINGLE_UPLOAD_BYTES = 8 << 20  # the library sends more than that in several requests
_BROKEN_SESSION = (exceptions.BadRequest, exceptions.NotFound)
GZIP_MAGIC = b"\x1f\x8b"
# Other words stand in that field too (`utf-8`, `identity`, `aws-chunked`), and pack nothing.
PACKINGS = ("gzip", "br", "compress", "dcb", "dcz", "deflate", "zstd")


def open_gcs_storage(place: str, wording: Wording = OUTPUT) -> GcsStorage:
    """Storage at `gs://bucket/prefix`; anonymous where STORAGE_EMULATOR_HOST is set.

    Raises:
      UserError: the wording's: the bucket's name is missing, or there are no credentials.
      RunFailed: there is no way to Cloud Storage from here.
    """
    bucket, _, prefix = place.removeprefix("gs://").partition("/")
    named = place if " " in wording.name else f"{wording.name}={place}"
    if not bucket:
        raise wording.error(f"{named}: no bucket, write gs://bucket/prefix")
    require_gs(place)
    try:
        client = process_client()
    except GoogleAuthError as error:
        raise wording.error(
            f"{named}: no Google credentials ({reason_of(error)}); {LOGIN}"
        ) from error
    try:
        return GcsStorage(client, bucket, prefix, wording)
    except ValueError as error:  # of the library
        raise wording.error(f"{shown(named)}: no name of a bucket: {error}") from None


class GcsStorage(Storage):
    """A bucket below a prefix. Objects appear whole, so a write needs no temporary name."""

    parallelism = CONNECTIONS
    is_remote = True

    def __init__(
        self, client: storage.Client, bucket: str, prefix: str, wording: Wording = OUTPUT
    ) -> None:
        self._wording = wording
        self._client = client
        self._bucket = client.bucket(bucket, user_project=billed_project())
        # Each of several slashes in a row is part of the name.
        self._prefix = prefix if prefix.endswith("/") or not prefix else f"{prefix}/"

    @override
    def uri(self, path: str) -> str:
        return f"gs://{self._bucket.name}/{self._prefix}{path}"

    def _checked(self, path: str) -> str:
        """The path; refused where it leaves the prefix for those who read it as a path."""
        if path and not is_safe_path(path):
            raise self._wording.error(f"{self.uri(path)!r} leaves {self.uri('')}: not touched")
        return path

    def _blob(self, path: str, **options: Any) -> storage.Blob:
        return self._bucket.blob(self._prefix + self._checked(path), **options)

    def _input(self, path: str, generation: int | None = None) -> storage.Blob:
        """For reading alone, so of any name: input may have `..` and `//` in it."""
        return self._bucket.blob(self._prefix + path, generation=generation)

    @override
    def read(self, path: str) -> bytes | None:
        def attempt(into: BytesIO) -> None:
            blob.download_to_file(into, raw_download=True, checksum="crc32c", retry=None)

        blob = self._blob(path)
        with self._explained("read", path):
            try:
                return _unpacked(fetched(attempt), _encoding(blob.content_encoding))
            except exceptions.NotFound:
                # A missing bucket answers 404 as well: the probe of prepare_output tells it.
                return None

    def read_range(self, path: str, start: int, stop: int, version: str = "") -> bytes:
        """Stored bytes [start, stop) of a file, never unpacked.

        Args:
          path: of the file.
          start: first byte.
          stop: at most the file's size: a request beyond it is refused.
          version: the generation to read, whatever has replaced it; "": the present one.

        Raises:
          FileNotFoundError: there is no such file, or no such generation any more.
          PermissionError: it may not be read.
        """

        def attempt(into: BytesIO) -> None:
            self._input(path, int(version) if version else None).download_to_file(
                into, start=start, end=stop - 1, raw_download=True, checksum=None, retry=None
            )
            if into.tell() != stop - start:
                raise ConnectionError(f"{into.tell()} bytes came instead of {stop - start}")

        if stop <= start:
            return b""
        with self._explained("read", path):
            try:
                return fetched(attempt)
            except (exceptions.NotFound, exceptions.RequestRangeNotSatisfiable) as error:
                code, reason = errno.ENOENT, reason_of(error)
            except exceptions.Forbidden as error:
                code, reason = errno.EACCES, reason_of(error)
        raise OSError(code, reason, self.uri(path))  # FileNotFoundError or PermissionError

    def find(self, path: str) -> StoredFile | None:
        """The file of that very name, with all that a listing would say; None: there is none."""

        def attempt() -> StoredFile:
            blob = self._input(path)
            blob.reload(retry=None)
            return self._stored(blob)

        with self._explained("read", path):
            try:
                return persistently(attempt)
            except exceptions.NotFound:
                return None

    @override
    def size(self, path: str) -> int | None:
        stored = self.find(self._checked(path))
        return None if stored is None else stored.size

    def _stored(self, blob: storage.Blob) -> StoredFile:
        return StoredFile(
            blob.name.removeprefix(self._prefix),
            int(blob.size or 0),  # some servers leave out the size of an empty object
            str(blob.generation or ""),
            _encoding(blob.content_encoding),
            str(blob.crc32c or ""),
        )

    def pages(self, prefix: str, **options: Any) -> Iterator[tuple[list[StoredFile], list[str]]]:
        """The files and, with a delimiter, the folders below a prefix, page after page.

        Args:
          prefix: of the paths; not only of whole folders.
          options: of `Client.list_blobs`, such as delimiter, match_glob and max_results.
        """
        token: str | None = None
        while True:

            def attempt(token: str | None = token) -> tuple[list[storage.Blob], Any, str | None]:
                listing = self._client.list_blobs(
                    self._bucket,
                    prefix=self._prefix + prefix,
                    fields=_LISTED,
                    page_token=token,
                    retry=None,
                    **options,
                )
                page = list(next(listing.pages))
                return page, listing.prefixes, listing.next_page_token

            with self._explained("list", prefix):
                blobs, folders, token = persistently(attempt)
            yield [self._stored(blob) for blob in blobs], sorted(folders)
            if not token:
                return

    def _folder(self, path: str) -> str:
        return f"{self._checked(path)}/" if path else ""

    @override
    def list_files(self, folder: str, *, recursive: bool = True) -> list[StoredFile]:
        return [
            file
            for files, _ in self.pages(self._folder(folder), delimiter=None if recursive else "/")
            for file in files
            if not file.path.endswith("/")  # consoles make such objects to show a folder
        ]

    @override
    def list_folders(self, folder: str) -> list[str]:
        pages = self.pages(self._folder(folder), delimiter="/")
        return sorted({name.rstrip("/").rsplit("/", 1)[-1] for _, names in pages for name in names})

    @override
    def checksum(self, file: StoredFile) -> str:
        if file.encoding != "gzip":
            return file.crc32c
        # Listed is that of the packed bytes.
        return crc32c_base64(_unpacked(self.read(file.path) or b"", file.encoding))

    @override
    def write(self, path: str, data: bytes) -> None:
        self._send(path, len(data), lambda: BytesIO(data))

    @override
    def create(self, path: str, data: bytes) -> bool:
        try:
            self._send(path, len(data), lambda: BytesIO(data), if_generation_match=0)
        except exceptions.PreconditionFailed:
            return False
        return True

    @override
    def upload(self, source: Path, path: str) -> None:
        with self._explained("write", path):
            size = source.stat().st_size
        self._send(path, size, lambda: source.open("rb"))

    def _send(
        self, path: str, size: int, opened: Callable[[], BinaryIO], **conditions: int
    ) -> None:
        # What takes several requests must not begin anew for the last of them.
        several = size > _SINGLE_UPLOAD_BYTES
        blob = self._blob(path, chunk_size=_RANGE_BYTES if several else None)
        content_type = "application/json" if path.endswith(".json") else "application/octet-stream"

        def attempt() -> None:
            try:
                with opened() as file:  # anew: an attempt that was given up may still read its own
                    blob.upload_from_file(
                        file,
                        size=size,
                        content_type=content_type,
                        checksum="crc32c",
                        # Every write of ours may be repeated, so each failure may be tried again.
                        retry=RETRY if several else None,
                        **conditions,
                    )
            except _BROKEN_SESSION as error:
                if not several:
                    raise
                # The answer to a part was lost, and the part sent again was not understood.
                raise ConnectionError(reason_of(error)) from error

        with self._explained("write", path):
            persistently(attempt, size)

    @override
    def download(self, path: str, target: Path) -> None:
        with self._explained("read", path):
            # In ranges: a large file that breaks off near its end does not begin anew.
            stored = self.find(self._checked(path))
            if stored is None:
                raise self._wording.error(f"cannot read {self.uri(path)}: there is no such object")
            checksum = google_crc32c.Checksum()
            with target.open("wb") as file:
                for start in range(0, stored.size, _RANGE_BYTES):
                    stop = min(start + _RANGE_BYTES, stored.size)
                    data = self.read_range(path, start, stop, stored.version)
                    checksum.update(data)
                    file.write(data)
            if stored.crc32c and crc32c_text(checksum) != stored.crc32c:
                raise ConnectionError("what came does not have the checksum of what is stored")
            if stored.encoding == "gzip":
                target.write_bytes(_unpacked(target.read_bytes(), stored.encoding))

    @override
    def publish(self, source: str, target: str) -> bool:
        # A server-side copy; the source goes with the whole staging folder, so a kill between the
        # two leaves a file too many and never one too few.
        with self._explained("write", target):
            copy, token = self._blob(target), None
            try:
                while True:  # large objects across locations take several calls
                    rewrite = partial(copy.rewrite, self._blob(source), token=token, retry=None)
                    token, _, _ = persistently(rewrite)
                    if token is None:
                        return True
            except exceptions.NotFound:
                return False

    @override
    def delete(self, path: str, version: str = "") -> None:
        expected = {"if_generation_match": int(version)} if version else {}
        gone = (exceptions.NotFound, exceptions.PreconditionFailed)
        with self._explained("delete", path), contextlib.suppress(*gone):
            persistently(lambda: self._blob(path).delete(retry=None, **expected))

    @override
    def prune(self, folder: str) -> None:
        pass

    @contextlib.contextmanager
    def _explained(self, action: str, path: str) -> Iterator[None]:
        what, again = f"cannot {action} {self.uri(path)}", self._wording.again
        try:
            yield
        except exceptions.PreconditionFailed:
            raise
        except UnicodeEncodeError:
            raise self._wording.error(
                f"cannot {action} {shown(self.uri(path))}: no object has a name that is not UTF-8"
            ) from None
        except exceptions.RetryError as error:
            raise RunFailed(
                f"{what}: tried again for {RETRY.timeout:.0f} s, the last time "
                f"{reason_of(error.cause)}; {again}"
            ) from error
        except exceptions.NotFound as error:  # a missing object is no error where it may miss
            raise self._wording.error(
                f"{what}: there is no bucket {self._bucket.name}; check {self._wording.name} and "
                "your rights on the bucket"
            ) from error
        except exceptions.ClientError as error:
            raise self._wording.error(
                f"{what}: {reason_of(error)}; check {self._wording.name} and your rights on the "
                "bucket"
            ) from error
        except TransportError as error:
            raise RunFailed(f"{what}: {reason_of(error)}; {again}") from error
        except GoogleAuthError as error:
            raise self._wording.error(f"{what}: {reason_of(error)}; {LOGIN}") from error
        except (exceptions.GoogleAPIError, RequestException, HTTPError, OSError) as error:
            raise RunFailed(f"{what}: {reason_of(error)}; {again}") from error


def _encoding(told: str | None) -> str:
    """A Content-Encoding in one spelling; what is not packed needs none."""
    names = [name.strip().lower().removeprefix("x-") for name in (told or "").split(",")]
    return ",".join(name for name in names if name in PACKINGS)


def _unpacked(data: bytes, encoding: str) -> bytes:
    """What was stored, without the packing that the object's metadata tells."""
    if encoding != "gzip" or not data.startswith(GZIP_MAGIC):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise OSError(f"Content-Encoding says gzip, but {error}") from error
