"""Messages name a setting as its caller does: a flag, a line of the YAML file, an argument."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import beam_bert
from beam_bert.errors import UserError
from beam_bert.jobs.commands import main


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Files of rows, and one that is no UTF-8 and one that is no Parquet."""
    (tmp_path / "in.csv").write_text("Text,words,key\ngood,more,a\n")
    (tmp_path / "bad.csv").write_text("text,label\ngood,positive\nbad,\n")
    (tmp_path / "in.dat").write_text("good\n")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"text": ["good"], "label": [1]}), tmp_path / "one.parquet")
    pq.write_table(pa.table({"text": ["good"], "label": [[1]]}), tmp_path / "two.parquet")
    return tmp_path


MODEL = "sentiment-small-en"
DEFAULTS = {"text_column": "text", "format": "auto"}  # which may stand in the file, too
# Of each: command, settings, the setting to mend with its value, and what else is said.
FAULTS: dict[str, tuple[str, dict[str, Any], str, Any, str]] = {
    "text": ("sentiment", {"input": "in.csv"}, "text_column", None, "no file has a column 'text'"),
    "format": ("sentiment", {"input": "in.dat"}, "format", None, "does not tell the format"),
    "lost": ("sentiment", {"input": "bad.parquet", "max_lost_files": 0}, "max_lost_files", 1,
             "go on without"),
    "label": ("evaluate", {"input": "in.csv", "text_column": "Text", "label_column": "kind",
                           "model": MODEL}, "label_column", None, "no file has a column 'kind'"),
    "slices": ("evaluate", {"input": "in.csv", "text_column": "Text", "label_column": "key",
                            "slices": "x", "model": MODEL}, "slices", None, "has a column 'x'"),
    "types": ("finetune", {"train": ["one.parquet", "two.parquet"], "label_column": "label",
                           "base": MODEL, "accept_unlicensed": True}, "label_column", None,
              "leave it out"),
    "tokens": ("sentiment", {"input": "one.parquet", "long_documents": "window", "max_length": 64,
                             "stride": 63}, "max_length", 64, "too few with"),
    "licence": ("finetune", {"train": "one.parquet", "label_column": "label", "base": MODEL,
                             "accept_unlicensed": False}, "accept_unlicensed", None, "origin"),
    "columns": ("evaluate", {"input": "one.parquet", "model": MODEL, "label_column": "label",
                             "label_columns": ["a", "b"]}, "label_columns", None, "one of the two"),
    "rate": ("evaluate", {"input": "bad.csv", "label_column": "label", "model": MODEL,
                          "max_reject_rate": 0.1}, "max_reject_rate", None, "go on without"),
    "question": ("answer", {"input": "one.parquet", "model": MODEL, "question": " "},
                 "question", None, "is empty"),
    "missing": ("sentiment", {"input": "in.csv", "top_k": 0}, "top_k", None, "greater than"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("caller", ["flags", "yaml", "python"])
def test_the_setting_to_mend_is_named_as_it_was_given(
    caller: str,
    fault: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    command, settings, setting, value, said = FAULTS[fault]
    settings = {**settings, "output": "out"}
    if caller == "python":
        with pytest.raises(UserError) as raised:
            getattr(beam_bert, command)(**settings)
        told = str(raised.value)
    else:
        flags: list[str] = []
        for name, given in settings.items():
            flags += [f"--{name}", *map(str, given if isinstance(given, list) else [given])]
        if caller == "yaml":
            Path("job.yaml").write_text(yaml.safe_dump({**DEFAULTS, **settings}))
            flags = ["--config", "job.yaml"]
        assert main([command, *flags]) == 2
        told = capsys.readouterr().err
    assert said in told
    written = {"flags": f"--{setting} {value}", "yaml": f"{setting}: {value}"}
    name = setting if caller != "flags" else f"--{setting}"
    assert (name if value is None else written.get(caller, f"{setting}={value}")) in told
    assert ("--" in told.split("(see ")[0]) == (caller == "flags")


def test_a_setting_that_the_file_does_not_give_is_a_flag_to_add(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    Path("job.yaml").write_text("input: in.csv\noutput: out\n")
    assert main(["sentiment", "--config", "job.yaml"]) == 2
    assert "did you mean --text_column Text?" in capsys.readouterr().err


def test_evaluate_offers_no_setting_that_it_has_not(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(UserError) as raised:
        beam_bert.evaluate(input="bad.parquet", label_column="label", model=MODEL, output="out")
    assert "max_lost_files" not in str(raised.value)


def test_evaluate_minds_no_columns_but_its_own(place: Path) -> None:
    """Columns of two types that nobody asked for are no reason to refuse the files."""
    from beam_bert.evaluation.data import open_source
    from beam_bert.settings.evaluation import EvaluateConfig

    for n, value in enumerate([1, [1]]):
        table = pa.table({"text": ["good"], "label": ["a"], "other": [value]})
        pq.write_table(table, place / f"{n}.parquet")
    config = EvaluateConfig(
        input=(str(place / "[01].parquet"),), label_column="label", model=MODEL, output="out"
    )
    assert open_source(config).spec.carried_from == ("label",)
