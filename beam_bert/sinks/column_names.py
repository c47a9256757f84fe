"""Names of carried columns that some reader refuses or mixes up, and what to call them instead."""

from __future__ import annotations

import re
from collections.abc import Callable

import pyarrow as pa

from beam_bert.slices.conversion import INPUT_NAME, is_list
from beam_bert.slices.schema import numbered_name, same_name

# https://cloud.google.com/bigquery/docs/schemas#column_names
_MAX_BYTES = 300
_NOT_ALLOWED = re.compile(r"[^\w]")
_RESERVED = re.compile(
    r"_TABLE_|_FILE_|_PARTITION|_ROW_TIMESTAMP|__ROOT__|_COLIDENTIFIER|_CHANGE_", re.IGNORECASE
)
_MAX_LEVELS = 15


def portable_name(name: str) -> str:
    """The name with what BigQuery refuses replaced by `_`."""
    name = _NOT_ALLOWED.sub("_", name) or "_"
    if name[0].isdigit():
        name = f"_{name}"
    if _RESERVED.match(name):
        name = f"input{name}"
    return name.encode()[:_MAX_BYTES].decode(errors="ignore")


def portable_names(columns: pa.Schema, taken: list[str]) -> pa.Schema:
    """The columns and all fields inside them under names that every reader takes.

    Args:
      columns: of the input; what was renamed has its own name as metadata.
      taken: the output's other columns.
    """
    return pa.schema(_renamed(list(columns), {same_name(name) for name in taken}))


def _renamed(fields: list[pa.Field], taken: set[str]) -> list[pa.Field]:
    taken = taken | {same_name(field.name) for field in fields if _is_portable(field.name)}
    seen: set[str] = set()
    renamed = []
    for field in fields:
        name = field.name
        if not _is_portable(name) or same_name(name) in seen:
            name = numbered_name(portable_name(name), taken)
        seen.add(same_name(name))
        taken.add(same_name(name))
        field = field.with_type(_renamed_inside(field.type))
        if name != field.name:
            known = field.metadata or {}
            metadata = {INPUT_NAME: field.name.encode(), **known}
            field = field.with_name(name).with_metadata(metadata)
        renamed.append(field)
    return renamed


def _is_portable(name: str) -> bool:
    return name != "" and portable_name(name) == name


def _renamed_inside(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(type_):
        return pa.struct(_renamed(list(type_), set()))
    if is_list(type_):
        return pa.list_(type_.value_field.with_type(_renamed_inside(type_.value_type)))
    return type_


def name_notes(columns: pa.Schema, more: str) -> list[str]:
    """Which names some reader suffers from, a line for each kind; `more` says what helps."""
    notes: dict[str, list[str]] = {}
    for field in columns:
        _look_at(field, field.name, 1, lambda note, path: notes.setdefault(note, []).append(path))
    return [
        f"{', '.join(map(repr, dict.fromkeys(paths)))}: {note}{'' if 'levels' in note else more}"
        for note, paths in notes.items()
    ]


def _look_at(field: pa.Field, path: str, level: int, note: Callable[[str, str], None]) -> None:
    if field.name == "":
        note("an empty name is refused by BigQuery, Spark and Iceberg", path)
    elif _RESERVED.match(field.name):
        note("BigQuery keeps names that begin so for itself", path)
    elif len(field.name.encode()) > _MAX_BYTES:
        note(f"BigQuery refuses names of more than {_MAX_BYTES} bytes", f"{path[:40]}…")
    elif not _is_portable(field.name):
        note("BigQuery refuses such characters in names", path)
    if level == _MAX_LEVELS + 1:
        note(f"BigQuery refuses more than {_MAX_LEVELS} levels", path)
        return
    type_ = field.type
    while is_list(type_):
        type_ = type_.value_type
    if not pa.types.is_struct(type_):
        return
    seen: dict[str, str] = {}
    for inner in type_:
        twin = seen.setdefault(same_name(inner.name), inner.name)
        inside = f"{path}.{inner.name}"
        if twin != inner.name:
            note("Spark, BigQuery and DuckDB take names that differ in case for one", inside)
        _look_at(inner, inside, level + 1, note)
