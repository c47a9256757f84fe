"""Questions with their answers: SQuAD's JSON (v1 and v2), or flat rows in any format that is read.

A label is a text and the place where it stands. In real files hundreds do not stand where they say
(edited contexts, offsets of bytes or UTF-16, a character lost at the start): such a label is mended
where its text stands once nearby, and left out otherwise. Both are counted, and some are shown.

Formats: https://rajpurkar.github.io/SQuAD-explorer/ (Rajpurkar et al. 2016, arXiv:1606.05250, and
2018, arXiv:1806.03822).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from beam_bert.errors import InputError
from beam_bert.labelled.rows import read_documents
from beam_bert.settings.answer_training import AskedColumns
from beam_bert.slices.plan import FileEntry
from beam_bert.sources import SourceSpec, inspect_source, list_files
from beam_bert.sources.compression import unpacked
from beam_bert.sources.formats import compression_of, is_packed
from beam_bert.sources.opening import open_listed

# A label that is off by more than this has another fault than its offset.
NEARBY_CHARACTERS = 64
SHOWN = 5


@dataclass(frozen=True)
class Asked:
    """A question on a context, with the answers that count as right; none: it has no answer.

    Attributes:
      id: the file's own, or its place.
      answers: (start in code points, text) of each; `context[start:start + len(text)] == text`.
      place: where it stood, for messages.
    """

    id: str
    question: str
    context: str
    answers: tuple[tuple[int, str], ...]
    place: str


@dataclass
class LabelCheck:
    """What became of the labels.

    Attributes:
      right: labels that stand where they say.
      mended: that stood nearby, once, and were moved.
      left_out: that did not; a question that loses all of its labels is left out with them.
      without_answer: questions that have none (SQuAD v2).
      blank: questions left out since they, or their contexts, are empty.
      shown: the first few faults, for a person.
    """

    right: int = 0
    mended: int = 0
    left_out: int = 0
    without_answer: int = 0
    blank: int = 0
    shown: list[str] = field(default_factory=list)

    def check(self, context: str, start: int, text: str, place: str) -> tuple[int, str] | None:
        """The label, where it stands; None where it is left out. White space around it is cut."""
        found = mended_start(context, start, text)
        if found is None:
            self.left_out += 1
            self.show(place, f"{text[:60]!r} is not at {start}, nor once nearby: left out")
            return None
        if found == start:
            self.right += 1
        else:
            self.mended += 1
            self.show(place, f"{text[:60]!r} is not at {start} but at {found}: mended")
        return found + len(text) - len(text.lstrip()), text.strip()

    def show(self, place: str, fault: str) -> None:
        """Keep a fault for a person to see, if it is among the first."""
        if len(self.shown) < SHOWN:
            self.shown.append(f"{place}: {fault}")

    def __str__(self) -> str:
        return (
            f"{self.right:,} labels stand where they say, {self.mended:,} were mended, "
            f"{self.left_out:,} left out; {self.without_answer:,} questions have no answer, "
            f"{self.blank:,} are blank and left out"
        )


def mended_start(context: str, start: int, text: str) -> int | None:
    """Where the label's text stands: at `start`, or else once within `NEARBY_CHARACTERS` of it."""
    if not text.strip():
        return None
    if start >= 0 and context.startswith(text, start):
        return start
    low = max(start - NEARBY_CHARACTERS, 0)
    nearby = context[low : max(start, 0) + len(text) + NEARBY_CHARACTERS]
    place = nearby.find(text)
    if place < 0 or nearby.find(text, place + 1) >= 0:
        return None
    return low + place


def read_asked(
    patterns: Sequence[str],
    columns: AskedColumns | None = None,
    *,
    file_format: str = "auto",
    max_reject_rate: float = 0.0,
    flag: str = "--input",
) -> tuple[list[Asked], LabelCheck]:
    """Read every question of the files, in the order of their paths.

    Args:
      patterns: as the inference jobs take them; `.json` files may be SQuAD's.
      columns: of flat rows.
      file_format: of flat rows, as `--format`.
      max_reject_rate: share of flat rows without usable text or question to go on without.
      flag: that named the patterns, for messages.

    Raises:
      InputError: nothing to read, a file of another shape, or more unusable rows than that.
    """
    columns = columns or AskedColumns()
    labels = LabelCheck()
    asked: list[Asked] = []
    flat: list[FileEntry] = []
    for file in list_files(patterns):
        document = _squad_document(file)
        if document is None:
            flat.append(file)
        else:
            asked += _of_squad(document, file.path, labels)
    if flat:
        asked += _of_rows(flat, columns, file_format, max_reject_rate, flag, labels)
    if not asked:
        raise InputError(f"{flag} {' '.join(patterns)}: there is not one usable question; {labels}")
    return asked, labels


