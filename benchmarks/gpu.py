"""The engine on one GPU, everything in one call: checks, tokens a second, the whole job, the aims.

    python benchmarks/gpu.py [--texts FILE ...] [--size base] [--documents 20000] [--rounds 5]
                             [--model MODEL] [--job_documents 1000000]

Checks: bf16 and fp8 against fp32 on the CPU, the same bits in other company, out of memory, the
size of micro-batches that a measurement chooses, and the labels that a trained model (`--model`)
keeps in each precision. Rates: real tokens a second of bf16 and fp8, as they are and with their
layers compiled (which the engine does not do yet: this says whether it should); the bare bf16
products, in the same rounds; the whole job, files to Parquet; the transformers pipeline (bf16,
SDPA, its best batch size) and a hand-tuned loop (sorted, padded to a few lengths, torch.compile).
Also how much of the time the GPU computes, and what. Random weights, lengths of real text. What
fails is told, and the rest goes on; the last lines set every figure beside its aim, and what a call
that is cut short has found stands above. Nothing is downloaded; without --texts, words of the
vocabulary stand in, of like lengths.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count as count_up
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))
import engine as cpu_benchmark
import job as job_benchmark

from beam_bert.encoder import SequenceClassifier, attention, load_classifier
from beam_bert.jobs.benchmark import bench
from beam_bert.models.resolve import EMBEDDED_FOLDER
from beam_bert.settings.inference import EMBEDDED_SENTIMENT, BenchConfig
from beam_bert.sinks.manifest import Manifest

PIPELINE_BATCHES = (32, 128, 512)
TUNED_BATCH = 256
LENGTH_STEP = 32
PRODUCT_TOKENS = 65_536
PRODUCT_REPEATS = 8
LABELLED_DOCUMENTS = 5_000
# So that every thread has many, as in a long job with slices of the usual size.
JOB_SLICE_BYTES = 8 * 2**20
Run = Callable[[], object]
# What is to be reached, each with its figure once it is measured.
AIMS = {
    "bf16, share of the products' rate": 0.60,
    "bf16 / transformers pipeline": 5.0,
    "bf16 / hand-tuned loop": 1.5,
    "fp8 / bf16": 1.3,
    "labels that fp8 keeps, alone": 0.995,
    "labels that fp8 keeps, as in a job": 0.995,
    "whole job / engine": 0.85,
    "GPU busy, share of the whole job": 0.90,
}
FIGURES: dict[str, float] = {}


@contextmanager
def part(name: str) -> Iterator[None]:
    """Tell of what fails inside, and let the rest go on."""
    started = time.perf_counter()
    try:
        yield
    except Exception:
        print(f"FAILED: {name}\n{traceback.format_exc()}", flush=True)
    print(f"# {name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


def flat(ids: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Sequences end to end: int32 ids, int64 offsets."""
    offsets = np.zeros(len(ids) + 1, np.int64)
    np.cumsum([len(each) for each in ids], out=offsets[1:])
    return np.concatenate([np.array(each, np.int32) for each in ids]), offsets


def made_up_texts(tokenizer: Tokenizer, count: int, file: Path) -> Path:
    """Lines of whole words of the vocabulary: median of about 20 words, some ten times as long."""
    generator = np.random.default_rng(0)
    words = np.array([word for word in tokenizer.get_vocab() if word.isalpha()])
    lengths = np.clip(generator.lognormal(2.8, 0.8, 4 * count), 2, 200).astype(int)
    lines = (" ".join(generator.choice(words, length)) for length in lengths)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def check(folder: Path, ids: list[list[int]], models: dict[str, SequenceClassifier]) -> None:
    """Print how far each precision is from fp32 on the CPU, and whether company changes bits."""
    few = ids[:256]
    reference = load_classifier(folder, precision="fp32", device="cpu").logits(*flat(few))
    for name, model in models.items():
        together = model.logits(*flat(few))
        alone = np.concatenate([model.logits(*flat([each])) for each in few[:64]])
        kept = (together.argmax(1) == reference.argmax(1)).mean()
        print(
            f"{name}: largest difference from fp32 {np.abs(together - reference).max():.4f}, "
            f"labels kept {kept:.4f}; alone or in company "
            f"{np.abs(alone - together[:64]).max():.1e} apart",
            flush=True,
        )


