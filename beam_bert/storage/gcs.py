"""gs:// through google-cloud-storage.

Beam's own file systems were the other choice: they have no preconditions (`if_generation_match`, by
which a manifest is written once), and show neither size with checksum in a listing nor a copy's
checksum. One listing here answers for every shard of a run, without reading one byte of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException
from typing_extensions import override

from beam_bert.errors import RunFailed
from beam_bert.storage.base import OUTPUT, Storage, StoredFile, Wording, is_safe_path
from beam_bert.storage.reach import require_gs

# A copy is a round trip of about 50 ms and no work of ours: 100,000 shards in under two minutes.
_CONNECTIONS = 64
_LISTED = "items(name,size,crc32c),prefixes,nextPageToken"  # a tenth of the full resources


def open_gcs_storage(place: str, wording: Wording = OUTPUT) -> Storage:
    """Storage at `gs://bucket/prefix`; anonymous where STORAGE_EMULATOR_HOST is set.

    Raises:
      UserError: the wording's: the bucket's name is missing, or there are no credentials.
      RunFailed: there is no way to Cloud Storage from here.
    """
    bucket, _, prefix = place.removeprefix("gs://").partition("/")
    if not bucket:
        raise wording.error(f"{wording.name}={place}: no bucket, write gs://bucket/prefix")
    require_gs(place)
    try:
        client = _client(os.getpid(), os.environ.get("STORAGE_EMULATOR_HOST"))
    except GoogleAuthError as error:
        raise wording.error(
            f"{wording.name}={place}: no credentials ({_one_line(error)}); run `gcloud auth "
            "application-default login` or set GOOGLE_APPLICATION_CREDENTIALS"
        ) from error
    return GcsStorage(client, bucket, prefix.strip("/"), wording)


@lru_cache(maxsize=4)
def _client(pid: int, emulator: str | None) -> storage.Client:
    """One client a process: `pid` is in the key, as sockets do not survive a fork."""
    if emulator:
        client = storage.Client(project="emulator", credentials=AnonymousCredentials())
    else:
        # No project: objects need none, and looking for one fails with a laptop's credentials.
        client = storage.Client(project=None)
    # requests keeps ten connections by default and would open the others anew for each call.
    adapter = HTTPAdapter(pool_connections=_CONNECTIONS, pool_maxsize=_CONNECTIONS)
    client._http.mount("https://", adapter)
    return client


class GcsStorage(Storage):
    """A bucket below a prefix. Objects appear whole, so a write needs no temporary name."""

    parallelism = _CONNECTIONS
    is_remote = True

    def __init__(
        self, client: storage.Client, bucket: str, prefix: str, wording: Wording = OUTPUT
    ) -> None:
        self._wording = wording
        self._client = client
        self._bucket = client.bucket(bucket)
        self._prefix = f"{prefix}/" if prefix else ""

    @override
    def uri(self, path: str) -> str:
        return f"gs://{self._bucket.name}/{self._prefix}{path}"

    def _name(self, path: str) -> str:
        """The object's name; refused where it leaves the prefix for those who read it as a path."""
        if path and not is_safe_path(path):
            raise self._wording.error(f"{self.uri(path)!r} leaves {self.uri('')}: not touched")
        return self._prefix + path

    def _blob(self, path: str) -> storage.Blob:
        return self._bucket.blob(self._name(path))

    @override
    def read(self, path: str) -> bytes | None:
        with self._explained("read", path):
            try:
                return bytes(self._blob(path).download_as_bytes(retry=DEFAULT_RETRY))
            except exceptions.NotFound:
                # A missing bucket answers 404 as well: the probe of prepare_output tells it.
                return None

    @override
    def size(self, path: str) -> int | None:
        with self._explained("read", path):
            blob = self._bucket.get_blob(self._name(path), retry=DEFAULT_RETRY)
            return None if blob is None else int(blob.size)

    def _list(self, folder: str, **options: Any) -> Any:
        prefix = f"{self._name(folder)}/" if folder else self._prefix
        return self._client.list_blobs(
            self._bucket, prefix=prefix, fields=_LISTED, retry=DEFAULT_RETRY, **options
        )

    @override
    def list_files(self, folder: str, *, recursive: bool = True) -> list[StoredFile]:
        with self._explained("list", folder):
            return [
                StoredFile(blob.name.removeprefix(self._prefix), int(blob.size))
                for blob in self._list(folder, delimiter=None if recursive else "/")
                if not blob.name.endswith("/")  # consoles make such objects to show a folder
            ]

    @override
    def list_folders(self, folder: str) -> list[str]:
        with self._explained("list", folder):
            listing = self._list(folder, delimiter="/")
            for _ in listing:  # prefixes are known once every page was read
                pass
            return sorted(prefix.rstrip("/").rsplit("/", 1)[-1] for prefix in listing.prefixes)

    @override
    def checksums(self, folder: str, names: Collection[str]) -> dict[str, str]:
        wanted = set(names)
        with self._explained("list", folder):
            found = {
                blob.name.rsplit("/", 1)[-1]: str(blob.crc32c)
                for blob in self._list(folder, delimiter="/")
            }
        return {name: crc32c for name, crc32c in found.items() if name in wanted}

    @override
    def write(self, path: str, data: bytes) -> None:
        self._upload(path, data)

    @override
    def create(self, path: str, data: bytes) -> bool:
        try:
            self._upload(path, data, if_generation_match=0)
        except exceptions.PreconditionFailed:
            return False
        return True

    def _upload(self, path: str, data: bytes, **conditions: int) -> None:
        content_type = "application/json" if path.endswith(".json") else "application/octet-stream"
        with self._explained("write", path):
            # Every write of ours may be repeated, so each failure may be tried again.
            self._blob(path).upload_from_string(
                data,
                content_type=content_type,
                checksum="crc32c",
                retry=DEFAULT_RETRY,
                **conditions,
            )

    @override
    def upload(self, source: Path, path: str) -> None:
        with self._explained("write", path):
            self._blob(path).upload_from_filename(
                str(source), checksum="crc32c", retry=DEFAULT_RETRY
            )

    @override
    def download(self, path: str, target: Path) -> None:
        with self._explained("read", path):
            self._blob(path).download_to_filename(str(target), checksum="crc32c")

    @override
    def publish(self, source: str, target: str) -> bool:
        # A server-side copy; the source goes with the whole staging folder, so a kill between the
        # two leaves a file too many and never one too few.
        with self._explained("write", target):
            copy, token = self._blob(target), None
            try:
                while True:  # large objects across locations take several calls
                    token, _, _ = copy.rewrite(self._blob(source), token=token, retry=DEFAULT_RETRY)
                    if token is None:
                        return True
            except exceptions.NotFound:
                return False

    @override
    def delete(self, path: str) -> None:
        with self._explained("delete", path), contextlib.suppress(exceptions.NotFound):
            self._blob(path).delete(retry=DEFAULT_RETRY)

    @override
    def prune(self, folder: str) -> None:
        pass

    @contextlib.contextmanager
    def _explained(self, action: str, path: str) -> Iterator[None]:
        what = f"cannot {action} {self.uri(path)}"
        try:
            yield
        except exceptions.PreconditionFailed:
            raise
        except (exceptions.ClientError, GoogleAuthError) as error:
            raise self._wording.error(
                f"{what}: {_one_line(error)}; check {self._wording.name} and your rights on the "
                "bucket"
            ) from error
        except (exceptions.GoogleAPIError, RequestException) as error:
            raise RunFailed(f"{what}: {_one_line(error)}; {self._wording.again}") from error
        except OSError as error:  # of the local file of an upload or download
            raise RunFailed(f"{what}: {error}; {self._wording.again}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
