"""Questions come from SQuAD's JSON or flat rows; labels that stand elsewhere are mended or left."""

from __future__ import annotations

import bz2
import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_bert.encoder import load_span_finder
from beam_bert.encoder.config import read_config
from beam_bert.errors import InputError
from beam_bert.evaluation.answering.scoring import (
    TOP_SPANS,
    Predictions,
    answers_of,
    evaluate_answers,
)
from beam_bert.inference.fp32_recheck import RecheckedModel
from beam_bert.labelled import offset_units
from beam_bert.labelled.answers import Asked, mended_start, read_asked
from beam_bert.labelled.offset_units import OffsetUnit
from beam_bert.labelled.question_windows import (
    answer_windows,
    asked_batch,
    question_tokenizer,
)
from beam_bert.settings.answer_training import AnswerEvaluateConfig, AskedColumns
from beam_bert.tokenization import QuestionTokenizer, WindowSettings
from tests.pipeline.answering import reference
from tests.pipeline.answering.conftest import DATA, reader  # noqa: F401 # a fixture
from tests.pipeline.answering.reference import Settings

CONTEXT = "The supplier is Müller GmbH. It ends in 2027."


def entry(question: str, *answers: tuple[str, int], **more: Any) -> dict[str, Any]:
    labels = [{"text": text, "answer_start": start} for text, start in answers]
    return {"question": question, "id": question, "answers": labels, **more}


def write_squad(path: Path, *entries: dict[str, Any], context: str = CONTEXT) -> Path:
    document = {"version": "v2.0", "data": [{"paragraphs": [{"context": context, "qas": entries}]}]}
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("start", "text", "found"),
    [
        (16, "Müller GmbH", 16),
        (15, "Müller GmbH", 16),
        (20, "2027", 40),
        (16, "Meier", None),
        (0, "i", None),  # more than once nearby
        (-3, "The", 0),
        (9_999, "2027", None),
        (0, "  ", None),
    ],
)
def test_a_label_is_mended_where_its_text_stands_once_nearby(
    start: int, text: str, found: int | None
) -> None:
    assert mended_start(CONTEXT, start, text) == found


def test_squad_is_read_whatever_its_version_and_its_faults_are_counted(tmp_path: Path) -> None:
    file = write_squad(
        tmp_path / "dev.json",
        entry("Who?", ("Müller GmbH", 16), (" Müller", 15)),
        entry("When?", ("2027", 39)),
        entry("How much?", is_impossible=True, plausible_answers=[]),
        entry("Where?", ("Berlin", 3)),
        entry(" ", ("2027", 40)),
    )
    asked, labels = read_asked([str(file)])
    assert [(each.id, each.answers) for each in asked] == [
        ("Who?", ((16, "Müller GmbH"), (16, "Müller"))),
        ("When?", ((40, "2027"),)),
        ("How much?", ()),
    ]
    counts = (labels.right, labels.mended, labels.left_out, labels.without_answer, labels.blank)
    assert counts == (2, 1, 1, 1, 1)
    assert "qas[1]: '2027' is not at 39 but at 40: mended" in labels.shown[0]
    for each in asked:
        for start, text in each.answers:
            assert each.context[start : start + len(text)] == text


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_flat_rows_hold_one_label_or_several_or_none(tmp_path: Path, kind: str) -> None:
    rows = [
        {"q": "Who?", "c": CONTEXT, "answer_text": ["Müller", "GmbH"], "answer_start": [16, 23]},
        {"q": "When?", "c": CONTEXT, "answer_text": ["2027"], "answer_start": [40]},
        {"q": "Where?", "c": CONTEXT, "answer_text": None, "answer_start": None},
    ]
    file = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    asked, labels = read_asked([str(file)], AskedColumns(question="q", context="c"))
    assert [each.answers for each in asked] == [
        ((16, "Müller"), (23, "GmbH")),
        ((40, "2027"),),
        (),
    ]
    assert (labels.right, labels.without_answer) == (3, 1)


