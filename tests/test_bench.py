"""`pipelines.bench` measures every precision on the user's own text and says which one to use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beam_bert.bench import bench
from beam_bert.config import BenchConfig
from beam_bert.tasks import ClassificationTask
from pipelines import bench as bench_command
from tests.test_job import ROWS, write_jsonl


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
    assert f"use --precision {report.recommended}" in shown
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
    assert "--price_an_hour N says" in capsys.readouterr().out


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
