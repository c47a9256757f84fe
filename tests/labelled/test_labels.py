"""One rule says what a label is: from files of every format, for training and for a model."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_bert.errors import InputError
from beam_bert.labelled.cells import LabelColumn
from beam_bert.labelled.labels import Meaning, model_labels
from beam_bert.labelled.learning import learn_labels
from beam_bert.labelled.parsing import LabelSettings
from beam_bert.labelled.rows import LabelsWanted, Rows, read_rows
from beam_bert.sources import SourceSpec
from beam_bert.tasks.classification import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from tools import labels_table
from tools.labels_table import FORMATS, Case, write_rows


def read(
    *paths: Path,
    model: tuple[str, ...] = (),
    model_type: str = SINGLE_LABEL,
    columns: tuple[str, ...] = (),
    **settings: Any,
) -> Rows:
    """Read the files as training does, or as an evaluation of a model with these labels."""
    how = LabelSettings("label", columns=columns, **settings)

    def understand(column: LabelColumn) -> Meaning:
        if model:
            return model_labels(model, model_type, how).read(column, "input")
        return learn_labels(column, how).read(column)

    wanted = LabelsWanted(columns or ("label",), how, understand)
    files = [str(path) for path in paths]
    return read_rows(files, SourceSpec(), labels=wanted, max_reject_rate=1, setting="train")


def said(rows: Rows) -> list[Any]:
    """The label, the labels or the value of each row."""
    assert rows.meaning is not None and rows.targets is not None
    names = rows.meaning.vocabulary.names
    if rows.meaning.vocabulary.problem_type == SINGLE_LABEL:
        return [names[target] for target in rows.targets]
    if rows.meaning.vocabulary.problem_type == REGRESSION:
        return rows.targets[:, 0].tolist()
    return [[n for n, given in zip(names, row, strict=True) if given] for row in rows.targets]


def notes(rows: Rows) -> str:
    assert rows.meaning is not None
    return "\n".join(rows.meaning.lines())


def file_of(tmp_path: Path, labels: list[Any], format_: str = "jsonl", **case: Any) -> Path:
    folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    return write_rows(folder, Case("", labels, **case), format_)


def test_the_page_is_what_the_readers_do() -> None:
    assert labels_table.PAGE.read_text(encoding="utf-8") == labels_table.page(), (
        "run python -m tools.labels_table"
    )


NUMBERS = {
    "int": [1, 2, 3],
    "float": [1.0, 2.0, 3.0],
    "text of int": ["1", "2", "3"],
    "text of float": ["1.0", "2.00", "3e0"],
    "mixed": [1, "2.0", 3.0],
}


@pytest.mark.parametrize("format_", FORMATS)
def test_numbers_are_one_label_however_training_and_evaluation_write_them(
    tmp_path: Path, format_: str
) -> None:
    kinds = {k: v for k, v in NUMBERS.items() if format_ != "parquet" or k != "mixed"}
    for train, dev in itertools.product(kinds, kinds):
        names = read(file_of(tmp_path, kinds[train] * 3, format_)).meaning.vocabulary.names  # type: ignore[union-attr]
        assert names == ("1", "2", "3")
        found = read(file_of(tmp_path, kinds[dev], format_), model=names)
        assert said(found) == ["1", "2", "3"], (train, dev)
        assert notes(found) == "3 labels: 1, 2, 3, numbers"


def test_numbers_of_two_files_are_one_set_of_classes(tmp_path: Path) -> None:
    files = [
        file_of(tmp_path, [1, 2, 3], "jsonl"),
        file_of(tmp_path, ["1.0", "2.0", "3.0"], "csv"),
        file_of(tmp_path, [3.0, 2.0, 1.0], "parquet", types=pa.float32()),
    ]
    found = read(*files)
    assert sorted(said(found)) == [*"111222333"]


def test_a_float32_is_the_number_that_was_written(tmp_path: Path) -> None:
    narrow = file_of(tmp_path, [0.1, 0.7] * 2, "parquet", types=pa.float32())
    assert said(read(narrow, file_of(tmp_path, ["0.1", "0.7"], "csv"))) == ["0.1", "0.7"] * 3


def test_a_model_of_numbers_takes_no_number_for_a_place_however_its_labels_are_written(
    tmp_path: Path,
) -> None:
    for labels in (("1.0", "2.0"), ("1", "2"), ("01", "02")):
        assert said(read(file_of(tmp_path, [2, 1]), model=labels)) == [labels[1], labels[0]]
        with pytest.raises(InputError, match="labels that the model has not: 0;"):
            read(file_of(tmp_path, [0, 1]), model=labels)


def test_a_place_is_told_and_ends_where_the_labels_do(tmp_path: Path) -> None:
    found = read(file_of(tmp_path, ["0", "1.0"], "csv"), model=("ham", "spam"))
    assert said(found) == ["ham", "spam"]
    assert "places among the model's labels (0 is ham, 1 is spam)" in notes(found)
    for stranger in (2, -1, 0.5):
        with pytest.raises(InputError, match="that the model has not"):
            read(file_of(tmp_path, [0, stranger]), model=("ham", "spam"))


def test_codes_keep_their_zeros_and_are_found_without(tmp_path: Path) -> None:
    found = read(file_of(tmp_path, ["007", "008"] * 2, "csv"))
    assert said(found)[:2] == ["007", "008"]
    assert said(read(file_of(tmp_path, [7, 8]), model=("007", "008"))) == ["007", "008"]


@pytest.mark.parametrize("values", [(0, 1), (0.0, 1.0), (False, True)])
@pytest.mark.parametrize("fixed", [False, True])
def test_vectors_of_0_and_1_are_labels_by_place(
    tmp_path: Path, values: tuple[Any, Any], fixed: bool
) -> None:
    no, yes = values
    vectors = [[yes, no, no], [no, yes, no], [no, no, yes]] * 2
    kind = pa.list_(pa.array([no]).type, 3) if fixed else None
    file = file_of(tmp_path, vectors, "parquet", types=kind)
    with pytest.raises(InputError, match="a vector of 0 and 1 for 3 labels without names"):
        read(file)
    found = read(file, names=("a", "b", "c"))
    assert said(found) == ["a", "b", "c"] * 2
    assert said(read(file, model=("c", "b", "a"))) == ["c", "b", "a"] * 2
    with pytest.raises(InputError, match="a vector for 3 labels, and there are 2 names"):
        read(file, names=("a", "b"))
    several = file_of(tmp_path, [[yes, yes, no], [no, no, no], [yes, yes, no]], "parquet")
    assert said(read(several, names=("a", "b", "c"))) == [["a", "b"], [], ["a", "b"]]


def test_lists_of_unequal_length_or_other_numbers_are_names(tmp_path: Path) -> None:
    found = read(file_of(tmp_path, [[0, 1], [1], [0]]))
    assert said(found) == [["0", "1"], ["1"], ["0"]]
    assert said(read(file_of(tmp_path, [[0, 2], [2, 0]]))) == [["0", "2"]] * 2


def test_columns_of_0_and_1_are_labels_of_their_names(tmp_path: Path) -> None:
    columns = ("toxic", "insult", "threat")
    path = tmp_path / "rows.csv"
    path.write_text(
        "text,toxic,insult,threat\na,1,0,0\nb,0,0,0\nc,True,1.0,true\nd,NaN,0,0\ne,0,1,1\n"
    )
    found = read(path, columns=columns)
    assert (found.rejected, len(found)) == (1, 4)
    same = read(path, columns=columns, model=columns, model_type=MULTI_LABEL)
    for how in (found, same):
        assert said(how) == [["toxic"], [], ["toxic", "insult", "threat"], ["insult", "threat"]]
    path.write_text("text,toxic,insult,threat\na,1,0,0\nb,maybe,0,0\n")
    with pytest.raises(InputError, match=r"#1: .*'maybe' in column toxic is neither 0 nor 1"):
        read(path, columns=columns)


LISTS = [["news", "sport"], ["sport"], ["tech", "news"]]


def test_json_lists_in_all_filled_cells_are_lists(tmp_path: Path) -> None:
    texts = [json.dumps(labels) for labels in LISTS]
    for format_ in FORMATS:
        found = read(file_of(tmp_path, [*texts, *texts, ""], format_))
        assert said(found) == [sorted(labels) for labels in LISTS * 2]
        assert found.rejected == 1


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("['a', 'b']", "write a list as JSON"),
        ('["a"', ""),
        ("{'a', 'b'}", "write a list as JSON"),
        ("('a', 'b')", "write a list as JSON"),
        ('{"a": 1}', "write a list as JSON"),
        ("[a, b]", "write a list as JSON"),
        ("[0 1 0]", "write a list as JSON"),
        ("b'spam'", "write a list as JSON"),
        ('["a", ["b"]]', "which no label can be"),
        ('["a", null]', "with a null in it"),
        ("[0.25, 0.75]", "probabilities or amounts"),
        ("news|sport", r"say label_separator '\|'"),
    ],
)
def test_what_looks_like_more_than_a_label_is_shown_with_the_flag(
    tmp_path: Path, cell: str, why: str
) -> None:
    for format_ in FORMATS:
        file = file_of(tmp_path, [cell] * 3, format_)
        if why:
            with pytest.raises(InputError, match=why) as error:
                read(file)
            assert f"{file}#0: column label holds " in str(error.value)
        named = read(file, file_of(tmp_path, ["other"] * 2), problem_type="single_label")
        assert said(named) == [cell] * 3 + ["other"] * 2


def test_a_list_beside_a_string_is_refused_either_way_round(tmp_path: Path) -> None:
    for labels in ([["a"], "b"], ["b", ["a"]]):
        with pytest.raises(InputError, match="holds 'b', beside a list"):
            read(file_of(tmp_path, labels * 2))


@pytest.mark.parametrize("labels", [[{"a": 1}] * 3, [b"a"] * 3, [[["a"]]] * 3])
def test_dicts_bytes_and_nested_lists_are_no_labels(tmp_path: Path, labels: list[Any]) -> None:
    with pytest.raises(InputError, match=r"#0: column label holds .* which no label can be"):
        read(file_of(tmp_path, labels, "parquet"))


def test_marks_that_recur_are_separators_and_others_are_part_of_a_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="label_separator ';'"):
        read(file_of(tmp_path, ["a; b", "b;a", "a"] * 2, "csv"))
    names = ["Toys, Games", "Games", "Food (sweet; sour)"] * 2
    assert said(read(file_of(tmp_path, names, "csv"))) == names


def test_names_that_a_parquet_file_carries_take_the_place_of_its_numbers(tmp_path: Path) -> None:
    ids = file_of(tmp_path, [0, 1, 0, 1, -1], "parquet", class_names=["spam", "ham"])
    assert said(read(ids)) == ["spam", "ham"] * 2
    # Its names are those of a model in another order, and of another file.
    assert said(read(ids, model=("ham", "spam"))) == ["spam", "ham"] * 2
    names = file_of(tmp_path, ["ham", "spam"], "csv")
    other = file_of(tmp_path, [0, 1], "parquet", class_names=["ham", "spam"])
    both = read(ids, names, other)
    assert sorted(said(both)) == ["ham"] * 4 + ["spam"] * 4
    assert said(read(other, names=("x", "y"), model=("x", "y"))) == ["x", "y"]


def test_lists_of_named_numbers_are_named_too(tmp_path: Path) -> None:
    features = {
        "Sequence": {"feature": {"names": ["a", "b"], "_type": "ClassLabel"}, "_type": "Sequence"},
        "List": {"feature": {"names": ["a", "b"], "_type": "ClassLabel"}, "_type": "List"},
        "list": [{"names": ["a", "b"], "_type": "ClassLabel"}],
    }
    for name, feature in features.items():
        table = pa.table({"text": ["x", "y"], "label": [[0, 1], [1, 0]]})
        info = json.dumps({"info": {"features": {"label": feature}}})
        path = tmp_path / f"{name}.parquet"
        pq.write_table(table.replace_schema_metadata({"huggingface": info}), path)
        assert said(read(path)) == [["a", "b"]] * 2


WORDS = ["NaN", "nan", "None", "NULL", "N/A", "<NA>"]


def test_words_for_what_is_not_there_are_no_labels_in_csv(tmp_path: Path) -> None:
    labels = ["good", "bad", "good", "bad", *WORDS]
    found = read(file_of(tmp_path, labels, "csv"))
    assert (said(found), found.rejected) == (["good", "bad"] * 2, len(WORDS))
    assert "warning: 6 rows have" in notes(found) and "keep_null_labels" in notes(found)
    kept = read(file_of(tmp_path, labels * 2, "csv"), keep_nulls=True)
    assert (kept.rejected, set(said(kept))) == (0, {"good", "bad", *WORDS})
    alone = read(file_of(tmp_path, ["None", "NULL"] * 2, "csv"))
    assert said(alone) == ["None", "NULL"] * 2
    for format_ in ("jsonl", "parquet"):  # these have a null of their own
        assert set(WORDS) < set(said(read(file_of(tmp_path, labels * 2, format_))))
    dev = file_of(tmp_path, ["None", "good"], "csv")
    assert said(read(dev, model=("None", "good"))) == ["None", "good"]
    assert said(read(dev, model=("bad", "good"))) == ["good"]


def test_a_bare_nan_in_json_is_no_label_beside_numbers_and_names(tmp_path: Path) -> None:
    for labels in ([1.0, 2.0, math.nan, 1.0, 2.0], ["a", "b", math.nan, "a", "b"]):
        found = read(file_of(tmp_path, labels))
        assert (len(found), found.rejected) == (4, 1)


COMPOSED, APART = "caf\u00e9", "cafe\u0301"


def test_what_looks_the_same_is_one_label(tmp_path: Path) -> None:
    labels = [COMPOSED] * 3 + [
        APART,
        "caf\u00e9\u200b",
        "\ufeffcaf\u00e9",
        "caf\u00e9\u00a0",
    ]
    found = read(file_of(tmp_path, [*labels, "tea", "tea", "tea\u200b"]))
    assert said(found) == [COMPOSED] * 7 + ["tea"] * 3
    assert "which looks the same for label" in notes(found)
    even = read(file_of(tmp_path, ([COMPOSED] * 5 + [APART] * 5) + ["tea"] * 2))
    assert said(even) == [COMPOSED] * 10 + ["tea"] * 2
    assert "5 rows have 'cafe\\u0301', which looks the same for label 'caf\\xe9' (5 rows)" in notes(
        even
    )
    assert said(read(file_of(tmp_path, [APART]), model=(COMPOSED, "tea"))) == [COMPOSED]


def test_a_rare_spelling_is_the_common_one_and_two_common_ones_are_told(tmp_path: Path) -> None:
    labels = ["Sport"] * 9 + ["sport", "SPORT"] + ["\uff33port"] + ["tea"] * 2
    found = read(file_of(tmp_path, labels))
    assert said(found) == ["Sport"] * 12 + ["tea"] * 2
    assert "1 rows have 'sport' for label 'Sport' (9 rows)" in notes(found)
    two = read(file_of(tmp_path, ["US"] * 6 + ["us"] * 5 + ["Us"]))
    assert said(two) == ["US"] * 6 + ["us"] * 5 + ["US"]
    assert "labels 'US' (6 rows), 'us' (5 rows) differ in case or form alone" in notes(two)
    with pytest.raises(InputError, match="has not: 'Us'"):  # which of the two nobody knows
        read(file_of(tmp_path, ["Us"]), model=("US", "us"))
    other = read(file_of(tmp_path, ["TEA", "tea"]), model=("tea", "Sport"))
    assert said(other) == ["tea"] * 2
    assert "1 rows of input have 'TEA' for label 'tea'" in notes(other)


def test_an_empty_cell_may_say_that_no_label_applies(tmp_path: Path) -> None:
    for format_ in FORMATS:
        file = file_of(tmp_path, ["a;b", "a", "b", "", " "], format_)
        assert said(read(file, separator=";")) == [["a", "b"], ["a"], ["b"]]
        with_none = read(file, separator=";", blank_is_none=True)
        assert said(with_none) == [["a", "b"], ["a"], ["b"], [], []]
    empty = file_of(tmp_path, ['["a"]', '["a"]', "[]"], "csv")
    assert said(read(empty)) == [["a"], ["a"], []]


def test_numbers_that_are_amounts_name_the_flag(tmp_path: Path) -> None:
    amounts = [n / 7 for n in range(30)]
    for labels in (amounts, amounts * 2, list(range(30)), [str(n) for n in amounts]):
        with pytest.raises(InputError, match="problem_type='regression'"):
            read(file_of(tmp_path, labels))
    classes = read(file_of(tmp_path, amounts * 2), problem_type="single_label")
    assert len(set(said(classes))) == 30
    halves = read(file_of(tmp_path, [n / 2 for n in range(10)] * 2))
    assert len(set(said(halves))) == 10


@pytest.mark.parametrize("value", [1e39, -1e39, 1e25, 1e308, -1e308, 10**30])
def test_a_value_beyond_what_a_model_learns_is_a_line_with_its_row(
    tmp_path: Path, value: float
) -> None:
    for format_ in ("csv", "jsonl"):
        file = file_of(tmp_path, [0.5, 1.5, value], format_)
        for model in ((), ("value",)):
            with pytest.raises(InputError, match=r"#2: column label holds '?.*, beyond 1e\+15"):
                read(file, model=model, model_type=REGRESSION, problem_type="regression")


@pytest.mark.parametrize("value", ["x", True, "1,5", [1.0], math.inf])
def test_a_value_that_is_no_number_is_a_line_with_its_row(tmp_path: Path, value: Any) -> None:
    file = file_of(tmp_path, [value] * 2)
    with pytest.raises(InputError, match=r"#0: column label holds .* not a .*number"):
        read(file, problem_type="regression")


def test_values_are_read_from_every_spelling(tmp_path: Path) -> None:
    file = file_of(tmp_path, ["0.5", " 1e1 ", "-2", "NaN", ""], "csv")
    found = read(file, problem_type="regression")
    assert (said(found), found.rejected) == ([0.5, 10.0, -2.0], 2)
    assert notes(found).startswith("values from -2 to 10")


def test_several_labels_are_read_by_the_same_rule(tmp_path: Path) -> None:
    model = ("1", "2")
    for cells in ([[1.0, 2.0], [2.0]], ["1.0;2", "2.0"]):
        found = read(file_of(tmp_path, cells), model=model, model_type=MULTI_LABEL, separator=";")
        assert said(found) == [["1", "2"], ["2"]]
    with pytest.raises(InputError, match="but the model gives each text one label"):
        read(file_of(tmp_path, [["1", "2"], ["1"]]), model=model)
