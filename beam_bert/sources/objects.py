"""Objects on gs:// as files of the listing; imported where there are any."""

from __future__ import annotations

import errno

from typing_extensions import override

from beam_bert.slices.plan import FileEntry
from beam_bert.sources.lost import ChangedFileError
from beam_bert.storage.base import INPUT, StoredFile
from beam_bert.storage.gcs import GcsStorage, open_gcs_storage
from beam_bert.storage.object_reader import ObjectReader


class ListedObject(ObjectReader):
    """An object of the listing, which says so where its listed generation is gone."""

    def __init__(self, file: FileEntry, *, keep: bool = False) -> None:
        listed = StoredFile(file.path, file.size, file.version, file.encoding, file.crc32c)
        super().__init__(file.path, listed, keep=keep)
        self._version = file.version

    @override
    def _fetched(self, start: int, stop: int) -> bytes:
        try:
            return super()._fetched(start, stop)
        except FileNotFoundError:
            if self._version and find_object(self.url) is not None:
                raise ChangedFileError(
                    f"{self.url}: generation {self._version}, which was listed, is gone: the "
                    "object was replaced"
                ) from None
            raise


def bucket_of(url: str) -> tuple[GcsStorage, str]:
    """The bucket of a URL, and what it names there."""
    bucket, _, name = url.removeprefix("gs://").partition("/")
    return open_gcs_storage(f"gs://{bucket}", INPUT), name


def find_object(url: str) -> FileEntry | None:
    """What a listing would say of the object of that very name; None: there is none."""
    bucket, name = bucket_of(url)
    stored = bucket.find(name) if name else None
    return None if stored is None else entry_of(url, stored)


def entry_of(url: str, stored: StoredFile) -> FileEntry:
    """An object of a bucket's listing as a file of ours."""
    return FileEntry(
        url,
        stored.size,
        stored.version,
        encoding=stored.encoding,
        crc32c=stored.crc32c,
    )


def found_object(url: str) -> FileEntry:
    """As `find_object`.

    Raises:
      FileNotFoundError: there is none.
    """
    if (entry := find_object(url)) is None:
        raise FileNotFoundError(errno.ENOENT, "no such object", url)
    return entry
