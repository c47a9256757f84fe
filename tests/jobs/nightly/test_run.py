"""A night refreshes the model if that helps, classifies what is new, and can be killed anywhere."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow.dataset as ds
import pytest
import torch
import yaml
from pydantic import ValidationError

from beam_bert.errors import ConfigError
from beam_bert.evaluation.intervals import bootstrap
from beam_bert.jobs.nightly import gate as gate_module
from beam_bert.jobs.nightly import run as run_module
from beam_bert.models import ModelStore
from beam_bert.settings.evaluation import EvaluateConfig
from beam_bert.settings.inference import ClassifyConfig, SentimentConfig
from beam_bert.settings.nightly import LabelMetric, NightlyConfig, ValueMetric
from beam_bert.settings.training import FinetuneConfig
from beam_bert.sinks import commit
from beam_bert.tasks.classification import REGRESSION, SINGLE_LABEL
from pipelines.nightly import main

WORDS_OF = {
    "negative": ["bad", "terrible", "awful", "worst", "sad", "angry"],
    "neutral": ["fine", "okay", "meeting", "day", "service", "time"],
    "positive": ["good", "great", "love", "best", "happy", "funny"],
}
FILLERS = ["the", "a", "this", "that", "is", "was", "it", "very", "again", "we", "they", "film"]


# Of a gate that judges by the few rows that a test has time for.
SMALL = {"minimum_rows": 30, "promote": "not_worse"}


def labelled(count: int, seed: int, wrong: bool = False) -> list[dict[str, str]]:
    """Texts that say their label with two of its words, or another label than they say."""
    generator = random.Random(seed)
    rows = {}
    while len(rows) < count:
        label = generator.choice(sorted(WORDS_OF))
        words = generator.sample(WORDS_OF[label], 2) + generator.choices(FILLERS, k=4)
        generator.shuffle(words)
        others = sorted(WORDS_OF)
        given = others[(others.index(label) + 1) % 3] if wrong else label
        rows[" ".join(words)] = {"text": " ".join(words), "label": given}
    return list(rows.values())


def write_jsonl(path: Path, rows: list[dict[str, str]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@dataclass
class Place:
    """Where nights happen: labels, documents, a store, an output, and the YAML file."""

    root: Path
    base: Path
    capsys: pytest.CaptureFixture[str]
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        write_jsonl(self.root / "labels" / "train.jsonl", labelled(150, seed=1))
        write_jsonl(self.root / "labels" / "dev.jsonl", labelled(60, seed=2))
        self.add_documents("monday.jsonl", 6)
        self.settings = {
            "store": str(self.root / "store"),
            "finetune": {
                "train": str(self.root / "labels/train.jsonl"),
                "dev": str(self.root / "labels/dev.jsonl"),
                "label_column": "label",
                "base": str(self.base),
                "accept_unlicensed": True,
                "epochs": 8,
                "learning_rate": 5e-3,
                "batch_tokens": 128,
                "precision": "fp32",
                "device": "cpu",
            },
            "evaluate": {
                "input": str(self.root / "labels/dev.jsonl"),
                "label_column": "label",
                "replicates": 100,
                "device": "cpu",
            },
            "gate": {"minimum": 0.6, **SMALL},
            "classify": {
                "input": str(self.root / "in"),
                "output": str(self.root / "out"),
                "partition": "run_date={date}",
                "device": "cpu",
            },
        }

    @property
    def store(self) -> ModelStore:
        return ModelStore(self.root / "store")

    def add_documents(self, name: str, rows: int, seed: int = 3) -> None:
        texts = [{"text": row["text"]} for row in labelled(rows, seed)]
        write_jsonl(self.root / "in" / name, texts)

    def config(self) -> Path:
        path = self.root / "nightly.yaml"
        path.write_text(yaml.safe_dump(self.settings))
        return path

    def night(self, *flags: str, code: int = 0) -> dict[str, Any]:
        """Run a night; its last line on stdout."""
        self.capsys.readouterr()
        found = main(["--config", str(self.config()), "--date=2026-11-24", *flags])
        shown = self.capsys.readouterr()
        self.error = shown.err
        assert found == code, shown.err
        return json.loads(shown.out.splitlines()[-1])

    def rows(self) -> list[dict[str, Any]]:
        folder = self.root / "out" / "predictions"
        return ds.dataset(folder, partitioning="hive").to_table().to_pylist()

    def files(self) -> dict[str, int]:
        """Every file of store and output with its time of change."""
        paths = (path for name in ("store", "out") for path in (self.root / name).rglob("*"))
        return {str(path): path.stat().st_mtime_ns for path in paths if path.is_file()}

    def check_whole(self, documents: int = 6) -> None:
        """One model in production, every document once, nothing half done."""
        production = self.store.aliases()["production"]
        self.store.verify(self.store.resolve(production))
        rows = self.rows()
        assert len(rows) == len({row["doc_id"] for row in rows}) == documents
        assert {row["model_version"] for row in rows} == {production}
        assert not (self.root / "out" / "staging").exists()


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads of a tiny model wait for each other longer than they compute."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def place(
    tmp_path: Path,
    make_bert: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Place:
    monkeypatch.setenv("BEAM_BERT_CACHE", str(tmp_path / "cache"))
    # Drawing the page costs a second or two.
    monkeypatch.setattr("beam_bert.evaluation.run.render_evaluation", lambda found: "")
    return Place(tmp_path, make_bert(initializer_range=0.05), capsys)


def test_the_first_night_trains_promotes_and_classifies_and_the_second_does_nothing(
    place: Place,
) -> None:
    first = place.night()
    version = place.store.aliases()["production"]
    assert (first["status"], first["decision"], first["errors"]) == ("done", "promoted", [])
    assert first["trained"] == first["candidate"] == first["version"] == version
    assert "accuracy" in first["reason"]
    assert first["reason"] in place.store.history()[-1].reason
    assert (first["rows_read"], first["rows_predicted"], first["rows_rejected"]) == (6, 6, 0)
    assert Path(first["manifest"]).is_file()
    assert {str(row["run_date"]) for row in place.rows()} == {"2026-11-24"}
    place.check_whole()

    page = Path(first["page"]).read_text()
    assert page.startswith("<!doctype html>") and "PROMOTED" in page and first["reason"] in page
    assert f"In production: {version}" in page
    for target in ("report.html", f"../../runs/{Path(first['manifest']).parent.name}/report.html"):
        assert f'href="{target}"' in page
        assert (Path(first["page"]).parent / target).is_file()
    assert first["evaluation"] == str(Path(first["page"]).parent / "report.html")

    before = place.files()
    second = place.night()
    assert (second["status"], second["decision"]) == ("nothing_to_do", "current")
    assert (second["version"], second["trained"]) == (version, None)
    assert (second["rows_read"], second["manifest"]) == (0, None)
    assert place.files() == before


def test_new_documents_are_classified_alone_and_new_labels_refresh_the_model_and_all_rows(
    place: Place,
) -> None:
    first = place.night()
    place.add_documents("tuesday.jsonl", 4, seed=4)
    second = place.night("--date=2026-11-25")
    assert (second["status"], second["trained"], second["rows_read"]) == ("done", None, 4)
    place.check_whole(10)

    write_jsonl(place.root / "labels" / "train.jsonl", labelled(180, seed=1))
    third = place.night("--date=2026-11-26")
    assert third["decision"] == "promoted"
    assert third["version"] != first["version"] == place.store.aliases()["previous"]
    assert "against production's" in third["reason"]
    assert third["rows_read"] == 10
    place.check_whole(10)


def test_a_worse_model_is_kept_out_the_reason_is_written_down_and_it_is_not_judged_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = place.night()["version"]
    write_jsonl(place.root / "labels" / "train.jsonl", labelled(150, seed=1, wrong=True))
    place.settings["gate"] = {"max_fall": 0.01, "minimum": 0, **SMALL}
    place.add_documents("tuesday.jsonl", 2, seed=4)
    kept = place.night()
    assert (kept["status"], kept["decision"], kept["version"]) == ("done", "kept", good)
    assert "the fall is too large" in kept["reason"]
    assert kept["candidate"] == place.store.aliases()["candidate"] != good
    note = place.store.history()[-1]
    assert note.action == "note"
    assert note.reason.startswith(f"kept {good}, not {kept['candidate']}: {kept['reason']}")
    place.check_whole(8)

    def fail(config: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(gate_module, "evaluate", fail)
    before = place.files()
    again = place.night()
    assert (again["status"], again["decision"]) == ("nothing_to_do", "kept")
    assert again["reason"] == kept["reason"]
    assert place.files() == before
    monkeypatch.undo()


def test_below_the_minimum_nothing_is_promoted_and_without_production_nothing_classified(
    place: Place,
) -> None:
    place.settings["gate"] = {"minimum": 1.1, **SMALL}
    night = place.night(code=2)
    assert (night["status"], night["decision"]) == ("failed", "kept")
    assert "below the minimum" in night["reason"]
    assert "has no alias 'production'" in night["errors"][0]
    assert "production" not in place.store.aliases()


def test_a_failed_training_never_stops_the_classification_and_is_told_at_the_end(
    place: Place,
) -> None:
    version = place.night()["version"]
    write_jsonl(place.root / "labels" / "train.jsonl", [{"text": "good", "label": "positive"}])
    place.add_documents("tuesday.jsonl", 2, seed=4)
    night = place.night(code=2)
    assert (night["status"], night["decision"], night["version"]) == ("failed", "failed", version)
    assert night["rows_read"] == 2
    assert len(night["errors"]) == 1 and night["errors"][0] in place.error
    place.check_whole(8)


def test_a_failure_that_nobody_foresaw_still_ends_in_a_classified_night_and_a_json_line(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = place.night()["version"]
    write_jsonl(place.root / "labels" / "train.jsonl", labelled(180, seed=1))
    place.add_documents("tuesday.jsonl", 2, seed=4)

    def out_of_memory(config: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(run_module, "finetune", out_of_memory)
    night = place.night(code=1)
    assert (night["status"], night["decision"], night["version"]) == ("failed", "failed", version)
    assert (night["rows_read"], len(night["errors"])) == (2, 1)
    assert "OutOfMemoryError: CUDA out of memory" in night["errors"][0]
    assert "Traceback" in place.error
    place.check_whole(8)


def test_a_model_that_a_person_rolled_back_does_not_come_back_by_itself(place: Place) -> None:
    first = place.night()["version"]
    write_jsonl(place.root / "labels" / "train.jsonl", labelled(180, seed=1))
    second = place.night()["version"]
    assert second != first
    place.store.rollback(reason="complaints about emails")
    night = place.night()
    assert (night["decision"], night["version"]) == ("kept", first)
    assert "complaints about emails" in night["reason"]
    place.check_whole()


def test_labels_that_were_put_back_are_judged_anew(place: Place) -> None:
    """What a later night replaced is no person's refusal."""
    first = place.night()["version"]
    labels = place.root / "labels" / "train.jsonl"
    before = labels.read_text()
    write_jsonl(labels, labelled(180, seed=1))
    second = place.night()
    assert second["decision"] == "promoted"
    labels.write_text(before)
    third = place.night()
    assert (third["candidate"], third["decision"]) == (first, "promoted"), third["reason"]
    place.store.rollback(reason="complaints")
    fourth = place.night()
    assert (fourth["decision"], fourth["version"]) == ("kept", second["version"])
    assert "complaints" in fourth["reason"]


