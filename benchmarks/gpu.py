"""The engine on one GPU, everything in one call: checks first, then tokens a second.

    python benchmarks/gpu.py [--texts FILE ...] [--size base] [--documents 20000] [--rounds 5]

Checks: bf16 and fp8 against fp32 on the CPU, the same bits in other company, out of memory, and the
size of micro-batches that a measurement chooses. Rates: real tokens a second of bf16 and fp8, as
they are and with their layers compiled (which the engine does not do yet: this says whether it
should); the bare bf16 products, in the same rounds; the transformers pipeline (bf16, SDPA, its best
batch size) and a hand-tuned loop (sorted, padded to a few lengths, torch.compile). Also where the
GPU's time goes. Random weights, lengths of real text. What fails is told, and the rest goes on.
Nothing is downloaded; without --texts, words of the vocabulary stand in, of like lengths.

The whole job against the engine: `python benchmarks/job.py --texts FILE` on the same machine.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))
import engine as cpu_benchmark

from beam_bert.config import EMBEDDED_SENTIMENT
from beam_bert.encoder import SequenceClassifier, attention, load_classifier
from beam_bert.models.resolve import EMBEDDED_FOLDER

PIPELINE_BATCHES = (32, 128, 512)
TUNED_BATCH = 256
LENGTH_STEP = 32
PRODUCT_TOKENS = 65_536
PRODUCT_REPEATS = 8
Run = Callable[[], object]


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
    compiled = torch.compile(model.eval().cuda(), dynamic=False)
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
            outputs.append(compiled(input_ids=inputs, attention_mask=masks).logits)
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


def seconds(run: Run) -> float:
    """Wall-clock time of one run, the GPU's queue empty before and after."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def where_the_time_goes(name: str, run: Run) -> None:
    """Print the share of the time in which the GPU computes, and its costliest kernels."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        taken = seconds(run)
    kernels = sorted(profiler.key_averages(), key=lambda each: -each.self_device_time_total)
    total = sum(each.self_device_time_total for each in kernels) / 1e6
    print(f"{name}: the GPU computes {min(total / taken, 1):.0%} of the time (profiled)")
    for each in kernels[:12]:
        share = each.self_device_time_total / 1e6 / max(total, 1e-9)
        print(f"    {share:6.1%} {each.count:7,} x {each.key[:90]}")
    sys.stdout.flush()


def main() -> None:
    """Run every check and rate, and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, nargs="+", help="text first, then tab")
    parser.add_argument("--size", choices=cpu_benchmark.SIZES, default="base")
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
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
        measure(folder, documents, config, args.rounds)


def measure(
    folder: Path,
    documents: cpu_benchmark.Documents,
    config: transformers.BertConfig,
    rounds: int,
) -> None:
    """Load, check, warm up, measure."""
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
    for precision, model in models.items():
        with part(f"compile the layers, {precision}"):
            compiled = with_compiled_layers(model)
            apart = np.abs(compiled.logits(*arrays) - model.logits(*arrays)).max()
            print(f"{precision}: compiled layers give logits {apart:.1e} apart", flush=True)
            runs[f"beam_bert {precision}, compiled layers"] = lambda m=compiled: m.logits(*arrays)
    with part("products"):
        runs["products bf16"] = products(config)
        runs["products bf16"]()
    # The peers come last and everything is told twice: a call that is cut short leaves the rest.
    in_turns(runs, rounds, documents, config)
    for name, run in runs.items():
        if name.startswith("beam_bert"):
            with part(f"profile {name}"):
                where_the_time_goes(name, run)
    with part("transformers pipeline"):
        few = documents.texts[:2_000]
        took = {}
        for size in PIPELINE_BATCHES:
            run = pipeline(folder, few, size)
            run()
            took[size] = seconds(run)
        best = min(took, key=lambda size: took[size])
        runs[f"transformers pipeline, batches of {best}"] = pipeline(folder, documents.texts, best)
    with part("hand-tuned loop"):
        run = tuned(folder, documents.ids)
        run()
        runs["hand-tuned, compiled"] = run
    in_turns(runs, rounds, documents, config)


def in_turns(
    runs: dict[str, Run],
    rounds: int,
    documents: cpu_benchmark.Documents,
    config: transformers.BertConfig,
) -> None:
    """Measure each run once a round, and report."""
    times: dict[str, list[float]] = {}
    for number in range(rounds):
        for name, run in runs.items():
            # The pipeline is the slowest by far: one round of it is enough for a ratio.
            if not name.startswith("transformers") or number == 0:
                with part(f"round {number + 1}, {name}"):
                    times.setdefault(name, []).append(seconds(run))
    with part("report"):
        report(times, documents, config)


def report(
    took: dict[str, list[float]],
    documents: cpu_benchmark.Documents,
    config: transformers.BertConfig,
) -> None:
    """Print medians over rounds: real tokens/s, ratios to bf16, and its share of the products."""
    layer = cpu_benchmark.layer_flop(config)
    whole = layer * config.num_hidden_layers * documents.num_tokens
    if "products bf16" in took:
        # As if the products ran over the documents: seconds for a whole encoder's.
        rates = [PRODUCT_REPEATS * layer * PRODUCT_TOKENS / each for each in took["products bf16"]]
        took["products bf16"] = [whole / rate for rate in rates]
        print(f"products bf16: {statistics.median(rates) / 1e12:.0f} TFLOP/s")
    ours = statistics.median(took.get("beam_bert bf16", [float("nan")]))
    for name, times in took.items():
        middle = statistics.median(times)
        print(
            f"{name:40} {documents.num_tokens / middle:14,.0f} tokens/s  "
            f"beam_bert bf16 takes {ours / middle:.2f} of its time"
        )
    if "products bf16" in took:
        share = statistics.median(took["products bf16"]) / ours
        print(f"beam_bert bf16 reaches {share:.0%} of the products' rate", flush=True)


if __name__ == "__main__":
    main()
