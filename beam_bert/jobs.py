"""A whole job: check everything that can be checked, build one pipeline, run it, tell how it went.

`classify` and `sentiment` are what `python -m pipelines.classify` and `pipelines.sentiment` call;
they take the same settings from Python.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import logging
import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import PipelineResult

import beam_bert
from beam_bert import console, errors
from beam_bert.config import (
    CPU_SLICE_BYTES,
    GPU_SLICE_BYTES,
    ClassifyConfig,
    JobConfig,
    SentimentConfig,
)
from beam_bert.dataflow import configure, parse_gpu
from beam_bert.encoder import EncoderConfig, load_classifier
from beam_bert.errors import BeamBertError, ConfigError, ModelError, OutputError, RunFailed
from beam_bert.models import ResolvedModel, fetch_model, resolve_model
from beam_bert.progress import LIVE
from beam_bert.schema import ID_FIELDS, ORIGIN_FIELDS, SCHEMA_VERSION, output_schema
from beam_bert.sinks import (
    Manifest,
    RunSpec,
    check_partition_columns,
    prepare_output,
    read_failure,
    read_manifest,
    staged_progress,
)
from beam_bert.slices import FileEntry
from beam_bert.sources import SourceSpec, inspect_source, list_files
from beam_bert.tasks import ClassificationTask, SentimentTask
from beam_bert.tokenization import DocumentTokenizer, WindowSettings
from beam_bert.transforms import DONE, Classify, CommitRun, ReadDocuments, WriteShards

SOFTWARE = ("beam-bert", "apache-beam", "torch", "transformers", "tokenizers", "pyarrow")
LOCAL_RUNNERS = ("DirectRunner", "FnApiRunner", "BundleBasedDirectRunner", "PrismRunner")
DEFAULT_MAX_LENGTH = 512

TASKS: dict[str, type[ClassificationTask]] = {
    "classify": ClassificationTask,
    "sentiment": SentimentTask,
}


def classify(config: ClassifyConfig, beam_flags: Sequence[str] = ()) -> Manifest:
    """Run the classification job.

    Returns:
      The manifest of the committed run.

    Raises:
      UserError: something about the settings, input, model or output is wrong; nothing was done.
      RunFailed: the run did not finish, or too many rows were rejected; nothing was committed.
    """
    return _run("classify", config, beam_flags)


def sentiment(config: SentimentConfig, beam_flags: Sequence[str] = ()) -> Manifest:
    """Run the sentiment job; as `classify`, with `sentiment` and `polarity` in the output."""
    return _run("sentiment", config, beam_flags)


@dataclasses.dataclass(frozen=True)
class JobPlan:
    """Everything that is known before the first document is read."""

    config: ClassifyConfig
    options: PipelineOptions
    accelerator: str | None
    files: list[FileEntry]
    spec: SourceSpec
    model: ResolvedModel
    task: ClassificationTask
    windows: WindowSettings
    schema: pa.Schema
    settings_digest: str
    run: RunSpec


def _run(job: str, config: ClassifyConfig, beam_flags: Sequence[str]) -> Manifest:
    started = time.monotonic()
    plan = plan_job(job, config, beam_flags)
    prepared = prepare_output(plan.run)
    manifest = _finished_before(plan, prepared.finished_run_id) or _execute(plan)
    console.summary(manifest, config.output, time.monotonic() - started)
    return manifest


def _finished_before(plan: JobPlan, run_id: str | None) -> Manifest | None:
    """The manifest of a launch of this very work that was killed inside its commit.

    Preparing the output has finished it; there is nothing left to do unless the input has changed.
    """
    if run_id is None or plan.config.overwrite:
        return None
    manifest = _manifest(plan.run.output, run_id)
    listed = {file.path for file in plan.files}
    if {file.path for file in manifest.inputs} != listed:
        raise OutputError(
            f"{plan.run.output} holds run {run_id}, whose commit was finished now; its input was "
            "another: give --overwrite to replace it, or another --partition"
        )
    return manifest


def _manifest(output: str, run_id: str) -> Manifest:
    manifest = read_manifest(output, run_id)
    if manifest is None:
        raise RunFailed(f"{output}/runs/{run_id} has no manifest: the run committed nothing")
    return manifest


def plan_job(job: str, config: ClassifyConfig, beam_flags: Sequence[str] = ()) -> JobPlan:
    """Check input, model and settings, in the order in which a user would mend them.

    Raises:
      UserError: something about them is wrong.
    """
    options = _pipeline_options(beam_flags)
    gpu = parse_gpu(config.gpu) if config.gpu else None
    accelerator = None
    if _runner(options) == "DataflowRunner":
        accelerator = configure(options, gpu, job)
    elif gpu is not None:
        raise ConfigError(f"--gpu is for --runner=DataflowRunner, not {_runner(options)}")
    files = list_files(config.input)
    model = resolve_model(config.model)
    folder = fetch_model(model)
    # Loading it here finds a damaged checkpoint before a single worker starts; once more is cheap.
    encoder = load_classifier(folder, precision="fp32", device="cpu").config
    task = TASKS[job](
        labels=encoder.labels,
        problem_type=encoder.problem_type,
        top_k=config.top_k,
        all_scores=config.all_scores,
        threshold=config.threshold,
        combine=config.combine_windows,
    )
    windows = _windows(config, encoder)
    tokenizer = DocumentTokenizer(folder, windows, pair=config.text_pair_column is not None)
    if tokenizer.vocab_size > encoder.vocab_size:
        raise ModelError(
            f"model {config.model}: its tokenizer has {tokenizer.vocab_size} tokens, its table "
            f"{encoder.vocab_size}; use the tokenizer that it was trained with"
        )
    reserved = [field.name for field in (*ID_FIELDS, *task.fields(), *ORIGIN_FIELDS)]
    spec = inspect_source(files, _source_spec(config), reserved)
    schema = output_schema(spec.carried, task.fields())
    check_partition_columns(config.partition, schema)
    digest = _settings_digest(job, config, model, schema)
    return JobPlan(
        config=config,
        options=options,
        accelerator=accelerator,
        files=files,
        spec=spec,
        model=model,
        task=task,
        windows=windows,
        schema=schema,
        settings_digest=digest,
        run=_run_spec(job, config, model, digest),
    )


def _source_spec(config: JobConfig) -> SourceSpec:
    slice_bytes = config.slice_bytes
    if slice_bytes is None:
        on_gpu = config.gpu is not None or _runs_on_cuda(config.device)
        slice_bytes = GPU_SLICE_BYTES if on_gpu else CPU_SLICE_BYTES
    return SourceSpec(
        format=config.format,
        text_columns=config.text_column,
        text_pair_column=config.text_pair_column,
        id_column=config.id_column,
        carry=config.carry,
        keep_text=config.keep_text,
        text_unit=config.text_unit,
        column_names=config.column_names,
        quoting=config.quoting,
        slice_bytes=slice_bytes,
        max_document_bytes=config.max_document_bytes,
    )


def _runs_on_cuda(device: str) -> bool:
    import torch

    return device == "cuda" or (device == "auto" and torch.cuda.is_available())


def _windows(config: JobConfig, encoder: EncoderConfig) -> WindowSettings:
    limit = encoder.max_length
    if config.max_length is not None and config.max_length > limit:
        raise ConfigError(
            f"--max_length {config.max_length}: the model reads {limit} tokens at most; "
            f"give {limit} or less, and --long_documents window to read all of longer documents"
        )
    return WindowSettings(
        max_length=config.max_length or min(limit, DEFAULT_MAX_LENGTH),
        overlapping=config.long_documents == "window",
        stride=config.stride,
    )


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in SOFTWARE[1:]}
    return {SOFTWARE[0]: beam_bert.__version__, **versions}


def _settings_digest(job: str, config: JobConfig, model: ResolvedModel, schema: pa.Schema) -> str:
    """Stands for all that changes a shard beside the bytes of its slice."""
    settings = {
        "job": job,
        "settings": config.output_settings(),
        # The digest decides the answers; the names stand in the rows beside them.
        "model": [model.name, model.shown_version, model.version],
        "schema_version": SCHEMA_VERSION,
        "schema": str(schema),
        "versions": _versions(),
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _run_spec(job: str, config: JobConfig, model: ResolvedModel, digest: str) -> RunSpec:
    now = datetime.now(timezone.utc)
    work = json.dumps([config.partition, list(config.input), digest])
    run_key = hashlib.sha256(work.encode()).hexdigest()[:16]
    return RunSpec(
        run_id=f"{now:%Y%m%dT%H%M%S%f}"[:-3] + f"Z-{run_key[:8]}",
        run_key=run_key,
        output=config.output,
        partition=config.partition,
        overwrite=config.overwrite,
        max_reject_rate=config.max_reject_rate,
        job=job,
        config=config.model_dump(mode="json"),
        model=dataclasses.asdict(model),
        versions=_versions(),
        started_at=now.isoformat(timespec="seconds"),
    )


def _pipeline_options(beam_flags: Sequence[str]) -> PipelineOptions:
    options = PipelineOptions(list(beam_flags))
    standard = options.view_as(StandardOptions)
    if standard.runner in (None, "DirectRunner"):
        # DirectRunner would first try to download Prism, and then run the very same thing.
        standard.runner = "FnApiRunner"
    return options


def _runner(options: PipelineOptions) -> str:
    return str(options.view_as(StandardOptions).runner).rsplit(".", 1)[-1]


def launch(job: str, config: ClassifyConfig, beam_flags: Sequence[str] = ()) -> PipelineResult:
    """Check, prepare and start a job, and do not wait for it: what a template's launcher does.

    Raises:
      UserError: something about the settings, input, model or output is wrong; nothing was done.
    """
    plan = plan_job(job, config, beam_flags)
    prepare_output(plan.run)
    return submit(plan)


def submit(plan: JobPlan) -> PipelineResult:
    """Build the pipeline and start it; local runners return when it is done.

    Raises:
      ModelError: the runner's workers are other machines and cannot see the model.
      ConfigError: Beam refuses its flags.
    """
    if plan.model.is_local and _runner(plan.options) == "DataflowRunner":
        raise ModelError(
            f"model {plan.model.name} is a folder of this machine; jobs on other machines need a "
            "gs:// prefix, a Hugging Face id or an embedded model"
        )
    try:
        pipeline = beam.Pipeline(options=plan.options)
    except ValueError as error:  # Beam's own check of its options
        raise ConfigError(f"Beam refuses these flags: {error}") from None
    build(pipeline, plan)
    return pipeline.run()


def _execute(plan: JobPlan) -> Manifest:
    if _runner(plan.options) in LOCAL_RUNNERS:
        # A person reads the terminal: Beam's own notes about its runners do not belong there.
        logging.getLogger("apache_beam").setLevel(logging.ERROR)
        logging.getLogger("root").setLevel(logging.ERROR)
    try:
        with console.progress(_snapshots(plan)):
            submit(plan).wait_until_finish()
    except Exception as error:  # whatever a runner wraps a worker's error in
        raise _failure(plan.run, error) from error
    return _manifest(plan.run.output, plan.run.run_id)


def build(pipeline: beam.Pipeline, plan: JobPlan) -> Any:
    """Put the whole job into a pipeline; returns the PCollection with the one Manifest."""
    config = plan.config
    read = pipeline | "Read" >> ReadDocuments(
        config.input, plan.spec, plan.settings_digest, plan.run
    )
    predictions = read.documents | "Classify" >> Classify(
        plan.model,
        plan.task,
        plan.windows,
        pair=config.text_pair_column is not None,
        precision=config.precision,
        device=config.device,
        batch_tokens=config.batch_tokens,
        accelerator=plan.accelerator,
    )
    written = predictions | "Write" >> WriteShards(plan.run, plan.schema)
    records = (written, read[DONE]) | "Records" >> beam.Flatten()
    return records | "Commit" >> CommitRun(plan.run, plan.schema)


def _snapshots(plan: JobPlan) -> Callable[[], console.Snapshot]:
    total_bytes = max(sum(file.size for file in plan.files), 1)

    def snapshot() -> console.Snapshot:
        _, rows, bytes_ = staged_progress(plan.run)
        # Live counts see inside a slice, but only in this process.
        documents = max(rows, int(LIVE.documents))
        if LIVE.rows_read:
            share = min(LIVE.documents / LIVE.rows_read, 1.0)
            bytes_ = max(bytes_, int(LIVE.bytes_read * share))
        return console.Snapshot(documents, min(bytes_ / total_bytes, 1.0))

    return snapshot


def _failure(run: RunSpec, error: Exception) -> BeamBertError:
    """The one line that says why a run failed, whatever the runner made of the worker's error."""
    if isinstance(error, BeamBertError):
        return error
    failure = read_failure(run.output, run.run_id)
    if failure is not None:
        return RunFailed(failure.message)
    # Runners hand on a worker's error as text, with its traceback.
    found = re.findall(r"^beam_bert\.errors\.(\w+): (.*)$", str(error), re.MULTILINE)
    if found:
        name, message = found[-1]
        kind = getattr(errors, name, RunFailed)
        return kind(re.sub(r" \[while running .*", "", message))
    last = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return RunFailed(f"the pipeline failed: {re.sub(r' .while running .*', '', last[-1])}")
