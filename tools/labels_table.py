"""Writes docs/labels.md: how labels are read, by cell and format, found out by reading them.

python -m tools.labels_table           write the file
python -m tools.labels_table --check   say whether it is stale; exit code 1 then
"""

from __future__ import annotations

import csv
import json
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_bert.errors import InputError
from beam_bert.labelled.cells import LabelColumn
from beam_bert.labelled.labels import Meaning, model_labels
from beam_bert.labelled.learning import learn_labels
from beam_bert.labelled.parsing import PROBLEM_TYPES, LabelSettings
from beam_bert.labelled.rows import LabelsWanted, read_rows
from beam_bert.settings.naming import called_by_flags
from beam_bert.settings.training import FinetuneConfig
from beam_bert.sources import SourceSpec
from tools.pages import write_or_check

PAGE = Path(__file__).parents[1] / "docs" / "labels.md"
FORMATS = ("csv", "jsonl", "parquet")
OPENING = """# Labels

Made by `python -m tools.labels_table`, which writes each case as a file and has it read.

`finetune`, `evaluate` and the nightly job read labels by one rule, and say what they understood
before they begin: `5 labels: 1, 2, 3, 4, 5, numbers`. In short:

- **Numbers are compared by value.** `1`, `1.0` and `"1"` are one label, whatever wrote them. A
  number is a place among a model's labels only where none of these is a number, and that is told.
  `--label_names` says what numbers stand for.
- **Several labels a row** are a list (JSON, Parquet, or JSON in every filled cell of a CSV column),
  or text with `--label_separator`. Lists of equal length with nothing but 0 and 1 are vectors, and
  need `--label_names`. A column a label: `--label_columns toxic insult threat`.
- **Names that a Parquet file carries** (ClassLabel of Hugging Face datasets) take the place of its
  numbers; -1 is no label.
- **No label**: null, NaN, an empty cell; in CSV and TSV the words that Pandas writes for them too
  (`NaN`, `None`, `NULL`, `N/A`, `<NA>`, …), unless there is nothing else in the column or
  `--keep_null_labels` is given. Such rows count for `--max_reject_rate`. `--blank_labels none`: an
  empty cell says that none of several labels applies; a list says that by `[]`.
- **Spellings**: what looks the same (composed or not, characters without width, blanks) is one
  label. Spellings that differ in case or form are one where only one of them is common (a fifth of
  the rows); two common ones are told, with counts.
- **A regression's values** may be up to 1e15, since squares of much more are beyond float32.
"""


@dataclass(frozen=True)
class Case:
    """Labels of a few rows, and how they are read.

    Attributes:
      shown: what stands in the column.
      labels: of the rows.
      flags: of the command, for the table.
      settings: what they set.
      types: Parquet's type, where it is not what pyarrow makes of the values.
      formats: that can hold such cells.
    """

    shown: str
    labels: Sequence[Any]
    flags: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    types: pa.DataType | None = None
    formats: Sequence[str] = FORMATS
    class_names: Sequence[str] = ()