def test_a_night_without_anything_that_came_in_is_a_good_night(place: Place) -> None:
    documents = place.root / "in"
    (documents / "monday.jsonl").unlink()
    first = place.night()
    assert (first["decision"], first["rows_read"], first["manifest"]) == ("promoted", 0, None)
    second = place.night()
    assert (second["status"], second["errors"]) == ("nothing_to_do", [])
    assert f"nothing to read: {documents}: the folder holds no usable file" in place.error
    place.settings["classify"]["input"] = str(documents / "*.jsonl")
    assert place.night()["status"] == "nothing_to_do"
    place.add_documents("tuesday.jsonl", 4)
    place.settings["classify"]["input"] = [str(documents / "*.csv"), str(documents / "*.jsonl")]
    assert place.night()["rows_read"] == 4
    place.settings["classify"]["input"] = str(place.root / "inn")
    assert "did you mean" in place.night(code=2)["errors"][0]  # no quiet day, but a mistake


def test_rows_that_the_candidate_was_trained_on_are_no_proof(place: Place) -> None:
    train = labelled(150, seed=1)
    write_jsonl(place.root / "eval.jsonl", [*train[:50], *labelled(60, seed=2)])
    place.settings["evaluate"]["input"] = str(place.root / "eval.jsonl")
    night = place.night()
    assert "50 rows that a model was trained on are left out" in night["reason"]
    report = json.loads((place.root / "out/nights/2026-11-24/evaluation.json").read_text())
    assert (report["rows"]["read"], report["rows"]["evaluated"]) == (110, 60)


