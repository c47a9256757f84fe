"""The main job, end to end: real files in, a committed dataset out, whatever happens on the way."""

from __future__ import annotations

import gzip
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from beam_bert.encoder import load_classifier
from beam_bert.errors import RunFailed
from beam_bert.jobs.run import classify
from beam_bert.settings.inference import ClassifyConfig
from beam_bert.tasks import ClassificationTask
from pipelines import classify as classify_command
from pipelines import sentiment as sentiment_command

TEXTS = [
    f"{start} {middle}, {end}"
    for start in ("I love", "I hate", "the bank is", "never again", "it was not", "Überall ist")
    for middle in ("this film", "the phone service", '"money"', "at 3pm", "a very long day " * 9)
    for end in ("okay.", "best 👍", "and the worst\tof all")
]
ROWS = [{"id": f"r{n}", "text": text, "stars": n % 5} for n, text in enumerate(TEXTS)]


def write_jsonl(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path: Path, separator: str = ",") -> Path:
    def field(value: object) -> str:
        if separator == "\t":
            return str(value).replace("\t", " ")
        return '"' + str(value).replace('"', '""') + '"'

    lines = [separator.join(["id", "text", "stars"])]
    lines += [separator.join(field(value) for value in row.values()) for row in ROWS]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def flags(input_: Path | str, output: Path, model: Path, *more: str) -> list[str]:
    return ["--input", str(input_), "--output", str(output), "--model", str(model), *more]


def run(input_: Path | str, output: Path, model: Path, *more: str) -> int:
    return classify_command.main(flags(input_, output, model, *more))


def table(output: Path, kind: str = "predictions") -> list[dict[str, Any]]:
    dataset = ds.dataset(output / kind, partitioning="hive")
    return sorted(dataset.to_table().to_pylist(), key=lambda r: (r["source_file"], r["source_row"]))


def manifest_of(output: Path) -> dict[str, Any]:
    (path,) = (output / "runs").glob("*/manifest.json")
    return json.loads(path.read_text())


def shards(output: Path) -> dict[str, bytes]:
    found = sorted((output / "predictions").rglob("*.parquet"))
    return {str(path.relative_to(output)): path.read_bytes() for path in found}


def test_each_row_gets_the_label_that_the_model_gives_its_text(tmp_path: Path, bert: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl")
    assert run(source, tmp_path / "out", bert, "--id_column=id", "--all_scores") == 0
    model = load_classifier(bert, device="cpu")
    ids = AutoTokenizer.from_pretrained(str(bert))(TEXTS, truncation=True, max_length=64)[
        "input_ids"
    ]
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in ids])])
    logits = model.logits(np.concatenate(ids).astype(np.int32), offsets)
    task = ClassificationTask(model.config.labels)
    scores = task.probabilities(logits, np.ones(len(ids), np.int64))
    rows = table(tmp_path / "out")
    assert [row["doc_id"] for row in rows] == [row["id"] for row in ROWS]
    assert [row["label"] for row in rows] == [task.labels[best] for best in scores.argmax(1)]
    np.testing.assert_allclose([row["scores"] for row in rows], scores, atol=2e-3)
    assert {row["source_file"] for row in rows} == {str(source)}


@pytest.mark.parametrize(
    "texts, said", [(["你好 世界", "再见 朋友"], 1), (["good film", "你好"], 0)]
)
def test_a_job_over_texts_that_the_model_knows_few_words_of_says_so_once(
    tmp_path: Path, bert: Path, caplog: pytest.LogCaptureFixture, texts: list[str], said: bool
) -> None:
    model = shutil.copytree(bert, tmp_path / "model\x1b[2J")
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": text} for text in texts])
    assert run(source, tmp_path / "out", model, "--slice_bytes=1024") == 0
    lines = [line for line in caplog.messages if "most tokens of the first texts" in line]
    assert len(lines) == said and all(
        line.startswith(f"{tmp_path}/model\\x1b[2J") for line in lines
    )
    assert len(table(tmp_path / "out")) == len(texts)


def test_the_label_of_the_input_is_called_so_whatever_kind_the_model_is(
    tmp_path: Path, make_bert: Callable[..., Path], bert: Path
) -> None:
    rows = [{"text": "i love it", "label": "good"}, {"text": "i hate it", "label": "bad"}]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    regression = make_bert(("value",), problem_type="regression", num_labels=1)
    for name, model in (("classes", bert), ("values", regression)):
        assert run(source, tmp_path / name, model) == 0
        found = table(tmp_path / name)
        assert [row["input_label"] for row in found] == ["good", "bad"]
        assert ("label" in found[0]) == (model is bert)


