"""The table of what each reader sees, from docs/readers.json; `tools.output_table` writes it.

`BEAM_BERT_RECORD=1 python -m pytest tests/readers` records what the readers of `[readers]` see.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parents[1] / "docs" / "readers.json"
# By what stands in the file: BigQuery's and Athena's types, by their documents.
# https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#parquet_conversions
# https://docs.aws.amazon.com/athena/latest/ug/data-types.html
DOCUMENTED = {
    "string": ("STRING", "string"),
    "binary": ("BYTES", "binary"),
    "bool": ("BOOL", "boolean"),
    "int8": ("INT64", "tinyint"),
    "int16": ("INT64", "smallint"),
    "int32": ("INT64", "int"),
    "int64": ("INT64", "bigint"),
    "float": ("FLOAT64", "float"),
    "double": ("FLOAT64", "double"),
    "decimal": ("NUMERIC or BIGNUMERIC", "decimal"),
    "date": ("DATE", "date"),
    "timestamp, ms": ("DATETIME", "timestamp"),
    "timestamp, µs": ("DATETIME", "timestamp"),
    "timestamp, µs, UTC": ("TIMESTAMP", "timestamp"),
    "list": ("ARRAY, with list inference; null is []", "array"),
    "struct": ("STRUCT", "struct"),
    "list of structs": ("ARRAY of STRUCT, as list", "array of struct"),
}
_KINDS = {
    "date32[day]": "date",
    "timestamp[ms]": "timestamp, ms",
    "timestamp[us]": "timestamp, µs",
    "timestamp[us, tz=UTC]": "timestamp, µs, UTC",
}


def kind(file_type: str) -> str:
    """The row of a column, by its type in the file."""
    if "list<" in file_type.split("struct")[0]:
        return "list of structs" if "struct<" in file_type else "list"
    outer = file_type.split("<")[0].split("(")[0]
    return _KINDS.get(file_type, "decimal" if outer.startswith("decimal") else outer)


def readers_table() -> list[str]:
    """The table of types, and what is seen otherwise."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    columns, readers = record["columns"], record["readers"]
    rows: dict[str, list[str]] = {name: [] for name in DOCUMENTED}
    for name, column in columns.items():
        rows[kind(column["file"])].append(name)
    heads = [f"{name} {reader['version']}" for name, reader in readers.items()]
    heads = ["you carry", "in the file", *heads, "BigQuery (by its documents)"]
    heads.append("Athena, Trino (by their documents)")
    lines = [_row(heads), _row(["---"] * len(heads))]
    for row, names in rows.items():
        carried = ", ".join(dict.fromkeys(columns[name]["carried"] for name in names))
        cells = [_cell(reader["columns"], names) for reader in readers.values()]
        lines.append(_row([carried, row, *cells, *DOCUMENTED[row]]))
    lines += ["", "\\* Not every cell is the same:", ""]
    for reader, what in readers.items():
        lines += [f"- {reader}: {each}" for each in _differences(what["columns"], rows)]
    return lines


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cell(seen: dict[str, Any], names: list[str]) -> str:
    """The reader's own type without what is inside; a star where a cell differs."""
    types = dict.fromkeys(_outer(seen[name]["type"]) for name in names if seen[name]["type"])
    star = " \\*" if any(seen[name]["differs"] for name in names) else ""
    return (", ".join(types) or "none") + star


def _outer(type_: str) -> str:
    """A type in few characters: `Nullable(String)` is String, `struct<a: int64>` struct."""
    if type_.startswith("Nullable("):
        type_ = type_[len("Nullable(") : -1]
    if type_.startswith(("timestamp", "Datetime", "DateTime")):  # whose unit tells
        return type_
    is_list = type_.endswith(")[]")
    return re.split("[(<]", type_)[0] + ("[]" if is_list else "")


def _differences(seen: dict[str, Any], rows: dict[str, list[str]]) -> list[str]:
    """A line for each kind of column of which a cell differs, with the first that does."""
    found = []
    for row, names in rows.items():
        bad = [name for name in names if seen[name]["differs"]]
        if bad:
            some = "" if len(bad) == len(names) else f" ({len(bad)} of {len(names)} columns)"
            found.append(f"{row}{some}: `{seen[bad[0]]['differs']}`")
    return found