def test_few_rows_promote_nothing_and_the_verdict_says_how_many_it_takes(place: Place) -> None:
    place.settings["gate"] = {}
    night = place.night(code=2)
    assert (night["decision"], night["version"]) == ("kept", None)
    assert "over 60 rows of evaluate proves too little: 200 are needed" in night["reason"]


def test_an_equal_model_is_not_promoted_and_a_promotion_says_what_it_costs(place: Place) -> None:
    first = place.night()
    assert "read again" not in first["reason"]  # nothing was read yet
    write_jsonl(place.root / "labels" / "train.jsonl", labelled(180, seed=1))
    place.settings["gate"] |= {"promote": "better", "minimum": 0}
    candidate = place.night("--steps=train")["trained"]
    verdict = place.night("--steps", "gate", "--output", str(place.root / "gates"))
    measured = json.loads((place.root / "gates" / "evaluation.json").read_text())
    change = measured["comparison"]["differences"][0]["change"]["value"]
    assert verdict["candidate"] == candidate
    assert verdict["decision"] == ("approved" if change > 0 else "kept")
    place.settings["gate"] |= {"promote": "not_worse", "max_fall": 1.0}
    assert "promoting it has 6 rows read again" in place.night()["reason"]


A, B = (("a", "x; the anchor is now <a>"), ("b", "x; the anchor is now <b>"))


