"""`pipelines.bench` measures every precision on the user's own text and says which one to use."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from beam_bert.jobs.benchmark import bench
from beam_bert.settings.inference import BenchConfig
from beam_bert.tasks import ClassificationTask
from pipelines import bench as bench_command
from tests.jobs.test_run import ROWS, write_jsonl


def test_every_precision_that_runs_here_is_measured_against_fp32(
    tmp_path: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl")
    config = BenchConfig(
        input=(str(source),), model=str(bert), documents=50, rounds=1, price_an_hour=2, device="cpu"
    )
    report = bench(config)
    assert report.documents == 50
    names = [row.precision for row in report.measured]
    assert names[:2] == ["fp32", "bf16"]
    assert report.measured[0].agreement == 1
    assert all(row.documents_per_s > 0 for row in report.measured)
    assert "fp8" in report.skipped
    best = next(row for row in report.measured if row.precision == report.recommended)
    assert best.agreement >= 0.995
    cost = report.cost_of_a_million(report.recommended)
    assert cost == pytest.approx(1e6 / best.documents_per_s * 2 / 3600)
    shown = capsys.readouterr().out
    assert f"use precision={report.recommended!r}" in shown
    assert 0 < report.padding_saved < 1
    assert f"a million documents like these cost {cost:,.2f}" in shown


def test_a_precision_that_changes_labels_is_measured_and_not_recommended(
    tmp_path: Path, bert: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A model on which int8 disagrees cannot be had to order: the comparison is told to find one.
    monkeypatch.setattr(
        ClassificationTask, "same", lambda _, rows, got, want: np.array([got is want])
    )
    source = write_jsonl(tmp_path / "in.jsonl")
    report = bench(BenchConfig(input=(str(source),), model=str(bert), rounds=1, batch_tokens=64))
    assert report.recommended == "fp32"
    assert {row.agreement for row in report.measured[1:]} == {0.0}
    assert {row.batch_tokens for row in report.measured} == {64}
    assert "price_an_hour N says" in capsys.readouterr().out


def test_fewer_documents_than_asked_for_are_all_taken(tmp_path: Path, bert: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", ROWS[:7])
    config = BenchConfig(input=(str(source),), model=str(bert), documents=999, rounds=1)
    assert bench(config).documents == 7


def test_an_input_without_a_usable_document_is_one_line(
    tmp_path: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": ""}])
    assert bench_command.main(["--input", str(source), "--model", str(bert)]) == 2
    assert "no usable document" in capsys.readouterr().err


def test_a_tokenizer_of_another_model_is_one_line(
    tmp_path: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = copy_of(bert, tmp_path / "other", lambda tables: tables[:20])
    source = write_jsonl(tmp_path / "in.jsonl")
    assert bench_command.main(["--input", str(source), "--model", str(other)]) == 2
    assert "use the tokenizer that it was trained with" in capsys.readouterr().err


def test_texts_that_break_the_model_are_counted_and_the_rest_is_compared(
    tmp_path: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_one(table: torch.Tensor) -> torch.Tensor:
        table = table.clone()
        table[word_id] = torch.nan
        return table

    tokenizer = AutoTokenizer.from_pretrained(bert)
    (word_id,) = tokenizer(ROWS[0]["text"], add_special_tokens=False)["input_ids"][:1]
    broken = copy_of(bert, tmp_path / "broken", break_one)
    source = write_jsonl(tmp_path / "in.jsonl", [ROWS[0], {"text": "."}])
    report = bench(BenchConfig(input=(str(source),), model=str(broken), rounds=1))
    assert report.broken == 1
    assert all(np.isfinite(row.largest_difference) for row in report.measured)
    assert "1 windows break the model" in capsys.readouterr().out


def test_the_table_fits_where_no_terminal_is(
    tmp_path: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl")
    config = BenchConfig(input=(str(source),), model=str(bert), rounds=1, price_an_hour=2)
    bench(config)
    assert "…" not in capsys.readouterr().out


def copy_of(model: Path, folder: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> Path:
    """The model with another table of words."""
    shutil.copytree(model, folder)
    tensors = load_file(folder / "model.safetensors")
    name = "bert.embeddings.word_embeddings.weight"
    tensors[name] = change(tensors[name]).contiguous()
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["vocab_size"] = len(tensors[name])
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