def check_out_of_memory(folder: Path, ids: list[list[int]]) -> None:
    """With most of the memory taken, a large micro-batch is halved until it fits."""
    model = load_classifier(folder, precision="bf16", device="cuda", batch_tokens=1_000_000)
    expected = model.logits(*flat(ids[:200]))
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(max(0, free - 2**30), dtype=torch.uint8, device="cuda")
    try:
        got = model.logits(*flat(ids))
    finally:
        del taken
        torch.cuda.empty_cache()
    print(
        f"out of memory: went on with {model.batch_tokens:,} tokens a micro-batch, logits "
        f"{np.abs(got[:200] - expected).max():.1e} apart",
        flush=True,
    )


def with_compiled_layers(model: SequenceClassifier) -> SequenceClassifier:
    """The same model, its layers fused by torch.compile: one graph for every number of tokens."""
    order = attention._one_order(torch.device("cuda:0"))
    attention._one_order = lambda device: order  # type: ignore[assignment]  # not to be traced
    model = copy.copy(model)
    model._encoder = copy.copy(model._encoder)
    model._encoder._apply = torch.compile(  # type: ignore[method-assign]
        model._encoder._apply, dynamic=True, fullgraph=True
    )
    return model


def tuned(folder: Path, ids: list[list[int]]) -> Run:
    """What a careful user writes: sorted, padded to multiples of 32, torch.compile, bf16, SDPA."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.bfloat16, attn_implementation="sdpa"
    )
    model.eval().cuda()
    # Layers alike share a graph for each length; a graph of them all would take minutes to compile.
    for layer in model.bert.encoder.layer:
        layer.compile(dynamic=False)
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))

    @torch.inference_mode()
    def run() -> None:
        outputs = []
        for start in range(0, len(order), TUNED_BATCH):
            rows = order[start : start + TUNED_BATCH]
            longest = -(-len(ids[rows[0]]) // LENGTH_STEP) * LENGTH_STEP
            batch = np.zeros((TUNED_BATCH, longest), np.int64)
            mask = np.zeros_like(batch)
            mask[:, 0] = 1
            for row, i in enumerate(rows):
                batch[row, : len(ids[i])] = ids[i]
                mask[row, : len(ids[i])] = 1
            inputs = torch.from_numpy(batch).pin_memory().cuda(non_blocking=True)
            masks = torch.from_numpy(mask).pin_memory().cuda(non_blocking=True)
            outputs.append(model(input_ids=inputs, attention_mask=masks).logits)
        torch.cat(outputs).float().cpu()

    return run


def pipeline(folder: Path, texts: list[str], batch_size: int) -> Run:
    """transformers' text-classification pipeline on the GPU, texts sorted by length."""
    run = transformers.pipeline(
        "text-classification",
        model=str(folder),
        tokenizer=transformers.AutoTokenizer.from_pretrained(folder),
        dtype=torch.bfloat16,
        device="cuda",
        batch_size=batch_size,
        truncation=True,
        max_length=cpu_benchmark.MAX_LENGTH,
        model_kwargs={"attn_implementation": "sdpa"},
    )
    return lambda: list(run(sorted(texts, key=len))) and None


def products(config: transformers.BertConfig) -> Run:
    """The bare bf16 products of one layer."""
    hidden, inner = config.hidden_size, config.intermediate_size
    shapes = [(hidden, 3 * hidden), (hidden, hidden), (hidden, inner), (inner, hidden)]
    pairs = [
        (
            torch.randn(PRODUCT_TOKENS, k, dtype=torch.bfloat16, device="cuda"),
            torch.randn(k, n, dtype=torch.bfloat16, device="cuda"),
        )
        for k, n in shapes
    ]

    def run() -> None:
        for _ in range(PRODUCT_REPEATS):
            for x, weight in pairs:
                torch.mm(x, weight)

    return run


def warm_seconds(run: Run) -> float:
    """`seconds` of the second run."""
    run()
    return seconds(run)


