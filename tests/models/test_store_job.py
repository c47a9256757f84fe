"""A job that is given `store@alias` says in rows and manifest which version it used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from beam_bert.errors import ModelError
from beam_bert.models import ModelStore, resolve_model
from beam_bert.storage.places import open_storage
from pipelines import classify


def test_rows_and_manifest_name_the_version_that_the_alias_stood_for(
    new_gs_location: Callable[[], str],
    bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    location = new_gs_location()
    monkeypatch.setenv("BEAM_BERT_CACHE", str(tmp_path / "cache"))
    store = ModelStore(location)
    record = store.publish(bert)
    store.promote(record.version, reason="first")
    rows, output = tmp_path / "rows.txt", tmp_path / "out"
    rows.write_text("I love this\nI hate this\n")
    name = f"{location}@production"
    flags = ["--format", "text", "--model", name, "--input", str(rows), "--output", str(output)]
    assert classify.main(flags) == 0

    table = ds.dataset(output / "predictions").to_table()
    assert set(table["model"].to_pylist()) == {name}
    assert set(table["model_version"].to_pylist()) == {record.version}
    (manifest,) = (output / "runs").glob("*/manifest.json")
    model = json.loads(manifest.read_bytes())["model"]
    assert (model["name"], model["version"]) == (name, record.digest)
    assert model["location"] == store.folder(record.version)


def test_a_prefix_without_a_whole_model_says_what_it_holds(
    new_gs_output: Callable[[], str],
) -> None:
    for names, told in (
        (["config.json", "pytorch_model.bin"], r"only pickled weights \(pytorch_model.bin\)"),
        (["adapter_config.json", "adapter_model.safetensors"], "LoRA adapter .*merge_and_unload"),
    ):
        location = f"{new_gs_output()}/model"
        storage = open_storage(location)
        for name in names:
            storage.write(name, b"{}")
        with pytest.raises(ModelError, match=f"model {location} has .*{told}"):
            resolve_model(location)


def test_a_missing_alias_is_exit_code_2_before_any_work(
    bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    location = str(tmp_path / "store")
    ModelStore(location).publish(bert)
    rows, output = tmp_path / "rows.txt", tmp_path / "out"
    rows.write_text("I love this\n")
    name = f"{location}@production"
    flags = ["--format", "text", "--model", name, "--input", str(rows), "--output", str(output)]
    assert classify.main(flags) == 2
    assert "has no alias 'production', nor any other; promote one" in capsys.readouterr().err
    assert not output.exists()
