"""`--dry_run`: what a job would read, on which machines, for how long and at what cost.

The plan is exact (files, bytes); everything after it is an estimate from a sample of documents and
either this machine's measured speed or a table of prices and speeds that the user can replace.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from importlib import resources

import numpy as np
from apache_beam.options.pipeline_options import WorkerOptions
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from beam_bert.encoder import EncoderConfig
from beam_bert.errors import ConfigError, shortened
from beam_bert.jobs.plan import JobPlan, runner_of
from beam_bert.jobs.runners import MAX_WORKERS, parse_gpu
from beam_bert.jobs.sampling import SLICE_BYTES, Sample, sample_documents
from beam_bert.settings.naming import named
from beam_bert.slices.plan import FileEntry
from beam_bert.sources.yaml_files import read_yaml
from beam_bert.terminal import TERMINAL

SAMPLED_DOCUMENTS = 1_000
# Measuring stops at the first call after this long: a large model on a laptop is slow.
MEASURED_S = 5.0
MEASURED_WINDOWS = 64


class Machine(BaseModel):
    """One machine: its price, and the tokens that it computes for the table's model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    price_an_hour: float = Field(ge=0)
    tokens_a_second: float = Field(gt=0)


class PriceTable(BaseModel):
    """What `--prices` holds; `beam_bert/jobs/prices.yaml` explains every field."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    date: object
    note: str = ""
    currency: str = "USD"
    mflop_a_token: float = Field(gt=0)
    start_s: float = Field(ge=0)
    default_machine: str
    machines: dict[str, Machine]
    gpus: dict[str, Machine] = {}


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a job would do.

    Attributes:
      files, bytes: what matched, exact.
      documents, tokens, slices: estimated from `sampled_documents` documents; tokens are those
        that the model computes, special ones included.
      is_exact_sample: False where a long compressed file was left early, see `sample`.
      workers: machines (Dataflow), or 1.
      tokens_a_second: of all workers together; None where nothing is known of the machine.
      seconds, cost: None where nothing is known of the machine; cost also on machines of one's own.
      basis: what these rest on.
    """

    files: int
    bytes: int
    documents: int
    tokens: int
    sampled_documents: int
    is_exact_sample: bool
    slices: int
    runner: str
    currency: str
    machine: str = "this machine"
    workers: int = 1
    tokens_a_second: float | None = None
    seconds: float | None = None
    cost: float | None = None
    basis: str = ""


def read_prices(path: str | None) -> PriceTable:
    """The price table of `--prices`, or the package's.

    Raises:
      ConfigError: the file cannot be read or is no price table.
    """
    name = named("prices", path)
    own = str(resources.files("beam_bert.jobs").joinpath("prices.yaml"))
    try:
        return PriceTable.model_validate(read_yaml(path or own, name, ConfigError))
    except ValidationError as error:
        first = error.errors()[0]
        place = shortened(".".join(map(str, first["loc"])), 80) or "the file"
        raise ConfigError(
            f"{name}: {place}: {first['msg']}; beam_bert/jobs/prices.yaml shows the form"
        ) from None


def flop_a_token(encoder: EncoderConfig) -> float:
    """Arithmetic of one token in the linear layers, two operations a weight; BERT-base: 170 M.

    Attention's own products are left out: they depend on the text, and are a tenth at 512 tokens.
    """
    layer = 4 * encoder.hidden_size**2 + 2 * encoder.hidden_size * encoder.intermediate_size
    return 2.0 * encoder.num_layers * layer


def estimate(plan: JobPlan, files: Sequence[FileEntry]) -> Estimate:
    """Sample `files` and reckon what the job would take.

    Raises:
      UserError: the price table cannot be used.
    """
    prices = read_prices(plan.config.prices)
    total = sum(file.size for file in files)
    spec = dataclasses.replace(plan.spec, slice_bytes=SLICE_BYTES)
    sample = sample_documents(files, spec, plan.predict.tokenizer(), SAMPLED_DOCUMENTS)
    documents = round(sample.rows_read * total / max(sample.stored_bytes, 1))
    tokens = round(documents * len(sample.tokens.ids) / sample.rows.num_rows)
    known = Estimate(
        files=len(files),
        bytes=total,
        documents=documents,
        tokens=tokens,
        sampled_documents=sample.rows.num_rows,
        is_exact_sample=sample.is_exact,
        slices=max(math.ceil(total / plan.spec.slice_bytes), 1),
        runner=runner_of(plan.options),
        currency=prices.currency,
    )
    if known.runner == "DataflowRunner":
        return _on_dataflow(known, plan, prices)
    speed = _measured(plan, sample)
    return dataclasses.replace(
        known,
        tokens_a_second=speed,
        seconds=tokens / speed,
        basis="speed measured here on the sample, in one process",
    )


