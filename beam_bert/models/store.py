"""The model store: immutable versions of one model, and aliases that say which to use.

    store/banking/
      versions/20261123T020000-ab12cd/      a model in Hugging Face layout, never changed
      versions/20261123T020000-ab12cd.json  its VersionRecord: written last, so it is whole
      aliases/00000007.json                 the AliasMove that made production, … what they are

A store is a local folder or a gs:// prefix, and holds no other state. A version without its record
was never finished: nobody sees it, and `publish` clears it away once it is two days old.

All aliases live in one table, and a move writes the whole next table under the next number, which
storage lets exist only once (gs://: generation precondition 0; locally: a hard link). So promote
moves production to previous in the same instant, together with its reason; a kill leaves the old
table or the new one; of two moves at once one wins, and the other is told. One file for each alias
was the other choice: production and previous would move one after the other, the history third.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from beam_bert.errors import ModelError, StoreConflict, shown
from beam_bert.models.aliases import AliasTable, Table
from beam_bert.models.publishable import publishable_files
from beam_bert.models.records import AliasMove, VersionRecord, is_alias, is_version
from beam_bert.models.versions import Versions, new_version_name
from beam_bert.settings.paths import path_fault
from beam_bert.storage.base import Wording
from beam_bert.storage.places import open_storage

PRODUCTION: Final = "production"
PREVIOUS: Final = "previous"
CANDIDATE: Final = "candidate"
# For `expected_current`: whatever production points at will do. None: it must not be set yet.
ANY: Final = "*"

_WORDING = Wording(
    place="the model store", error=ModelError, again="run the same command again: nothing changed"
)
_SHOWN_NAMES = 8


class ModelStore(Versions):
    """Versions of one model and their aliases, in a local folder or below a gs:// prefix.

    Every method raises ModelError for what the caller can mend (a name that is not there, a store
    that cannot be written, a version that is damaged) and RunFailed where the medium gave up (disk
    full, no answer); the store is then as it was.
    """

    def __init__(self, location: str | Path) -> None:
        location = str(location)
        fault = path_fault(location) if location.strip() else "has no name"
        if fault:
            raise ModelError(
                f"model store {shown(location)} {fault}: give a folder or gs:// prefix"
            )
        if "://" not in location:
            location = str(Path(location).expanduser())
        self.location = location if location.endswith("://") else location.rstrip("/") or "/"
        storage = open_storage(self.location, _WORDING)
        super().__init__(storage)
        self._aliases = AliasTable(self.location, storage)

    def exists(self) -> bool:
        """Whether a version was ever published here."""
        return bool(self.version_names())

    def require(self) -> None:
        """Raise ModelError where no version was ever published."""
        if not self.exists():
            raise ModelError(f"{self.location}: there is no model store")

    def aliases(self) -> Table:
        """Every alias and the version that it points at, by name."""
        head = self._aliases.head()
        return dict(sorted(head.aliases.items())) if head else {}

    def history(self) -> list[AliasMove]:
        """Every move of an alias, oldest first."""
        return self._aliases.history()

    def resolve(self, reference: str) -> VersionRecord:
        """The whole version that an alias or a version's own name stands for."""
        if is_version(reference):
            record = self.read_version(reference)
            if record is None:
                raise self._no_version(reference)
            return record
        if not is_alias(reference):
            raise ModelError(
                f"{self.location}@{reference}: {reference!r} is neither an alias nor a version"
            )
        aliases = self.aliases()
        if reference not in aliases:
            raise self._no_alias(reference, aliases)
        record = self.read_version(aliases[reference])
        if record is None:
            raise ModelError(
                f"{self.location}@{reference} is {aliases[reference]}, whose record is gone; "
                "promote another version"
            )
        return record

    def publish(
        self,
        folder: str | Path,
        *,
        parent: str | None = None,
        metrics: Mapping[str, JsonValue] | None = None,
        notes: str = "",
        trained_on: str | None = None,
    ) -> VersionRecord:
        """Make a new version of the model in `folder`; no alias moves.

        Publishing the very same again (files, parent, metrics, notes, trained_on) gives the version
        that was made the first time, so a job that was killed afterwards may simply be repeated.

        Args:
          parent: alias or version that it was trained from.
          metrics: what its evaluation said.
          notes: for people.
          trained_on: digest of what it was trained with, by which a later job finds it.

        Raises:
          ModelError: the folder is no whole model (see `publishable_files`), or as the class says.
        """
        files = publishable_files(Path(folder))
        record = VersionRecord(
            version=new_version_name(),
            created_at=datetime.now(timezone.utc),
            files=tuple(file.record for file in files),
            parent=None if parent is None else self.resolve(parent).version,
            metrics=dict(metrics or {}),
            notes=notes,
            trained_on=trained_on,
        )
        # As JSON hands it back, so that an equal record compares equal.
        record = VersionRecord.model_validate_json(record.to_json())
        ours = {"version": record.version, "created_at": record.created_at}
        for known in reversed(self.versions()):
            if known.model_copy(update=ours) == record:
                return known
        self.add(record, files)
        return record

    def promote(
        self, version: str, *, reason: str, expected_current: str | None = ANY
    ) -> AliasMove:
        """Point production at a version (or at what an alias stands for), previous at the old one.

        A version that is in production already stays there and nothing is written, so a job that
        was killed afterwards may simply be repeated.

        Args:
          reason: why, for the history.
          expected_current: the version that production must point at now; None: at none yet.

        Returns:
          The move that holds afterwards.

        Raises:
          StoreConflict: production is not `expected_current`, or moved in this very moment.
        """
        record = self.resolve(version)
        self.verify(record)

        def change(aliases: Table) -> Table:
            current = aliases.get(PRODUCTION)
            if current == record.version:
                return aliases
            self._check_expected(current, expected_current)
            kept = {} if current is None else {PREVIOUS: current}
            return {**aliases, **kept, PRODUCTION: record.version}

        return self._aliases.move("promote", reason, (PRODUCTION, PREVIOUS), change)

    def rollback(self, *, reason: str, expected_current: str | None = ANY) -> AliasMove:
        """Swap production and previous; see `promote`."""

        def change(aliases: Table) -> Table:
            if PREVIOUS not in aliases:
                raise ModelError(
                    f"{self.location} has no {PREVIOUS} version to go back to; promote one instead"
                )
            self._check_expected(aliases[PRODUCTION], expected_current)
            self.verify(self.resolve(aliases[PREVIOUS]))
            return {**aliases, PRODUCTION: aliases[PREVIOUS], PREVIOUS: aliases[PRODUCTION]}

        return self._aliases.move("rollback", reason, (PRODUCTION, PREVIOUS), change)

    def set_alias(self, alias: str, version: str, *, reason: str) -> AliasMove:
        """Point any other alias, such as candidate, at a version; see `promote`."""
        self.check_alias(alias)
        record = self.resolve(version)
        self.verify(record)

        def change(aliases: Table) -> Table:
            return {**aliases, alias: record.version}

        return self._aliases.move("set_alias", reason, (alias,), change)

    def check_alias(self, alias: str) -> None:
        """Raise ModelError for an alias that `set_alias` would not set."""
        if not is_alias(alias):
            raise ModelError(
                f"{alias!r} cannot be an alias: write a letter, then letters, digits, _ . or -, "
                "64 characters at most"
            )
        if alias in (PRODUCTION, PREVIOUS):
            raise ModelError(f"{alias} moves by promote and rollback only")

    def note(self, reason: str) -> AliasMove:
        """Write a line into the history, such as why a version was not promoted; nothing moves."""
        return self._aliases.move("note", reason, (), lambda aliases: aliases, even_if_same=True)

    def _check_expected(self, current: str | None, expected: str | None) -> None:
        if expected != ANY and current != expected:
            raise StoreConflict(
                f"{self.location}: {PRODUCTION} is {current or 'not set'}, not "
                f"{expected or 'unset'} as expected; nothing was changed"
            )

    def _no_version(self, version: str) -> ModelError:
        if self.is_begun(version):
            return ModelError(
                f"{self.location}@{version} was never finished: its upload was cut short or is "
                "still going on"
            )
        names = self.version_names()
        if not names:
            return ModelError(f"{self.location}: there is no model store")
        return ModelError(f"{self.location} has no version {version}{_suggestion(version, names)}")

    def _no_alias(self, alias: str, aliases: Mapping[str, str]) -> ModelError:
        if aliases:
            return ModelError(
                f"{self.location} has no alias {alias!r}{_suggestion(alias, aliases)}"
            )
        if self.exists():
            return ModelError(f"{self.location} has no alias {alias!r}, nor any other; promote one")
        return ModelError(f"{self.location}: there is no model store")


def split_reference(name: str) -> tuple[str, str] | None:
    """`store/banking@production` as (`store/banking`, `production`); None for other names."""
    location, at, reference = name.rpartition("@")
    if not at or not location.rstrip("/") or "/" in reference:
        return None
    return location, reference


def _suggestion(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    shown = ", ".join(names[-_SHOWN_NAMES:])
    return f"; it has {shown}" + (f"; did you mean {near[0]}?" if near else "")
