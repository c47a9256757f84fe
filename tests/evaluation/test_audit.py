"""The audit swaps identity terms as a careful person would, and counts what that moves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_bert.errors import ConfigError
from beam_bert.evaluation.audit import EXAMPLES_AN_AXIS, Answers, BiasAudit
from beam_bert.evaluation.identity_terms import Axis, load_identity_terms, swap
from beam_bert.tasks.classification import MULTI_LABEL, REGRESSION, SINGLE_LABEL

TERMS = load_identity_terms()
AXES = {axis.name: axis for axis in TERMS.compiled}


def swapped(text: str, axis: str, source: str, target: str) -> str:
    return swap(text, AXES[axis].find(text), source, target)


@pytest.mark.parametrize(
    ("text", "axis", "source", "target", "expected"),
    [
        ("He loves his dog.", "gender", "man", "woman", "She loves her dog."),
        ("She gave him her book.", "gender", "woman", "man", "He gave her his book."),
        ("I saw her yesterday.", "gender", "woman", "man", "I saw him yesterday."),
        ("I saw her.", "gender", "woman", "man", "I saw him."),
        ("The book is hers, by herself", "gender", "woman", "man", "The book is his, by himself"),
        ("HE'S A KING", "gender", "man", "woman", "SHE'S A QUEEN"),
        ("the theme of there", "gender", "man", "woman", "the theme of there"),
        ("a Muslim man", "religion", "Muslim", "Christian", "a Christian man"),
        ("a Muslim school", "religion", "Muslim", "Jewish", "a Jewish school"),
        ("He is a Muslim.", "religion", "Muslim", "Jewish", "He is a Jew."),
        ("muslims pray", "religion", "Muslim", "Christian", "christians pray"),
        ("MUSLIMS PRAY", "religion", "Muslim", "Jewish", "JEWS PRAY"),
        ("Atheists say no", "religion", "atheist", "Hindu", "Hindus say no"),
        ("Muslims say no", "religion", "Muslim", "atheist", "Atheists say no"),
        ("No Muslims here", "religion", "Muslim", "atheist", "No atheists here"),
        ("Muslims and Christians", "religion", "Muslim", "Christian", "Christians and Muslims"),
        ("an American", "nationality", "American", "Mexican", "a Mexican"),
        ("A Mexican", "nationality", "Mexican", "Italian", "An Italian"),
        ("an Indian man", "nationality", "Indian", "Ukrainian", "a Ukrainian man"),
        ("Brad's car", "name", "European American", "African American", "Jermaine's car"),
        ("a brad and a will", "name", "European American", "Arabic", "a brad and a will"),
    ],
)
def test_a_swap_keeps_grammar_case_and_everything_else(
    text: str, axis: str, source: str, target: str, expected: str
) -> None:
    assert swapped(text, axis, source, target) == expected


ALL_TERMS = sorted(
    {t for a in TERMS.compiled for s in a.slots for f in s.forms.values() for t in f}
)


@given(st.lists(st.sampled_from(ALL_TERMS) | st.text(alphabet="xyz .,'\n$<é猫", max_size=4)))
def test_a_swap_changes_nothing_but_the_terms_it_finds(words: list[str]) -> None:
    text = " ".join(words)
    for axis in TERMS.compiled:
        found = axis.find(text)
        edges = [0, *(edge for each in found for edge in (each.start, each.stop)), len(text)]
        between = [text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]
        for source, target in list(axis.swaps(found))[:5]:
            result, at = swap(text, found, source, target), 0
            assert result.startswith(between[0])
            assert result.endswith(between[-1])
            for part in between:
                at = result.index(part, at) + len(part)


@given(
    st.lists(st.sampled_from(["he", "She", "a", "king", "wife", "MEN", "loves", "."]), max_size=9)
)
def test_swapping_two_groups_twice_gives_the_text_back(words: list[str]) -> None:
    text = " ".join(words)
    assert swapped(swapped(text, "gender", "man", "woman"), "gender", "man", "woman") == text


def test_every_slot_of_the_packages_list_can_be_swapped_in_all_groups() -> None:
    assert set(AXES) == {"gender", "religion", "nationality", "name"}
    for axis in TERMS.compiled:
        for slot in axis.slots:
            lengths = {len(terms) for terms in slot.forms.values()}
            assert len(slot.forms) >= 2
            assert axis.name == "name" or len(lengths) == 1, slot.forms


LABELS = ("negative", "positive")


def biased(texts: Sequence[str], pairs: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    """A model to which whatever has `she` in it is negative, and nothing else is."""
    all_texts = [" ".join(each) for each in zip(texts, pairs or texts, strict=True)]
    bad = np.array([0.8 if "she" in text.lower().split() else 0.1 for text in all_texts])
    return np.arange(len(texts)), np.stack([bad, 1 - bad], axis=1)


def audited(
    texts: list[str], *, pairs: list[str] | None = None, max_variants: int = 1_000, batch: int = 99
) -> BiasAudit:
    answers = Answers(LABELS, SINGLE_LABEL, valences=np.array([-1.0, 1.0]))
    audit = BiasAudit(TERMS, "package", answers, biased, max_variants)
    for start in range(0, len(texts), batch):
        part = texts[start : start + batch]
        part_pairs = None if pairs is None else pairs[start : start + batch]
        ids = [f"row{start + i}" for i in range(len(part))]
        audit.add(ids, part, part_pairs, biased(part, part_pairs)[1])
    return audit


def test_a_biased_model_is_caught_with_the_size_and_direction_of_its_bias() -> None:
    texts = ["he was late"] * 12 + ["she was late"] * 6 + ["a book"] * 2 + ["his dog"] * 4
    found = audited(texts).result()
    assert (found.rows, found.rows_without_terms, found.variants) == (24, 2, 22)
    gender = found.axes[0]
    assert (gender.axis, gender.rows_with_terms) == ("gender", 22)
    assert gender.flip_rate.value == pytest.approx(18 / 22)
    assert gender.change.value == pytest.approx(18 * 0.7 / 22)
    pairs = {(pair.source, pair.target): pair for pair in found.pairs}
    to_woman = pairs["man", "woman"]
    assert (to_woman.rows, to_woman.flip_rate.value) == (16, pytest.approx(12 / 16))
    assert to_woman.polarity_shift is not None
    assert to_woman.polarity_shift.value == pytest.approx(-1.4 * 12 / 16)
    assert to_woman.polarity_shift.high is not None
    assert to_woman.polarity_shift.high < 0
    terms = {term.term: term for term in found.by_term}
    assert terms["he"].flip_rate.value == 1
    assert terms["he"].polarity_change is not None
    assert terms["he"].polarity_change.value == pytest.approx(1.4)
    assert terms["his"].flip_rate.value == 0
    assert found.by_term[0].term == "he"
    example = next(e for e in found.examples if e.text == "he was late")
    assert (example.before, example.after) == ("positive 0.90", "negative 0.80")
    assert {(e.text, e.swapped) for e in found.examples} == {
        ("he was late", "she was late"),
        ("she was late", "he was late"),
    }


def test_what_is_found_does_not_depend_on_how_rows_come_in_batches() -> None:
    texts = ["he is a Muslim", "she met Emily", "an American", "nothing", "his wife"] * 7
    assert audited(texts, batch=3).result() == audited(texts, batch=99).result()


def test_few_rows_have_no_interval_and_come_after_those_that_have() -> None:
    found = audited(["he and Emily"] + ["she"] * 12).result()
    assert found.by_term[0].term == "she"
    few = next(term for term in found.by_term if term.rows < 10)
    assert few.change.low is None


def test_swapped_texts_are_bounded_and_the_rows_left_out_are_told() -> None:
    found = audited(["he was late"] * 50, max_variants=20, batch=7).result()
    assert (found.rows, found.rows_not_audited, found.variants) == (20, 30, 20)
    assert len(found.examples) <= EXAMPLES_AN_AXIS


def test_both_segments_of_a_pair_are_swapped_together() -> None:
    found = audited(["he was late"], pairs=["it was he and his dog"]).result()
    assert found.variants == 1
    assert found.axes[0].flip_rate.value == 1


def test_answers_of_many_labels_and_of_values_move_by_their_own_measure() -> None:
    before, after = np.array([[0.4, 0.6]]), np.array([[0.6, 0.55]])
    many = Answers(LABELS, MULTI_LABEL)
    assert many.flips(before, after).tolist() == [True]
    assert many.changes(before, after).tolist() == pytest.approx([0.2])
    assert many.in_words(before[0]) == "positive 0.60"
    assert many.in_words(np.array([0.1, 0.2])) == "no label"
    value = Answers(("value",), REGRESSION)
    assert value.flips(before[:, :1], after[:, :1]).tolist() == [False]
    assert value.changes(before[:, :1], after[:, :1]).tolist() == pytest.approx([0.2])


def test_a_users_own_list_replaces_the_packages(tmp_path: Path) -> None:
    file = tmp_path / "terms.yaml"
    file.write_text("axes:\n  pet:\n    - forms: {cat: [cat, cats], dog: [dog, dogs]}\n")
    terms = load_identity_terms(str(file))
    (axis,) = terms.compiled
    assert isinstance(axis, Axis)
    text = "Cats and a dog"
    assert swap(text, axis.find(text), "cat", "dog") == "Dogs and a cat"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "axes: {pet: [{forms: {cat: [cat]}}]}",
            r"terms\.yaml'?: axes\.pet\.0\.forms: .*at least 2",
        ),
        ("axes: {pet: [{forms: {cat: [cat], dog: []}}]}", r"group 'dog' has no terms"),
        ("axis: {}", r"terms\.yaml'?: axes: Field required"),
        ("a: [", r"not YAML"),
        (None, r"cannot be read"),
    ],
)
def test_a_list_that_is_none_is_told_in_one_line(
    tmp_path: Path, text: str | None, message: str
) -> None:
    file = tmp_path / "terms.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_identity_terms(str(file))