def test_lost_and_skipped_files_stand_in_console_manifest_and_report(
    tmp_path: Path, bert: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    write_jsonl(source / "good.jsonl")
    (source / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"text": "i love it"}\n' * 999)[:-20])
    for name in ("notes.log", "README"):
        (source / name).write_text("x")
    output = tmp_path / "out"
    assert run(source, output, bert, "--max_lost_files=1", "--max_reject_rate=1") == 0
    told = capfd.readouterr().out
    assert re.search(r"files lost +│ +1 ", told) and re.search(r"files left out +│ +2 ", told)
    manifest = manifest_of(output)
    assert manifest["counts"]["files_lost"] == 1
    assert manifest["files_left_out"] == 2
    assert manifest["left_out"] == [f"{source}/README", f"{source}/notes.log"]
    (page,) = output.glob("runs/*/report.html")
    text = page.read_text()
    assert "<span>files lost</span>" in text and "Lost files</h2>" in text
    assert f"{source}/cut.jsonl.gz</td><td" in text
    assert "2 files of these folders were left out" in text and f"{source}/README" in text


def test_a_column_without_a_name_is_committed_and_read_back(tmp_path: Path, bert: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [{"": 7, "text": "i love it", "a\nb": 1}])
    assert run(source, tmp_path / "out", bert) == 0
    assert [row[""] for row in table(tmp_path / "out")] == [7]
    assert {"", "a\nb"} <= {column["name"] for column in manifest_of(tmp_path / "out")["schema"]}


@pytest.mark.parametrize(
    "name", ["in.jsonl", "in.csv", "in.tsv", "in.txt", "in.parquet", "in.jsonl.gz", "in.csv.gz"]
)
def test_every_format_gives_the_same_answers(tmp_path: Path, bert: Path, name: str) -> None:
    reference = write_jsonl(tmp_path / "reference.jsonl")
    assert run(reference, tmp_path / "expected", bert) == 0
    source = tmp_path / name
    plain = tmp_path / name.removesuffix(".gz")
    if ".jsonl" in name:
        write_jsonl(plain)
    elif ".csv" in name or ".tsv" in name:
        write_csv(plain, "\t" if ".tsv" in name else ",")
    elif name.endswith(".txt"):
        plain.write_text("".join(text + "\n" for text in TEXTS), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), plain)
    if name.endswith(".gz"):
        source.write_bytes(gzip.compress(plain.read_bytes()))
    assert run(source, tmp_path / "out", bert) == 0
    expected, found = table(tmp_path / "expected"), table(tmp_path / "out")
    answers = ("label", "score", "num_tokens", "truncated", "source_row")
    assert [{k: row[k] for k in answers} for row in found] == [
        {k: row[k] for k in answers} for row in expected
    ]
    if name.endswith((".parquet", ".jsonl", ".jsonl.gz")):
        assert [row["stars"] for row in found] == [row["stars"] for row in ROWS]


