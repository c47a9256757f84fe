"""`pipelines.finetune` and `pipelines.evaluate` with `--task answer`, from files to reports."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from beam_bert.encoder import load_span_finder
from beam_bert.errors import ConfigError
from beam_bert.jobs.command_line import parse_config
from beam_bert.models import ModelStore
from beam_bert.reports.answering import AnswerEvaluation
from beam_bert.settings.answer_training import AnswerEvaluateConfig, AnswerFinetuneConfig
from beam_bert.settings.evaluation import EvaluateConfig
from beam_bert.settings.training import FinetuneConfig
from pipelines import answer as answer_command
from pipelines.evaluate import main as evaluate
from pipelines.finetune import main
from tests.pipeline.answering import reference
from tests.pipeline.answering.conftest import reader  # noqa: F401 # a fixture
from tests.pipeline.answering.reference import Settings
from tests.training.conftest import FILLERS

WORDS = ["good", "bad", "great", "terrible", "love", "hate"]
Rows = list[dict[str, Any]]


def question_rows(count: int, seed: int = 0) -> Rows:
    """Half the texts hold one word of judgement, which is the answer; the others have none."""
    generator = random.Random(seed)
    rows: Rows = []
    for number in range(count):
        words = generator.choices(FILLERS, k=12)
        row: dict[str, Any] = {
            "question": "good or bad?",
            "answer_text": None,
            "answer_start": None,
        }
        if number % 2:
            place = generator.randrange(12)
            words.insert(place, generator.choice(WORDS))
            start = sum(len(word) + 1 for word in words[:place])
            row |= {"answer_text": words[place], "answer_start": start}
        rows.append(row | {"context": " ".join(words)})
    return rows


def write_rows(path: Path, rows: Rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def as_squad(rows: Rows) -> dict[str, Any]:
    """The rows in SQuAD's v2 layout, a paragraph each."""

    def answers(row: dict[str, Any]) -> Rows:
        if row["answer_text"] is None:
            return []
        return [{"text": row["answer_text"], "answer_start": row["answer_start"]}]

    paragraphs = [
        {
            "context": row["context"],
            "qas": [
                {
                    "id": str(number),
                    "question": row["question"],
                    "answers": answers(row),
                    "is_impossible": not answers(row),
                }
            ],
        }
        for number, row in enumerate(rows)
    ]
    return {"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}


@pytest.fixture(scope="session")
def rows() -> Rows:
    return question_rows(160)


@pytest.fixture
def train(tmp_path: Path, rows: Rows) -> Path:
    return write_rows(tmp_path / "train.jsonl", rows)


@pytest.fixture
def finetune(tmp_path: Path, encoder: Path, train: Path) -> Callable[..., Path]:
    """Run the command; returns the model's folder."""

    def run(*flags: str, output: str = "model") -> Path:
        folder = tmp_path / output
        assert main([*command(encoder, train, folder), *flags]) == 0
        return folder

    return run


def command(encoder: Path, train: Path, output: Path) -> list[str]:
    usual = ["--task=answer", "--base", str(encoder), "--output", str(output), "--layout=folder"]
    usual += ["--epochs=2", "--learning_rate=3e-3", "--batch_tokens=192", "--stride=16"]
    return [*usual, "--accept_unlicensed", "--train", str(train)]


def training(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "training.json").read_text())
    return found