NAMES = {"names": ("a", "b", "c")}
ONE_HOT = [[1, 0, 0], [0, 1, 0], [0, 0, 1]] * 2
CASES = (
    Case("`good`, `bad`", ["good", "bad"] * 3),
    Case("`1`, `2`", [1, 2] * 3),
    Case("`1.0`, `2.0`", [1.0, 2.0] * 3),
    Case("`1.0`, `2.0` (float32)", [1.0, 2.0] * 3, types=pa.float32(), formats=["parquet"]),
    Case('`"1"`, `"2.0"`, `"1.0"`', ["1", "2.0", "1.0", "2"] * 2),
    Case("`007`, `008`", ["007", "008"] * 3),
    Case("`true`, `false`", [True, False] * 3),
    Case("`0`, `1`, `2`", [0, 1, 2] * 2, "--label_names (a, b, c)", NAMES),
    Case("`a`, `1`, `2.0`", ["a", "1", "2.0"] * 2, "--label_names (a, b, c)", NAMES),
    Case(
        "`0`, `1`, -1 with the names spam, ham",
        [0, 1, 0, 1],
        formats=["parquet"],
        class_names=["spam", "ham"],
    ),
    Case('`["a", "b"]`, `["a"]`, `[]`', [["a", "b"], ["a"], []] * 2),
    Case("`[0, 2]`, `[1]`", [[0, 2], [1], [2, 1]] * 2),
    Case("`[1, 0, 0]`, …", ONE_HOT),
    Case("`[1, 0, 0]`, …", ONE_HOT, "--label_names (a, b, c)", NAMES),
    Case(
        "`[1.0, 1.0, 0.0]`, …",
        [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]] * 2,
        "--label_names (a, b, c)",
        NAMES,
    ),
    Case("`['a', 'b']`, as Python prints it", ["['a', 'b']", "['a']"] * 2),
    Case("`[1 0 0]`, as numpy prints it", ["[1 0 0]", "[0 1 0]"] * 2),
    Case('`["a"]` beside `b`', [["a"], "b"] * 2, formats=["csv", "jsonl"]),
    Case('`{"a": 1}`', [{"a": 1}, {"a": 2}] * 2),
    Case('`[["a"]]`', [[["a"]], [["b"]]] * 2),
    Case("bytes", [b"a", b"b"] * 2, formats=["parquet"]),
    Case("`b'a'`, as Python prints bytes", ["b'a'", "b'b'"] * 2),
    Case("`[0.2, 0.8]`", [[0.2, 0.8], [0.7, 0.3]] * 2),
    Case("`news|sport`, `news`", ["news|sport", "news", "sport"] * 2),
    Case(
        "`news|sport`, `news`",
        ["news|sport", "news", "sport"] * 2,
        "--label_separator '|'",
        {"separator": "|"},
    ),
    Case(
        "`a;b`, empty",
        ["a;b", "a", "b", ""] * 2,
        "--label_separator ';' --blank_labels none",
        {"separator": ";", "blank_is_none": True},
    ),
    Case("`good`, `bad`, null", ["good", "bad", None] * 2),
    Case("`good`, `bad`, NaN", ["good", "bad", math.nan] * 2, formats=["csv", "jsonl"]),
    Case("`good`, `bad`, `None`, `N/A`", ["good", "bad", "None", "N/A"] * 2),
    Case(
        "`good`, `bad`, `None`",
        ["good", "bad", "None"] * 2,
        "--keep_null_labels",
        {"keep_nulls": True},
    ),
    Case("`Good` 9 times, `good` once, `bad`", ["Good"] * 9 + ["good"] + ["bad"] * 3),
    Case("`US` 9 times, `us` 6 times", ["US"] * 9 + ["us"] * 6),
    Case("`é` composed 3 times, not composed 3 times, `a`", ["\u00e9", "e\u0301", "a"] * 3),
    Case("30 numbers with decimals", [n + 0.5 for n in range(30)] * 2),
    Case(
        "`0.5`, `1.5`", [0.5, 1.5] * 3, "--problem_type regression", {"problem_type": "regression"}
    ),
    Case("`1e39`", [0.5, 1e39] * 3, "--problem_type regression", {"problem_type": "regression"}),
    Case("`x`", ["0.5", "1.5", "x"], "--problem_type regression", {"problem_type": "regression"}),
)
MODEL_CASES = (
    (("1", "2"), Case("`1.0`, `2.0`", [1.0, 2.0])),
    (("1", "2"), Case("`0`, `1`", [0, 1])),
    (("0.5", "1"), Case('`"0.50"`, `"1e0"`', ["0.50", "1e0"])),
    (("ham", "spam"), Case("`0`, `1.0`", [0, 1.0])),
    (("ham", "spam"), Case("`2`", [0, 2])),
    (("ham", "spam"), Case("`HAM`, `spam`", ["HAM", "spam"])),
    (
        ("spam", "ham"),
        Case(
            "`0`, `1` with the names ham, spam",
            [0, 1],
            formats=["parquet"],
            class_names=["ham", "spam"],
        ),
    ),
    (("False", "True"), Case("`true`, `false`", [True, False])),
    (("a", "b", "c"), Case("`[1, 0, 0]`, …", ONE_HOT)),
)