def moved(store: ModelStore, base: Path, *moves: tuple[str, str]) -> dict[str, str]:
    """Versions by name, after these promotions (name, reason); reason "rollback": that."""
    versions: dict[str, str] = {}
    for name, reason in moves:
        if reason == "rollback":
            store.rollback(reason="a person's")
            continue
        if name not in versions:
            versions[name] = store.publish(base, notes=name).version
        told = reason
        for known, version in versions.items():
            told = told.replace(f"<{known}>", version)
        store.promote(versions[name], reason=told)
    return versions


@pytest.mark.parametrize(
    ("moves", "anchor"),
    [
        ([A, ("b", "x; the anchor stays <a>")], "a"),
        ([A, B], "b"),
        ([A, ("b", "a person's choice")], "b"),
        ([A, B, ("", "rollback")], "a"),
        ([A, ("b", "x; the anchor stays <a>"), ("", "rollback")], "a"),
        ([], None),
    ],
)
def test_the_anchor_is_the_best_that_was_promoted_since_a_person_chose(
    place: Place, moves: list[tuple[str, str]], anchor: str | None
) -> None:
    versions = moved(place.store, place.base, *moves)
    config = NightlyConfig(**place.settings)
    expected = versions.get(anchor) if anchor else None
    assert gate_module.find_anchor(config, place.store) == expected


