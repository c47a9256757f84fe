"""Question answering beside transformers, batched: windows a second, and the ratio, in one process.

    python benchmarks/answer.py --squad ../shared/data/qa/covid-qa.json --vocabulary FOLDER
                                [--articles 2] [--questions 2] [--rounds 3] [--one-core]

The same questions are put to the same long articles (random weights of BERT-base's shapes, which
cost what trained ones cost; FOLDER has the tokenizer). The product is the steps of the job without
Beam: tokenize, score (close calls at fp32 included), decode. The reference is transformers'
tokenizer with offsets and `AutoModelForQuestionAnswering`, windows in padded batches of the size
that suits it best, found beforehand, in the precision of the product too where the hardware has
bf16, and numpy over the logits, with the product's own rule of which window judges a span: "same"
compares answers with the product's at fp32. A round runs each once, in turn; the table has medians
over rounds, and of the ratio in each round, so that a slow minute hits all alike. Where others use
the machine, too, `--one-core` gives each one thread and counts its CPU time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import transformers

from beam_bert.encoder import load_span_finder
from beam_bert.encoder.precision import has_native_bf16
from beam_bert.inference.fp32_recheck import RecheckedModel
from beam_bert.inference.model_handler import score
from beam_bert.models import ResolvedModel
from beam_bert.pipeline.answer import decode
from beam_bert.slices.batch import SliceBatch
from beam_bert.slices.plan import Slice
from beam_bert.slices.schema import document_schema, rejects_batch
from beam_bert.tasks import AnswerTask
from beam_bert.tokenization import QuestionTokenizer, WindowSettings
from beam_bert.tokenization.windows import judged_spans

MAX_LENGTH, STRIDE, MAX_ANSWER_TOKENS = 384, 128, 30
BATCH_SIZES = (1, 4, 16)
Answers = list[tuple[int, int]]  # code points of each question's answer, article by article


@dataclass(frozen=True)
class Work:
    """Articles, and the questions put to every one."""

    articles: list[str]
    questions: tuple[str, ...]


def read_work(squad: Path, articles: int, questions: int) -> Work:
    """Articles from all over the file, and the first questions of each in turn."""
    data = json.loads(squad.read_text(encoding="utf-8"))["data"]
    chosen = [data[n]["paragraphs"][0] for n in np.linspace(0, len(data) - 1, articles).astype(int)]
    asked = [p["qas"][n]["question"] for n in range(questions) for p in chosen if n < len(p["qas"])]
    return Work([p["context"] for p in chosen], tuple(asked[:questions]))


def slice_of(work: Work) -> SliceBatch:
    """The articles as document rows."""
    columns = {
        "doc_id": [str(n) for n in range(len(work.articles))],
        "text": work.articles,
        "source_file": ["a"] * len(work.articles),
        "source_row": list(range(len(work.articles))),
        "carried": [{}] * len(work.articles),
    }
    rows = pa.RecordBatch.from_pydict(columns, schema=document_schema(pa.schema([])))
    return SliceBatch(Slice(0, ()), "", rows, rejects_batch([]))


def product(
    batch: SliceBatch, tokenizer: QuestionTokenizer, task: AnswerTask, model: RecheckedModel
) -> tuple[Answers, int]:
    """The job's steps."""
    scored = score(tokenizer.tokenize(batch), model)
    found = decode(scored, task, ResolvedModel("", "", ""))
    starts, ends = (found.rows[name].to_pylist() for name in ("answer_start", "answer_end"))
    return list(zip(starts, ends, strict=True)), int(scored.stats["windows"])