@pytest.mark.parametrize(
    "unit", [str(each) for each in offset_units._UNITS if each != OffsetUnit()]
)
def test_offsets_of_a_file_are_converted_whatever_they_count(tmp_path: Path, unit: str) -> None:
    (counted,) = (each for each in offset_units._UNITS if str(each) == unit)
    ends = "\r\n" if counted.line_ends < 0 else "\n"
    text = ends.join(f"{'😀' * (n % 3)}né {n} {'é' * (n % 5)}a" for n in range(60))
    entries = []
    for n in range(60):
        start = text.index(f" {n} ") + 1
        there = int(counted.offsets(text)[start])
        entries.append(entry(f"number {n}?", (str(n), there)))
    entries[7]["answers"][0]["answer_start"] += 3
    file = write_squad(tmp_path / "dev.json", *entries, context=text)
    asked, labels = read_asked([str(file)])
    assert (labels.right, labels.mended + labels.left_out, len(labels.units)) == (59, 1, 1)
    assert f"answer_start counts {unit}: 59 of 60" in labels.units[0]
    for n, each in enumerate(asked):
        if labels.left_out == 0 or n < 7:
            assert each.answers == ((text.index(f" {n} ") + 1, str(n)),)


def test_a_file_in_code_points_stays_so_whatever_its_faults(tmp_path: Path) -> None:
    text = "né " * 50
    right = [entry(f"{n}?", ("né", 3 * n)) for n in range(20)]
    wrong = [entry(f"{n}?", ("missing", 3 * n)) for n in range(20, 40)]
    asked, labels = read_asked(
        [str(write_squad(tmp_path / "a.json", *right, *wrong, context=text))]
    )
    assert (labels.right, labels.left_out, labels.units) == (20, 20, [])
    assert [each.answers for each in asked] == [((3 * n, "né"),) for n in range(20)]


@pytest.mark.parametrize(
    ("said", "unanswerable"),
    [
        (True, True),
        (False, False),
        (1, True),
        (0, False),
        ("True", True),
        ("False", False),
        ("false", False),
        ("0", False),
        (None, False),
    ],
)
def test_no_answer_is_told_by_its_meaning(tmp_path: Path, said: Any, unanswerable: bool) -> None:
    squad = write_squad(tmp_path / "a.json", entry("Who?", ("Müller", 16), is_impossible=said))
    row = {"question": "Who?", "context": CONTEXT, "answer_text": "Müller", "answer_start": 16}
    flat = tmp_path / "a.jsonl"
    flat.write_text(json.dumps(row | {"is_impossible": said}) + "\n", encoding="utf-8")
    for file in (squad, flat):
        ((asked,), labels) = read_asked([str(file)])
        assert asked.answers == (() if unanswerable else ((16, "Müller"),))
        assert labels.without_answer == unanswerable


@pytest.mark.parametrize("said", ["maybe", 2, [], {}])
def test_what_is_neither_true_nor_false_is_named(tmp_path: Path, said: Any) -> None:
    file = write_squad(tmp_path / "a.json", entry("Who?", ("Müller", 16), is_impossible=said))
    with pytest.raises(InputError, match=r"qas\[0\]: is_impossible is .*; it is true or false"):
        read_asked([str(file)])


