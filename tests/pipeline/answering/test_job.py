"""`pipelines.answer`, end to end: files in, answers out, whatever is asked and however."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from beam_bert.errors import ConfigError
from beam_bert.jobs.command_line import parse_config
from beam_bert.settings.answer import AnswerConfig
from pipelines import answer as command
from tests.pipeline.answering import reference
from tests.pipeline.answering.conftest import SENTENCES
from tests.pipeline.answering.product import answer_batch
from tests.pipeline.answering.reference import Settings
from tests.pipeline.answering.test_same_answers import check
from tests.tokenization.test_documents import documents

ASKED = ["Who is the supplier?", "When does it end?"]
WINDOWS = ("--max_length=64", "--stride=16")
AS_REFERENCE = "--precision=fp32"  # the reference's, where the hardware would choose bf16


def run(source: Path, output: Path, model: Path, *flags: str) -> int:
    given = ["--input", str(source), "--output", str(output), "--model", str(model)]
    return command.main([*given, *WINDOWS, *flags])


def table(output: Path, kind: str = "predictions") -> list[dict[str, Any]]:
    found = ds.dataset(output / kind, partitioning="hive").to_table().to_pylist()
    return sorted(found, key=lambda row: (row["source_file"], row["source_row"]))


def counts(output: Path) -> dict[str, Any]:
    (path,) = (output / "runs").glob("*/manifest.json")
    found: dict[str, Any] = json.loads(path.read_text())["counts"]
    return found


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def expected(model: Path, question: str, text: str, settings: Settings) -> list[reference.Found]:
    return reference.answer(
        AutoModelForQuestionAnswering.from_pretrained(str(model)).eval(),
        AutoTokenizer.from_pretrained(str(model)),
        question,
        text,
        settings,
    )


def test_the_same_questions_are_asked_of_every_file(tmp_path: Path, reader: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    texts = {"a.txt": "\ufeffgood day\r\n\r\n" + SENTENCES[0] * 3, "b.txt": SENTENCES[1]}
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
    flags = ["--text_unit=file", "--keep_text", "--top_k=2", "--null_threshold=1e9", AS_REFERENCE]
    questions = [flag for question in ASKED for flag in ("--question", question)]
    assert run(folder, tmp_path / "out", reader, *questions, *flags) == 0
    rows = table(tmp_path / "out")
    assert len(rows) == 8
    assert counts(tmp_path / "out")["rows_predicted"] == 2
    assert counts(tmp_path / "out")["rows_written"] == 8
    settings = Settings(max_length=64, stride=16, top_k=2, null_threshold=1e9)
    for name in texts:
        for question in ASKED:
            some = [
                row
                for row in rows
                if row["doc_id"].startswith(str(folder / name)) and row["question"] == question
            ]
            text = some[0]["text"]
            assert "\r\n" in text or name == "b.txt"
            check(some, expected(reader, question, text, settings), text)


def test_each_row_has_its_own_question_and_keeps_its_columns(tmp_path: Path, reader: Path) -> None:
    rows = [
        {"id": f"r{n}", "question": ASKED[n % 2], "context": text, "answer": n, "language": "x"}
        for n, text in enumerate(SENTENCES)
    ]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    flags = ["--question_column=question", "--text_column=context", "--id_column=id", AS_REFERENCE]
    assert run(source, tmp_path / "out", reader, *flags) == 0
    found = table(tmp_path / "out")
    assert [row["doc_id"] for row in found] == [row["id"] for row in rows]
    assert [row["question"] for row in found] == [row["question"] for row in rows]
    assert [row["input_answer"] for row in found] == list(range(len(rows)))
    assert {row["language"] for row in found} == {"x"}
    for row, given in zip(found, rows, strict=True):
        settings = Settings(max_length=64, stride=16)
        check(
            [row], expected(reader, row["question"], given["context"], settings), given["context"]
        )


def squad_file(path: Path, wrap: str, indent: int | None) -> Path:
    articles = [
        {
            "title": f"article {n}",
            "paragraphs": [
                {
                    "context": f"good day {n} love the film hate it",
                    "qas": [
                        {"id": f"{n}{k}", "question": f"what {k}?", "answers": []} for k in range(2)
                    ],
                }
            ],
        }
        for n in range(3)
    ]
    document = {
        "v1": {"data": articles, "version": "1.1"},
        "v2": {"version": "v2.0", "data": articles},
        "list": articles,
    }[wrap]
    path.write_text(json.dumps(document, indent=indent))
    return path


@pytest.mark.parametrize(("wrap", "indent"), [("v1", None), ("v2", 2), ("list", None)])
def test_squads_own_file_is_asked_its_questions_on_its_contexts(
    tmp_path: Path, finder: Path, wrap: str, indent: int | None
) -> None:
    source = squad_file(tmp_path / "dev.json", wrap, indent)
    columns = ["--question_column=question", "--id_column=id"]
    assert run(source, tmp_path / "out", finder, *columns, "--text_column=context") == 0
    rows = table(tmp_path / "out")
    assert [row["doc_id"] for row in rows] == ["00", "01", "10", "11", "20", "21"]
    assert {row["answer"] for row in rows} == {"love the film hate"}
    assert [row["question"] for row in rows] == ["what 0?", "what 1?"] * 3
    assert [row["title"] for row in rows] == [f"article {n // 2}" for n in range(6)]
    assert run(source, tmp_path / "same", finder, *columns) == 0  # whatever the text is called
    assert [row["answer"] for row in table(tmp_path / "same")] == [row["answer"] for row in rows]


def test_what_is_broken_in_squads_file_is_told(
    tmp_path: Path, finder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = squad_file(tmp_path / "dev.json", "v1", None)
    text = source.read_text()
    source.write_text(text[: text.index("article 2")])
    assert run(source, tmp_path / "out", finder, "--question_column=question") == 2
    said = capfd.readouterr().err
    assert f"error: {source}" in said.splitlines()[-1]
    assert "behind 2 records" in said.splitlines()[-1]


@pytest.mark.parametrize("layout", ["long", "wide"])
def test_text_of_several_columns_is_kept_as_the_offsets_count_it(
    tmp_path: Path, finder: Path, layout: str
) -> None:
    parts = [{"title": "love", "body": "the hate is bad"}, {"title": "", "body": "love hate"}]
    source = write_jsonl(tmp_path / "in.jsonl", parts)
    flags = ["--question", "who=Who is it?", f"--answers={layout}", "--keep_text"]
    assert run(source, tmp_path / "out", finder, "--text_column", "title", "body", *flags) == 0
    for row, given in zip(table(tmp_path / "out"), parts, strict=True):
        found = row["who"] if layout == "wide" else row
        assert row["text"] == f"{given['title']} {given['body']}".strip()
        assert row["text"][found["answer_start"] : found["answer_end"]] == found["answer"]
        assert (row["title"], row["body"]) == (given["title"], given["body"])


def test_wide_answers_are_a_column_for_each_named_question(tmp_path: Path, reader: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": text} for text in SENTENCES])
    config = tmp_path / "fields.yaml"
    asked = {"supplier": ASKED[0], "end": ASKED[1]}
    config.write_text(yaml.safe_dump({"question": asked, "answers": "wide"}))
    assert run(source, tmp_path / "wide", reader, "--config", str(config)) == 0
    flags = [f"--question={name}={question}" for name, question in asked.items()]
    assert run(source, tmp_path / "long", reader, *flags) == 0
    wide, long = table(tmp_path / "wide"), table(tmp_path / "long")
    assert len(wide) == len(SENTENCES)
    assert len(long) == 2 * len(SENTENCES)
    for row in wide:
        for name in asked:
            (same,) = [
                other
                for other in long
                if (other["doc_id"], other["question_name"]) == (row["doc_id"], name)
            ]
            assert row[name] == {key: same[key] for key in row[name]}
        # The most windows that a question was asked in, not all of them together.
        counts = [o["num_windows"] for o in long if o["doc_id"] == row["doc_id"]]
        assert row["num_windows"] == max(counts)
    (shard,) = (tmp_path / "wide" / "predictions").glob("*.parquet")
    field = pq.read_schema(shard).field("supplier")
    assert field.metadata[b"description"].decode() == ASKED[0]


def test_rows_that_cannot_be_used_are_rejects_and_the_books_balance(
    tmp_path: Path, reader: Path
) -> None:
    rows: list[dict[str, Any]] = [
        {"question": ASKED[0], "text": SENTENCES[0]},
        {"question": None, "text": SENTENCES[0]},
        {"question": "  ", "text": SENTENCES[0]},
        {"text": SENTENCES[0]},
        {"question": "good " * 80, "text": SENTENCES[0]},
        {"question": "\u200b", "text": SENTENCES[0]},
        {"question": ASKED[0], "text": "\u200b"},
        {"question": ASKED[0], "text": " "},
        {"question": "a question that is longer than its text", "text": "x"},
    ]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    flags = ["--question_column=question", "--max_reject_rate=1", "--max_lost_files=1"]
    assert run(source, tmp_path / "out", reader, *flags) == 0
    assert [row["source_row"] for row in table(tmp_path / "out")] == [0, 8]
    rejects = {row["source_row"]: row["reason"] for row in table(tmp_path / "out", "rejects")}
    assert rejects == {
        1: "missing_text",
        2: "empty_text",
        3: "missing_text",
        4: "question_too_long",
        5: "no_question_tokens",
        6: "no_tokens",
        7: "empty_text",
    }
    found = counts(tmp_path / "out")
    assert (found["rows_read"], found["rows_predicted"], found["rows_rejected"]) == (9, 2, 7)


def test_blanks_that_look_like_answers_take_none_from_any_question(
    tmp_path: Path, bytes_reader: Path
) -> None:
    texts = ["   ".join(["", *text.split(), " "]) for text in SENTENCES]
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": text} for text in texts])
    flags = ["--question", *ASKED, "--top_k=20", "--null_threshold=1e9", "--max_answer_tokens=8"]
    assert run(source, tmp_path / "out", bytes_reader, *flags) == 0
    rows = table(tmp_path / "out")
    assert len(rows) == 20 * 2 * len(texts)
    places = {(r["source_row"], r["question"], r["answer_start"], r["answer_end"]) for r in rows}
    assert len(places) == len(rows)
    for row in rows:
        text = texts[row["source_row"]]
        assert text[row["answer_start"] : row["answer_end"]] == row["answer"].strip() != ""


@pytest.mark.parametrize("layout", ["long", "wide"])
def test_a_text_of_blank_tokens_has_no_answer(
    bytes_reader: Path, layout: Literal["long", "wide"]
) -> None:
    batch = answer_batch(
        bytes_reader,
        documents(["\x1c \x1d", "love 2 x"]),
        ("who?", "when?"),
        Settings(64, 16, top_k=1 if layout == "wide" else 3, null_threshold=1e9),
        layout=layout,
        names=("who", "when"),
    )
    assert batch.rejects.num_rows == 0
    blank, *_ = rows = batch.rows.to_pylist()
    assert [row["doc_id"] for row in rows] == (["0", "1"] if layout == "wide" else [*"00111111"])
    for found in (blank["who"], blank["when"]) if layout == "wide" else rows[:2]:
        nothing = [found[name] for name in ("answer", "answer_start", "score", "window")]
        assert (nothing, found["has_answer"]) == ([None] * 4, False)
        assert isinstance(found["null_score"], float)


@pytest.mark.parametrize(
    ("content", "flags", "reasons"),
    [
        ("", ["--question", ASKED[0]], []),
        ('{"text": "\u200b"}', ["--question", ASKED[0], ASKED[1]], ["no_tokens"]),
        ('{"text": "x", "q": "\u200b"}', ["--question_column=q"], ["no_question_tokens"]),
        (
            '{"text": "\u200b"}',
            ["--question", f"a={ASKED[0]}", "--answers=wide", "--precision=bf16"],
            ["no_tokens"],
        ),
    ],
)
def test_a_file_without_one_usable_row_is_no_failure(
    tmp_path: Path, reader: Path, content: str, flags: list[str], reasons: list[str]
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(content, encoding="utf-8")
    assert run(source, tmp_path / "out", reader, *flags, "--max_reject_rate=1") == 0
    assert table(tmp_path / "out") == []
    found = table(tmp_path / "out", "rejects") if reasons else []
    assert [row["reason"] for row in found] == reasons


def test_two_runs_write_the_same_bytes_and_what_is_asked_twice_is_computed_once(
    tmp_path: Path, reader: Path
) -> None:
    once = [{"text": text} for text in SENTENCES]
    source = write_jsonl(tmp_path / "in.jsonl", once * 3)
    for name in ("one", "two"):
        assert run(source, tmp_path / name, reader, "--question", ASKED[0]) == 0
    shards = [
        {path.name: path.read_bytes() for path in (tmp_path / name / "predictions").glob("*")}
        for name in ("one", "two")
    ]
    assert shards[0] == shards[1] != {}
    answers = [
        [(row["answer"], row["score"]) for row in table(tmp_path / "one")][start : start + 10]
        for start in (0, 10, 20)
    ]
    assert answers[0] == answers[1] == answers[2]


def test_a_dry_run_estimates_the_windows_of_all_questions(
    tmp_path: Path, reader: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": text} for text in SENTENCES])
    assert run(source, tmp_path / "out", reader, "--question", *ASKED, "--dry_run") == 0
    assert "documents: about 10" in capsys.readouterr().out


def test_a_dry_run_counts_what_a_long_question_costs(
    tmp_path: Path, reader: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "the bank is open " * 200}] * 3)
    tokens = []
    for question in ("who?", "the " * 24 + "?"):
        flags = ["--question", question, "--dry_run", "--max_length=64", "--stride=4"]
        assert run(source, tmp_path / "out", reader, *flags, "--max_answer_tokens=4") == 0
        (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("tokens:")]
        tokens.append(int(line.split()[-1].replace(",", "")))
    assert tokens[1] > 1.5 * tokens[0]


def test_progress_counts_windows_of_a_long_document(
    tmp_path: Path, reader: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("beam_bert.reports.progress.PLAIN_INTERVAL_S", 0.02)
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "the bank is open " * 20_000}])
    assert run(source, tmp_path / "out", reader, "--question", "who?") == 0
    assert "windows/s" in capfd.readouterr().err


def test_int8_answers_are_fp32s_and_the_manifest_has_the_proof(
    tmp_path: Path,
    reader: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("beam_bert.jobs.precision_check.TOKENS", 2_000)  # fewer than there are
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": text * 3} for text in SENTENCES * 3])
    questions = [flag for question in ASKED for flag in ("--question", question)]
    places = {}
    for precision in ("fp32", "int8"):
        flags = [*questions, f"--precision={precision}", "--top_k=2"]
        assert run(source, tmp_path / precision, reader, *flags) == 0
        rows = table(tmp_path / precision)
        places[precision] = [
            (row["doc_id"], row["answer_start"], row["answer_end"]) for row in rows
        ]
    assert places["int8"] == places["fp32"]
    (path,) = (tmp_path / "int8" / "runs").glob("*/manifest.json")
    manifest = json.loads(path.read_text())
    proof = manifest["model"]["precision_check"]
    assert proof["agreement"] == 1
    assert 0 < proof["documents"] < len(SENTENCES) * 3
    assert 0 < proof["largest_logit_change"] < 0.3
    assert 0 < manifest["stats"]["windows_rechecked"] < manifest["stats"]["windows"]
    assert "low margins rechecked at fp32" in capsys.readouterr().out


NEEDED = ["--input", "a", "--output", "o", "--model", "m"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], r"give --question or --question_column: one of them is missing"),
        (["--question", "a", "--question_column=q"], r"one of them, not both"),
        (["--question", " "], r"a question is empty"),
        (["--question", "end= "], r"a question is empty"),
        (["--question", "who \udcff?"], r"a question holds bytes that are no text"),
        (["--question", "end=a", "--question", "End=b"], r"two questions are named 'end'"),
        (["--question", "end-date=When does it end?"], r"'end-date' is no name .*put = in front"),
        (["--question", "2nd=When?"], r"'2nd' is no name"),
        (["--question", "E=mc2 means what?"], r"if E is its name, put a blank after the ="),
        (["--question", "pi=3.14 or what?"], r"if pi is its name, put a blank after the ="),
        (["--question", "who?", " who?"], r"'who\?' is asked twice; leave one out, or name them"),
        (["--question", "é=a", "--question", "e\u0301=b"], r"two questions are named 'é'"),
        (["--question_column=text"], r"column 'text' cannot be both text and question"),
        (["--question", "a", "--answers=wide"], r"wide needs named questions"),
        (["--question_column=q", "--answers=wide"], r"wide needs named questions"),
        (["--question", "a=b", "--answers=wide", "--top_k=2"], r"wide shows one answer"),
        (["--question", "a", "--recheck_margin=-1"], r"--recheck_margin"),
        (["--question", "a", "--text_pair_column=b"], r"unknown flag --text_pair_column"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_way_out(flags: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        parse_config(AnswerConfig, [*NEEDED, *flags], "pipelines.answer")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "name", "text"),
    [
        ("end=When does it end?", "end", "When does it end?"),
        (" end = When?", "end", "When?"),
        ("end=when does x=5?", "end", "when does x=5?"),
        ("What is 1+1=2?", None, "What is 1+1=2?"),
        ("E= mc2 means what?", "E", "mc2 means what?"),
        ("=E=mc2 means what?", None, "E=mc2 means what?"),
        ("=end-date=when?", None, "end-date=when?"),
        ("समाप्ति=कब?", "समाप्ति", "कब?"),
        ("cafe\u0301=Where?", "caf\u00e9", "Where?"),
        ("价格=多少钱？", "价格", "多少钱？"),
        ("-when?", None, "-when?"),
    ],
)
def test_a_question_has_the_name_that_it_is_given(given: str, name: str | None, text: str) -> None:
    config, _ = parse_config(AnswerConfig, [*NEEDED, "--question", given], "pipelines.answer")
    assert (config.names, config.questions) == ((name,), (text,))


def test_values_with_a_dash_in_front_stand_beside_others() -> None:
    flags = [*NEEDED, "--question", "who?", "-when?", "-2 what?", "--null_threshold", "-1"]
    config, others = parse_config(AnswerConfig, flags, "pipelines.answer")
    assert config.questions == ("who?", "-when?", "-2 what?")
    assert (config.null_threshold, others) == (-1, [])


@pytest.mark.parametrize(
    ("yaml_text", "names"),
    [
        ("question:\n  end: When?\n  E: mc2 means what?\n", ("end", "E")),
        ("question:\n  'no': Which number?\n", ("no",)),
        ("question: ['end=When?', 'Who?']\n", ("end", None)),
    ],
)
def test_yaml_names_questions(tmp_path: Path, yaml_text: str, names: Any) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml_text)
    config, _ = parse_config(AnswerConfig, [*NEEDED, "--config", str(file)], "pipelines.answer")
    assert config.names == names


@pytest.mark.parametrize(
    ("yaml_text", "message"),
    [
        ("question:\n  no: When?\n", "question: a name is False to YAML; quote it"),
        ("question:\n  on: When?\n", "question: a name is True to YAML; quote it"),
        ("question:\n  ~: When?\n", "question: a name is None to YAML; quote it"),
        ("question:\n  3: When?\n", "question: a name is 3 to YAML; quote it"),
        ("question:\n  end: 5\n", "the question 'end' is 5 to YAML; quote it"),
        ("question:\n  'bad name': When?\n", "'bad name' is no name"),
        ("question:\n  end: When?\n  who: Who?\n  end: Where?\n", r"'end' is given twice"),
    ],
)
def test_what_yaml_makes_of_names_is_told(tmp_path: Path, yaml_text: str, message: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml_text)
    with pytest.raises(ConfigError, match=message):
        parse_config(AnswerConfig, [*NEEDED, "--config", str(file)], "pipelines.answer")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--question", "num_tokens=who?", "--answers=wide"], "num_tokens is a column already"),
        (["--question", "Num_Tokens=who?", "--answers=wide"], "Num_Tokens is a column already"),
        (["--question", "good " * 80], "has 80 tokens and leaves 0 of a window"),
        (["--question_column=texts"], "no file has a column 'texts' (--question_column)"),
    ],
)
def test_what_the_model_makes_impossible_stops_before_the_run(
    tmp_path: Path,
    reader: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "good"}])
    assert run(source, tmp_path / "out", reader, *flags) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_classifier_is_refused_by_name(
    tmp_path: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "good"}])
    assert run(source, tmp_path / "out", bert, "--question", "who?") == 2
    assert "beam-bert classify runs it" in capsys.readouterr().err
