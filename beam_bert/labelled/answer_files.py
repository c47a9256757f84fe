"""What files say of questions and answers, before any label is checked: one `Entry` a question.

Read are SQuAD's JSON (v1, v2) whole, as a list of its articles or as one of them; flat rows as
`{"data": [...]}`, as a JSON list, or in any format that `beam_bert.sources` reads; in rows and
paragraphs the answers as SQuAD has them (a list of objects), as Hugging Face's datasets has them
(an object of lists), or in two columns. docs/questions.md has the table.

Formats: https://rajpurkar.github.io/SQuAD-explorer/ (Rajpurkar et al. 2016, arXiv:1606.05250, and
2018, arXiv:1806.03822).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from beam_bert.errors import InputError
from beam_bert.labelled.rows import read_documents
from beam_bert.settings.answer_training import AskedColumns
from beam_bert.slices.plan import FileEntry
from beam_bert.sources import SourceSpec, inspect_source
from beam_bert.sources.compression import unpacked
from beam_bert.sources.formats import compression_of, is_packed
from beam_bert.sources.opening import open_listed
from beam_bert.sources.resolving import AskingSettings, columns_of

ANSWERS = "answers"  # the column, or key, of labels with their places in one
IS_IMPOSSIBLE = "is_impossible"


@dataclass(frozen=True)
class Entry:
    """A question as a file has it.

    Attributes:
      file: path of its file; `place`: where in it, for messages.
      labels: (answer_start, text) of each answer; a start of None: the file does not say.
    """

    id: str
    question: str
    context: str
    labels: tuple[tuple[int | None, str], ...]
    file: str
    place: str


def json_entries(file: FileEntry, columns: AskedColumns) -> list[Entry] | None:
    """The entries of a `.json` file; None where it is no such file, or JSON lines."""
    path = file.path
    name = path[: path.rindex(".")] if compression_of(path) else path
    if not name.lower().endswith(".json"):
        return None
    with open_listed(file) as opened:
        packed = is_packed(file)
        content = unpacked(opened, file).read(sys.maxsize) if packed else opened.read()
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None  # JSON lines, or what the reader of rows will tell
    if isinstance(document, dict):
        key = next((key for key in ("data", "paragraphs", "qas") if key in document), None)
        if key is None:
            return None  # one row
        if key != "data":
            return list(_of_parts([document], path, f"{path}: ", columns))
        document = document["data"]
        place = f"{path}: data"
    else:
        place = f"{path}: "
    if not isinstance(document, list):
        return None
    return list(_of_parts(document, path, place, columns))


def _of_parts(
    parts: Sequence[Any], path: str, place: str, columns: AskedColumns
) -> Iterator[Entry]:
    """Articles, paragraphs or flat rows."""
    for number, part in enumerate(parts):
        where = f"{place}[{number}]"
        if isinstance(part, dict) and "qas" not in part and columns.question in part:
            yield _of_row(part, columns, str(part.get(columns.id or "id", where)), path, where)
            continue
        if isinstance(part, dict) and "qas" in part:
            yield from _of_paragraph(part, path, where)
            continue
        for n, paragraph in enumerate(_list(part, "paragraphs", where)):
            yield from _of_paragraph(paragraph, path, f"{where}.paragraphs[{n}]")


def _of_paragraph(paragraph: Any, path: str, where: str) -> Iterator[Entry]:
    context = _text(paragraph, "context", where)
    for number, asked in enumerate(_list(paragraph, "qas", where)):
        place = f"{where}.qas[{number}]"
        question = _text(asked, "question", place)
        labels: list[tuple[int | None, str]] = []
        if not _is_impossible(asked.get(IS_IMPOSSIBLE), place):
            if ANSWERS not in asked:
                _list(asked, ANSWERS, place)
            labels = _labels(asked[ANSWERS], place)
        name = str(asked.get("id", place))
        yield Entry(name, question, context, tuple(labels), path, place)


def _of_row(
    row: Mapping[str, Any], columns: AskedColumns, name: str, path: str, place: str
) -> Entry:
    """An entry of one flat row."""
    labels: list[tuple[int | None, str]] = []
    if not _is_impossible(row.get(IS_IMPOSSIBLE), place):
        texts, starts = (_values(row.get(column)) for column in (columns.answer, columns.start))
        if texts:
            pairs = _paired(texts, starts, place)
            labels = [(_start(start, place), str(text)) for start, text in pairs]
        else:
            labels = _labels(row.get(ANSWERS), place)
    return Entry(
        id=name,
        question=_text(row, columns.question, place),
        context=_text(row, columns.context, place),
        labels=tuple(labels),
        file=path,
        place=place,
    )


def row_entries(
    files: Sequence[FileEntry],
    columns: AskedColumns,
    file_format: str,
    max_reject_rate: float,
    setting: str,
    need_places: bool,
) -> tuple[list[Entry], int]:
    """The entries of files of flat rows, and how many rows have no usable text or question."""
    spec = SourceSpec(
        format=file_format,  # type: ignore[arg-type] # checked by whoever read the settings
        text_columns=(columns.context,),
        text_pair_column=columns.question,
        id_column=columns.id,
        keep_columns=(),
    )
    spec = _with_columns(files, spec, columns, need_places)
    documents, rejected = read_documents(
        files, spec, max_reject_rate=max_reject_rate, setting=setting
    )
    entries = []
    for row in documents.to_pylist():
        place = f"{row['source_file']}#{row['source_row']}"
        values = dict(zip(spec.carried_from, row["carried"].values(), strict=True))
        values |= {columns.context: row["text"], columns.question: row["text_pair"]}
        name = place if columns.id is None else row["doc_id"]
        entries.append(_of_row(values, columns, name, row["source_file"], place))
    return entries, rejected


def _with_columns(
    files: Sequence[FileEntry], spec: SourceSpec, columns: AskedColumns, need_places: bool
) -> SourceSpec:
    """The spec with the columns of labels that the files have, and those that they must have."""
    there = set(columns_of(files, spec))
    needed = set()
    if ANSWERS not in there or columns.answer != AskedColumns.answer:
        needed.add(columns.answer)
    if (columns.answer in there and need_places) or columns.start != AskedColumns.start:
        needed.add(columns.start)
    names = (columns.answer, columns.start, ANSWERS, IS_IMPOSSIBLE)
    kept = tuple(name for name in names if name in there | needed)
    settings = {columns.answer: "answer_column", columns.start: "start_column"}
    asked = AskingSettings(pair="question_column", kept=settings)
    return inspect_source(files, replace(spec, keep_columns=kept), asked=asked)


def _labels(value: Any, place: str) -> list[tuple[int | None, str]]:
    """Labels as a list of objects, or as an object of lists."""
    if isinstance(value, str):  # what a table has of nested values
        try:
            value = json.loads(value) if value else None
        except (ValueError, RecursionError):
            raise InputError(f"{place}: {ANSWERS} is {value[:60]!r}, no JSON") from None
    if value is None:
        return []
    if isinstance(value, dict):
        texts, starts = (_values(value.get(name)) for name in ("text", "answer_start"))
        pairs = _paired(texts, starts, place)
        value = [{"text": text, "answer_start": start} for start, text in pairs]
    if not isinstance(value, list):
        raise InputError(f"{place}: {ANSWERS} is {value!r:.60}, no list of answers")
    return [
        (
            _start(answer.get("answer_start") if isinstance(answer, dict) else None, place),
            _text(answer, "text", f"{place}.{ANSWERS}"),
        )
        for answer in value
    ]


def _paired(texts: list[Any], starts: list[Any], place: str) -> list[tuple[Any, Any]]:
    """(start, text) of each answer; a start of None where there are none."""
    if len(starts) not in (0, len(texts)):
        raise InputError(f"{place}: {len(texts)} answers have {len(starts)} starts")
    return list(zip(starts or [None] * len(texts), texts, strict=True))


def _values(value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    return [item for item in values if not _is_missing(item)]


def _is_missing(value: Any) -> bool:
    return value in (None, "") or (isinstance(value, float) and math.isnan(value))


def _is_impossible(value: Any, place: str) -> bool:
    """What a file says of a question that may have no answer, by its meaning."""
    if _is_missing(value):
        return False
    text = str(value).strip().lower()
    known = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    if text not in known:
        raise InputError(
            f"{place}: {IS_IMPOSSIBLE} is {value!r:.60}; it is true or false, or 1 or 0"
        )
    return known[text]


def _start(value: Any, place: str) -> int | None:
    """A place as files have it: pandas makes 16.0 of 16, and text where a column has gaps."""
    if _is_missing(value):
        return None
    try:
        number = float(value)
        if isinstance(value, bool) or not math.isfinite(number):
            raise ValueError
    except (TypeError, ValueError):
        raise InputError(f"{place}: answer_start is {value!r:.60}, no number") from None
    if number != int(number):
        raise InputError(f"{place}: answer_start is {value!r:.60}, no whole number")
    return int(number)


def _list(holder: Any, name: str, place: str) -> list[Any]:
    value = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(value, list):
        raise InputError(f"{place} has no list {name!r}; SQuAD's JSON has one there")
    return value


def _text(holder: Any, name: str, place: str) -> str:
    value = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(value, str):
        raise InputError(f"{place} has no text {name!r}; SQuAD's JSON has one there")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise InputError(f"{place}: {name!r} holds half of a surrogate pair, which is no character")
    return value
