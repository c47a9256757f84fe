"""The settings of every job: one pydantic model a job, the only place with defaults.

The command line (`beam_bert.jobs.command_line`), the YAML file and the README's table of flags are
all made from these models.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal, Protocol

from pydantic import model_validator

from beam_bert.errors import ConfigError
from beam_bert.settings.fields import Settings, is_fixed, same_setting, setting
from beam_bert.settings.naming import named
from beam_bert.settings.text_files import Character, Encoding, OptionalCharacter

EMBEDDED_SENTIMENT = "sentiment-small-en"

# A column of a slice holds up to so much, and one document or record beyond it; Arrow's offsets
# have 31 bits, and a record of JSON lines may have four bytes for each of its document's.
MOST_SLICE_BYTES = 256 * 2**20
MOST_DOCUMENT_BYTES = 256 * 2**20

# GPUs that --gpu takes: type as Dataflow names it -> GPUs of a machine -> that machine. H100
# machines with fewer than eight exist at Compute Engine; that Dataflow takes them is unconfirmed.
GPU_MACHINES = {
    "nvidia-l4": {1: "g2-standard-8", 2: "g2-standard-24", 4: "g2-standard-48"},
    "nvidia-tesla-t4": {1: "n1-standard-8", 2: "n1-standard-16", 4: "n1-standard-32"},
    "nvidia-a100-80gb": {1: "a2-ultragpu-1g", 2: "a2-ultragpu-2g", 4: "a2-ultragpu-4g"},
    "nvidia-h100-80gb": {1: "a3-highgpu-1g", 2: "a3-highgpu-2g", 8: "a3-highgpu-8g"},
}

# Names that are safe as one part of a path, locally and on gs://.
RUN_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$"


# Of each group of --help.
_input = partial(setting, "Input")
_model = partial(setting, "Model")
_output = partial(setting, "Output")
_work = partial(setting, "Work")
_results = partial(setting, "Results")
_bench = partial(setting, "Bench")


class _HasStride(Protocol):
    stride: int

    @property
    def model_fields_set(self) -> set[str]: ...


def stride_of(config: _HasStride, max_length: int, longest_answer: int = 0) -> int:
    """The stride of windows of `max_length` tokens.

    One that nobody gave is a third of the window at most: short windows work without one. Where
    answers are looked for, up to half of it, so that the longest stands whole in some window.
    """
    if "stride" in config.model_fields_set:
        return config.stride
    return min(config.stride, max(max_length // 3, min(longest_answer, max_length // 2)))


DEFAULT_MAX_LENGTH = 512  # what BERT reads, and enough for most documents


def window_length(
    asked: int | None, limit: int, default: int = DEFAULT_MAX_LENGTH, hint: str = ""
) -> int:
    """Tokens of a window: as asked, else as many as the model reads (`limit`), `default` at most.

    Raises:
      ConfigError: more is asked than the model reads; ends with the hint.
    """
    if asked is not None and asked > limit:
        raise ConfigError(
            f"{named('max_length', asked)}: the model reads {limit} tokens at most{hint}"
        )
    return asked or min(limit, default)


class InputConfig(Settings):
    """Which files are read."""

    input: tuple[str, ...] = _input(
        "Files, folders or globs, local or gs://; may be given several times.",
        min_length=1,
    )


class ReaderConfig(Settings):
    """How files are read, whatever they are read for."""

    format: Literal["auto", "text", "jsonl", "csv", "tsv", "parquet"] = _input(
        "Input format; auto goes by the file name (.gz .bz2 .zst .zip included).", default="auto"
    )
    text_column: tuple[str, ...] = _input(
        "Column that holds the text; several are joined by a space.",
        default=("text",),
        min_length=1,
    )
    column_names: tuple[str, ...] | None = _input(
        "Names of the columns of CSV or TSV files that have no header line.", default=None
    )
    encoding: Encoding = _input(
        "Encoding of text, CSV, TSV and JSON lines, by Python's name, such as cp1252; auto: UTF-8, "
        "or UTF-16 and UTF-32 by their mark.",
        default="auto",
    )
    delimiter: OptionalCharacter = _input(
        "Character between two fields of CSV or TSV, such as ';' or '\\t'; default: comma or tab; "
        "with --format auto ; and tab are seen in the first lines of CSV.",
        default=None,
    )
    quoting: bool | None = _input(
        "Whether quotes quote fields; default: true for CSV, false for TSV.", default=None
    )
    quote_char: Character = _input("The quote of CSV and TSV.", default='"')
    escape_char: OptionalCharacter = _input(
        "Character of CSV and TSV that takes the meaning from the next, such as '\\' where Spark "
        "wrote them; default: there is none, a quote in quotes is doubled.",
        default=None,
    )
    max_document_bytes: int = _input(
        "A longer document becomes a reject.", default=16 * 2**20, ge=1, le=MOST_DOCUMENT_BYTES
    )


class PairConfig(ReaderConfig):
    """As `ReaderConfig`, for models that may read two texts."""

    text_pair_column: str | None = _input(
        "Column with the second segment, for models that read text pairs.", default=None
    )


class SourceConfig(PairConfig, InputConfig):
    """What everything that reads text takes: which files, and how."""

    id_column: str | None = _input(
        "Column that becomes doc_id; default: <source_file>#<source_row>.", default=None
    )
    keep_columns: tuple[str, ...] | None = _input(
        "Columns to copy to the output; default: all but the text. No value: none.",
        also="carry",
        default=None,
    )
    keep_text: bool = _input("Copy the text to the output too.", default=False)
    text_unit: Literal["line", "file"] = _input(
        "Format text: a document is a line, or a whole file.", default="line"
    )

    @property
    def pair_column(self) -> str | None:
        """Column of a second text beside each text, where there is one."""
        return self.text_pair_column


class ModelConfig(Settings):
    """Which model runs, how it reads and how it computes."""

    model: str = _model(
        "Folder, gs:// prefix, store@alias, Hugging Face id, or "
        f"{EMBEDDED_SENTIMENT} (in the package).",
    )
    precision: Literal["auto", "fp32", "bf16", "int8", "fp8"] = _model(
        "Arithmetic; auto: bf16 where the hardware has it, else fp32; int8 (CPU) and fp8 (L4, "
        "H100) first have to say what fp32 says on 99.5 % of a sample of the input.",
        default="auto",
    )
    recheck_margin: float | None = _model(
        "Low margins are computed again at fp32: labels or answers whose logits are nearer than "
        "this; 0: never; default: 0, in 8 bits 0.1 (0.2 where several labels may be right), for "
        "answers 0.5 there and 0.4 at bf16.",
        default=None,
        ge=0,
        allow_inf_nan=False,
    )
    device: Literal["auto", "cpu", "cuda"] = _model(
        "Where the model runs; auto: CUDA where there is one.", default="auto"
    )
    max_length: int | None = _model(
        "Tokens of a window, special ones included; default: the model's limit, 512 at most.",
        default=None,
        ge=8,
    )
    long_documents: Literal["truncate", "window"] = _model(
        "Longer documents: read the start only, or all of it in overlapping windows.",
        default="truncate",
    )
    stride: int = _model("Tokens that neighbouring windows share.", default=64, ge=0)
    # Matrix products may round by their size, so this can move the last bits of a score.
    batch_tokens: int | None = _model(
        "Tokens computed at once; default: what suits the device, measured on long inputs.",
        default=None,
        ge=1,
    )


class InferenceConfig(ModelConfig, SourceConfig):
    """What everything that runs a model takes: text, the model, how it reads and computes."""


# What is no part of a shard's key, as it changes nothing that is written (the model stands there by
# its digest); all other settings of a job are.
_NOT_IN_KEYS = {
    *("input", "output", "model", "evolve", "overwrite", "incremental", "clean_staging", "run_id"),
    *("max_reject_rate", "max_lost_files", "billing_project", "dry_run", "prices"),
}


class JobConfig(InferenceConfig):
    """What every inference job takes: text, the model, and where results go."""

    CPU_SLICE_BYTES: ClassVar[int] = 4 * 2**20
    GPU_SLICE_BYTES: ClassVar[int] = 64 * 2**20

    output: str = _output("Folder or gs:// prefix of the dataset.")
    partition: str = _output(
        "Partition to write, such as run_date=2026-11-24 (levels joined by /).",
        default="",
    )
    types: Literal["portable", "as_is"] = _output(
        "Types of carried columns: what Spark, DuckDB, BigQuery and other readers share, or as "
        "Arrow has them.",
        default="portable",
    )
    portable_names: bool = _output(
        "Rename carried columns and fields whose names some reader refuses or mixes up.",
        default=False,
    )
    evolve: Literal["refuse", "text"] = _output(
        "A carried column whose type does not go with the table's: refuse the run, or make the "
        "column text from now on.",
        default="refuse",
    )
    overwrite: bool = _output("Replace what the partition holds.", default=False)
    incremental: bool = _output(
        "Read only files that are new or changed, or not yet read with this model and settings; "
        "their rows join the table, and replace what it held of those files.",
        default=False,
    )
    clean_staging: bool = _output(
        "Remove what other runs left in staging and nobody goes on with (no other run may be under "
        "way there).",
        default=False,
    )
    max_reject_rate: float = _output(
        "Share of rejected rows above which the run fails and commits nothing.",
        default=0.05,
        ge=0,
        le=1,
    )
    max_lost_files: int = _output(
        "Files that may be lost (cut short, damaged, not what their name says) before the run "
        "fails and commits nothing; what could be read of them is kept.",
        default=0,
        ge=0,
    )

    limit: int | None = _input(
        "Only the first so many rows, in the order of the listing: for a trial of the real job.",
        default=None,
        ge=1,
    )
    gpu: str | None = _work(
        f"GPU of Dataflow's workers, TYPE or TYPE:COUNT: {', '.join(GPU_MACHINES)}.",
        default=None,
    )
    slice_bytes: int | None = _work(
        "Input bytes of one unit of work and shard; default: 4 MiB on CPU, 64 MiB on a GPU.",
        default=None,
        ge=1,
        le=MOST_SLICE_BYTES,
    )
    billing_project: str | None = _work(
        "Project that pays for requests to buckets on gs:// whose requesters pay.", default=None
    )
    run_id: str | None = _work(
        "Name of this run, by which its manifest.json or failure.json is found; default: made "
        "from the time.",
        default=None,
        pattern=RUN_ID,
    )
    dry_run: bool = _work(
        "Print the plan, with duration and cost estimated from a sample, and run nothing.",
        default=False,
    )
    prices: str | None = _work(
        "YAML file of machines, their prices and speeds, for --dry_run; default: the package's "
        "beam_bert/jobs/prices.yaml, to be replaced by your own.",
        default=None,
    )

    @model_validator(mode="after")
    def _check_way(self) -> JobConfig:
        if self.limit is not None and self.incremental:
            raise ValueError(
                "limit and incremental cannot be combined: files of which a part was read would "
                "count as done"
            )
        if self.overwrite and self.incremental:
            raise ValueError(
                "overwrite and incremental cannot be combined: one replaces the partition, the "
                "other adds to the table"
            )
        return self

    @property
    def not_input(self) -> tuple[str, str]:
        """Places whose files are not input, should they lie in it."""
        return self.output, self.model

    def output_settings(self) -> dict[str, Any]:
        """The settings that change what is written, by name, JSON types only."""
        values = self.model_dump(mode="json", exclude=_NOT_IN_KEYS)
        return {name: values[name] for name in sorted(values) if not is_fixed(type(self), name)}

    def answer_settings(self) -> dict[str, Any]:
        """The settings that decide what a row says, and not where it is put."""
        placing = ("partition", "slice_bytes")
        return {k: v for k, v in self.output_settings().items() if k not in placing}


class ClassifyConfig(JobConfig):
    """Classify every document: raw text in, labels and scores out, as Parquet."""

    top_k: int = _results("Labels and scores to keep for each document.", default=1, ge=1)
    all_scores: bool = _results(
        "Keep the score of every label, in the model's order.", default=False
    )
    threshold: float | None = _results(
        "Multi-label models: a label is given from this probability on; default: the model's "
        "own, else 0.5.",
        default=None,
        ge=0,
        le=1,
    )
    combine_windows: Literal["mean", "max"] = _results(
        "How the probabilities of a document's windows become one.", default="mean"
    )

    @model_validator(mode="after")
    def _check_results(self) -> ClassifyConfig:
        if self.all_scores and self.top_k > 1:
            raise ValueError(
                "all_scores and top_k cannot be combined: all_scores keeps every label"
            )
        return self


class SentimentConfig(ClassifyConfig):
    """Say how positive or negative every document is: raw text in, Parquet out."""

    model: str = _model(
        "Folder, gs:// prefix or Hugging Face id whose labels say negative and positive.",
        default=EMBEDDED_SENTIMENT,
    )
    # A review's verdict may stand at its end; benchmarks/README.md has what was measured.
    long_documents: Literal["truncate", "window"] = _model(
        "Longer documents: read all of them in overlapping windows, or the start only.",
        default="window",
    )


class BenchConfig(InferenceConfig):
    """Measure the model on your own text and machine: speed, agreement, cost."""

    documents: int = _bench(
        "Documents to measure with, taken from all over the input.", default=2_000, ge=1
    )
    precisions: tuple[Literal["bf16", "int8", "fp8"], ...] = _bench(
        "What to measure beside fp32.", default=("bf16", "int8", "fp8")
    )
    rounds: int = _bench(
        "Times that each precision is measured; medians are shown.", default=3, ge=1
    )
    price_an_hour: float | None = _bench(
        "Price of this machine an hour, in your currency.", default=None, ge=0
    )
    billing_project: str | None = same_setting(JobConfig, "billing_project")