def test_the_output_is_one_table_for_arrow_duckdb_and_pandas(tmp_path: Path, bert: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl")
    out = tmp_path / "out"
    more = ("--slice_bytes=2000", "--partition", "run_date=2026-11-24", "--keep_text")
    assert run(source, out, bert, *more) == 0
    assert len(shards(out)) > 3
    assert ds.dataset(out / "predictions", partitioning="hive").count_rows() == len(ROWS)
    assert len(pd.read_parquet(out / "predictions")) == len(ROWS)
    found = duckdb.sql(
        "select count(*), count(distinct doc_id), min(run_date) "
        f"from '{out}/predictions/**/*.parquet'"
    ).fetchall()[0]
    assert found[:2] == (len(ROWS), len(ROWS))
    assert str(found[2]) == "2026-11-24"
    schema = pq.read_schema(next((out / "predictions").rglob("*.parquet")))
    assert b"description" in (schema.field("label").metadata or {})
    assert [row["text"] for row in table(out)] == TEXTS
    manifest = manifest_of(out)
    assert manifest["counts"]["rows_read"] == len(ROWS) == manifest["inputs"][0]["rows"]
    assert not (out / "staging").exists()
    (report,) = (out / "runs").glob("*/report.html")
    assert "neutral" in report.read_text() or "positive" in report.read_text()


def test_the_number_and_kind_of_workers_do_not_change_a_byte(tmp_path: Path, bert: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl")
    small = "--slice_bytes=3000"
    threads = ("--direct_running_mode=multi_threading", "--direct_num_workers=3")
    processes = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    assert run(source, tmp_path / "once", bert, small) == 0
    assert run(source, tmp_path / "threads", bert, small, *threads) == 0
    # Worker processes are forked from a process of its own, not from the one that runs the tests.
    command = [sys.executable, "-m", "pipelines.classify"]
    command += flags(source, tmp_path / "processes", bert, small, *processes)
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    expected = shards(tmp_path / "once")
    assert len(expected) > 2
    for way in ("threads", "processes"):
        assert shards(tmp_path / way) == expected, way


def test_long_documents_are_cut_or_read_in_windows(tmp_path: Path, bert: Path) -> None:
    rows = [{"text": "good film " * 500}, {"text": "bad"}]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    assert run(source, tmp_path / "cut", bert) == 0
    assert run(source, tmp_path / "read", bert, "--long_documents=window", "--stride=10") == 0
    long, short = table(tmp_path / "cut")
    assert (long["num_tokens"], long["num_windows"], long["truncated"]) == (1000, 1, True)
    assert (short["num_tokens"], short["num_windows"], short["truncated"]) == (1, 1, False)
    long, _ = table(tmp_path / "read")
    # 62 tokens a window beside [CLS] and [SEP], 52 of them new
    assert (long["num_windows"], long["truncated"]) == (1 + -(-(1000 - 62) // 52), False)


def test_sentiment_reads_a_long_review_to_its_end(tmp_path: Path, bert: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "good film " * 500}])
    for name, more in {"usual": (), "short": ("--max_length=16",)}.items():
        assert sentiment_command.main(flags(source, tmp_path / name, bert, *more)) == 0
    (usual,), (short,) = table(tmp_path / "usual"), table(tmp_path / "short")
    # 62 tokens a window of which 21, a third of it, are shared; 14 and 5
    assert (usual["num_windows"], usual["truncated"]) == (1 + -(-(1000 - 62) // 41), False)
    assert (short["num_windows"], short["truncated"]) == (1 + -(-(1000 - 14) // 9), False)


def test_bad_rows_become_rejects_and_the_books_balance(
    tmp_path: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl")
    with source.open("ab") as file:
        file.write(b'{"text": 5}\n{"text": "\xff"}\nnot json\n{"text": "  "}\n')
    assert run(source, tmp_path / "out", bert) == 0
    rejects = table(tmp_path / "out", "rejects")
    assert [row["source_row"] for row in rejects] == [len(ROWS) + n for n in range(4)]
    assert len({row["reason"] for row in rejects}) == 4
    assert rejects[1]["raw"] == b'{"text": "\xff"}'
    counts = manifest_of(tmp_path / "out")["counts"]
    assert (
        counts["rows_read"] == counts["rows_predicted"] + counts["rows_rejected"] == len(ROWS) + 4
    )
    shown = capsys.readouterr().out
    assert "rows rejected" in shown and rejects[0]["reason"] in shown


def test_too_many_rejects_fail_the_run_and_commit_nothing(
    tmp_path: Path,
    bert: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [*ROWS[:8], {"text": None}])
    assert run(source, tmp_path / "out", bert) == 1
    error = capsys.readouterr().err
    assert "error: " in error and "Traceback" not in error and "0.05" in error
    assert "while running" not in error
    assert caplog.text == ""  # Beam would log the error with its traceback
    assert not (tmp_path / "out" / "predictions").exists()
    assert not list((tmp_path / "out").glob("runs/*/manifest.json"))
    assert run(source, tmp_path / "out", bert, "--max_reject_rate=0.2") == 0
    assert len(table(tmp_path / "out")) == 8


def test_an_output_that_exists_is_kept_unless_it_may_be_replaced(
    tmp_path: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write_jsonl(tmp_path / "first.jsonl", ROWS[:5])
    second = write_jsonl(tmp_path / "second.jsonl", ROWS[5:7])
    assert run(first, tmp_path / "out", bert) == 0
    before = shards(tmp_path / "out")
    assert run(second, tmp_path / "out", bert) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert shards(tmp_path / "out") == before
    assert run(second, tmp_path / "out", bert, "--overwrite") == 0
    assert [row["source_file"] for row in table(tmp_path / "out")] == [str(second)] * 2


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path: Path, bert: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", ROWS * 12)
    more = ("--slice_bytes=2500", "--max_length=16")
    assert run(source, tmp_path / "expected", bert, *more) == 0
    command = [sys.executable, "-m", "pipelines.classify", *flags(source, tmp_path / "out", bert)]
    process = subprocess.Popen([*command, *more], stderr=subprocess.DEVNULL)
    records = tmp_path / "out" / "staging"
    deadline = time.monotonic() + 120
    while len(list(records.glob("*/records/*.json"))) < 5 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    staged = {path: path.stat().st_mtime_ns for path in records.glob("*/predictions/*.parquet")}
    assert 5 <= len(staged) < len(shards(tmp_path / "expected"))
    assert run(source, tmp_path / "out", bert, *more) == 0
    found = shards(tmp_path / "out")
    assert found == shards(tmp_path / "expected")
    kept = [
        p for p in (tmp_path / "out").rglob("*.parquet") if p.stat().st_mtime_ns in staged.values()
    ]
    assert len(kept) >= 5, "whole shards of the killed run were made again"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: (m / "model.safetensors").unlink(), "safetensors"),
        (lambda m: (m / "config.json").unlink(), "config.json"),
        (lambda m: (m / "config.json").write_text('{"model_type": "gpt2"}'), "gpt2"),
        (lambda m: (m / "vocab.txt").unlink() or (m / "tokenizer.json").unlink(), "tokenizer"),
        (
            lambda m: (m / "model.safetensors").write_bytes(
                (m / "model.safetensors").read_bytes()[:-1000]
            ),
            "model.safetensors",
        ),
    ],
)
def test_a_model_that_cannot_be_used_is_named_before_any_work(
    tmp_path: Path,
    make_bert: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], object],
    message: str,
) -> None:
    model = make_bert()
    spoil(model)
    source = write_jsonl(tmp_path / "in.jsonl")
    capsys.readouterr()  # what transformers prints while it saves
    assert run(source, tmp_path / "out", model) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out" / "predictions").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--text_column=txt",), "text"),
        (("--id_column=ids",), "id"),
        (("--max_length=65",), "64"),
        (("--partition=../x",), "partition"),
        (("--model=nowhere/at/all",), "nowhere/at/all"),
        (("--precision=fp16",), "--precision"),
        (("--precision=fp8", "--device=cpu"), "fp8 runs on GPUs; on a CPU use int8"),
    ],
)
def test_a_mistake_in_the_settings_is_one_line_and_exit_code_2(
    tmp_path: Path,
    bert: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    message: str,
) -> None:
    assert run(write_jsonl(tmp_path / "in.jsonl"), tmp_path / "out", bert, *more) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_inputs_that_hold_no_row_are_a_committed_empty_table(tmp_path: Path, bert: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n")
    (tmp_path / "in2.csv").write_text("")
    assert run(tmp_path / "*.csv", tmp_path / "out", bert) == 0
    assert ds.dataset(tmp_path / "out" / "predictions").to_table().num_rows == 0
    assert manifest_of(tmp_path / "out")["counts"]["rows_read"] == 0


def test_the_job_is_a_library_call_too(tmp_path: Path, bert: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl")
    manifest = classify(
        ClassifyConfig(input=(str(source),), output=str(tmp_path / "out"), model=str(bert))
    )
    assert manifest.counts.rows_predicted == len(ROWS) == len(table(tmp_path / "out"))


def test_int8_runs_once_it_has_shown_on_the_input_that_it_agrees_with_fp32(
    tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl")
    assert run(source, tmp_path / "out", bert, "--precision=int8") == 0
    proof = manifest_of(tmp_path / "out")["model"]["precision_check"]
    assert (proof["precision"], proof["documents"]) == ("int8", len(ROWS))
    assert proof["agreement"] >= 0.995
    assert "int8 says what fp32 says" in capsys.readouterr().out

    # A model on which int8 disagrees cannot be had to order: the comparison is told to find one.
    monkeypatch.setattr(ClassificationTask, "same", lambda *_: np.arange(100) < 98)
    assert run(source, tmp_path / "refused", bert, "--precision=int8") == 2
    error = capsys.readouterr().err
    assert "98.00% of 90 documents" in error and "--precision auto" in error
    assert not (tmp_path / "refused" / "predictions").exists()


@pytest.fixture
def closed_pipe() -> Iterator[TextIO]:
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "w") as file:
        yield file


def test_what_fails_after_the_commit_is_a_warning_and_the_run_stays_committed(
    tmp_path: Path,
    bert: Path,
    closed_pipe: TextIO,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", ROWS[:4])

    def committed(name: str) -> str:
        assert run(source, tmp_path / name, bert) == 0
        assert manifest_of(tmp_path / name)["counts"]["rows_read"] == 4
        return capsys.readouterr().err

    def fails(*_: object, **__: object) -> Any:
        raise RunFailed("no answer (503)")

    with monkeypatch.context() as patch, Path("/dev/full").open("w") as full:
        patch.setattr("sys.stdout", full)
        told = committed("full")
        assert "warning: all is done, but " in told and "could not be given: [Errno 28]" in told
        patch.setattr("sys.stdout", closed_pipe)
        assert "warning: all is done, but " in (told := committed("pipe")) and "could not" in told
    for what in ("beam_bert.jobs.run.render_run_report", "beam_bert.jobs.console.Table"):
        with monkeypatch.context() as patch:
            patch.setattr(what, fails)
            assert "could not be given: no answer (503)" in committed(what)
    with monkeypatch.context() as patch:
        patch.setattr("beam_bert.jobs.run.read_manifest", fails)
        told = committed("unread")
        assert "warning: all is committed, but its manifest cannot be read back: no answer" in told
        assert run(source, tmp_path / "one.csv", bert) == 0
        assert "its manifest cannot be read back: no answer" in capsys.readouterr().err
    assert len((tmp_path / "one.csv").read_text().splitlines()) == 5
    with monkeypatch.context() as patch:
        patch.setattr("beam_bert.sinks.commit_journal.drop_staging", fails)
        assert "error" not in committed("swept later")
    assert (tmp_path / "swept later" / "staging").exists()
    assert run(source, tmp_path / "swept later", bert) == 0, "the next launch finds it done"
    assert not (tmp_path / "swept later" / "staging").exists()
    monkeypatch.setattr("apache_beam.runners.runner.PipelineResult.wait_until_finish", fails)
    monkeypatch.setattr(
        "apache_beam.runners.portability.fn_api_runner.fn_runner.RunnerResult.wait_until_finish",
        fails,
    )
    assert "all is committed, but the pipeline did not end well: no answer" in committed("end")


def test_a_library_call_leaves_the_logging_of_its_process_as_it_was(
    tmp_path: Path, bert: Path
) -> None:
    import transformers.utils.logging as transformers_logging

    names = ("", "root", "apache_beam", "apache_beam.runners.common", "beam_bert", "transformers")
    loggers = [logging.getLogger(name) for name in names]
    transformers_logging.set_verbosity_warning()
    before = [(each.level, list(each.filters), each.disabled) for each in loggers]
    source = write_jsonl(tmp_path / "in.jsonl", ROWS[:4])
    classify(ClassifyConfig(input=(str(source),), output=str(tmp_path / "out"), model=str(bert)))
    assert [(each.level, list(each.filters), each.disabled) for each in loggers] == before
    assert logging.root.manager.disable == logging.NOTSET


def test_shards_of_another_arithmetic_have_another_key(
    tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --precision auto, CPUs with and without bf16 compute other bits of one slice."""
    source = write_jsonl(tmp_path / "in.jsonl", ROWS[:4])
    names = {}
    for has_bf16 in (False, True):
        monkeypatch.setattr("beam_bert.encoder.precision.has_native_bf16", lambda x=has_bf16: x)
        out = tmp_path / str(has_bf16)
        assert run(source, out, bert, "--device=cpu") == 0
        (names[has_bf16],) = shards(out)
        assert run(source, tmp_path / f"again {has_bf16}", bert, "--device=cpu") == 0
        assert shards(tmp_path / f"again {has_bf16}") == shards(out)
        stats = manifest_of(out)["stats"]
        assert stats[f"rows_{'bf16' if has_bf16 else 'fp32'}_cpu"] == 4
    assert names[False] != names[True]


def test_staging_that_nobody_goes_on_with_is_told_and_removed_when_asked(
    tmp_path: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", ROWS[:4])
    left = tmp_path / "out/staging/given-up/predictions"
    left.mkdir(parents=True)
    (left / "part.parquet").write_bytes(b"x")
    assert run(source, tmp_path / "out", bert) == 0
    assert "staging/given-up; --clean_staging removes" in capsys.readouterr().err
    assert run(source, tmp_path / "out", bert, "--overwrite", "--clean_staging") == 0
    assert not (tmp_path / "out/staging").exists()


def test_column_names_stand_once(
    tmp_path: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.csv").write_text("a,b\n")
    more = ["--column_names", "text", "text"]
    assert run(tmp_path / "in.csv", tmp_path / "out", bert, *more) == 2
    assert "--column_names: 'text' stands twice" in capsys.readouterr().err
