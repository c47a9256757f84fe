"""Hostile changes to every document that comes with a model, an output or a job.

`python -m tests.fuzz.fuzzing [EXAMPLES [SEED]]` runs it in a process with little memory; without a
seed it is the same examples each time. Whatever stands in a document, its reader gives exit code 0,
or 1 or 2 with one line, and touches nothing beside its own folder.
"""

from __future__ import annotations

import copy
import io
import json
import os
import resource
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import torch
import yaml
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from pydantic import BaseModel
from safetensors.torch import save_file

from beam_bert.encoder import load_classifier
from beam_bert.errors import printable
from beam_bert.evaluation.identity_terms import load_identity_terms
from beam_bert.jobs.command_line import exit_code_of, parse_config
from beam_bert.labelled.answers import read_asked
from beam_bert.labelled.provenance import card_licence, check_sources
from beam_bert.models.cache import cached_model
from beam_bert.models.digest import folder_checksums, model_digest
from beam_bert.models.display import show_history, show_store, show_version
from beam_bert.models.resolve import resolve_model
from beam_bert.models.store import ModelStore
from beam_bert.settings.answer import AnswerConfig
from beam_bert.settings.answer_training import AnswerFinetuneConfig
from beam_bert.settings.evaluation import EvaluateConfig
from beam_bert.settings.inference import ClassifyConfig
from beam_bert.settings.nightly import NightlyConfig
from beam_bert.settings.training import FinetuneConfig, PretrainConfig
from beam_bert.sinks.commit import commit_run
from beam_bert.sinks.committed_files import read_committed_files
from beam_bert.sinks.compacting import compact
from beam_bert.sinks.manifest import read_failure, read_manifest, write_failure
from beam_bert.sinks.prepare import prepare_output
from beam_bert.sinks.records import Counts, find_record, record_path, staged_progress
from beam_bert.sinks.table_schema import read_table
from beam_bert.slices.plan import FileEntry
from beam_bert.storage.places import open_storage
from beam_bert.tokenization import DocumentTokenizer, WindowSettings, loading
from beam_bert.training.checkpoint import kept_as
from beam_bert.training.loop import LoopSettings, Plan, Progress, train
from tests.sinks.shard_factory import SCHEMA, make_run, stage
from tests.tokenization.test_documents import documents

MEMORY_BYTES = 3 * 2**29  # over what the process has once everything is imported
EXAMPLE_CPU_S = 10.0
TEXTS = ["I love this film!", "a" * 50 + "!", "terrible 你好", ""]

Kind = tuple[Any, Callable[[bytes], None]]  # a good document, and its reader
_TRAINING = {"output": "out", "base": "m", "data": "data.yaml", "epochs": 2, "seed": 7}
JOBS: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    "job": (
        ClassifyConfig,
        {"input": ["a.csv"], "output": "out", "model": "m", "max_length": 64, "gpu": None},
    ),
    "answer job": (
        AnswerConfig,
        {"input": ["a.csv"], "output": "out", "question": ["who?"], "stride": 16},
    ),
    "finetune": (FinetuneConfig, {**_TRAINING, "train": ["a.csv"], "label_names": "n.txt"}),
    "answer finetune": (AnswerFinetuneConfig, {**_TRAINING, "train": ["a.json"]}),
    "pretrain": (PretrainConfig, {**_TRAINING, "input": ["a.csv"]}),
    "evaluate": (EvaluateConfig, {"input": ["a.csv"], "model": "m", "gate": "f1>=0.5"}),
    "nightly": (
        NightlyConfig,
        {
            "output": "out",
            "store": "s",
            "finetune": {**_TRAINING, "train": ["a.csv"]},
            "evaluate": {"input": ["a.csv"], "model": "m"},
            "classify": {"input": ["a.csv"], "output": "out"},
            "gate": {"max_fall": 0.01},
        },
    ),
}
YAML = {"data.yaml", "terms", "card"}

Nested = json.loads("[" * 60 + "]" * 60)