def test_small_falls_do_not_add_up_past_the_anchor(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each night a little worse than the last: what is far below the best is kept out."""
    place.settings["gate"] = {"max_fall": 0.1, "rule": "any_fall", "minimum": 0, **SMALL}
    first = place.night()
    assert first["reason"].endswith(f"; the anchor is now {first['version']}")
    real = gate_module.measure
    compared: list[str] = []

    def lower(found: Any, by: float) -> Any:
        each = found.comparison.differences[0]
        change = each.change.model_copy(update={"value": -by})
        differences = [each.model_copy(update={"change": change})]
        told = found.comparison.model_copy(update={"differences": differences})
        return found.model_copy(update={"comparison": told})

    def evaluated(config: Any, **how: Any) -> Any:
        return lower(real(config, **how), 0.08)

    def measured(config: Any, **how: Any) -> Any:
        compared.append(config.compare)
        return lower(real(config, **how), 0.16)

    monkeypatch.setattr(gate_module, "evaluate", evaluated)
    monkeypatch.setattr(gate_module, "measure", measured)
    write_jsonl(place.root / "labels" / "train.jsonl", labelled(170, seed=1))
    second = place.night()
    assert second["decision"] == "promoted" and not compared
    assert second["reason"].endswith(f"; the anchor stays {first['version']}")
    write_jsonl(place.root / "labels" / "train.jsonl", labelled(180, seed=1))
    third = place.night()
    assert (third["decision"], third["version"]) == ("kept", second["version"])
    assert f"against the anchor {first['version']}'s" in third["reason"]
    assert compared == [f"{place.store.location}@{first['version']}"]
    place.settings["gate"]["anchor"] = "none"
    assert place.night()["decision"] == "promoted"


def test_another_set_of_labels_is_never_promoted_by_itself(place: Place) -> None:
    first = place.night()["version"]
    rows = labelled(150, seed=1)
    write_jsonl(
        place.root / "labels" / "train.jsonl",
        [*rows, *({"text": f"phone number {n}", "label": "phone"} for n in range(20))],
    )
    night = place.night()
    assert (night["decision"], night["version"]) == ("kept", first)
    assert "do not answer with the same labels (phone)" in night["reason"]


class Killed(BaseException):
    """Not an Exception: nothing may catch it, as nothing catches SIGKILL."""


def dying(real: Callable, after: bool) -> Callable:
    def die(*args: Any, **kwargs: Any) -> Any:
        if after:
            real(*args, **kwargs)
        raise Killed

    return die


POINTS = [
    (ModelStore, "publish", True),
    (ModelStore, "set_alias", False),
    (run_module, "judge", False),
    (ModelStore, "note", True),
    (ModelStore, "promote", False),
    (ModelStore, "promote", True),
    (commit, "roll_forward", False),
]


@pytest.mark.parametrize(
    ("owner", "name", "after"),
    POINTS,
    ids=[f"{n}-{'after' if a else 'before'}" for _, n, a in POINTS],
)
def test_a_night_killed_between_any_two_steps_is_completed_by_the_next(
    place: Place, owner: Any, name: str, after: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, dying(getattr(owner, name), after))
        if owner is commit:  # Beam makes a failure of whatever a step raises
            place.night(code=1)
        else:
            with pytest.raises(Killed):
                place.night()
    versions = len(place.store.versions())
    night = place.night()
    assert night["status"] == "done"
    assert len(place.store.versions()) == max(versions, 1), "trained twice"
    place.check_whole()
    assert place.night()["status"] == "nothing_to_do"


@pytest.fixture
def started(place: Place) -> Iterator[subprocess.Popen]:
    """A night in a process of its own, which has been training for a while."""
    place.settings["finetune"] |= {"epochs": 2_000, "checkpoint_s": 0.05}
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.nightly", "--config", str(place.config())],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not list((place.root / "cache" / "training").glob("*/*")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.wait()


def test_of_two_nights_at_once_one_works_and_sigkill_costs_it_nothing_but_time(
    place: Place, started: subprocess.Popen
) -> None:
    second = place.night(code=1)
    assert second["status"] == "failed"
    assert "another nightly job" in second["errors"][0] and second["errors"][0] in place.error
    assert started.poll() is None

    started.send_signal(signal.SIGKILL)
    started.wait()
    assert not place.store.exists()
    place.settings["finetune"] |= {"epochs": 8}
    assert place.night()["decision"] == "promoted"
    place.check_whole()


def test_two_machines_at_once_leave_one_winner_and_no_half_model(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other machine promotes its model between this one's verdict and its promotion."""
    real = run_module.judge

    def judge(config: NightlyConfig, store: ModelStore, candidate: str) -> Any:
        verdict = real(config, store, candidate)
        if not store.aliases().get("production"):
            other = store.publish(place.base, notes="of the other machine")
            store.promote(other.version, reason="the other machine was first")
        return verdict

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "judge", judge)
        night = place.night(code=1)
    assert night["decision"] == "failed"
    assert "nothing was changed" in night["errors"][0]
    assert night["version"] == place.store.aliases()["production"] != night["candidate"]
    place.check_whole()
    assert place.night()["decision"] == "promoted"
    place.check_whole()


