"""What a job knows before the first document is read: everything that can be checked, checked."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from beam_bert.encoder import EncoderConfig, load_classifier, load_span_finder
from beam_bert.encoder.engine import resolve_device
from beam_bert.errors import ConfigError
from beam_bert.inference.compute_options import ComputeOptions
from beam_bert.jobs.columns import PlannedColumns, plan_columns
from beam_bert.jobs.first_look import asked_by, source_spec
from beam_bert.jobs.precision_check import check_precision
from beam_bert.jobs.runners import (
    LOCAL_RUNNER,
    LOCAL_RUNNERS,
    asks_for_gpu,
    configure,
    parse_gpu,
    pipeline_options,
    runner_of,
    runs_on_cuda,
    use_threads,
)
from beam_bert.jobs.sampling import first_documents
from beam_bert.models import ResolvedModel, fetch_model, resolve_model
from beam_bert.pipeline.answer import Answer
from beam_bert.pipeline.classify import Classify, task_of
from beam_bert.pipeline.predict import Predict
from beam_bert.settings.answer import DEFAULT_MAX_LENGTH as ANSWER_MAX_LENGTH
from beam_bert.settings.answer import AnswerConfig
from beam_bert.settings.inference import (
    DEFAULT_MAX_LENGTH,
    ClassifyConfig,
    InferenceConfig,
    JobConfig,
    stride_of,
    window_length,
)
from beam_bert.settings.naming import named
from beam_bert.sinks.manifest import utc_now
from beam_bert.sinks.run import RunSpec, encoded_schema, new_run_id
from beam_bert.slices.plan import FileEntry
from beam_bert.slices.schema import ID_FIELDS, ORIGIN_FIELDS, SCHEMA_VERSION, same_name
from beam_bert.software import software_versions
from beam_bert.sources import SourceSpec, inspect_source, list_files
from beam_bert.sources.limiting import first_rows
from beam_bert.storage.billing import bill_to
from beam_bert.tasks import AnswerTask, ClassificationTask, SentimentTask
from beam_bert.tasks.answering import TEXT
from beam_bert.terminal import TERMINAL
from beam_bert.tokenization import QuestionTokenizer, WindowSettings

_MOST_LEFT_OUT = 100  # names of skipped files that a manifest has
_WITHOUT_BF16 = ("nvidia-tesla-t4",)  # of the GPUs that --gpu takes


@dataclasses.dataclass(frozen=True)
class JobPlan:
    """Everything that is known before the first document is read."""

    config: JobConfig
    options: PipelineOptions
    files: list[FileEntry]
    spec: SourceSpec
    model: ResolvedModel
    predict: Predict
    encoder: EncoderConfig
    schema: pa.Schema
    settings_digest: str
    run: RunSpec
    notes: tuple[str, ...] = ()


def plan_job(job: str, config: JobConfig, beam_flags: Sequence[str] = ()) -> JobPlan:
    """Check input, model and settings, in the order in which a user would mend them.

    Raises:
      UserError: something about them is wrong.
    """
    bill_to(config.billing_project)
    options = pipeline_options(beam_flags)
    FileSystems.set_options(options)  # as Pipeline() does, but before the input is listed
    gpu = parse_gpu(config.gpu) if config.gpu else None
    compute = compute_options(config)
    if runner_of(options) == "DataflowRunner":
        compute = dataclasses.replace(compute, accelerator=configure(options, gpu, job))
        if gpu is not None or asks_for_gpu(options):
            if config.device == "cpu":
                raise ConfigError(
                    f"{named('device', 'cpu')} would leave the workers' GPU idle: leave one of "
                    "them out"
                )
            # A missing driver must not end in a night on their CPUs.
            compute = dataclasses.replace(compute, device="cuda")
        if gpu is not None and config.precision == "auto":
            # Shards' keys have the precision, and are made by workers that may have no GPU.
            precision = "fp32" if gpu.type in _WITHOUT_BF16 else "bf16"
            compute = dataclasses.replace(compute, precision=precision)
    elif gpu is not None:
        raise ConfigError(
            f"{named('gpu')} is for --runner=DataflowRunner, not {runner_of(options)}"
        )
    elif runner_of(options) in LOCAL_RUNNERS:
        resolve_device(config.device)  # or one line now, not of every worker
        if runner_of(options) == LOCAL_RUNNER and runs_on_cuda(config.device):
            use_threads(options, config.device)
    left_out: list[str] = []
    files = list_files(config.input, apart=config.not_input, left_out=left_out)
    model = resolve_model(config.model)
    folder = fetch_model(model)
    predict, encoder = PREDICTORS[job](config, model, folder, compute)
    tokenizer = predict.tokenizer()
    if isinstance(tokenizer, QuestionTokenizer) and isinstance(config, AnswerConfig):
        _warn_of_borders(tokenizer, config)
    reserved = [field.name for field in (*ID_FIELDS, *predict.task.fields(), *ORIGIN_FIELDS)]
    if isinstance(predict.task, ClassificationTask):
        reserved.append("label")  # a regression writes none, and the input's is no answer of ours
    spec = source_spec(config, _slice_bytes(config))
    spec = inspect_source(files, spec, reserved, asked_by(config))
    if config.limit is not None:
        spec = first_rows(files, spec, config.limit)
        names = {name for name, _ in spec.row_limits or ()}
        files = [file for file in files if file.path in names]
    columns = plan_columns(config, spec, predict.task.fields())
    digest = _settings_digest(job, config, model, columns.schema)
    for batch in first_documents(files, columns.spec):
        tokenizer.tokenize(batch)  # what it says of them is said before any worker starts
    proof = check_precision(config, predict, files, columns.spec)
    return JobPlan(
        config=config,
        options=options,
        files=files,
        spec=columns.spec,
        model=model,
        predict=predict,
        encoder=encoder,
        schema=columns.schema,
        settings_digest=digest,
        run=_run_spec(job, config, model, digest, proof, columns, left_out),
        notes=columns.notes,
    )


def _classify(
    task_type: type[ClassificationTask],
    config: ClassifyConfig,
    model: ResolvedModel,
    folder: Path,
    options: ComputeOptions,
) -> tuple[Predict, EncoderConfig]:
    # Loading it here finds a damaged checkpoint before a single worker starts; once more is cheap.
    encoder = load_classifier(folder, precision="fp32", device="cpu").config
    task = task_of(
        encoder,
        task_type,
        top_k=config.top_k,
        all_scores=config.all_scores,
        threshold=config.threshold,
        combine=config.combine_windows,
    )
    predict = Classify(
        model,
        task,
        window_settings(config, encoder),
        pair=config.pair_column is not None,
        options=options,
    )
    return predict, encoder


def _answer(
    config: AnswerConfig, model: ResolvedModel, folder: Path, options: ComputeOptions
) -> tuple[Predict, EncoderConfig]:
    encoder = load_span_finder(folder, precision="fp32", device="cpu").config
    shows_text = config.keep_text and len(config.text_column) > 1
    ours = {same_name(field.name) for field in (*ID_FIELDS, *ORIGIN_FIELDS)} | (
        {TEXT} if shows_text else set()
    )
    taken = [name for name in config.names or () if name and same_name(name) in ours]
    if taken and config.answers == "wide":
        raise ConfigError(f"{named('question')}: {taken[0]} is a column already, use another name")
    task = AnswerTask(
        questions=config.questions,
        names=config.names,
        layout=config.answers,
        top_k=config.top_k,
        null_threshold=encoder.null_threshold
        if config.null_threshold is None
        else config.null_threshold,
        shows_text=shows_text,
    )
    predict = Answer(
        model,
        task,
        window_settings(config, encoder, ANSWER_MAX_LENGTH, config.max_answer_tokens),
        max_answer_tokens=config.max_answer_tokens,
        options=options,
    )
    return predict, encoder


def _warn_of_borders(tokenizer: QuestionTokenizer, config: AnswerConfig) -> None:
    shared, longest = tokenizer.shared_tokens, config.max_answer_tokens
    if shared < longest:
        TERMINAL.warn(
            f"neighbouring windows share {shared} tokens, so a longer answer (up to "
            f"{named('max_answer_tokens', longest)}) is missed where no window holds all of it; "
            f"raise {named('stride')} or {named('max_length')}, or shorten the question"
        )


def compute_options(config: InferenceConfig) -> ComputeOptions:
    """How and where the settings have the model run."""
    return ComputeOptions(
        config.precision, config.device, config.batch_tokens, config.recheck_margin
    )


# What differs from job to job: loads the model once to check it, and says what is done with it.
PREDICTORS: dict[str, Callable[..., tuple[Predict, EncoderConfig]]] = {
    "classify": partial(_classify, ClassificationTask),
    "sentiment": partial(_classify, SentimentTask),
    "answer": _answer,
}


def _slice_bytes(config: JobConfig) -> int:
    if config.slice_bytes is not None:
        return config.slice_bytes
    on_gpu = config.gpu is not None or runs_on_cuda(config.device)
    return config.GPU_SLICE_BYTES if on_gpu else config.CPU_SLICE_BYTES


def window_settings(
    config: InferenceConfig,
    encoder: EncoderConfig,
    default_max_length: int = DEFAULT_MAX_LENGTH,
    longest_answer: int = 0,
) -> WindowSettings:
    """How documents are cut for a model.

    Raises:
      ConfigError: the model cannot read windows that long.
    """
    limit = encoder.max_length
    hint = f"; give {limit} or less; longer documents are read whole in windows" + (
        "" if config.long_documents == "window" else f" with {named('long_documents', 'window')}"
    )
    max_length = window_length(config.max_length, limit, default_max_length, hint)
    return WindowSettings(
        max_length=max_length,
        overlapping=config.long_documents == "window",
        stride=stride_of(config, max_length, longest_answer),
    )


def _settings_digest(job: str, config: JobConfig, model: ResolvedModel, schema: pa.Schema) -> str:
    """Stands for all that changes a shard beside the bytes of its slice."""
    settings = {
        "job": job,
        "settings": config.output_settings(),
        # The digest decides the answers; the names stand in the rows beside them.
        "model": [model.name, model.shown_version, model.version],
        "schema_version": SCHEMA_VERSION,
        "schema": str(schema),
        "versions": software_versions(beam=True),
    }
    return _digest(settings)


def _digest(what: object) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _run_spec(
    job: str,
    config: JobConfig,
    model: ResolvedModel,
    digest: str,
    proof: dict[str, Any],
    columns: PlannedColumns,
    left_out: Sequence[str],
) -> RunSpec:
    # What an incremental run does over where it changes: no software, which moves last bits.
    decisive = [job, config.answer_settings(), model.version, SCHEMA_VERSION]
    run_key = _digest([config.partition, list(config.input), digest])[:16]
    told = dataclasses.asdict(model)
    del told["billing_project"]  # it stands among the settings
    return RunSpec(
        run_id=config.run_id or new_run_id(run_key),
        run_key=run_key,
        output=config.output,
        partition=config.partition,
        overwrite=config.overwrite,
        incremental=config.incremental,
        answers_digest=_digest(decisive)[:16],
        max_reject_rate=config.max_reject_rate,
        max_lost_files=config.max_lost_files,
        files_left_out=len(left_out),
        left_out=tuple(left_out[:_MOST_LEFT_OUT]),
        table_columns=encoded_schema(columns.table.schema),
        changes_columns=columns.change_table,
        job=job,
        config=config.model_dump(mode="json"),
        model=told | proof,
        versions=software_versions(beam=True),
        started_at=utc_now(),
    )