def test_layouts_that_everybody_has_hold_the_same_questions(tmp_path: Path) -> None:
    lists = {"text": ["Müller", "GmbH"], "answer_start": [16, 23]}
    row = {"id": "a", "question": "Who?", "context": CONTEXT, "answers": lists}
    none = row | {"id": "b", "question": "Why?", "answers": {"text": [], "answer_start": []}}
    objects = [
        {"text": text, "answer_start": start} for text, start in zip(*lists.values(), strict=True)
    ]
    article = {
        "title": "t",
        "paragraphs": [
            {
                "context": CONTEXT,
                "qas": [
                    {"id": "a", "question": "Who?", "answers": objects},
                    {"id": "b", "question": "Why?", "answers": []},
                ],
            }
        ],
    }
    documents = {
        "squad.json": {"version": "1.1", "data": [article]},
        "articles.json": [article],
        "article.json": article,
        "paragraphs.json": article["paragraphs"],
        "rows.json": [row, none],
        "data.json": {"data": [row, none]},
        "objects.json": [row | {"answers": objects}, none | {"answers": []}],
    }
    for name, document in documents.items():
        (tmp_path / name).write_text(json.dumps(document), encoding="utf-8")
    for name, some in (("rows.jsonl", lists), ("objects.jsonl", objects)):
        lines = [row | {"answers": some}, none | {"answers": type(some)()}]
        text = "".join(json.dumps(each) + "\n" for each in lines)
        (tmp_path / name).write_text(text, encoding="utf-8")
    pq.write_table(pa.Table.from_pylist([row, none]), tmp_path / "rows.parquet")
    for file in sorted(tmp_path.iterdir()):
        asked, labels = read_asked([str(file)], AskedColumns(id="id"))
        found = [(each.id, each.question, each.answers) for each in asked]
        expected = [("a", "Who?", ((16, "Müller"), (23, "GmbH"))), ("b", "Why?", ())]
        assert found == expected, file.name
        assert (labels.right, labels.without_answer) == (2, 1)


@pytest.mark.parametrize(
    ("start", "message"),
    [("16.0", None), ("16", None), ("16.5", "no whole number"), ("x", "no number")],
)
def test_starts_are_whole_numbers_as_pandas_writes_them(
    tmp_path: Path, start: str, message: str | None
) -> None:
    file = tmp_path / "rows.csv"
    lines = [f'Who?,"{CONTEXT}",Müller,{start}', f'Why?,"{CONTEXT}",,']
    file.write_text("question,context,answer_text,answer_start\n" + "\n".join(lines) + "\n")
    if message:
        with pytest.raises(InputError, match=f"rows.csv#0: answer_start is .*{message}"):
            read_asked([str(file)])
    else:
        asked, _ = read_asked([str(file)])
        assert [each.answers for each in asked] == [((16, "Müller"),), ()]


def test_evaluation_counts_every_text_wherever_its_label_points(tmp_path: Path) -> None:
    wrong = [entry(f"{n}?", (f"not there {n}", 3)) for n in range(9)]
    unplaced = {"question": "no place?", "id": "x", "answers": [{"text": "GmbH"}]}
    file = write_squad(tmp_path / "a.json", entry("Who?", ("Müller", 16)), *wrong, unplaced)
    with pytest.raises(InputError, match=r"qas\[10\]: 1 answers have 0 starts"):
        read_asked([str(file)])
    asked, labels = read_asked([str(file)], need_places=False)
    assert [each.texts for each in asked] == [
        ["Müller"],
        *([f"not there {n}"] for n in range(9)),
        ["GmbH"],
    ]
    assert (labels.right, labels.left_out, labels.without_answer) == (1, 10, 0)
    predictions = Predictions(["Müller"] * 11, np.zeros(11, np.int64), np.zeros(11), 1, 0)
    scores = evaluate_answers(asked, predictions)
    assert scores.overall.exact.value == pytest.approx(1 / 11)
    assert scores.with_answer and scores.with_answer.questions == 11


def test_training_refuses_more_lost_labels_than_may_be(tmp_path: Path) -> None:
    file = write_squad(
        tmp_path / "a.json", entry("Who?", ("Müller", 16)), entry("Where?", ("Berlin", 3))
    )
    _, labels = read_asked([str(file)])
    with pytest.raises(InputError, match=r"1 of 2 labels .*'Berlin' is not at 3.*max_reject_rate"):
        labels.check_rate(0.4, "train")
    labels.check_rate(0.5, "train")


def test_flat_rows_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    row = {"question": "Who?", "context": CONTEXT, "answer_text": "Müller", "answer_start": 16}
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in (row, row | {"question": None})))
    asked, labels = read_asked([str(file)], max_reject_rate=0.5, setting="train")
    assert (len(asked), labels.blank) == (1, 1)
    assert labels.shown == ["train: 1 rows have no usable text or question: left out"]


