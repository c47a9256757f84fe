"""What a newcomer starts with: a YAML file for a folder, and a look at what is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from beam_bert.jobs.command_line import parse_config
from beam_bert.jobs.commands import main
from beam_bert.settings.inference import SentimentConfig
from beam_bert.settings.nightly import NightlyConfig


@pytest.fixture
def reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text('id,body,stars,no: "x"\n1,good,5,n\n')
    return tmp_path


def test_a_job_file_names_the_columns_that_are_there_and_runs(reviews: Path) -> None:
    assert main(["init", "in/"]) == 0
    config, _ = parse_config(SentimentConfig, ["--config", "job.yaml"], "x")
    assert (config.input, config.text_column, config.id_column) == (("in/",), ("body",), "id")
    assert main(["sentiment", "--config", "job.yaml", "--quiet"]) == 0


def test_every_line_of_a_job_file_is_a_setting_once_its_mark_is_gone(reviews: Path) -> None:
    assert main(["init", "in/"]) == 0
    settings = {}
    for line in (reviews / "job.yaml").read_text().splitlines():
        name, colon, _ = line.removeprefix("# ").partition(": ")
        if colon and name in SentimentConfig.model_fields:
            settings |= yaml.safe_load(line.removeprefix("# "))
    assert {"output", "model", "keep_columns", "precision", "incremental"} <= set(settings)
    SentimentConfig.model_validate(settings)


def test_a_nightly_file_and_a_data_file_are_read_by_their_commands(
    reviews: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "in/", "--kind", "nightly"]) == 0
    config, _ = parse_config(NightlyConfig, ["--config", "nightly.yaml"], "x")
    assert config.store == "store/"
    assert main(["init", "in/a.csv", "--kind", "data"]) == 0
    (source,) = yaml.safe_load((reviews / "data.yaml").read_text())["sources"]
    assert source["path"] == "in/a.csv"
    assert main(["init", "in/a.csv", "--kind", "data"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["init", "nowhere/"]) == 2
    assert main(["init"]) == 2


def test_check_says_what_is_there_and_what_a_run_would_fail_of(
    reviews: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--log_format=json"]) == 0
    found = json.loads(capsys.readouterr().out)["findings"]
    assert {"software", "CPU", "CUDA", "gs://", "java"} <= {finding["what"] for finding in found}
    run = ["check", "--log_format=json", "--input", "in/", "--output", "out"]
    assert main([*run, "--text_column", "body"]) == 0
    assert main([*run, "--text_column", "text"]) == 2
    (*_, last) = json.loads(capsys.readouterr().out.splitlines()[-1])["findings"]
    assert last["status"] == "wrong"
    assert "text" in last["text"]