def _squad_document(file: FileEntry) -> list[Any] | None:
    name = file.path[: file.path.rindex(".")] if compression_of(file.path) else file.path
    if not name.lower().endswith(".json"):
        return None
    with open_listed(file) as opened:
        packed = is_packed(file)
        content = unpacked(opened, file).read(sys.maxsize) if packed else opened.read()
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except (ValueError, UnicodeDecodeError):
        return None  # JSON lines, or what the reader of rows will tell
    data = document.get("data") if isinstance(document, dict) else None
    return data if isinstance(data, list) else None


def _of_squad(data: list[Any], path: str, labels: LabelCheck) -> Iterator[Asked]:
    for a, article in enumerate(data):
        for p, paragraph in enumerate(_list(article, "paragraphs", f"{path}: data[{a}]")):
            where = f"{path}: data[{a}].paragraphs[{p}]"
            context = _text(paragraph, "context", where)
            for q, entry in enumerate(_list(paragraph, "qas", where)):
                place = f"{where}.qas[{q}]"
                question = _text(entry, "question", place)
                given = [] if entry.get("is_impossible") else _list(entry, "answers", place)
                pairs = [
                    (_start(each, place), _text(each, "text", f"{place}.answers")) for each in given
                ]
                name = str(entry.get("id", place))
                found = _checked(name, question, context, pairs, place, labels)
                if found is not None:
                    yield found


def _checked(
    name: str,
    question: str,
    context: str,
    pairs: Sequence[tuple[int, str]],
    place: str,
    labels: LabelCheck,
) -> Asked | None:
    if not question.strip() or not context.strip():
        labels.blank += 1
        labels.show(place, "the question or its context is blank: left out")
        return None
    answers = [labels.check(context, start, text, place) for start, text in pairs]
    kept = tuple(answer for answer in answers if answer is not None)
    if not pairs:
        labels.without_answer += 1
    elif not kept:
        return None
    return Asked(name, question, context, kept, place)


def _of_rows(
    files: list[FileEntry],
    columns: AskedColumns,
    file_format: str,
    max_reject_rate: float,
    flag: str,
    labels: LabelCheck,
) -> Iterator[Asked]:
    spec = SourceSpec(
        format=file_format,  # type: ignore[arg-type] # checked by whoever read the settings
        text_columns=(columns.context,),
        text_pair_column=columns.question,
        id_column=columns.id,
        keep_columns=(columns.answer, columns.start),
    )
    for name, own in ((columns.answer, "--answer_column"), (columns.start, "--start_column")):
        try:
            inspect_source(files, replace(spec, keep_columns=(name,)))
        except InputError as error:
            said = str(error).replace("--text_pair_column", "--question_column")
            raise InputError(said.replace("--keep_columns", own)) from None
    spec = inspect_source(files, spec)
    documents, rejected = read_documents(files, spec, max_reject_rate=max_reject_rate, flag=flag)
    if rejected:
        labels.blank += rejected
        labels.show(flag, f"{rejected:,} rows have no usable text or question: left out")
    for row in documents.to_pylist():
        place = f"{row['source_file']}#{row['source_row']}"
        texts, starts = (_as_list(value) for value in row["carried"].values())
        if texts and len(texts) != len(starts):  # no answer may "start" at -1 or 0
            raise InputError(f"{place}: {len(texts)} answers have {len(starts)} starts")
        pairs = [
            (_start({"answer_start": start}, place), str(text))
            for text, start in zip(texts, starts, strict=bool(texts))
        ]
        name = place if columns.id is None else row["doc_id"]
        found = _checked(name, row["text_pair"], row["text"], pairs, place, labels)
        if found is not None:
            yield found


def _as_list(value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if each not in (None, "")]


def _list(holder: Any, name: str, place: str) -> list[Any]:
    value = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(value, list):
        raise InputError(f"{place} has no list {name!r}; SQuAD's JSON has one there")
    return value


def _text(holder: Any, name: str, place: str) -> str:
    value = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(value, str):
        raise InputError(f"{place} has no text {name!r}; SQuAD's JSON has one there")
    if not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
        raise InputError(f"{place}: {name!r} holds half of a surrogate pair, which is no character")
    return value


def _start(holder: Any, place: str) -> int:
    value = holder.get("answer_start") if isinstance(holder, dict) else None
    try:
        return int(value)  # type: ignore[arg-type] # None and the rest are what the except is for
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{place}: answer_start is {value!r}, no number") from None
