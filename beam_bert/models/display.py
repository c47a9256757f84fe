"""What `python -m pipelines.models` prints of a store: tables for people, one JSON object else."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from beam_bert.errors import printable
from beam_bert.models.records import AliasMove, VersionRecord
from beam_bert.models.store import PREVIOUS, PRODUCTION, ModelStore

_PIPE_WIDTH = 200
_SHOWN_METRICS = 4
_NEVER_SET = "not set"


def show_store(store: ModelStore, *, as_json: bool) -> None:
    """A line for each version, newest first; as JSON aliases and history too."""
    aliases, versions = store.aliases(), store.versions()
    if as_json:
        document = {
            "store": store.location,
            "aliases": aliases,
            "versions": [_version_as_json(store, record, aliases) for record in versions],
            "history": _as_json(store.history()),
        }
        print(json.dumps(document))
        return
    table = _table("version", "aliases", "published", "size", "parent", "metrics")
    for record in reversed(versions):
        _add_row(
            table,
            record.version,
            ", ".join(_aliases_of(record, aliases)),
            _time(record.created_at),
            _size(record.size),
            record.parent or "",
            _metrics(record, _SHOWN_METRICS),
        )
    _print(table)


def show_version(store: ModelStore, record: VersionRecord, *, as_json: bool) -> None:
    """All that is known of a version, and which moves made it so."""
    aliases, moves = store.aliases(), _moves_of(store, record)
    if as_json:
        known = _version_as_json(store, record, aliases)
        print(json.dumps({**known, "history": _as_json(moves)}))
        return
    facts = Table.grid(padding=(0, 2))
    _add_row(facts, "version", record.version)
    _add_row(facts, "aliases", ", ".join(_aliases_of(record, aliases)) or "none")
    _add_row(facts, "published", _time(record.created_at))
    _add_row(facts, "location", store.folder(record.version))
    _add_row(facts, "digest", record.digest)
    _add_row(facts, "parent", record.parent or "none")
    _add_row(facts, "metrics", _metrics(record, len(record.metrics)) or "none")
    _add_row(facts, "notes", record.notes or "none")
    files = _table("file", "size", "crc32c")
    for file in record.files:
        _add_row(files, file.path, _size(file.size), file.crc32c)
    _print(facts, files, _history(moves))


def show_history(store: ModelStore, *, as_json: bool) -> None:
    """Every move of an alias and every verdict: newest first; as JSON oldest first."""
    if as_json:
        print(json.dumps(_as_json(store.history())))
    else:
        _print(_history(store.history()[::-1]))


def show_move(before: dict[str, str], move: AliasMove, *, as_json: bool) -> None:
    """What a promotion or rollback changed."""
    if as_json:
        print(json.dumps({**_as_json([move])[0], "changed": move.aliases != before}))
        return
    for alias in (PRODUCTION, PREVIOUS):
        now, was = move.aliases.get(alias, _NEVER_SET), before.get(alias, _NEVER_SET)
        print(f"{alias}: {now}" + (f" (was {was})" if now != was else " (as it was)"))


def _as_json(moves: Sequence[AliasMove]) -> list[dict[str, Any]]:
    return [move.model_dump(mode="json", exclude={"format", "id"}) for move in moves]


def _version_as_json(
    store: ModelStore, record: VersionRecord, aliases: dict[str, str]
) -> dict[str, Any]:
    return {
        **record.model_dump(mode="json", exclude={"format"}),
        "digest": record.digest,
        "location": store.folder(record.version),
        "aliases": _aliases_of(record, aliases),
    }


def _moves_of(store: ModelStore, record: VersionRecord) -> list[AliasMove]:
    """Moves after which something else points at the version than before, and notes on it."""
    before: list[str] = []
    moves = []
    for move in store.history():
        after = _aliases_of(record, move.aliases)
        if after != before or (move.action == "note" and record.version in move.reason):
            moves.append(move)
        before = after
    return moves


def _aliases_of(record: VersionRecord, aliases: dict[str, str]) -> list[str]:
    return sorted(alias for alias, version in aliases.items() if version == record.version)


def _history(moves: list[AliasMove]) -> Table:
    table = _table("when", "what", "production then", "by", "reason")
    for move in moves:
        production = move.aliases.get(PRODUCTION, _NEVER_SET)
        _add_row(table, _time(move.at), move.action, production, move.by, move.reason)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _add_row(table: Table, *cells: str) -> None:
    # A reason may have [brackets], which are no markup, or bytes that would steer a terminal.
    table.add_row(*(Text(printable(cell)) for cell in cells))


def _print(*tables: Table) -> None:
    console = Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    for number, table in enumerate(table for table in tables if table.row_count):
        if number:
            console.print()
        console.print(table)


def _time(time: Any) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB" if count >= 2**20 else f"{count:,} B"


def _metrics(record: VersionRecord, most: int) -> str:
    shown = [
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in list(record.metrics.items())[:most]
    ]
    return ", ".join(shown) + (" …" if len(record.metrics) > most else "")