def _on_dataflow(known: Estimate, plan: JobPlan, prices: PriceTable) -> Estimate:
    worker = plan.options.view_as(WorkerOptions)
    machine = worker.machine_type or prices.default_machine
    entry = prices.machines.get(machine)
    if plan.config.gpu is not None:
        gpu = parse_gpu(plan.config.gpu)
        name = f"{gpu.type}:{gpu.count}"
        machine = f"{gpu.machine_type} with {name}"
        entry = prices.gpus.get(name)
    workers = max(min(worker.max_num_workers or MAX_WORKERS, known.slices), 1)
    known = dataclasses.replace(known, machine=machine, workers=workers)
    if entry is None:
        return dataclasses.replace(
            known,
            basis=f"the price table of {prices.date} does not hold {machine}: see "
            f"{named('prices')}",
        )
    speed = entry.tokens_a_second * prices.mflop_a_token * 1e6 / flop_a_token(plan.encoder)
    seconds = prices.start_s + known.tokens / (speed * workers)
    note = f" ({prices.note})" if prices.note else ""
    return dataclasses.replace(
        known,
        tokens_a_second=speed * workers,
        seconds=seconds,
        cost=workers * seconds / 3600 * entry.price_an_hour,
        basis=f"prices and speeds of {prices.date}{note}",
    )


def _measured(plan: JobPlan, sample: Sample) -> float:
    """Tokens a second of this machine on the sample, after one call that warms up."""
    model = plan.predict.load_model()
    everything = sample.tokens
    windows = len(everything.offsets) - 1
    spent, tokens = 0.0, 0
    for start in range(-MEASURED_WINDOWS, windows, MEASURED_WINDOWS):
        at = max(start, 0)
        part = everything.windows(np.arange(at, min(at + MEASURED_WINDOWS, windows)))
        started = time.perf_counter()
        model.outputs(*part.arguments)
        if start >= 0:
            spent += time.perf_counter() - started
            tokens += len(part.ids)
        if spent > MEASURED_S:
            break
    return tokens / max(spent, 1e-9)


def show(estimate: Estimate) -> None:
    """Print an estimate for a person."""
    machines = f"{estimate.workers} x " if estimate.workers > 1 else ""
    lines = [
        ("files", f"{estimate.files:,}, {estimate.bytes:,} bytes"),
        ("documents", f"about {estimate.documents:,}"),
        ("tokens", f"about {estimate.tokens:,}"),
        ("slices", f"about {estimate.slices:,}"),
        ("runner", estimate.runner),
        ("machine", machines + estimate.machine),
    ]
    if estimate.tokens_a_second is not None and estimate.seconds is not None:
        left = math.ceil(estimate.seconds)
        lines += [
            ("speed", f"about {estimate.tokens_a_second:,.0f} tokens/s"),
            ("duration", f"about {left // 3600}:{left // 60 % 60:02}:{left % 60:02} (h:mm:ss)"),
        ]
    if estimate.cost is not None:
        lines.append(("cost", f"about {estimate.cost:,.2f} {estimate.currency}"))
    TERMINAL.show("dry run: nothing is submitted or written")
    for name, text in lines:
        TERMINAL.show(f"{name + ':':<11}{text}")
    TERMINAL.show(f"an estimate from {estimate.sampled_documents:,} documents; {estimate.basis}")
    if not estimate.is_exact_sample:
        TERMINAL.show(
            "long compressed files were read in part, and taken to unpack to four times their size"
        )
    TERMINAL.result(
        "dry_run", dataclasses.asdict(estimate), "; ".join(f"{n} {text}" for n, text in lines)
    )