def test_the_steps_can_be_jobs_of_their_own_for_a_cloud_scheduler(place: Place) -> None:
    gates = place.root / "gates"
    trained = place.night("--steps=train")
    assert (trained["decision"], trained["version"]) == ("none", None)
    place.night("--steps=gate", "--output", str(gates))
    gate = json.loads((gates / "gate.json").read_text())
    assert gate["promote"] is True and "accuracy" in gate["reason"]
    assert gate["candidate"] == trained["trained"]
    assert place.night("--steps=promote")["decision"] == "promoted"
    assert place.night("--steps=classify")["rows_read"] == 6
    place.check_whole()
    place.night("--steps=gate", "--output", str(gates))
    assert json.loads((gates / "gate.json").read_text())["promote"] is False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classify": {"input": "x"}}, "classify.output is missing"),
        ({"classify": {"input": "x", "output": "y", "model": "z"}}, "classify.model is the night"),
        ({"finetune": {"train": "x", "base": "b", "epoch": 1}}, "finetune.epoch: "),
        ({"finetune": {"train": "x", "base": "b"}}, "label_column is missing"),
        ({"evaluate": None}, "finetune needs a section evaluate"),
        ({"gate": {"minimum": "high"}}, "gate.minimum: .*got 'high'"),
        ({"gate": {"metric": "f1"}}, "gate.metric: .*'macro_f1'.*got 'f1'"),
        ({"gate": {"metric": "spearman"}}, "gate.metric spearman is none of a model of labels"),
        ({"store": "s@production"}, "store: must be a model store"),
        ({"date": "yesterday"}, "date: 'yesterday' is no day, YYYY-MM-DD"),
        ({"date": "2026-02-30"}, "date: '2026-02-30' is no day, YYYY-MM-DD"),
        ({"sotre": "s"}, "unknown setting sotre in the YAML file; did you mean store"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_the_place(
    place: Place, change: dict[str, Any], message: str
) -> None:
    from beam_bert.jobs.command_line import parse_config

    place.settings |= change
    with pytest.raises(ConfigError, match=message) as raised:
        parse_config(NightlyConfig, ["--config", str(place.config())], "pipelines.nightly")
    assert "\n" not in str(raised.value)


def test_sections_given_as_objects_get_the_jobs_own_settings_too() -> None:
    classify = ClassifyConfig(input=("in",), output="out", model="another", top_k=2)
    finetune = FinetuneConfig(train=("t",), label_column="l", base="b", output="elsewhere")
    evaluate = EvaluateConfig(input=("e",), label_column="l", model="another", output="elsewhere")
    night = NightlyConfig(store="store/", classify=classify, finetune=finetune, evaluate=evaluate)
    assert (night.classify.model, night.classify.incremental) == ("store@production", True)
    assert night.classify.top_k == 2 and "long_documents" not in night.classify.model_fields_set
    assert (night.finetune.output, night.finetune.layout) == ("store", "store")
    assert (night.evaluate.model, night.evaluate.compare) == ("store@candidate", None)
    sentiment = SentimentConfig(input=("in",), output="out")
    assert NightlyConfig(store="s", classify=sentiment).classify.long_documents == "window"
    for refused in ({"overwrite": True}, {"incremental": False}, {"dry_run": True}):
        with pytest.raises(ValidationError, match="is the nightly job's to set; leave it out"):
            NightlyConfig(store="s", classify=classify.model_copy(update=refused))
    with pytest.raises(ValidationError, match=r"finetune\.alias is the nightly job's"):
        other = finetune.model_copy(update={"alias": "other"})
        NightlyConfig(store="s", classify=classify, finetune=other, evaluate=evaluate)


def test_the_gate_knows_the_metrics_that_models_are_compared_by() -> None:
    scores, targets = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])
    found = bootstrap([scores], targets, SINGLE_LABEL, replicates=2)[0].values
    assert set(found) == set(get_args(LabelMetric))
    values = bootstrap([scores[:, :1]], targets[:, None], REGRESSION, replicates=2)[0].values
    assert set(values) == set(get_args(ValueMetric))


def test_a_dry_run_says_what_is_due_and_does_nothing(place: Place) -> None:
    assert main(["--config", str(place.config()), "--dry_run"]) == 0
    shown = place.capsys.readouterr().out
    assert "train:      due: no version was trained on these labels" in shown
    assert "gate:       the new model will be judged alone" in shown
    assert "production: no version yet" in shown
    assert place.files() == {}

    version = place.night()["version"]
    before = place.files()
    place.add_documents("tuesday.jsonl", 4, seed=4)
    assert main(["--config", str(place.config()), "--dry_run", "--date=2026-11-25"]) == 0
    shown = place.capsys.readouterr().out
    assert f"train:      not due: {version} was trained on these labels" in shown
    assert "gate:       nothing to judge: the candidate is in production already" in shown
    assert "documents" in shown.split(f"with {version}:")[1]
    assert place.files() == before


def test_the_example_is_a_configuration_as_it_stands() -> None:
    from beam_bert.jobs.command_line import parse_config

    example = Path(__file__).parents[3] / "examples" / "nightly.yaml"
    config, beam_flags = parse_config(
        NightlyConfig, ["--config", str(example)], "pipelines.nightly"
    )
    assert config.finetune is not None and config.evaluate is not None
    assert beam_flags == []
    assert config.on("2026-11-24").classify.partition == "run_date=2026-11-24"