def seconds(run: Run) -> float:
    """Wall-clock time of one run, the GPU's queue empty before and after."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def busy_seconds(intervals: Iterable[tuple[int, int]]) -> float:
    """Seconds in which at least one of the intervals (start and end, in ns) runs."""
    busy = until = 0
    for start, end in sorted(intervals):
        busy += max(0, end - max(start, until))
        until = max(until, end)
    return busy / 1e9


def where_the_time_goes(name: str, run: Run) -> float:
    """Print the share of the time in which the GPU computes, and its costliest kernels.

    Returns:
      The share of the whole run.
    """
    # The GPU's own events alone: those of the CPU's operators would count the same kernels again.
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        taken = seconds(run)
    events = [
        (each.start_ns(), each.end_ns(), each.name())
        for each in profiler.profiler.kineto_results.events()
        if each.device_type() == torch.autograd.DeviceType.CUDA and not each.is_user_annotation()
    ]
    busy = busy_seconds((start, end) for start, end, _ in events)
    between = (max(end for _, end, _ in events) - min(start for start, _, _ in events)) / 1e9
    print(
        f"{name}: the GPU is busy {busy / taken:.1%} of {taken:.2f} s, "
        f"{busy / between:.1%} of the {between:.2f} s from its first kernel to its last"
    )
    costs, counts = Counter[str](), Counter[str]()
    for start, end, kernel in events:
        costs[kernel] += end - start
        counts[kernel] += 1
    for kernel, cost in costs.most_common(12):
        share = cost / sum(costs.values())
        print(f"    {share:6.1%} {counts[kernel]:7,} x {kernel[:90]}")
    sys.stdout.flush()
    return busy / taken


def labels_kept(model: str, texts: list[str], folder: Path) -> None:
    """Print what a trained model's precisions say of the texts, alone and as in a job."""
    source = job_benchmark.write_documents(folder / "labelled.jsonl", texts)
    for name, recheck_margin in (("alone", 0.0), ("as in a job", None)):
        config = BenchConfig(
            input=(str(source),),
            model=model,
            device="cuda",
            documents=LABELLED_DOCUMENTS,
            precisions=("bf16", "fp8"),
            rounds=1,
            recheck_margin=recheck_margin,
        )
        print(f"{model}, 8 bits {name}:", flush=True)
        for row in bench(config).measured:
            FIGURES[f"labels that {row.precision} keeps, {name}"] = row.agreement
    sys.stdout.flush()


def whole_job(folder: Path, texts: list[str], count: int, engine_rate: float) -> None:
    """Print what files to Parquet take beside the engine alone, and how busy the GPU is.

    Args:
      folder: of the model, and for the files.
      texts: to be repeated, each time after another number, since twins are computed once.
      count: documents of the job.
      engine_rate: tokens/s of the engine alone.
    """
    numbered = (f"{n} {texts[n % len(texts)]}" for n in range(count))
    source = job_benchmark.write_documents(folder / "in.jsonl", numbered)
    few = job_benchmark.write_documents(folder / "few.jsonl", texts[:1_000])
    outputs = (folder / f"out-{number}" for number in count_up())

    def job(source: Path) -> Manifest:
        return job_benchmark.run_job(source, next(outputs), folder, JOB_SLICE_BYTES)

    start = warm_seconds(lambda: job(few))
    manifests: list[Manifest] = []
    taken = seconds(lambda: manifests.append(job(source)))
    rate = manifests[0].stats["tokens_computed"] / taken
    share = rate / engine_rate
    print(
        f"whole job: {count:,} documents in {taken:.1f} s, {rate:,.0f} tokens/s, {share:.2f} of "
        f"the engine alone; {share * taken / (taken - start):.2f} without the {start:.1f} s that "
        "1,000 documents take"
    )
    FIGURES["whole job / engine"] = share
    FIGURES["GPU busy, share of the whole job"] = where_the_time_goes("job", lambda: job(source))


