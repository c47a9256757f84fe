"""Swap identity terms in a text: "He loves his mosque." -> "She loves her mosque." Pure functions.

The terms are data: `identity_terms.yaml` says what may stand for what, and whose idea this is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from beam_bert.errors import ConfigError, shortened
from beam_bert.settings.naming import named
from beam_bert.sources.yaml_files import read_yaml

PACKAGE_TERMS = Path(__file__).with_name("identity_terms.yaml")
_ARTICLE = re.compile(r"(?<!\w)(an?)(\s+)$", re.IGNORECASE)
_VOWEL_SOUND = re.compile(r"(?!eu|uk|uni|us)[aeiou]", re.IGNORECASE)
_NEXT_WORD = re.compile(r"\s+([^\W\d_][\w'\u2019-]*)")
_SENTENCE_START = re.compile(r"(^|[.!?:\n]['\")\]]?\s*)['\"(\[]*$")


class Slot(BaseModel):
    """Terms that fit the same place in a sentence, by the group that they name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    forms: dict[str, list[str]] = Field(min_length=2)
    before_noun: bool = False
    capitalised: bool = False

    @field_validator("forms")
    @classmethod
    def _check_terms(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        for group, terms in value.items():
            if not terms or any(not term.strip() for term in terms):
                raise ValueError(f"group {group!r} has no terms, or an empty one")
        return value


class IdentityTerms(BaseModel):
    """The list: axes of slots, and the words that follow no adjective or possessive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    axes: dict[str, list[Slot]] = Field(min_length=1)
    function_words: list[str] = Field(default_factory=list)

    @cached_property
    def compiled(self) -> tuple[Axis, ...]:
        """The axes, ready to search with."""
        words = frozenset(word.casefold() for word in self.function_words)
        return tuple(Axis(name, tuple(slots), words) for name, slots in self.axes.items())


@dataclass(frozen=True)
class Found:
    """A term in a text: where it stands, in which slot and group, at which place of its list."""

    start: int
    stop: int
    slot: Slot
    group: str
    place: int

    @property
    def term(self) -> str:
        """As the list has it."""
        return self.slot.forms[self.group][self.place]


@dataclass(frozen=True)
class Axis:
    """One axis, such as gender: finds its terms in texts, and swaps groups."""

    name: str
    slots: tuple[Slot, ...]
    function_words: frozenset[str]

    @cached_property
    def _readings(self) -> dict[str, list[tuple[Slot, str, int]]]:
        """What each term, in lower case, may be, first reading first."""
        readings: dict[str, list[tuple[Slot, str, int]]] = {}
        for slot in self.slots:
            for group, terms in slot.forms.items():
                for place, term in enumerate(terms):
                    readings.setdefault(term.casefold(), []).append((slot, group, place))
        return readings

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self._readings, key=lambda term: (-len(term), term))
        return re.compile(
            r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)", re.IGNORECASE
        )

    @property
    def groups(self) -> list[str]:
        """All groups, in the order of the list."""
        return list(dict.fromkeys(group for slot in self.slots for group in slot.forms))

    def find(self, text: str) -> list[Found]:
        """The terms in a text, from its start."""
        terms = []
        for match in self._pattern.finditer(text):
            for slot, group, place in self._readings.get(match.group().casefold(), ()):
                if self._holds(slot, text, match):
                    terms.append(Found(match.start(), match.end(), slot, group, place))
                    break
        return terms

    def _holds(self, slot: Slot, text: str, match: re.Match[str]) -> bool:
        if slot.capitalised and not text[match.start()].isupper():
            return False
        if not slot.before_noun:
            return True
        following = _NEXT_WORD.match(text, match.end())
        return following is not None and following.group(1).casefold() not in self.function_words

    def swaps(self, terms: list[Found]) -> Iterator[tuple[str, str]]:
        """Pairs (group in the text, group to put in its place) that these terms allow."""
        present = dict.fromkeys(term.group for term in terms)
        for source in present:
            for target in self.groups:
                if target != source and any(
                    term.group == source and target in term.slot.forms for term in terms
                ):
                    yield source, target


def swap(text: str, terms: list[Found], source: str, target: str) -> str:
    """The text with the source group's terms in place of the target's, and the other way round.

    Terms whose slot has no form for the other group stay as they are.
    """
    other = {source: target, target: source}
    pieces, at = [], 0
    for each in terms:
        forms = each.slot.forms.get(other.get(each.group, ""))
        if forms is None:
            continue
        put_in = _in_case_of(text, each, forms[each.place % len(forms)])
        before = _with_article(text[at : each.start], put_in)
        pieces += [before, put_in]
        at = each.stop
    return "".join([*pieces, text[at:]])


def load_identity_terms(path: str | None = None) -> IdentityTerms:
    """The list in a YAML file, or the package's.

    Raises:
      ConfigError: the file cannot be read, or is no such list.
    """
    given = named("audit_terms", path)
    values = read_yaml(path or str(PACKAGE_TERMS), given, ConfigError)
    try:
        return IdentityTerms.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = shortened(".".join(map(str, first["loc"])), 80) or "the file"
        raise ConfigError(
            f"{given}: {place}: {first['msg']}; the package's list, {PACKAGE_TERMS}, "
            "shows how it is written"
        ) from None


def _in_case_of(text: str, term: Found, put_in: str) -> str:
    written = text[term.start : term.stop]
    if len(written) > 1 and written.isupper():
        return put_in.upper()
    starts = _SENTENCE_START.search(text, max(0, term.start - 8), term.start) is not None
    if written[0].isupper() and (starts or not term.term[0].isupper()):
        return put_in[0].upper() + put_in[1:]
    if written == term.term or written[0].isupper():
        return put_in
    return put_in.lower()


def _with_article(before: str, put_in: str) -> str:
    match = _ARTICLE.search(before)
    if match is None:
        return before
    article, space = match.groups()
    right = "an" if _VOWEL_SOUND.match(put_in) else "a"
    right = right.upper() if len(article) > 1 and article.isupper() else right
    right = right[0].upper() + right[1:] if article[0].isupper() else right
    return before[: match.start()] + right + space