def test_flat_rows_may_hold_a_single_label(tmp_path: Path) -> None:
    row = {"question": "Who?", "context": CONTEXT, "answer_text": "Müller", "answer_start": 15}
    file = tmp_path / "rows.json"  # JSON lines under SQuAD's suffix
    file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    (asked,), labels = read_asked([str(file)])
    assert asked.answers == ((16, "Müller"),)
    assert labels.mended == 1


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"data": [{}]}, r"data\[0\] has no list 'paragraphs'"),
        ({"data": [{"paragraphs": [{"qas": []}]}]}, r"paragraphs\[0\] has no text 'context'"),
        (
            {"data": [{"paragraphs": [{"context": "c", "qas": [{"answers": []}]}]}]},
            r"qas\[0\] has no text 'question'",
        ),
        ({"data": []}, r"not one usable question"),
        (
            {"data": [{"paragraphs": [{"context": CONTEXT, "qas": [entry("Who \ud800?")]}]}]},
            r"qas\[0\]: 'question' holds half of a surrogate pair",
        ),
        (
            {"data": [{"paragraphs": [{"context": "c", "qas": [entry("Who?", ("c", math.inf))]}]}]},
            r"qas\[0\]: answer_start is inf, no number",
        ),
    ],
)
def test_json_of_another_shape_is_named(tmp_path: Path, document: Any, message: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps(document))
    with pytest.raises(InputError, match=message):
        read_asked([str(file)])


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip.compress), ("BZ2", bz2.compress)])
def test_squad_may_be_compressed_as_other_files(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    plain = write_squad(tmp_path / "dev.json", entry("Who?", ("Müller GmbH", 16)))
    packed = tmp_path / f"packed.json.{suffix}"
    packed.write_bytes(compress(plain.read_bytes()))
    found = [read_asked([str(path)])[0] for path in (plain, packed)]
    assert [(each.question, each.answers) for each in found[0]] == [
        (each.question, each.answers) for each in found[1]
    ]


def test_a_questions_length_is_its_words_or_chinese_characters() -> None:
    groups = {
        "Who is it?": "up to 5",
        "When does the contract end, and why?": "up to 10",
        "发起MIT OpenCourseWare的目标是什么？": "over 20",
        "谁是 供应商？": "up to 10",
    }
    for question, group in groups.items():
        asked = [Asked("a", question, CONTEXT, (), "a")]
        predictions = Predictions([""], np.array([-1]), np.array([0.0]), 1, 0)
        assert list(evaluate_answers(asked, predictions).by_length) == [group]


@pytest.mark.parametrize(("flags", "stride"), [({}, 33), ({"stride": 40}, 40)])
def test_windows_overlap_as_in_the_job(
    reader: Path,  # noqa: F811
    flags: dict[str, int],
    stride: int,
) -> None:
    config = AnswerEvaluateConfig(input=("i",), model="m", output="o", max_length=99, **flags)
    tokenizer = question_tokenizer(reader, read_config(reader), config)
    long = Asked("a", "Who?", CONTEXT * 30, (), "a")
    rows = tokenizer.tokenize(asked_batch([long])).rows
    begins = rows["begins"].to_pylist()[0]
    first, *_ = rows["context_lengths"].to_pylist()[0]
    assert first - begins[1] == stride


def test_a_model_that_breaks_is_not_blamed_on_the_question(
    reader: Path,  # noqa: F811
) -> None:
    class Broken:
        width, precision, device = 1 + 3 * TOP_SPANS, "fp32", "cpu"

        def outputs(self, ids: Any, offsets: Any, *_: Any, **__: Any) -> np.ndarray:
            return np.full((len(offsets) - 1, self.width), np.nan, np.float32)

    tokenizer = QuestionTokenizer(reader, WindowSettings(64, True, 16), None)
    asked = Asked("a", "Who?", CONTEXT, (), "dev.json: data[0]")
    with pytest.raises(InputError, match=r"dev.json: data\[0\]: the model's .* finite numbers$"):
        answers_of([asked], tokenizer, RecheckedModel(Broken()))


def test_windows_learn_the_tokens_of_the_answer_or_the_first_token(
    tmp_path: Path,
    reader: Path,  # noqa: F811
) -> None:
    context = "good day " * 40 + "the film is terrible and sad " + "bad night " * 40
    start = context.index("terrible")
    file = write_squad(
        tmp_path / "a.json",
        entry("what is it like?", ("terrible and sad", start)),
        entry("who?", is_impossible=True),
        context=context,
    )
    asked, _ = read_asked([str(file)])
    tokenizer = QuestionTokenizer(reader, WindowSettings(64, True, 16), None)
    windows = answer_windows(asked, tokenizer)
    assert windows.has_answer.any() and len(windows.lost) == 0
    offsets, ids = windows.tokens.offsets, windows.tokens.ids
    vocabulary = (reader / "vocab.txt").read_text().split("\n")
    for number in range(len(windows.asked)):
        first, last = windows.starts[number], windows.ends[number]
        window = ids[offsets[number] : offsets[number + 1]]
        words = [vocabulary[token] for token in window[first : last + 1]]
        if windows.has_answer[number]:
            assert windows.asked[number] == 0
            assert words[:1] == ["terrible"] and words[-1] == "sad"
        else:
            assert words == ["[CLS]"]
    chosen = windows.sample(1.0, [0, 0])
    assert windows.has_answer[chosen].sum() == windows.has_answer.sum() == len(chosen) / 2


def test_an_answer_that_no_window_holds_is_not_learnt_as_no_answer(
    reader: Path,  # noqa: F811
) -> None:
    context = "good day " * 60
    asked = [
        Asked("a", "what?", context, ((0, context[: 9 * 40].strip()),), "a"),
        Asked("b", "what?", context, ((0, "good"),), "b"),
    ]
    tokenizer = QuestionTokenizer(reader, WindowSettings(64, True, 16), None)
    windows = answer_windows(asked, tokenizer)
    assert windows.lost.tolist() == [0]
    assert set(windows.asked.tolist()) == {1}
    assert windows.has_answer.sum() == 1


def test_predictions_are_the_reference_answers_and_are_scored(
    tmp_path: Path,
    reader: Path,  # noqa: F811
) -> None:
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    file = write_squad(tmp_path / "a.json", entry("Who is it?", ("Müller GmbH", 16)), entry("Why?"))
    asked, _ = read_asked([str(file)])
    predictions = answers_of(
        asked,
        QuestionTokenizer(reader, WindowSettings(64, True, 16), None),
        RecheckedModel(
            load_span_finder(reader, precision="fp32", device="cpu", top_spans=TOP_SPANS)
        ),
    )
    model = AutoModelForQuestionAnswering.from_pretrained(str(reader)).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(reader))
    settings = Settings(max_length=64, stride=16, null_threshold=1e9)
    for each, answer, gap in zip(asked, predictions.answers, predictions.gaps, strict=True):
        (found,) = reference.answer(model, tokenizer, each.question, each.context, settings)
        assert each.context[found.start : found.end] == answer
        assert gap == pytest.approx(found.null_score - found.score, abs=1e-4)
    none = evaluate_answers(asked, predictions, null_threshold=-1e9)
    assert (none.overall.exact.value, none.overall.questions, none.answered) == (0.5, 2, 0)
    assert none.with_answer and none.with_answer.f1.value == 0
    assert none.without_answer and none.without_answer.exact.value == 1
    assert none.best["exact"].value >= 0.5
    assert sum(group.questions for group in none.by_word.values()) == 2


@pytest.mark.parametrize(
    ("name", "questions", "mended", "blank"),
    # CMRC counts in UTF-16, which shows where a fish has a name of a rare character.
    [("covid-qa.json", 1_380, 234, 0), ("cmrc2018-trial.json", 1_000, 0, 2)],
)
def test_the_labels_of_real_files_are_mended(
    name: str, questions: int, mended: int, blank: int
) -> None:
    file = DATA / name
    if not file.is_file():
        pytest.skip(f"{file} is missing: it is data for development, not part of the project")
    asked, labels = read_asked([str(file)])
    assert (len(asked), labels.mended, labels.left_out, labels.blank) == (
        questions,
        mended,
        0,
        blank,
    )