def main() -> None:
    """Run every check and rate, and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, nargs="+", help="text first, then tab")
    parser.add_argument("--size", choices=cpu_benchmark.SIZES, default="base")
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default=EMBEDDED_SENTIMENT, help="trained, for its labels")
    parser.add_argument("--job_documents", type=int, default=1_000_000)
    parser.add_argument("--tokenizer", type=Path, help="folder; default: the embedded model's")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here: nothing to measure")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    config = cpu_benchmark.SIZES[args.size]
    source = args.tokenizer or EMBEDDED_FOLDER / EMBEDDED_SENTIMENT
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        texts = args.texts or [made_up_texts(tokenizer, args.documents, folder / "texts.txt")]
        documents = cpu_benchmark.read_documents(texts, args.documents, tokenizer)
        print(
            f"{torch.cuda.get_device_name()}, torch {torch.__version__}; {args.size}, "
            f"{len(documents.ids):,} documents, {documents.num_tokens:,} tokens, longest "
            f"{max(map(len, documents.ids))}{'' if args.texts else ', made-up texts'}",
            flush=True,
        )
        cpu_benchmark.save_model(folder, config, tokenizer)
        measure(folder, documents, config, args)
    for name, aim in AIMS.items():
        print(f"{name:40} {FIGURES.get(name, float('nan')):8.3f}   aim {aim}")


def measure(
    folder: Path,
    documents: cpu_benchmark.Documents,
    config: transformers.BertConfig,
    args: argparse.Namespace,
) -> None:
    """Load, check, warm up, measure; what the aims are about comes first, the slow peers last."""
    models: dict[str, SequenceClassifier] = {}
    arrays = flat(documents.ids)
    precisions = ["bf16"]
    if torch.cuda.get_device_capability() >= (8, 9):
        precisions.append("fp8")
    for precision in precisions:
        with part(f"load {precision}"):
            models[precision] = load_classifier(folder, precision=precision, device="cuda")
    with part("checks"):
        check(folder, documents.ids, models)
        print(f"attention's order of summation: {attention._one_order(torch.device('cuda:0'))}")
    with part("out of memory"):
        check_out_of_memory(folder, documents.ids)
    for precision, model in models.items():
        with part(f"size of micro-batches, {precision}"):
            model.choose_batch_tokens(*arrays)
            print(f"{precision}: {model.measured}", flush=True)
    runs: dict[str, Run] = {
        f"beam_bert {precision}": lambda m=model: m.logits(*arrays)
        for precision, model in models.items()
    }
    with part("products"):
        runs["products bf16"] = products(config)
        runs["products bf16"]()
    took = in_turns(runs, args.rounds, documents, config)
    for name in [name for name in runs if name.startswith("beam_bert")]:
        with part(f"profile {name}"):
            where_the_time_goes(name, runs[name])
    with part("labels"):
        labels_kept(args.model, documents.texts, folder)
    with part("whole job"):
        rate = documents.num_tokens / statistics.median(took["beam_bert bf16"])
        whole_job(folder, documents.texts, args.job_documents, rate)
    torch._dynamo.config.recompile_limit = 64  # a graph for each length of the hand-tuned loop
    for precision, model in models.items():
        with part(f"compile the layers, {precision}"):
            compiled = with_compiled_layers(model)
            apart = np.abs(compiled.logits(*arrays) - model.logits(*arrays)).max()
            print(f"{precision}: compiled layers give logits {apart:.1e} apart", flush=True)
            runs[f"beam_bert {precision}, compiled layers"] = lambda m=compiled: m.logits(*arrays)
    with part("transformers pipeline"):
        few = documents.texts[:2_000]
        best = min(PIPELINE_BATCHES, key=lambda size: warm_seconds(pipeline(folder, few, size)))
        runs[f"transformers pipeline, batches of {best}"] = pipeline(folder, documents.texts, best)
    with part("hand-tuned loop"):
        run = tuned(folder, documents.ids)
        run()
        runs["hand-tuned, compiled"] = run
    in_turns(runs, args.rounds, documents, config)


def in_turns(
    runs: dict[str, Run],
    rounds: int,
    documents: cpu_benchmark.Documents,
    config: transformers.BertConfig,
) -> dict[str, list[float]]:
    """Measure each run once a round, report, and return the seconds."""
    times: dict[str, list[float]] = {}
    for number in range(rounds):
        for name, run in runs.items():
            # The pipeline is the slowest by far: one round of it is enough for a ratio.
            if not name.startswith("transformers") or number == 0:
                with part(f"round {number + 1}, {name}"):
                    times.setdefault(name, []).append(seconds(run))
    with part("report"):
        report(times, documents, config)
    return times


def report(
    took: dict[str, list[float]],
    documents: cpu_benchmark.Documents,
    config: transformers.BertConfig,
) -> None:
    """Print medians over rounds: real tokens/s, and ratios to bf16 within a round."""
    ours = took["beam_bert bf16"]
    for name, times in took.items():
        ratio = statistics.median(t / o for t, o in zip(times, ours, strict=False))
        if name == "products bf16":
            flop = PRODUCT_REPEATS * PRODUCT_TOKENS * cpu_benchmark.layer_flop(config)
            print(f"{name}: {flop / statistics.median(times) / 1e12:.0f} TFLOP/s")
            # As if a whole encoder's products ran over the documents at that rate.
            layers = config.num_hidden_layers * documents.num_tokens
            FIGURES["bf16, share of the products' rate"] = (
                ratio * layers / (PRODUCT_REPEATS * PRODUCT_TOKENS)
            )
            continue
        rate = documents.num_tokens / statistics.median(times)
        print(f"{name:40} {rate:14,.0f} tokens/s   bf16 is {ratio:6.2f} times as fast")
        if name == "beam_bert fp8":
            FIGURES["fp8 / bf16"] = 1 / ratio
        elif name.startswith("transformers"):
            FIGURES["bf16 / transformers pipeline"] = ratio
        elif name.startswith("hand-tuned"):
            FIGURES["bf16 / hand-tuned loop"] = ratio
    share = FIGURES.get("bf16, share of the products' rate", float("nan"))
    print(f"beam_bert bf16 reaches {share:.0%} of the products' rate", flush=True)


if __name__ == "__main__":
    main()