def hostile_values(canary: Path) -> st.SearchStrategy[Any]:
    """Values that broke something once, and any others."""
    name = canary.name
    known = [
        *(None, True, False, 0, -1, 1, 2, 2**31, 2**63, 10**30, 0.5, -0.5, 1e308, float("nan")),
        *("", "a", "..", "\0", "\x1b[2J", "\u202e", "x" * 5_000, "~nobody_/x", "NaN", "2024-13-45"),
        *(f"{canary}/mine.parquet", f"../{name}/mine.parquet", f"../../../{name}/mine.parquet"),
        *(
            f"predictions/../../{name}/mine.parquet",
            "predictions/a.parquet",
            "/dev/zero",
            ".x.json",
        ),
        *([], {}, [None], {"": None}, Nested, [0] * 1_000, {"a": {"b": {"c": []}}}),
        {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 300},
        {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False},
    ]
    return st.sampled_from(known) | st.integers() | st.floats() | st.text(max_size=20)


@st.composite
def changed(draw: Any, document: Any, values: st.SearchStrategy[Any]) -> Any:
    """The document with a few values replaced, removed, added or repeated."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        holder, key, node = None, None, document
        while isinstance(node, (dict, list)) and node and (holder is None or draw(st.booleans())):
            holder = node
            key = draw(
                st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node)))
            )
            node = holder[key]
        if holder is None:
            return copy.deepcopy(draw(values))
        match draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "repeat"])):
            case "replace":
                holder[key] = copy.deepcopy(draw(values))
            case "remove":
                del holder[key]
            case "add" if isinstance(holder, dict):
                holder[draw(st.text(max_size=5)) if draw(st.booleans()) else key] = copy.deepcopy(
                    draw(values)
                )
            case _ if isinstance(holder, list):
                holder.extend([holder[key]] * draw(st.integers(1, 50)))
    return document


@st.composite
def damaged(draw: Any, data: bytes) -> bytes:
    """The bytes, mostly as they are; else cut, or with others in their place."""
    if draw(st.integers(0, 4)):
        return data
    at = draw(st.integers(0, len(data)))
    new = draw(
        st.binary(max_size=8) | st.sampled_from([b"[" * 5_000, b"\xff", b"*a", b"&a", b"\\ud800"])
    )
    return (
        data[:at] + new + data[at + draw(st.integers(0, 20)) :]
        if draw(st.booleans())
        else data[:at]
    )


class Fuzz:
    """A model, an output and a job in a folder, a canary beside them, and their readers."""

    def __init__(self, root: Path) -> None:
        self.canary = root / "canary"
        self.canary.mkdir()
        (self.canary / "mine.parquet").write_bytes(b"mine")
        self.model, self.good_output, self.output = root / "model", root / "good", root / "out"
        _make_model(self.model)
        self.run = make_run(self.output, run_id="run-9", run_key="work-9", incremental=True)
        self._make_output()
        self.job = root / "job.yaml"
        self.values = hostile_values(self.canary)
        weights = (self.model / "model.safetensors").read_bytes()
        self.header_bytes = struct.unpack("<Q", weights[:8])[0]
        self.tensors = weights[8 + self.header_bytes :]
        header = json.loads(weights[8 : 8 + self.header_bytes])
        index = {"weight_map": dict.fromkeys([*header, "x"], "model.safetensors")}
        read = lambda path: json.loads(path.read_text())  # noqa: E731
        self.kinds: dict[str, tuple[Any, Callable[[bytes], None]]] = {
            "config.json": (read(self.model / "config.json"), self._model_file("config.json")),
            "tokenizer.json": (read(self.model / "tokenizer.json"), self._tokenizer),
            "tokenizer_config.json": (
                read(self.model / "tokenizer_config.json"),
                self._model_file("tokenizer_config.json"),
            ),
            "index": (index, self._index),
            "safetensors header": (header, self._weights),
            "journal": (read(self.good_output / "staging/other/commit.json"), self._journal),
            "manifest": (read(self.good_output / "runs/run-1/manifest.json"), self._manifest),
            **self._sink_kinds(read),
            **self._store_kinds(read),
            **self._data_kinds(root),
            **{name: (values, self._job(kind)) for name, (kind, values) in JOBS.items()},
        }

    def _make_output(self) -> None:
        run = make_run(self.output)
        commit_run(run, stage(run, [(3, 1)]), SCHEMA)
        shutil.move(self.output, self.good_output)
        other = make_run(self.good_output, run_id="other", run_key="other", incremental=True)
        records = stage(other, [(2, 0)])
        from beam_bert.sinks import commit

        real, commit.roll_forward = commit.roll_forward, _killed
        try:
            commit_run(other, records, SCHEMA)
        except KeyboardInterrupt:
            commit.roll_forward = real

    def example(self, kind: str, data: bytes) -> None:
        """Let the reader of `kind` have the bytes, and hold its promises."""
        before, started, out, err = (
            _tree(self.canary),
            time.process_time(),
            io.StringIO(),
            io.StringIO(),
        )
        with redirect_stdout(out), redirect_stderr(err):
            code = exit_code_of(lambda: self.kinds[kind][1](data))
        said = err.getvalue()
        assert code in (0, 1, 2), code
        assert printable(said) == said, said
        *before_it, last = said.split("\n# ")[0].splitlines() or [""]  # what follows is to paste
        assert len(last) < 3_000 and "Traceback" not in said, said
        if code:
            assert last.startswith("error: "), said
            assert all(line.startswith("warning: ") for line in before_it), said
        assert _tree(self.canary) == before, "a file beside the output was touched"
        assert time.process_time() - started < EXAMPLE_CPU_S, "it took too long"

    def _model_file(self, name: str) -> Callable[[bytes], None]:
        def read(data: bytes) -> None:
            self._with(self.model / name, data, self._use_model)

        return read

    def _tokenizer(self, data: bytes) -> None:
        config = self.model / "tokenizer_config.json"
        plain = json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}).encode()
        self._with(
            self.model / "tokenizer.json", data, lambda: self._with(config, plain, self._use_model)
        )

    def _weights(self, data: bytes) -> None:
        whole = struct.pack("<Q", len(data)) + data + self.tensors
        self._with(self.model / "model.safetensors", whole, self._use_model)

    def _index(self, data: bytes) -> None:
        index, weights = self.model / "model.safetensors.index.json", self.model / "w.safetensors"
        (self.model / "model.safetensors").rename(weights)
        index.write_bytes(data.replace(b"model.safetensors", b"w.safetensors"))
        try:
            self._use_model()
        finally:
            weights.rename(self.model / "model.safetensors")
            index.unlink()

    def _use_model(self) -> None:
        resolve_model(str(self.model))
        model = load_classifier(self.model, precision="fp32", device="cpu")
        tokenizer = DocumentTokenizer(self.model, WindowSettings(min(32, model.config.max_length)))
        rows = tokenizer.tokenize(documents(TEXTS)).rows
        for ids in rows["input_ids"].to_pylist():
            flat = np.array([each for window in ids for each in window], np.int32)
            model.logits(flat, np.array([0, len(flat)], np.int64))

    def _with(self, path: Path, data: bytes, use: Callable[[], None]) -> None:
        good = path.read_bytes()
        path.write_bytes(data)
        try:
            use()
        finally:
            path.write_bytes(good)

    def _journal(self, data: bytes) -> None:
        self._in_output("staging/other/commit.json", data, lambda: prepare_output(self.run))

    def _manifest(self, data: bytes) -> None:
        def read() -> None:
            read_committed_files(str(self.output))
            read_manifest(str(self.output), "run-1")
            prepare_output(self.run)

        self._in_output("runs/run-1/manifest.json", data, read)

    def _in_output(self, path: str, data: bytes, use: Callable[[], object]) -> None:
        shutil.rmtree(self.output, ignore_errors=True)
        shutil.copytree(self.good_output, self.output)
        (self.output / path).write_bytes(data)
        use()

    def _job(self, settings: type[BaseModel]) -> Callable[[bytes], None]:
        def read(data: bytes) -> None:
            self.job.write_bytes(data)
            parse_config(settings, ["--config", str(self.job)], "x")

        return read

    def _sink_kinds(self, read: Callable[[Path], Any]) -> dict[str, Kind]:
        """What else stands in an output: decisions, failures, records, shards of Parquet."""
        journal = read(self.good_output / "staging/other/commit.json")
        decision = f"staging/other/decision-{journal['attempt']}.json"
        (self.good_output / decision).write_text('{"forward": true, "reason": ""}')
        staged = make_run(self.good_output, run_id="run-8", run_key="work-8", incremental=True)
        record = record_path(staged, stage(staged, [(3, 1)])[0].name)
        run = staged.model_copy(update={"output": str(self.output)})
        shard = next((self.good_output / "predictions").rglob("*.parquet"))
        failed = self.good_output / "runs/run-7/failure.json"
        write_failure(staged.model_copy(update={"run_id": "run-7"}), "reason", "message", Counts())

        def commit() -> None:
            staged_progress(run)
            prepare_output(run)
            found = find_record(run, Path(record).stem)
            commit_run(run, [] if found is None else [found], SCHEMA)

        def table() -> None:
            table = read_table(open_storage(str(self.output)), "", overwrite=False)
            table.holds_only_nulls("label"), table.fits_doubles("stars")
            compact(str(self.output))

        def within(path: str, use: Callable[[], object]) -> Callable[[bytes], None]:
            return lambda data: self._in_output(path, data, use)

        def bent(data: bytes) -> None:
            self._in_output(str(shard.relative_to(self.good_output)), _bent(shard, data), table)

        return {
            "decision": (read(self.good_output / decision), within(decision, commit)),
            "failure": (
                read(failed),
                within("runs/run-7/failure.json", lambda: read_failure(str(self.output), "run-7")),
            ),
            "record": (read(self.good_output / record), within(record, commit)),
            "compacted manifest": (
                read(self.good_output / "runs/run-1/manifest.json"),
                within("runs/run-1/manifest.json", lambda: compact(str(self.output))),
            ),
            "shard": ({str(at): at % 256 for at in range(8, shard.stat().st_size, 400)}, bent),
        }

    def _store_kinds(self, read: Callable[[Path], Any]) -> dict[str, Kind]:
        """What stands in a model store, and beside a model that was downloaded."""
        place = self.job.parent / "store"
        record = ModelStore(place).publish(self.model, metrics={"f1": 0.5})
        ModelStore(place).promote(record.version, reason="first")
        os.environ["BEAM_BERT_CACHE"] = str(self.job.parent / "cache")
        digest = model_digest(folder_checksums(self.model))
        kept = cached_model(digest, lambda to: shutil.copytree(self.model, to, dirs_exist_ok=True))

        def look() -> None:
            store = ModelStore(place)
            for as_json in (False, True):
                show_store(store, as_json=as_json)
                show_history(store, as_json=as_json)
                show_version(store, store.resolve("production"), as_json=as_json)
            resolve_model(f"{place}@production")

        def kept_again() -> None:
            assert model_digest(folder_checksums(cached_model(digest, _killed))) == digest

        def of(path: Path, use: Callable[[], None]) -> Kind:
            return read(path), lambda data: self._with(path, data, use)

        return {
            "alias": of(place / "aliases/00000001.json", look),
            "version": of(place / f"versions/{record.version}.json", look),
            "cache": of(kept.with_name(f"{kept.name}.json"), kept_again),
        }

    def _data_kinds(self, root: Path) -> dict[str, Kind]:
        """What training and evaluation read beside texts."""
        rows, asked, state = root / "rows.csv", root / "asked.json", root / "state"
        rows.write_text("text,label\na,b\n")
        values = {"epoch": 1, "batch": 0, "step": 3, "curves": {"steps": []}, "kept_value": 0.5}
        files = [("train", FileEntry(str(rows), rows.stat().st_size))]
        own = {"path": "rows.csv", "origin": "x", "licence": "own", "date": "2020-03-10"}

        def declared(data: bytes) -> None:
            self.job.write_bytes(data)
            check_sources(
                files, declared_in=str(self.job), allowed=["own"], accept_unlicensed=False
            )

        def terms(data: bytes) -> None:
            self.job.write_bytes(data)
            for axis in load_identity_terms(str(self.job)).compiled:
                list(axis.swaps(axis.find("An old man and a young woman")))

        def card(data: bytes) -> None:
            card_licence("---\n" + data.decode(errors="replace") + "\n---\n")

        def questions(data: bytes) -> None:
            asked.write_bytes(data)
            read_asked([str(asked)], max_reject_rate=0.5)

        def checkpoint(data: bytes) -> None:
            weights = torch.nn.Linear(2, 2)
            told = {"key": "k", "values": data.decode(errors="replace")}
            state.mkdir(exist_ok=True)
            tensors = kept_as("parameter", weights.state_dict())
            save_file(dict(tensors), state / "state.safetensors", told)
            train(
                Tiny(weights),
                TinyObjective(weights),
                Plan([[np.array([0])]], LoopSettings(1e-3, "linear", 0.0, 0.0, 0, False)),
                work=state,
                key="k",
                progress=Progress(),
            )

        answers = {"text": ["b"], "answer_start": [2]}
        qas = [{"id": "1", "question": "what", "answers": [{"text": "b", "answer_start": 2}]}]
        return {
            "data.yaml": ({"sources": [own, {**own, "sha256": "0" * 64}]}, declared),
            "terms": (
                {"axes": {"age": [{"forms": {"old": ["old"], "young": ["young"]}}]}},
                terms,
            ),
            "card": ({"license": "other", "license_name": ["mit"], "tags": ["a"]}, card),
            "SQuAD": ({"data": [{"paragraphs": [{"context": "a b", "qas": qas}]}]}, questions),
            "flat questions": (
                [{"question": "what", "context": "a b", "answers": answers, "id": 1}],
                questions,
            ),
            "checkpoint": (values, checkpoint),
        }

    def dump(self, kind: str, document: Any) -> bytes:
        """The document as its file has it."""
        if kind in JOBS or kind in YAML:
            return yaml.safe_dump(document, allow_unicode=True).encode(errors="surrogatepass")
        return json.dumps(document).encode()


def _bent(file: Path, data: bytes) -> bytes:
    """The bytes of a file, with others in the places that a JSON object names."""
    good = bytearray(file.read_bytes())
    try:
        places = json.loads(data)
    except (ValueError, RecursionError):
        return data
    for place, byte in places.items() if isinstance(places, dict) else ():
        if place.isascii() and place.isdigit() and isinstance(byte, int):
            good[int(place) % len(good)] = byte % 256
    return bytes(good)


class TinyObjective:
    """A loss of one step, and nothing to measure."""

    metric, dev_size = "f1", 1

    def __init__(self, layer: torch.nn.Module) -> None:
        self.layer = layer

    def loss(self, rows: Any) -> torch.Tensor:
        return self.layer(torch.ones(1, 2)).sum()

    def evaluate(self) -> dict[str, float]:
        return {"f1": 0.5}


class Tiny(torch.nn.Module):
    """A network of one layer, for a checkpoint to be put into."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def trained_parameters(self) -> dict[str, torch.nn.Parameter]:
        return dict(self.layer.named_parameters())

    def depth_of(self, name: str) -> int:
        return 0


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def _tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    paths = [folder, *folder.rglob("*")]
    return {str(p): (p.read_bytes() if p.is_file() else b"", p.stat().st_mtime_ns) for p in paths}


def _make_model(folder: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    from tests.conftest import bert_vocabulary

    folder.mkdir()
    words = bert_vocabulary()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        num_labels=3,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main(examples: int, seed: int | None) -> None:
    """Run so many examples; raises for the first that breaks a promise."""
    loading._tried = lambda tokenizer: None  # the memory of this process is limited as it is
    with tempfile.TemporaryDirectory() as root:
        fuzz = Fuzz(Path(root))
        for kind, (document, _) in fuzz.kinds.items():
            fuzz.example(kind, fuzz.dump(kind, document))
        _limit_memory()

        @st.composite
        def cases(draw: Any) -> tuple[str, bytes]:
            kind = draw(st.sampled_from(sorted(fuzz.kinds)))
            document = draw(changed(fuzz.kinds[kind][0], fuzz.values))
            return kind, draw(damaged(fuzz.dump(kind, document)))

        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            derandomize=seed is None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(cases())
        def check(case: tuple[str, bytes]) -> None:
            fuzz.example(*case)

        (check if seed is None else hypothesis.seed(seed)(check))()


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 1_000,
        int(sys.argv[2]) if len(sys.argv) > 2 else None,
    )