def same_weights(one: Path, other: Path) -> bool:
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    return all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_is_loaded_by_both_engines_and_evaluated(
    finetune: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = finetune("--epochs=8")
    found = training(folder)
    assert found["metrics"]["f1"] > 0.9
    assert found["labels"]["train"]["right"] == 80
    card = (folder / "README.md").read_text()
    assert "pipeline_tag: question-answering" in card
    assert "80 labels stand where they say" in card

    fresh = question_rows(40, seed=1)
    dev = write_rows(tmp_path / "dev.jsonl", fresh)
    flags = ["--task=answer", "--model", str(folder), "--input", str(dev), "--stride=16"]
    assert evaluate([*flags, "--output", str(tmp_path / "report")]) == 0
    shown = capfd.readouterr().out
    assert "20 labels stand where they say" in shown
    text = (tmp_path / "report" / "evaluation.json").read_text()
    evaluation = AnswerEvaluation.model_validate_json(text)
    scores = evaluation.scores
    assert scores.null_threshold == found["null_threshold"] != 0
    assert scores.with_answer and scores.with_answer.questions == 20
    assert scores.without_answer and scores.without_answer.questions == 20
    assert scores.overall.f1.value > 0.9
    assert scores.overall.f1.low is not None
    assert scores.best["f1"].value >= scores.overall.f1.value
    assert list(scores.by_length) == ["up to 5"]
    page = (tmp_path / "report" / "report.html").read_text()
    assert "question answering" in page
    assert f"{100 * scores.overall.f1.value:.1f} %" in page

    # The answers of the job, and of transformers, are those that were counted.
    out = tmp_path / "out"
    asked = ["--question_column=question", "--text_column=context", "--stride=16"]
    given = ["--model", str(folder), "--input", str(dev), "--output", str(out)]
    assert answer_command.main([*given, *asked, "--precision=fp32"]) == 0
    answers = pq.read_table(out / "predictions").to_pylist()
    right = [row["answer"] == each["answer_text"] for row, each in zip(answers, fresh, strict=True)]
    assert np.mean(right) == scores.overall.exact.value
    model = AutoModelForQuestionAnswering.from_pretrained(str(folder)).eval()
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    settings = Settings(64, 16, null_threshold=found["null_threshold"])
    for row, each in zip(answers[:6], fresh[:6], strict=True):
        (expected,) = reference.answer(
            model, tokenizer, each["question"], each["context"], settings
        )
        assert (row["answer_start"], row["answer_end"]) == (expected.start, expected.end)


def test_squad_and_flat_rows_in_any_format_train_the_same_model(
    finetune: Callable[..., Path], tmp_path: Path, encoder: Path, rows: Rows
) -> None:
    squad = tmp_path / "train.json"
    squad.write_text(json.dumps(as_squad(rows)))
    parquet = tmp_path / "train.parquet"
    pq.write_table(pa.Table.from_pylist([{**row, "w": 1} for row in rows]), parquet)
    one = finetune("--epochs=1", output="jsonl")
    again = finetune("--epochs=1", output="again")
    assert same_weights(one, again)
    for file in (squad, parquet):
        flags = command(encoder, file, tmp_path / file.suffix)
        assert main([*flags, "--epochs=1"]) == 0
        assert same_weights(one, tmp_path / file.suffix)
    assert not same_weights(one, finetune("--epochs=1", "--seed=1", output="seed"))


def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_bits(
    finetune: Callable[..., Path], tmp_path: Path, encoder: Path, train: Path
) -> None:
    unbroken = finetune("--epochs=3", output="unbroken")
    work = tmp_path / "work"
    flags = [*command(encoder, train, tmp_path / "killed"), "--epochs=3"]
    flags += ["--checkpoint_s=0.0001", "--work_folder", str(work)]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.finetune", *flags],
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 60
    while not list(work.glob("*/state.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed").exists()
    assert main(flags) == 0
    assert same_weights(unbroken, tmp_path / "killed")
    assert training(unbroken)["curves"] == training(tmp_path / "killed")["curves"]


def test_a_version_is_published_with_its_provenance_and_trained_further(
    tmp_path: Path, encoder: Path, rows: Rows
) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    # One kind of question only, and a label that has to be mended.
    some = [row for row in rows if row["answer_text"]][:40]
    some[0] = some[0] | {"answer_start": some[0]["answer_start"] + 1}
    train = write_rows(folder / "train.jsonl", some)
    declared = {"path": "*.jsonl", "origin": "us", "licence": "own", "date": "2026-11-24"}
    (folder / "data.yaml").write_text(json.dumps({"sources": [declared]}, default=str))
    place = tmp_path / "store"
    flags = [*command(encoder, train, place), "--layout=store", "--epochs=1"]
    flags[flags.index("--accept_unlicensed")] = "--accept_base_license"
    assert main(flags) == 0
    store = ModelStore(place)
    first = store.resolve("candidate")
    made = Path(store.folder(first.version))
    assert "licence: own" in (made / "data.yaml").read_text()
    assert training(made)["null_threshold"] is None
    assert "1 were mended" in (made / "README.md").read_text()
    assert load_span_finder(made).config.null_threshold == 0
    again = [f"{place}@candidate" if flag == str(encoder) else flag for flag in flags]
    assert main([*again, "--seed=3"]) == 0
    second = store.resolve("candidate")
    assert (second.version != first.version, second.parent) == (True, first.version)


def test_texts_are_held_out_with_all_of_their_questions_and_leaks_are_left_out(
    tmp_path: Path, encoder: Path, rows: Rows, capfd: pytest.CaptureFixture[str]
) -> None:
    both = [dict(row, question=asked) for row in rows[:40] for asked in ("is it good?", "what?")]
    train = write_rows(tmp_path / "train.jsonl", both)
    flags = command(encoder, train, tmp_path / "model")
    assert main([*flags, "--epochs=1", "--holdout=0.25"]) == 0
    assert "60 questions to train on" in (said := capfd.readouterr().err)
    assert "20 to choose on (held out)" in said
    fresh = {"question": "which bank?", "context": "money at the bank", "answer_text": "bank"}
    # Dev may have words that no training row has.
    dev = write_rows(tmp_path / "dev.jsonl", [*both[:11], fresh | {"answer_start": 13}])
    flags += ["--epochs=1", "--overwrite", "--dev", str(dev)]
    assert main(flags) == 0
    assert "warning: 11 of 80 questions of --train stand in --dev too" in capfd.readouterr().err
    assert main([*flags, "--train_dev_overlap=refuse"]) == 2
    assert "--train_dev_overlap remove" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": None}, "1 of 21 rows cannot be used, the first is"),
        ({"answer_start": "first"}, "answer_start is 'first', no number"),
        ({"answer_start": None}, "bad.jsonl#20: 1 answers have 0 starts"),
        ({"question": "good " * 80}, "bad.jsonl#20: the question leaves no room for text"),
        ({"question": "\u200b"}, "drops every character of the question; remove the question"),
        ({"context": "\u200b", "answer_text": None}, "drops every character of this text"),
    ],
)
def test_questions_that_cannot_be_learnt_from_are_named(
    tmp_path: Path,
    encoder: Path,
    rows: Rows,
    change: dict[str, Any],
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    train = write_rows(tmp_path / "bad.jsonl", [*rows[:20], rows[1] | change])
    assert main(command(encoder, train, tmp_path / "model")) == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "model").exists()


