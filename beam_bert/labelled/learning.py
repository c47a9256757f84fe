"""The labels that training rows have: names, one for all ways of writing a number or a word."""

from __future__ import annotations

from collections import Counter
from typing import Any

from beam_bert.errors import InputError
from beam_bert.labelled.cells import (
    LabelColumn,
    as_seen,
    folded,
    is_padded,
    number_name,
    number_of,
)
from beam_bert.labelled.labels import Meaning, Vocabulary, shown_names
from beam_bert.labelled.parsing import LabelSettings, ParsedLabels, parse_labels
from beam_bert.settings.naming import named
from beam_bert.tasks.classification import REGRESSION, SINGLE_LABEL

# A spelling is common where it has so much of the rows of all spellings of that label.
_COMMON = 0.2
# So many different numbers with decimals are amounts.
_AMOUNTS = 20


def learn_labels(column: LabelColumn, settings: LabelSettings) -> Vocabulary:
    """The labels of training rows, sorted (numbers by value), or in the order of `--label_names`.

    Raises:
      InputError: a cell cannot be read; there is one class only, or one with one example only;
        numbers that are amounts.
    """
    parsed = parse_labels(column, settings)
    if parsed.problem_type == REGRESSION:
        values = {parts[0] for parts in parsed.parts.values() if parts}
        if len(values) == 1:
            raise InputError(
                f"every row has the value {next(iter(values)):g}; there is nothing to learn"
            )
        return Vocabulary(("value",), REGRESSION, settings)
    if settings.names or settings.columns:
        vocabulary = Vocabulary(settings.columns or settings.names, parsed.problem_type, settings)
    else:
        vocabulary = _spelled(column, parsed, settings)
    meaning = vocabulary.read(column)
    rows: Counter[int] = Counter()
    for cell, said in meaning.said.items():
        if isinstance(said, tuple):
            rows.update(dict.fromkeys(said, column.counts[cell]))
    _check_enough(meaning, rows, column)
    names = tuple(name for number, name in enumerate(vocabulary.names) if rows[number])
    unseen = [name for number, name in enumerate(vocabulary.names) if not rows[number]]
    notes = vocabulary.notes
    if unseen:
        given = named("label_columns" if settings.columns else "label_names")
        notes += (
            f"warning: no row of {named('train')} has {shown_names(unseen)} of {given}; the model "
            "will not know of it",
        )
    return Vocabulary(names, parsed.problem_type, settings, vocabulary.aliases, notes=notes)


def _spelled(column: LabelColumn, parsed: ParsedLabels, settings: LabelSettings) -> Vocabulary:
    """Names for all that the cells say: one for each number, and for all spellings of a word."""
    numbers: dict[Any, Counter[str]] = {}
    words: dict[str, Counter[str]] = {}
    for cell, parts in parsed.parts.items():
        for part in parts or ():
            count = column.counts[cell]
            if (number := number_of(part)) is not None:
                padded = part.strip() if isinstance(part, str) and is_padded(part) else ""
                numbers.setdefault(number, Counter())[padded] += count
            else:
                text = str(part).strip()
                words.setdefault(folded(text), Counter())[text] += count
    is_amount = any(number != number.to_integral_value() for number in numbers)
    if is_amount and len(numbers) >= _AMOUNTS and settings.problem_type == "auto" and not words:
        raise InputError(
            f"column {settings.column} has {len(numbers):,} different numbers with decimals, such "
            f"as {', '.join(map(number_name, list(numbers)[:3]))}: if they are amounts, say "
            f"{named('problem_type', 'regression')}; if each is a class, "
            f"{named('problem_type', 'single_label')}"
        )
    aliases: dict[str, str] = {}
    notes: list[str] = []
    # 007 stays as it is where nobody writes 7.
    numerals = [
        number_name(number) if "" in numbers[number] else numbers[number].most_common(1)[0][0]
        for number in sorted(numbers)
    ]
    texts: list[str] = []
    for spellings in words.values():
        texts += _word_spellings(spellings, aliases, notes)
    return Vocabulary(
        (*numerals, *sorted(texts)), parsed.problem_type, settings, aliases, notes=tuple(notes)
    )


def _word_spellings(
    spellings: Counter[str], aliases: dict[str, str], notes: list[str]
) -> list[str]:
    """The names of one word: its commonest spelling, and others that look different and are common.

    Rows of the other spellings are of the one that looks alike, or of the commonest.
    """
    looks: dict[str, Counter[str]] = {}
    for spelling, rows in spellings.items():
        looks.setdefault(as_seen(spelling), Counter())[spelling] += rows
    totals = Counter({look: spelled.total() for look, spelled in looks.items()})
    enough = max(2.0, _COMMON * totals.total())
    ranked = sorted(totals, key=lambda look: (-totals[look], look))
    common = [look for look in ranked if totals[look] >= enough] or ranked[:1]
    name_of = {look: _commonest(looks[look]) for look in common}
    for look, spelled in looks.items():
        name = name_of.get(look, name_of[common[0]])
        for spelling, rows in spelled.items():
            if spelling != name:
                aliases[spelling] = name
                unlike = "" if as_seen(spelling) != as_seen(name) else ", which looks the same"
                notes.append(
                    f"warning: {rows:,} rows have {spelling!a}{unlike} for label {name!a} "
                    f"({spellings[name]:,} rows)"
                )
    if len(common) > 1:
        each = ", ".join(f"{name_of[look]!r} ({totals[look]:,} rows)" for look in common)
        notes.append(
            f"warning: labels {each} differ in case or form alone, and are learnt as "
            f"{len(common)}; if they are one, write them alike"
        )
    return list(name_of.values())


def _commonest(spelled: Counter[str]) -> str:
    return min(spelled, key=lambda spelling: (-spelled[spelling], len(spelling), spelling))


def _check_enough(meaning: Meaning, rows: Counter[int], column: LabelColumn) -> None:
    names, settings = meaning.vocabulary.names, meaning.vocabulary.settings
    problem_type = meaning.vocabulary.problem_type
    if not rows:
        raise InputError("no row has a label; there is nothing to learn")
    if len(rows) == 1 and problem_type == SINGLE_LABEL:
        raise InputError(
            f"every row has the label {names[next(iter(rows))]!r}; training needs two classes or "
            "more"
        )
    single = sorted(names[number] for number, count in rows.items() if count == 1)
    if not single:
        return
    number = names.index(single[0])
    where = next(
        column.first[cell]
        for cell, said in meaning.said.items()
        if isinstance(said, tuple) and number in said
    )
    more = f" (and {len(single) - 1:,} other labels)" if len(single) > 1 else ""
    amounts = all(number_of(name) is not None for name in names)
    regression = named("problem_type", "regression")
    hint = f"; if the numbers are amounts, say {regression}" if amounts else ""
    raise InputError(
        f"column {settings.column}: label {single[0]!r}{more} has one example only, {where}: "
        f"nothing is left to check it on; add examples, or take the row out{hint}"
    )
