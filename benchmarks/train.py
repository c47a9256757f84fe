"""Fine-tuning beside transformers' Trainer: rows a second, and accuracy on the same dev rows.

    python benchmarks/train.py --train FILE --base MODEL --label_column NAME [--text_column text]
                               [--dev FILE] [--rows 2000] [--epochs 3] [--learning_rate 2e-4]
                               [--batch_rows 64]
                               [--max_length N] [--precision fp32|bf16] [--pooling cls|mean]
                               [--one-core] [--only NAME]

Each gets the same encoder, rows, hold-out, tokens, epochs, schedule, optimizer and precision, and a
head drawn at random; what our command does besides (word dropout, averaging) is off. Ours
cuts batches by tokens, `--batch_rows` rows on average. "Trainer, by length" is its
`train_sampling_strategy="group_by_length"`, which pads least. Loading, tokenizing and evaluating
are left out. `--pooling cls` trains the very same network as Trainer does. With `--one-core` each
gets one thread and its CPU time counts, for machines that others use, too. Needs the extra [bench]
(Trainer wants accelerate).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from beam_bert.encoder.config import read_config
from beam_bert.labelled.rows import Tokens
from beam_bert.settings.training import FinetuneConfig
from beam_bert.training.classifier_rows import Labelled, read_labelled, tokens_reader
from beam_bert.training.finetune import FineTuning
from beam_bert.training.loop import Progress, train
from beam_bert.training.setup import Setup, find_model


@dataclass(frozen=True)
class Result:
    """How long the training took, and how well the model does on dev."""

    seconds: float
    accuracy: float


def ours(config: FinetuneConfig, data: Labelled, clock: Callable[[], float]) -> Result:
    """`pipelines.finetune`'s own parts."""
    base = find_model(str(config.base))
    torch.manual_seed(config.seed)
    run = FineTuning(Setup(config, base, None, [], torch.device("cpu")), data, base.folder)
    evaluated: list[float] = []
    evaluate = run.objective.evaluate

    def timed() -> dict[str, float]:
        started = clock()
        metrics = evaluate()
        evaluated.append(clock() - started)
        return metrics

    run.objective.evaluate = timed  # type: ignore[method-assign]  # its time does not count
    (plan,) = run.plans()
    with tempfile.TemporaryDirectory() as work:
        started = clock()
        train(
            run.network,
            run.objective,
            replace(plan, settings=replace(plan.settings, checkpoint_s=1e9)),
            work=Path(work),
            key="benchmark",
            progress=Progress(),
            say=lambda line: None,
        )
        seconds = clock() - started - sum(evaluated)
    return Result(seconds, evaluate()["accuracy"])


def trainer(
    config: FinetuneConfig,
    data: Labelled,
    clock: Callable[[], float],
    *,
    batch_rows: int,
    by_length: bool,
) -> Result:
    """transformers' Trainer with dynamic padding."""
    base = find_model(str(config.base))
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        base.folder, num_labels=len(data.labels), attn_implementation="sdpa"
    )
    read = tokens_reader(config, base.folder, read_config(base.folder))
    tokenizer = transformers.AutoTokenizer.from_pretrained(base.folder)
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch_rows,
            per_device_eval_batch_size=batch_rows,
            num_train_epochs=config.epochs,
            learning_rate=config.learning_rate,
            warmup_steps=round(config.warmup * config.epochs * -(-len(data.train) // batch_rows)),
            weight_decay=config.weight_decay,
            seed=config.seed,
            bf16=config.precision == "bf16",
            use_cpu=True,
            train_sampling_strategy="group_by_length" if by_length else "random",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        dev = as_features(read(data.dev)[0], data.dev_targets)
        runner = transformers.Trainer(
            model=model,
            args=arguments,
            train_dataset=as_features(read(data.train)[0], data.train_targets),
            eval_dataset=dev,
            data_collator=transformers.DataCollatorWithPadding(tokenizer),
        )
        started = clock()
        runner.train()
        seconds = clock() - started
        logits = runner.predict(dev).predictions
    return Result(seconds, float((logits.argmax(axis=1) == data.dev_targets).mean()))


def as_features(tokens: Tokens, targets: np.ndarray) -> list[dict[str, Any]]:
    """Rows as Trainer takes them."""
    return [
        {"input_ids": tokens.input_ids[a:b].tolist(), "labels": int(target)}
        for a, b, target in zip(tokens.offsets[:-1], tokens.offsets[1:], targets, strict=True)
    ]


def main() -> None:
    """Run each in turn and print the table."""
    arguments = _arguments()
    clock: Callable[[], float] = time.perf_counter
    if arguments.one_core:
        torch.set_num_threads(1)
        clock = time.process_time
    config = FinetuneConfig(
        train=tuple(arguments.train),
        dev=tuple(arguments.dev),
        base=arguments.base,
        output="unused",
        text_column=(arguments.text_column,),
        label_column=arguments.label_column,
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        max_length=arguments.max_length,
        precision=arguments.precision,
        pooling=arguments.pooling,
        token_mask_rate=0.0,
        ema_epochs=0.0,
    )
    data = read_labelled(config)
    data = _some(data, arguments.rows)
    base = find_model(arguments.base)
    tokens, _, _ = tokens_reader(config, base.folder, read_config(base.folder))(data.train)
    lengths = tokens.lengths
    config = config.model_copy(
        update={"batch_tokens": round(float(lengths.mean()) * arguments.batch_rows)}
    )
    print(
        f"{len(data.train):,} rows of {lengths.min()} to {lengths.max()} tokens, mean "
        f"{lengths.mean():.1f}; {len(data.dev):,} dev rows; {len(data.labels)} labels; "
        f"{config.epochs} epochs; {arguments.precision}; {torch.get_num_threads()} threads"
        f"{', CPU time' if arguments.one_core else ''}; torch {torch.__version__}, "
        f"transformers {transformers.__version__}"
    )
    rows = len(data.train) * config.epochs
    batch_rows = arguments.batch_rows
    peers: dict[str, Callable[[], Result]] = {
        "beam_bert": lambda: ours(config, data, clock),
        "Trainer": lambda: trainer(config, data, clock, batch_rows=batch_rows, by_length=False),
        "Trainer, by length": lambda: trainer(
            config, data, clock, batch_rows=batch_rows, by_length=True
        ),
    }
    first = None
    print(f"{'':20}{'rows/s':>10}{'dev accuracy':>15}{'ours is':>12}")
    for name, run in peers.items():
        if arguments.only not in (None, name):
            continue
        result = run()
        first = first or result.seconds
        print(
            f"{name:20}{rows / result.seconds:>10.1f}{result.accuracy:>15.4f}"
            f"{result.seconds / first:>11.2f}x",
            flush=True,
        )


def _some(data: Labelled, rows: int) -> Labelled:
    """A random part of the rows to train on."""
    chosen = np.random.default_rng(0).permutation(len(data.train))[:rows]
    return replace(data, train=data.train.take(chosen))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--train", nargs="+", required=True)
    parser.add_argument("--dev", nargs="+", default=[], help="default: a tenth of train")
    parser.add_argument("--base", required=True)
    parser.add_argument("--text_column", default="text")
    parser.add_argument("--label_column", required=True)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning_rate", type=float, default=2e-4)
    parser.add_argument("--batch_rows", type=int, default=64)
    parser.add_argument("--max_length", type=int)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--pooling", choices=("cls", "mean"), default="cls")
    parser.add_argument("--one-core", action="store_true")
    parser.add_argument("--only")
    return parser.parse_args()


if __name__ == "__main__":
    main()
