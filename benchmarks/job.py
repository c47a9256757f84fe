"""The whole job, files to Parquet, against the engine alone on the same documents.

    python benchmarks/job.py --texts FILE [--size base|embedded] [--documents 2000] [--rounds 3]

FILE has a document a line. Engine alone: the tokens are made beforehand, only the forward is timed.
The job: everything from the listing to the manifest, in this process, with the same precision; the
time to load the model is in it. Rounds alternate, and the medians of their ratios are printed: by
the clock, and of the CPU's time, which other programs on the machine disturb less.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from beam_bert.encoder import SequenceClassifier, load_classifier
from beam_bert.jobs.run import classify
from beam_bert.models.resolve import EMBEDDED_FOLDER
from beam_bert.settings.inference import EMBEDDED_SENTIMENT, ClassifyConfig
from beam_bert.sinks.manifest import Manifest

MAX_LENGTH = 256


def base_model(folder: Path) -> Path:
    """BERT-base with random weights: it costs exactly as much to run as a trained one."""
    from transformers import BertConfig, BertForSequenceClassification

    embedded = EMBEDDED_FOLDER / EMBEDDED_SENTIMENT
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(num_labels=3)).eval().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(embedded / name, folder / name)
    return folder


def clocks() -> np.ndarray:
    """Seconds on the wall, and of the CPU in all threads of this process: shape [2]."""
    return np.array([time.perf_counter(), time.process_time()])


def engine_seconds(model: SequenceClassifier, ids: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Seconds of the forward over all documents, by both clocks."""
    started = clocks()
    model.logits(ids, offsets)
    return clocks() - started


def run_job(source: Path, output: Path, model: Path, slice_bytes: int | None = None) -> Manifest:
    """A whole run, its table and progress thrown away."""
    config = ClassifyConfig(
        input=(str(source),),
        output=str(output),
        model=str(model),
        max_length=MAX_LENGTH,
        slice_bytes=slice_bytes,
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        manifest = classify(config)
    assert manifest is not None
    return manifest


def job_seconds(source: Path, output: Path, model: Path) -> np.ndarray:
    """Seconds of a whole run by both clocks."""
    started = clocks()
    run_job(source, output, model)
    return clocks() - started


def write_documents(file: Path, texts: Iterable[str]) -> Path:
    """The texts as JSON lines."""
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    return file


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--size", choices=("base", "embedded"), default="base")
    parser.add_argument("--documents", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    lines = arguments.texts.read_text(encoding="utf-8").splitlines()
    texts = [lines[n % len(lines)] for n in range(arguments.documents)]
    # Repeated lines would be computed once: a number at the end keeps them apart.
    texts = [f"{text} {n}" for n, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        embedded = EMBEDDED_FOLDER / EMBEDDED_SENTIMENT
        folder = base_model(place / "model") if arguments.size == "base" else embedded
        source = write_documents(place / "in.jsonl", texts)
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        ids = tokenizer(texts, truncation=True, max_length=MAX_LENGTH)["input_ids"]
        offsets = np.concatenate([[0], np.cumsum([len(each) for each in ids])]).astype(np.int64)
        flat = np.concatenate(ids).astype(np.int32)
        model = load_classifier(folder)
        engine_seconds(model, flat[: offsets[64]], offsets[:65])  # warm-up
        engine, job = [], []
        for number in range(arguments.rounds):
            engine.append(engine_seconds(model, flat, offsets))
            job.append(job_seconds(source, place / f"out-{number}", folder))
            print(
                f"round {number + 1}: engine {engine[-1][0]:.1f} s, job {job[-1][0]:.1f} s; "
                f"of the CPU {engine[-1][1]:.1f} and {job[-1][1]:.1f} s",
                file=sys.stderr,
            )
    ratios = np.median([e / j for e, j in zip(engine, job, strict=True)], axis=0)
    print(
        f"size {arguments.size}, {model.precision} on {model.device}, {torch.get_num_threads()} "
        f"threads, {len(texts)} documents, {len(flat)} tokens"
    )
    print(f"engine alone  {len(texts) / np.median(engine, axis=0)[0]:8.1f} documents/s")
    print(f"whole job     {len(texts) / np.median(job, axis=0)[0]:8.1f} documents/s")
    print(f"job / engine  {ratios[0]:8.2f} by the clock, {ratios[1]:.2f} by the CPU's time")


if __name__ == "__main__":
    main()
