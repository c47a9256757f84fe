"""Whole nights on gs://: configuration, labels, base, store, documents and output in buckets."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from beam_bert.models import ModelStore
from beam_bert.storage.base import Storage
from beam_bert.storage.places import open_storage
from pipelines.nightly import main
from tests.jobs.nightly.test_run import SMALL, labelled, one_thread, write_jsonl
from tests.storage.faulty_proxy import TRANSIENT, hurry, proxied, random_faults

__all__ = ["one_thread"]  # a fixture, for every test here


@pytest.fixture
def bucket(
    new_gs_output: Callable[[], str],
    make_bert: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Storage:
    """A prefix that holds all a night needs; nothing of it is left on this disk."""
    monkeypatch.setenv("BEAM_BERT_CACHE", str(tmp_path / "cache"))
    # Drawing the page costs a second or two.
    monkeypatch.setattr("beam_bert.evaluation.run.render_evaluation", lambda found: "")
    place = new_gs_output()
    storage = open_storage(place)
    write_jsonl(tmp_path / "train.jsonl", labelled(150, seed=1))
    write_jsonl(tmp_path / "dev.jsonl", labelled(60, seed=2))
    for name in ("train.jsonl", "dev.jsonl"):
        storage.upload(tmp_path / name, f"labels/{name}")
        (tmp_path / name).unlink()
    for path in make_bert(initializer_range=0.05).iterdir():
        storage.upload(path, f"base/{path.name}")
    add_documents(storage, "monday.jsonl", 6, seed=3)
    computing = {"device": "cpu", "precision": "fp32"}
    training = {"accept_unlicensed": True, "epochs": 8, "learning_rate": 5e-3, "batch_tokens": 128}
    settings = {
        "store": f"{place}/store",
        "finetune": {
            "train": f"{place}/labels/train.jsonl",
            "dev": f"{place}/labels/dev.jsonl",
            "label_column": "label",
            "base": f"{place}/base",
            **training,
            **computing,
        },
        "evaluate": {
            "input": f"{place}/labels/dev.jsonl",
            "label_column": "label",
            "replicates": 100,
            **computing,
        },
        "gate": {"minimum": 0.6, **SMALL},
        "classify": {
            "input": f"{place}/in/*.jsonl",
            "output": f"{place}/out",
            "partition": "run_date={date}",
            **computing,
        },
    }
    storage.write("nightly.yaml", yaml.safe_dump(settings).encode())
    return storage


def add_documents(storage: Storage, name: str, rows: int, seed: int) -> None:
    texts = [json.dumps({"text": row["text"]}) + "\n" for row in labelled(rows, seed)]
    storage.write(f"in/{name}", "".join(texts).encode())


def night(
    storage: Storage, date: str, capsys: pytest.CaptureFixture[str], *flags: str
) -> tuple[int, Any, str]:
    """Run a night: its exit code, its last line on stdout, and stderr."""
    capsys.readouterr()
    code = main(["--config", storage.uri("nightly.yaml"), f"--date={date}", *flags])
    shown = capsys.readouterr()
    return code, json.loads(shown.out.splitlines()[-1]), shown.err


def predictions(storage: Storage) -> list[dict[str, Any]]:
    return [
        {"partition": file.path.split("/")[2], **row}
        for file in storage.list_files("out/predictions")
        for row in pq.read_table(io.BytesIO(storage.read(file.path) or b"")).to_pylist()
    ]


def test_nights_in_a_bucket_train_promote_and_classify_what_is_new(
    bucket: Storage,
    gs_server: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with proxied(gs_server, monkeypatch) as proxy:
        code, first, error = night(bucket, "2026-11-24", capsys, "--billing_project=payer")
    assert proxy.payers == {"payer"}
    assert (code, first["decision"], first["rows_predicted"]) == (0, "promoted", 6), error
    assert bucket.read(first["manifest"].removeprefix(bucket.uri("")))
    assert bucket.read("out/nights/2026-11-24/evaluation.json")
    store = ModelStore(bucket.uri("store"))
    assert store.aliases()["production"] == first["version"]
    store.verify(store.resolve("production"))

    before = bucket.list_files("")
    code, second, _ = night(bucket, "2026-11-24", capsys)
    assert (code, second["status"]) == (0, "nothing_to_do")
    assert bucket.list_files("") == before

    add_documents(bucket, "tuesday.jsonl", 4, seed=4)
    code, third, _ = night(bucket, "2026-11-25", capsys)
    assert (code, third["trained"], third["rows_read"]) == (0, None, 4)
    rows = predictions(bucket)
    assert len({row["doc_id"] for row in rows}) == len(rows) == 10
    assert {row["partition"] for row in rows} == {"run_date=2026-11-24", "run_date=2026-11-25"}
    assert {row["model_version"] for row in rows} == {first["version"]}
    assert not bucket.list_files("out/staging")


def test_a_night_behind_a_fifth_of_faults_ends_whole_or_says_why_in_a_line(
    bucket: Storage,
    gs_server: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hurry(monkeypatch)
    with proxied(gs_server, monkeypatch, random_faults(0.2, seed=3)) as proxy:
        code, found, error = night(bucket, "2026-11-24", capsys)
    assert {fault for _, fault in proxy.met} == set(TRANSIENT), proxy.met
    if code != 0:
        lines = [line for line in error.splitlines() if line.startswith("error: ")]
        assert len(lines) == len(found["errors"]) > 0 and "Traceback" not in error
        if not found["rows_predicted"]:
            assert predictions(bucket) == []
        code, found, error = night(bucket, "2026-11-24", capsys)
        assert code == 0, error
    store = ModelStore(bucket.uri("store"))
    assert len(store.versions()) == 1
    store.verify(store.resolve("production"))
    rows = predictions(bucket)
    assert len({row["doc_id"] for row in rows}) == len(rows) == 6
    assert {row["model_version"] for row in rows} == {store.aliases()["production"]}