def write_rows(folder: Path, case: Case, format_: str) -> Path:
    """A file of that format with a text and the case's label in each row."""
    path = folder / f"rows.{format_}"
    rows = [{"text": f"text {n}", "label": label} for n, label in enumerate(case.labels)]
    if format_ == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(
                [("text", "label"), *((row["text"], _in_csv(row["label"])) for row in rows)]
            )
    elif format_ == "jsonl":
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        path.write_text("".join(lines), encoding="utf-8")
    else:
        labels = pa.array(case.labels, case.types)
        table = pa.table({"text": [row["text"] for row in rows], "label": labels})
        if case.class_names:
            feature = {"names": list(case.class_names), "_type": "ClassLabel"}
            info = {"info": {"features": {"label": feature}}}
            table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
        pq.write_table(table, path)
    return path


def _in_csv(label: Any) -> str:
    if label is None:
        return ""
    return json.dumps(label) if isinstance(label, (list, dict, bool)) else str(label)


def understood(path: Path, case: Case, model: Sequence[str] = ()) -> str:
    """What is said of the file's labels, or why they are refused; of a model, whether it may."""
    settings = LabelSettings("label", **case.settings)

    def read(column: LabelColumn) -> Meaning:
        if model:
            single = PROBLEM_TYPES["single_label"]
            return model_labels(tuple(model), single, settings).read(column, "input")
        return learn_labels(column, settings).read(column)

    wanted = LabelsWanted(("label",), settings, read)
    try:
        rows = read_rows(
            [str(path)], SourceSpec(), labels=wanted, max_reject_rate=1, setting="train"
        )
    except InputError as error:
        why = str(error).replace(f"{path}#", "row ")
        return f"refused: {why}"
    assert rows.meaning is not None
    kind = rows.meaning.vocabulary.problem_type.removesuffix("_classification")
    first, *notes = rows.meaning.lines()
    if rows.rejected:
        notes.append(f"{rows.rejected} rows have none")
    return "; ".join([first if model else f"{kind.replace('_', ' ')}: {first}", *notes])


def page() -> str:
    """The page: the rules, and the tables."""
    called_by_flags({*FinetuneConfig.model_fields, "input"})
    parts = [OPENING]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts.append("## What training makes of a column\n")
        cases = [((case.shown, case.flags), case, ()) for case in CASES]
        parts.append(_table(("cells", "flags"), cases, folder))
        parts.append("## What they are to a model that chooses one of its labels\n")
        rows = [((", ".join(model), c.shown), c, model) for model, c in MODEL_CASES]
        parts.append(_table(("the model's labels", "cells"), rows, folder))
    called_by_flags(None)
    return "\n".join(parts)


def _table(
    heads: tuple[str, str],
    rows: Sequence[tuple[tuple[str, str], Case, Sequence[str]]],
    folder: Path,
) -> str:
    """A line a case; formats that read it alike stand together."""
    lines = [(*heads, "format", "read as"), ("---",) * 4]
    for shown, case, model in rows:
        found: dict[str, list[str]] = {}
        for format_ in case.formats:
            what = understood(write_rows(folder, case, format_), case, model)
            found.setdefault(what, []).append(_FORMAT_NAMES[format_])
        lines += [(*shown, ", ".join(formats), what) for what, formats in found.items()]
    return "".join(f"| {' | '.join(c.replace('|', _BAR) for c in line)} |\n" for line in lines)


_FORMAT_NAMES = {"csv": "CSV", "jsonl": "JSON lines", "parquet": "Parquet"}
_BAR = "\\|"


def main(argv: Sequence[str]) -> int:
    """Write or check the page; returns the exit code."""
    return write_or_check(PAGE, page, "tools.labels_table", argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
