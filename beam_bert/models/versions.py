"""The versions of a model store: a folder of files each, and the record that says it is whole."""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import datetime, timedelta, timezone

from beam_bert.errors import BeamBertError, ModelError, StoreConflict
from beam_bert.models.publishable import Publishable
from beam_bert.models.records import VersionRecord, create_record, is_version, parse_record
from beam_bert.storage.base import Storage, in_parallel

_UNFINISHED_AGE = timedelta(days=2)
_TIME_FORMAT = "%Y%m%dT%H%M%S"


class Versions:
    """What stands in `versions/` of a store."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def version_names(self) -> list[str]:
        """Names of the whole versions, oldest first."""
        files = self._storage.list_files("versions", recursive=False)
        names = [file.name.removesuffix(".json") for file in files if file.name.endswith(".json")]
        return sorted(name for name in names if is_version(name))

    def versions(self) -> list[VersionRecord]:
        """Records of all whole versions, oldest first."""
        records = in_parallel(self.read_version, self.version_names(), self._storage.parallelism)
        return [record for record in records if record is not None]

    def read_version(self, version: str) -> VersionRecord | None:
        """The record of a version; None where there is none."""
        path = _record_path(version)
        record = parse_record(self._storage, path, VersionRecord)
        if record is not None and record.version != version:
            raise ModelError(f"{self._storage.uri(path)} is the record of {record.version}")
        return record

    def folder(self, version: str) -> str:
        """Where the files of a version lie: a local path or a gs:// prefix."""
        return self._storage.uri(_folder(version))

    def is_begun(self, version: str) -> bool:
        """Whether files of it are there, with or without its record."""
        return bool(self._storage.list_files(_folder(version)))

    def verify(self, record: VersionRecord) -> None:
        """Compare size and crc32c of every file of a version with its record.

        On gs:// one listing tells both; a local folder is read.

        Raises:
          ModelError: a file is missing or differs; the message names it.
        """
        root = _folder(record.version)
        listed = {file.path: file for file in self._storage.list_files(root)}
        there = [listed.get(f"{root}/{file.path}") for file in record.files]
        checksums = in_parallel(
            lambda file: file and self._storage.checksum(file), there, self._storage.parallelism
        )
        for file, found, crc32c in zip(record.files, there, checksums, strict=True):
            if found is None:
                what = "is missing"
            elif found.size != file.size:
                what = f"has {found.size:,} bytes, its record says {file.size:,}"
            elif crc32c != file.crc32c:
                what = f"has crc32c {crc32c}, its record says {file.crc32c}"
            else:
                continue
            raise ModelError(
                f"{self._storage.uri(f'{root}/{file.path}')} {what}: version {record.version} is "
                "damaged; use another one"
            )

    def add(self, record: VersionRecord, files: list[Publishable]) -> None:
        """Copy the files, check the copies, and write the record; a failure leaves nothing.

        A kill leaves files without a record, which the first `add` after two days clears away.
        """
        root = _folder(record.version)
        try:
            in_parallel(
                lambda file: self._storage.upload(file.source, f"{root}/{file.record.path}"),
                files,
                self._storage.parallelism,
            )
            self.verify(record)
        except BaseException:
            with suppress(BeamBertError):
                self._clear(record.version)
            raise
        try:
            created = create_record(self._storage, _record_path(record.version), record)
        except BeamBertError as error:
            # A request to gs:// whose answer was lost may yet succeed; a refused one will not.
            if isinstance(error, ModelError) or not self._storage.is_remote:
                with suppress(BeamBertError):
                    self._clear(record.version)
            raise
        if not created:
            raise StoreConflict(
                f"{self.folder(record.version)} came from elsewhere in this very moment; run the "
                "same command again"
            )
        with suppress(BeamBertError):  # somebody else's rubbish is no reason to fail
            self._clear_unfinished()

    def _clear(self, version: str) -> None:
        root = _folder(version)
        self._storage.delete_all(file.path for file in self._storage.list_files(root))
        self._storage.prune(root)

    def _clear_unfinished(self) -> None:
        begun = [name for name in self._storage.list_folders("versions") if is_version(name)]
        finished = set(self.version_names())  # listed later: what was finished meanwhile is in it
        long_ago = datetime.now(timezone.utc) - _UNFINISHED_AGE
        for version in begun:
            if version not in finished and version < f"{long_ago:{_TIME_FORMAT}}":
                self._clear(version)


def new_version_name() -> str:
    """A name that sorts by time and that nobody else has.

    Random digits, not the model's digest: two jobs that publish one model in one second must not
    share a folder, which the first of them to fail would clear away.
    """
    return f"{datetime.now(timezone.utc):{_TIME_FORMAT}}-{secrets.token_hex(3)}"


def _folder(version: str) -> str:
    return f"versions/{version}"


def _record_path(version: str) -> str:
    return f"versions/{version}.json"