def test_questions_that_cannot_be_asked_are_named_before_anything_is_computed(
    tmp_path: Path,
    encoder: Path,
    reader: Path,  # noqa: F811
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def computed(*_: Any, **__: Any) -> None:
        raise AssertionError("computed")

    monkeypatch.setattr("beam_bert.training.answering.finetune.run_training", computed)
    monkeypatch.setattr("beam_bert.evaluation.answering.run.answers_of", computed)
    bad = write_rows(tmp_path / "bad.jsonl", [*rows[:100], rows[1] | {"question": "\u200b"}])
    train = write_rows(tmp_path / "train.jsonl", rows[100:])
    flags = ["--task=answer", "--model", str(reader), "--input", str(bad), "--output"]
    assert evaluate([*flags, str(tmp_path / "report")]) == 2
    assert main([*command(encoder, train, tmp_path / "model"), "--dev", str(bad)]) == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 2
    for error in errors:
        assert "bad.jsonl#100: the tokenizer drops every character of the question" in error
        assert error.endswith("; remove the question")


@pytest.mark.parametrize(
    ("some", "message"),
    [
        ([{"answer_text": "missing"}], "there is not one usable question; 0 labels stand where"),
        ([{}, {"question": "why?"}], "too few questions: none with an answer is left"),
    ],
)
def test_too_few_questions_are_counted(
    tmp_path: Path,
    encoder: Path,
    rows: Rows,
    some: Rows,
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    train = write_rows(tmp_path / "few.jsonl", [rows[1] | change for change in some])
    assert main(command(encoder, train, tmp_path / "model")) == 2
    assert message in capfd.readouterr().err


def test_a_column_that_is_not_there_is_named_with_its_flag(
    tmp_path: Path, encoder: Path, train: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for flag in ("question_column", "text_column", "answer_column", "start_column"):
        assert main([*command(encoder, train, tmp_path / "m"), f"--{flag}=nowhere"]) == 2
        error = capfd.readouterr().err
        assert "'nowhere'" in error
        assert f"--{flag}" in error


def test_close_answers_of_a_fast_precision_are_evaluated_at_fp32_as_in_the_job(
    finetune: Callable[..., Path], tmp_path: Path, train: Path
) -> None:
    folder = finetune("--epochs=1")

    def gaps(name: str, *flags: str) -> list[float]:
        usual = ["--task=answer", "--model", str(folder), "--input", str(train)]
        report = tmp_path / name
        usual += ["--stride=16", "--null_threshold=1", "--examples=1000", "--output", str(report)]
        assert evaluate([*usual, *flags]) == 0
        text = (report / "evaluation.json").read_text()
        wrong = AnswerEvaluation.model_validate_json(text).wrong
        return [each.gap for each in sorted(wrong, key=lambda each: each.id)]

    exact = gaps("fp32", "--precision=fp32")
    assert len(exact) > 20
    assert gaps("all", "--precision=int8", "--recheck_margin=1000") == exact
    assert gaps("none", "--precision=int8", "--recheck_margin=0") != exact


def test_models_of_the_other_task_are_refused_with_the_pipeline_that_fits(
    tmp_path: Path, bert: Path, train: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = ["--task=answer", "--model", str(bert), "--input", str(train), "--output"]
    assert evaluate([*flags, str(tmp_path / "report")]) == 2
    assert "beam-bert classify runs it" in capfd.readouterr().err
    assert not (tmp_path / "report").exists()


def test_the_task_chooses_the_flags_on_the_command_line_and_in_yaml(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--task", "answer", "--help"])
    shown = capsys.readouterr().out
    assert "--without_answer" in shown
    assert "--label_column" not in shown
    file = tmp_path / "job.yaml"
    file.write_text("task: answer\nlabel_column: x\n")
    for run in (main, evaluate):
        assert run(["--config", str(file)]) == 2
        assert "label_column" in capsys.readouterr().err
        assert run(["--task", "both"]) == 2
        assert "--task: input should be 'classify' or 'answer'" in capsys.readouterr().err
    for config in (FinetuneConfig, EvaluateConfig):
        with pytest.raises(ConfigError, match="--task: answer has settings of its own"):
            parse_config(config, ["--task=answer"], "pipelines.x", beam=False)
    for config in (AnswerFinetuneConfig, AnswerEvaluateConfig):
        with pytest.raises(ConfigError, match="--task: classify has settings of its own"):
            parse_config(config, ["--task=classify"], "pipelines.x", beam=False)
