"""Writes what is generated below terraform/: run it after changing settings, schemas or variables.

python terraform/generate.py           write the files
python terraform/generate.py --check   say which are stale; exit code 1 where one is

flex_template/metadata*.json      from the settings' pydantic models, one a job
modules/warehouse/columns.json    from the Arrow schemas
modules/warehouse/*.parquet       files without rows, of the same columns
modules/*/README.md               the tables of inputs and outputs, between their markers
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import hcl2

HERE = Path(__file__).parent
BEGIN, END = "<!-- tables: made by terraform/generate.py -->", "<!-- end of tables -->"
BIGQUERY_TYPES = {
    "string": "STRING",
    "binary": "BYTES",
    "bool": "BOOLEAN",
    "int32": "INTEGER",
    "int64": "INTEGER",
    "float": "FLOAT",
    "double": "FLOAT",
}


def generated_files() -> dict[Path, str]:
    """Every generated file and what it should hold."""
    from beam_bert.jobs.flex_template import DEFAULT_TASK, metadata
    from beam_bert.settings.answer import JOBS

    files = {
        HERE / "flex_template" / f"metadata{'' if t == DEFAULT_TASK else f'-{t}'}.json": _json(
            metadata(t)
        )
        for t in JOBS
    } | {
        HERE / "modules/warehouse/columns.json": _json(warehouse_columns()),
    }
    for folder in sorted([*(HERE / "modules").iterdir(), *(HERE / "examples").iterdir()]):
        readme = folder / "README.md"
        text = readme.read_text(encoding="utf-8")
        if BEGIN not in text or END not in text:
            raise SystemExit(f"{readme}: has no {BEGIN} … {END}")
        before, rest = text.split(BEGIN)
        after = rest.split(END)[1]
        files[readme] = f"{before}{BEGIN}\n\n{tables(folder)}\n{END}{after}"
    return files


def warehouse_columns() -> dict[str, list[dict[str, str]]]:
    """BigQuery columns of the output: what every run has, what lists add, the rejects."""
    from beam_bert.slices.schema import ID_FIELDS, ORIGIN_FIELDS, REJECT_SCHEMA
    from beam_bert.tasks import ClassificationTask

    scores = ClassificationTask(labels=("a", "b", "c")).fields()
    with_lists = ClassificationTask(labels=("a", "b", "c"), top_k=2).fields()
    return {
        "id": [_column(field) for field in ID_FIELDS],
        "scores": [_column(field) for field in scores],
        "lists": [_column(field) for field in with_lists[len(scores) :]],
        "origin": [_column(field) for field in ORIGIN_FIELDS],
        "rejects": [_column(field) for field in REJECT_SCHEMA],
    }


def placeholders() -> dict[Path, Any]:
    """Parquet files without rows and their schemas: what BigQuery's tables stand over at first."""
    import pyarrow as pa

    from beam_bert.slices.schema import ID_FIELDS, ORIGIN_FIELDS, REJECT_SCHEMA
    from beam_bert.tasks import ClassificationTask

    scores = ClassificationTask(labels=("a", "b", "c"), top_k=2).fields()
    schemas = {
        "predictions": pa.schema([*ID_FIELDS, *scores, *ORIGIN_FIELDS]),
        "rejects": REJECT_SCHEMA,
    }
    folder = HERE / "modules/warehouse"
    return {folder / f"placeholder-{name}.parquet": schema for name, schema in schemas.items()}


def stale_placeholders() -> list[Path]:
    """Those of another schema; bytes differ from one version of Arrow to the next, and may."""
    import pyarrow.parquet as pq

    found = placeholders().items()
    return [p for p, schema in found if not p.exists() or not pq.read_schema(p).equals(schema)]


def tables(folder: Path) -> str:
    """The Markdown tables of a module's variables and outputs."""
    lines = ["| input | type | default | what it is |", "| --- | --- | --- | --- |"]
    for name, body in sorted(blocks(folder, "variable"), key=lambda item: "default" in item[1]):
        default = _default(body["default"]) if "default" in body else "required"
        lines.append(f"| `{name}` | {_type(body['type'])} | {default} | {_words(body)} |")
    lines += ["", "| output | what it is |", "| --- | --- |"]
    lines += [f"| `{name}` | {_words(body)} |" for name, body in blocks(folder, "output")]
    return "\n".join(lines) + "\n"


def blocks(folder: Path, kind: str) -> list[tuple[str, dict[str, Any]]]:
    """The blocks of one kind with one label in a module's files, by name, in source order."""
    found = []
    for path in sorted(folder.glob("*.tf")):
        for block in hcl2.loads(path.read_text(encoding="utf-8")).get(kind, []):
            for name, body in block.items():
                if not name.startswith("__"):
                    found.append((name.strip('"'), body))
    return found


def main() -> int:
    """Write or check; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="Write nothing.")
    check = parser.parse_args().check
    stale = []
    for path, text in generated_files().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path)
            if not check:
                path.write_text(text, encoding="utf-8")
    for path in stale_placeholders():
        stale.append(path)
        if not check:
            import pyarrow.parquet as pq

            pq.write_table(placeholders()[path].empty_table(), path)
    for path in stale:
        print(f"{'stale' if check else 'written'}: {path.relative_to(HERE.parent)}")
    return 1 if check and stale else 0


def _column(field: Any) -> dict[str, str]:
    import pyarrow as pa

    is_list = pa.types.is_list(field.type)
    type_ = field.type.value_type if is_list else field.type
    return {
        "name": field.name,
        "type": BIGQUERY_TYPES[str(type_)],
        "mode": "REPEATED" if is_list else "NULLABLE",
        "description": field.metadata[b"description"].decode(),
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _type(text: str) -> str:
    """A type in one line; of an object, its fields by name."""
    plain = " ".join(_unwrap(text).split())
    return f"`{plain}`".replace("|", "\\|")


def _default(value: Any) -> str:
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f"`{_unwrap(value)}`"
    return "`" + re.sub(r'"\\"(.*?)\\""', r'"\1"', json.dumps(_plain(value))) + "`"


def _plain(value: Any) -> Any:
    """A literal without python-hcl2's marks."""
    if isinstance(value, dict):
        return {k.strip('"'): _plain(v) for k, v in value.items() if not k.startswith("__")}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.strip('"') if isinstance(value, str) else value


def _words(body: dict[str, Any]) -> str:
    return textwrap.dedent(_plain(body["description"])).replace("|", "\\|").replace('\\"', '"')


def _unwrap(text: str) -> str:
    return text[2:-1] if text.startswith("${") else text


if __name__ == "__main__":
    sys.exit(main())
