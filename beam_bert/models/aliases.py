"""The aliases of a model store: one table, of which every move writes the whole next one."""

from __future__ import annotations

import getpass
import re
import socket
import uuid
from collections.abc import Callable, Collection
from datetime import datetime, timezone

from beam_bert.errors import ConfigError, ModelError, StoreConflict
from beam_bert.models.records import Action, AliasMove, create_record, parse_record
from beam_bert.storage.base import Storage, in_parallel

_ATTEMPTS = 20

Table = dict[str, str]  # alias to version


class AliasTable:
    """The moves in `aliases/` of a store, which `location` names to people."""

    def __init__(self, location: str, storage: Storage) -> None:
        self._location = location
        self._storage = storage

    def head(self) -> AliasMove | None:
        """The move that holds: the one with the highest number."""
        numbers = self._numbers()
        return self._read(numbers[-1]) if numbers else None

    def history(self) -> list[AliasMove]:
        """Every move, oldest first."""
        return in_parallel(self._read, self._numbers(), self._storage.parallelism)

    def move(
        self,
        action: Action,
        reason: str,
        watched: Collection[str],
        change: Callable[[Table], Table],
        *,
        even_if_same: bool = False,
    ) -> AliasMove:
        """Write the table that `change` makes of the one that holds, if it differs or must be.

        Another move may come in between: this one builds upon it where it left the `watched`
        aliases alone, and loses to it where it did not.

        Returns:
          The move that holds afterwards.

        Raises:
          StoreConflict: another move of the watched aliases came first.
        """
        reason = " ".join(reason.split())
        if not reason:
            raise ConfigError(f"{action} needs a reason, for the history")
        seen: dict[str, str | None] | None = None
        for _ in range(_ATTEMPTS):
            head = self.head()
            before = dict(head.aliases) if head else {}
            now = {alias: before.get(alias) for alias in watched}
            if head is not None and seen not in (None, now):
                raise StoreConflict(
                    f"{self._location}: another {head.action} came first (by {head.by}: "
                    f"{head.reason}); now {_shown(now)}; look at it, then try again"
                )
            seen = now
            after = change(before)
            if head is not None and after == before and not even_if_same:
                return head
            move = AliasMove(
                number=head.number + 1 if head else 1,
                id=uuid.uuid4().hex,
                at=datetime.now(timezone.utc),
                by=_whoami(),
                action=action,
                reason=reason,
                aliases=dict(sorted(after.items())),
            )
            if create_record(self._storage, _path(move.number), move):
                return move
        raise StoreConflict(f"{self._location}: its aliases move all the time; try again later")

    def _numbers(self) -> list[int]:
        files = self._storage.list_files("aliases", recursive=False)
        stems = [file.name.removesuffix(".json") for file in files if file.name.endswith(".json")]
        return sorted(int(stem) for stem in stems if re.fullmatch("[0-9]{8}", stem))

    def _read(self, number: int) -> AliasMove:
        path = _path(number)
        move = parse_record(self._storage, path, AliasMove)
        if move is None or move.number != number:
            raise ModelError(f"{self._storage.uri(path)} is gone or another's; bring it back")
        return move


def _path(number: int) -> str:
    return f"aliases/{number:08d}.json"


def _shown(aliases: dict[str, str | None]) -> str:
    return ", ".join(f"{alias} is {version or 'not set'}" for alias, version in aliases.items())


def _whoami() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
