"""Hostile changes to every document that comes with a model, an output or a job.

`python -m tests.fuzz.fuzzing [EXAMPLES [SEED]]` runs it in a process with little memory; without a
seed it is the same examples each time. Whatever stands in a document, its reader gives exit code 0,
or 1 or 2 with one line, and touches nothing beside its own folder.
"""

from __future__ import annotations

import copy
import io
import json
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

from beam_bert.encoder import load_classifier
from beam_bert.errors import printable
from beam_bert.jobs.command_line import exit_code_of, parse_config
from beam_bert.models import resolve_model
from beam_bert.settings.inference import ClassifyConfig
from beam_bert.sinks.commit import commit_run
from beam_bert.sinks.committed_files import read_committed_files
from beam_bert.sinks.manifest import read_manifest
from beam_bert.sinks.prepare import prepare_output
from beam_bert.tokenization import DocumentTokenizer, WindowSettings, loading
from tests.sinks.shard_factory import SCHEMA, make_run, stage
from tests.tokenization.test_documents import documents

MEMORY_BYTES = 3 * 2**29  # over what the process has once everything is imported
EXAMPLE_CPU_S = 10.0
TEXTS = ["I love this film!", "a" * 50 + "!", "terrible 你好", ""]

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
            "job": (
                {"input": ["a.csv"], "output": "out", "model": "m", "max_length": 64, "gpu": None},
                self._job,
            ),
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
        if code:
            assert said.startswith("error: ") and said.count("\n") == 1 and len(said) < 3_000, said
            assert printable(said) == said, said
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

    def _job(self, data: bytes) -> None:
        self.job.write_bytes(data)
        parse_config(ClassifyConfig, ["--config", str(self.job)], "x")

    def dump(self, kind: str, document: Any) -> bytes:
        """The document as its file has it."""
        if kind == "job":
            return yaml.safe_dump(document, allow_unicode=True).encode(errors="surrogatepass")
        return json.dumps(document).encode()


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