def reference(work: Work, tokenizer: Any, model: Any, batch_size: int) -> tuple[Answers, int]:
    """Padded batches over all windows, and array work over their logits."""
    encoded = tokenizer(
        [question for _ in work.articles for question in work.questions],
        [article for article in work.articles for _ in work.questions],
        truncation="only_second",
        max_length=MAX_LENGTH,
        stride=STRIDE,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    count = len(encoded["input_ids"])
    best: dict[int, tuple[float, tuple[int, int]]] = {}
    band = np.triu(np.ones((MAX_LENGTH, MAX_LENGTH), bool))
    band &= np.tri(MAX_LENGTH, k=MAX_ANSWER_TOKENS - 1, dtype=bool)
    pairs = np.array(encoded["overflow_to_sample_mapping"])
    contexts = [np.array(each.sequence_ids) == 1 for each in encoded.encodings]
    lengths = np.array([context.sum() for context in contexts])
    number_in_pair = np.arange(count) - np.searchsorted(pairs, pairs)
    begins = number_in_pair * (lengths[np.searchsorted(pairs, pairs)] - STRIDE)
    judged = judged_spans(begins, lengths, pairs)
    sums = np.add.outer(np.arange(MAX_LENGTH), np.arange(MAX_LENGTH))
    for begin in range(0, count, batch_size):
        numbers = range(begin, min(begin + batch_size, count))
        inputs = tokenizer.pad(
            {name: [encoded[name][n] for n in numbers] for name in tokenizer.model_input_names},
            return_tensors="pt",
        )
        with torch.inference_mode():
            output = model(**inputs)
        logits = [each.float().numpy() for each in (output.start_logits, output.end_logits)]
        for row, number in enumerate(numbers):
            context = contexts[number]
            size = len(context)
            start, end = (each[row, :size] for each in logits)
            # Counted from the context's first token, as the rule counts.
            places = sums[:size, :size] - 2 * context.argmax()
            mine = (places >= judged[number, 0]) & (places < judged[number, 1])
            allowed = band[:size, :size] & context & context[:, None] & mine
            table = np.where(allowed, start[:, None] + end, -np.inf)
            first, last = np.unravel_index(table.argmax(), table.shape)
            offsets = encoded["offset_mapping"][number]
            found = (float(table[first, last]), (offsets[first][0], offsets[last][1]))
            pair = int(pairs[number])
            best[pair] = max(best.get(pair, found), found, key=lambda each: each[0])
    return [place for _, (_, place) in sorted(best.items())], count


def timed(run: Callable[[], tuple[Answers, int]], clock: Callable[[], float]) -> tuple[float, Any]:
    """Windows a second, and the answers."""
    started = clock()
    answers, windows = run()
    return windows / (clock() - started), answers


def best_batch_size(run: Callable[..., tuple[Answers, int]], clock: Callable[[], float]) -> int:
    """The batch size with most windows a second, on one article and question."""
    speeds = {size: timed(partial(run, batch_size=size), clock)[0] for size in BATCH_SIZES}
    return max(speeds, key=speeds.__getitem__)


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--squad", type=Path, required=True)
    parser.add_argument("--vocabulary", type=Path, required=True, help="folder with a tokenizer")
    parser.add_argument("--articles", type=int, default=2)
    parser.add_argument("--questions", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one-core", action="store_true")
    arguments = parser.parse_args()
    clock = time.perf_counter
    if arguments.one_core:
        torch.set_num_threads(1)
        clock = time.process_time
    work = read_work(arguments.squad, arguments.articles, arguments.questions)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(arguments.vocabulary))
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(tokenizer))
    network = transformers.BertForQuestionAnswering(config).eval()
    network.qa_outputs.weight.data.normal_(0, 0.3)  # answers that differ clearly
    with tempfile.TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        engines = _engines(Path(folder), work, tokenizer, network, clock)
    rounds = [
        {name: timed(run, clock) for name, run in engines.items()}
        for _ in range(arguments.rounds + 1)
    ][1:]
    _print_table(rounds, work, arguments.one_core)


def _engines(
    folder: Path, work: Work, tokenizer: Any, network: Any, clock: Callable[[], float]
) -> dict[str, Callable[[], tuple[Answers, int]]]:
    peers = ["fp32", "bf16"] if has_native_bf16() else ["fp32"]
    task = AnswerTask(work.questions, null_threshold=1e30)
    windows = WindowSettings(MAX_LENGTH, True, STRIDE)
    ours = QuestionTokenizer(folder, windows, work.questions)
    engines: dict[str, Callable[[], tuple[Answers, int]]] = {}
    load = partial(
        load_span_finder,
        folder,
        device="cpu",
        max_answer_tokens=MAX_ANSWER_TOKENS,
        top_spans=task.top_spans,
    )
    exact = load(precision="fp32")
    for precision in [*peers, "int8"]:
        model = RecheckedModel.of(load(precision=precision), task, lambda: exact, None)
        engines[f"beam_bert {precision}"] = partial(product, slice_of(work), ours, task, model)
    for precision in peers:
        peer = network if precision == "fp32" else deepcopy(network).to(torch.bfloat16)
        small = Work(work.articles[:1], work.questions[:1])
        size = best_batch_size(partial(reference, small, tokenizer, peer), clock)
        name = f"transformers {precision}, batches of {size}"
        engines[name] = partial(reference, work, tokenizer, peer, size)
    return engines


def _print_table(rounds: list[dict[str, Any]], work: Work, one_core: bool) -> None:
    names = list(rounds[0])
    ours = [name for name in names if name.startswith("beam_bert")]
    print(
        f"{len(work.articles)} articles of {', '.join(f'{len(a):,}' for a in work.articles)} "
        f"characters, {len(work.questions)} questions each; {torch.get_num_threads()} threads, "
        f"{'CPU time' if one_core else 'clock'}; torch {torch.__version__}; "
        f"native bf16 {has_native_bf16()}"
    )
    print(f"{len(rounds)} rounds, medians; a ratio of 2 says: the product takes half the time")
    print(f"{'':<36}{'windows/s':>10}{'same':>7}" + "".join(f"{name:>17}" for name in ours))
    expected = rounds[0][ours[0]][1]
    for name in names:
        speed = statistics.median(each[name][0] for each in rounds)
        same = np.mean([a == b for a, b in zip(rounds[0][name][1], expected, strict=True)])
        ratios = [
            statistics.median(each[our][0] / each[name][0] for each in rounds) for our in ours
        ]
        print(f"{name:<36}{speed:>10.2f}{same:>7.0%}" + "".join(f"{r:>17.2f}" for r in ratios))


if __name__ == "__main__":
    main()
