"""Tables of Delta and Iceberg: their files by their log or metadata, never all that lie in them.

What such a folder holds is more than the table: removed rows, older versions, half a write.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from urllib.parse import unquote

from beam_bert.errors import InputError, NoFilesError, shown
from beam_bert.settings.naming import named

_METADATA = re.compile(r"metadata/[^/]*\.metadata\.json")
_PLAIN = "write the rows that you mean as plain Parquet"
_LEVELS = 6  # of folders (partitions) that a table's files may lie below its root


def kind_of_table(folder: Path) -> str | None:
    """Delta, Iceberg or Hudi where the folder is the root of such a table."""
    if (folder / "_delta_log").is_dir():
        return "Delta"
    if (folder / ".hoodie").is_dir():
        return "Hudi"
    if any((folder / "metadata").glob("*.metadata.json")):
        return "Iceberg"
    return None


def table_files(folder: Path) -> list[str] | None:
    """The files that a table consists of now; None: the folder is no table's root.

    Raises:
      InputError: the table cannot be read, or not by its files alone.
    """
    kind = kind_of_table(folder)
    if kind is None:
        return None
    if kind == "Hudi":
        raise InputError(f"{folder} is a Hudi table; {_PLAIN}")
    try:
        files = _delta_files(folder) if kind == "Delta" else _iceberg_files(folder)
    except ImportError:
        raise InputError(
            f"{folder} is a table of {kind}; to read it as one: pip install "
            f"'beam-bert[{kind.lower()}]'"
        ) from None
    except InputError:
        raise
    except Exception as error:  # whatever these libraries raise
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{folder}: the {kind} table cannot be read ({reason}); {_PLAIN}"
        ) from None
    if not files:
        raise NoFilesError(f"{folder}: the {kind} table is empty")
    return [_within(folder, file) for file in files]


def refuse_remote(root: str, names: Collection[str]) -> None:
    """Raise InputError where what lies below a URL says that it is the root of a table.

    Args:
      root: the URL, which ends in "/".
      names: of objects below it, from there on.
    """
    marks = {
        "Delta": any(name.startswith("_delta_log/") for name in names),
        "Hudi": any(name.startswith(".hoodie/") for name in names),
        "Iceberg": any(_METADATA.fullmatch(name) for name in names),
    }
    for kind in (kind for kind, is_one in marks.items() if is_one):
        way = f"copy it to a folder here and pip install 'beam-bert[{kind.lower()}]', or {_PLAIN}"
        raise InputError(f"{root} is a {kind} table; {_PLAIN if kind == 'Hudi' else way}")


def refuse_parts(files: list[str], pattern: str) -> None:
    """Raise InputError where files lie in a table that was not named as a whole."""
    # Few folders hold a million files: each is looked at once.
    direct = map(Path, {os.path.dirname(file) for file in files})  # noqa: PTH120
    folders = {folder for each in direct for folder in [each, *each.parents][:_LEVELS]}
    for folder in sorted(folders):
        if kind := kind_of_table(folder):
            raise InputError(
                f"{pattern} names files of the {kind} table {folder}, removed rows among them; "
                f"name the table itself: {named('input', folder)}"
            )


def _delta_files(folder: Path) -> list[str]:
    from deltalake import DeltaTable

    table = DeltaTable(str(folder.resolve()))
    if table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
        raise InputError(
            f"{folder}: the Delta table's files have other names of columns than the table "
            f"(column mapping); {_PLAIN}"
        )
    if "deletionVectors" in (table.protocol().reader_features or ()) and any(
        batch.num_rows for batch in table.deletion_vectors()
    ):
        raise InputError(
            f"{folder}: the Delta table has rows that are marked as deleted (deletion vectors); "
            "rewrite its files first: REORG TABLE … APPLY (PURGE)"
        )
    return list(table.file_uris())


def _iceberg_files(folder: Path) -> list[str]:
    from pyiceberg.table import StaticTable

    table = StaticTable.from_metadata(str(_latest_metadata(folder.resolve())))
    files = []
    names = {field.field_id: field.name for field in table.schema().fields}
    for field in (field for schema in table.schemas().values() for field in schema.fields):
        if names.get(field.field_id) != field.name:
            raise InputError(
                f"{folder}: the Iceberg table's column {shown(field.name)} was renamed or dropped, "
                f"and files of before have it still; {_PLAIN}"
            )
    for task in table.scan().plan_files():
        if task.delete_files:
            raise InputError(
                f"{folder}: the Iceberg table has rows that are marked as deleted; rewrite its "
                "data files first (rewrite_data_files)"
            )
        files.append(task.file.file_path.replace(table.location(), str(folder.resolve()), 1))
    return files


def _latest_metadata(folder: Path) -> Path:
    """The newest metadata, by the number that its name begins with (v3…, 00003-…)."""

    def number(path: Path) -> int:
        digits = path.name.lstrip("v").split(".")[0].split("-")[0]
        return int(digits) if digits.isdigit() else -1

    return max((folder / "metadata").glob("*.metadata.json"), key=lambda p: (number(p), p.name))


def _within(folder: Path, file: str) -> str:
    path = Path(file.removeprefix("file://"))
    if not path.exists():
        path = Path(unquote(str(path)))
    if not path.is_file():
        raise InputError(f"{folder}: the table's file {file} is not there; bring it back")
    return os.path.join(folder, os.path.relpath(path, folder.resolve()))  # noqa: PTH118
