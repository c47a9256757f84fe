"""Questions with their answers, their labels checked: what training and evaluation both read.

A label is a text and the place where it stands. In real files hundreds do not stand where they say:
offsets count other units than code points (`beam_bert.labelled.offset_units`: converted, a file at
a time), contexts were edited, a character got lost at the start (mended where the text stands once
nearby). What is left has no place: training leaves it out and counts it, evaluation needs none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from beam_bert.errors import InputError
from beam_bert.labelled.answer_files import Entry, json_entries, row_entries
from beam_bert.labelled.offset_units import CODE_POINTS, Label, code_points_of, unit_of
from beam_bert.settings.answer_training import AskedColumns
from beam_bert.settings.naming import named
from beam_bert.slices.plan import FileEntry
from beam_bert.sources import list_files

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
      unplaced: texts of right answers that do not stand where the file says.
    """

    id: str
    question: str
    context: str
    answers: tuple[tuple[int, str], ...]
    place: str
    unplaced: tuple[str, ...] = ()

    @property
    def texts(self) -> list[str]:
        """All answers that count as right."""
        return [*(text for _, text in self.answers), *self.unplaced]


@dataclass
class LabelCheck:
    """What became of the labels.

    Attributes:
      right: labels that stand where they say.
      mended: that stood nearby, once, and were moved.
      left_out: that did not. In training a question that loses all of its labels is left out with
        them; in evaluation their texts count all the same.
      without_answer: questions that have none (SQuAD v2).
      blank: questions left out since they, or their contexts, are empty.
      shown: the first few faults, for a person.
      units: files whose offsets count something else than code points, and what.
    """

    right: int = 0
    mended: int = 0
    left_out: int = 0
    without_answer: int = 0
    blank: int = 0
    shown: list[str] = field(default_factory=list)
    units: list[str] = field(default_factory=list)

    @property
    def labels(self) -> int:
        """Labels that were checked."""
        return self.right + self.mended + self.left_out

    def check(self, context: str, start: int | None, text: str, place: str) -> int | None:
        """Where the label stands in the context; None: nowhere that is sure."""
        place_found = None if start is None else mended_start(context, start, text)
        if place_found is None:
            self.left_out += 1
            where = (
                "has no answer_start" if start is None else f"is not at {start}, nor once nearby"
            )
            self.show(place, f"{text[:60]!r} {where}: left out")
        elif place_found == start:
            self.right += 1
        else:
            self.mended += 1
            self.show(place, f"{text[:60]!r} is not at {start} but at {place_found}: mended")
        return place_found

    def show(self, place: str, fault: str) -> None:
        """Keep a fault for a person to see, if it is among the first."""
        if len(self.shown) < SHOWN:
            self.shown.append(f"{place}: {fault}")

    def check_rate(self, max_reject_rate: float, setting: str) -> None:
        """For training: raise InputError where more labels are left out than may be."""
        if self.left_out > max_reject_rate * self.labels:
            first = next(
                (fault for fault in self.shown if fault.endswith("left out")), self.shown[0]
            )
            raise InputError(
                f"{named(setting)}: {self.left_out:,} of {self.labels:,} labels cannot be learnt "
                f"from; {first}; mend them, or raise {named('max_reject_rate')} (now "
                f"{max_reject_rate:g}) to go on without them"
            )

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
    setting: str = "input",
    need_places: bool = True,
) -> tuple[list[Asked], LabelCheck]:
    """Read every question of the files, in the order of their paths.

    Args:
      patterns: as the inference jobs take them; `.json` files may be SQuAD's.
      columns: of flat rows.
      file_format: of flat rows, as `format`.
      max_reject_rate: share of flat rows without usable text or question to go on without.
      setting: that named the patterns, for messages.
      need_places: False: questions stay whose labels stand nowhere, as `unplaced`.

    Raises:
      InputError: nothing to read, a file of another shape, or more unusable rows than that.
    """
    columns = columns or AskedColumns()
    labels = LabelCheck()
    entries: list[Entry] = []
    flat: list[FileEntry] = []
    for file in list_files(patterns):
        of_file = json_entries(file, columns)
        if of_file is None:
            flat.append(file)
        else:
            entries += of_file
    if flat:
        of_file, labels.blank = row_entries(
            flat, columns, file_format, max_reject_rate, setting, need_places
        )
        entries += of_file
        if labels.blank:
            labels.show(setting, f"{labels.blank:,} rows have no usable text or question: left out")
    asked = [
        question
        for path, some in groupby(entries, lambda entry: entry.file)
        for question in _checked(list(some), path, labels, need_places)
    ]
    if not asked:
        given = named(setting, " ".join(patterns))
        raise InputError(f"{given}: there is not one usable question; {labels}")
    return asked, labels


def _checked(
    entries: Sequence[Entry], path: str, labels: LabelCheck, need_places: bool
) -> Iterator[Asked]:
    """The questions of one file, whose offsets all count the same."""
    placed: list[Label] = [
        (entry.context, start, text)
        for entry in entries
        for start, text in entry.labels
        if start is not None
    ]
    counted = unit_of(placed)
    if counted.unit != CODE_POINTS:
        labels.units.append(f"{path}: {counted}")
    starts = iter(code_points_of(placed, counted.unit))
    for entry in entries:
        known = sum(start is not None for start, _ in entry.labels)
        if need_places and known < len(entry.labels):
            raise InputError(f"{entry.place}: {len(entry.labels)} answers have {known} starts")
        code_points = [None if start is None else next(starts) for start, _ in entry.labels]
        if not entry.question.strip() or not entry.context.strip():
            labels.blank += 1
            labels.show(entry.place, "the question or its context is blank: left out")
            continue
        answers, unplaced = [], []
        for start, (_, text) in zip(code_points, entry.labels, strict=True):
            place = labels.check(entry.context, start, text, entry.place)
            if place is not None:  # white space around a label is no part of it
                answers.append((place + len(text) - len(text.lstrip()), text.strip()))
            elif text.strip() and not need_places:
                unplaced.append(text.strip())
        if not entry.labels:
            labels.without_answer += 1
        elif not answers and need_places:
            continue
        yield Asked(
            entry.id, entry.question, entry.context, tuple(answers), entry.place, tuple(unplaced)
        )
