"""A whole job: check everything that can be checked, build one pipeline, run it, tell how it went.

`run_job` is what `python -m pipelines.classify` and its siblings call, `launch` a flex template.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.runner import PipelineResult

from beam_bert import errors
from beam_bert.errors import (
    BeamBertError,
    CommittedUnread,
    ConfigError,
    ModelError,
    OutputError,
    RunFailed,
    one_line,
)
from beam_bert.inference.model_handler import LOADING_METRIC, NAMESPACE
from beam_bert.jobs import console, single_file
from beam_bert.jobs.dataflow_job import goes_on, stopped_job, tell_of_dataflow_jobs
from beam_bert.jobs.dry_run import estimate, show
from beam_bert.jobs.plan import JobPlan, plan_job, runner_of
from beam_bert.jobs.runners import LOCAL_RUNNERS, check_places
from beam_bert.pipeline.commit import CommitRun
from beam_bert.pipeline.read import DONE, REUSED_METRIC, ReadDocuments
from beam_bert.pipeline.write import WriteShards
from beam_bert.reports.figures import MissingExtra
from beam_bert.reports.pages import REPORT, Examples, render_failure, render_run_report
from beam_bert.reports.progress import Snapshot, show_progress
from beam_bert.settings.answer import AnswerConfig
from beam_bert.settings.inference import JobConfig
from beam_bert.settings.naming import named
from beam_bert.sinks.committed_files import read_committed_files
from beam_bert.sinks.manifest import (
    Manifest,
    read_failure,
    read_manifest,
    write_failure,
)
from beam_bert.sinks.prepare import PreparedOutput, clean_staging, prepare_output
from beam_bert.sinks.records import staged_progress
from beam_bert.sinks.run import RunSpec, decoded_schema, failure_path, manifest_path
from beam_bert.sinks.table_schema import read_table, same_columns
from beam_bert.slices.live_counts import LIVE
from beam_bert.slices.plan import FileEntry
from beam_bert.storage.base import in_thread
from beam_bert.storage.places import open_storage
from beam_bert.terminal import STOPPED, TERMINAL, after_commit

T = TypeVar("T")
_STOPPING_S = 5.0
_STEP = re.compile(r" \[while running .*")  # what Beam adds to a worker's error


def run_job(job: str, asked: JobConfig, beam_flags: Sequence[str] = ()) -> Manifest | None:
    """Run classify, sentiment or answer: check, compute, commit, tell; as `library.classify`."""
    started = time.monotonic()
    is_single = single_file.is_single(asked.output)
    config = single_file.dataset_of(asked) if is_single else asked
    plan = _checked_plan(job, config, beam_flags)
    if plan is None:
        return None
    prepared = _prepare(plan)
    pending = _pending(plan)
    if not pending and prepared.finished_run_id is None:
        _tell_nothing_to_do(plan)
        return None
    measured = console.RunnerMetrics()
    manifest = _finished_before(plan, prepared.finished_run_id, is_done=not pending)
    if manifest is None:
        measured = _execute(plan, pending)
        try:
            manifest = _read_back(plan)
        except CommittedUnread:
            if is_single:  # it needs the committed shards alone
                single_file.write(asked, config.output)
            raise
    columns = [field.name for field in plan.predict.task.fields()]
    examples = Examples()
    with after_commit("the first rows"):
        examples = console.examples(manifest, config.output, columns)
    lines = console.places(manifest, config.output)
    if is_single:
        files = single_file.write(asked, config.output)
        lines = [f"output:      {file}" for file in files]
    if asked.output == single_file.STDOUT:
        return manifest  # nothing but rows on stdout
    console.summary(manifest, lines, time.monotonic() - started, measured)
    console.show_examples(examples)
    if not is_single:
        with after_commit("the report"):
            page = _put_page(config.output, manifest.run_id, render_run_report, manifest, examples)
            TERMINAL.show(*(f"report:      {place}" for place in page))
    return manifest


# As functions of the command's name, as every module of a command has one.
classify, sentiment, answer = (partial(run_job, job) for job in ("classify", "sentiment", "answer"))


def _checked_plan(job: str, config: JobConfig, beam_flags: Sequence[str]) -> JobPlan | None:
    """What the job will do, and that it may; None after a dry run, which is shown."""
    plan = plan_job(job, config, beam_flags)
    for note in plan.notes:
        TERMINAL.say(f"note: {note}")
    if config.dry_run:
        if pending := _pending(plan):
            show(estimate(plan, pending))
        else:
            _tell_nothing_to_do(plan)
        return None
    _check_places(plan)
    _check_run_id(plan)
    return plan


def _check_columns(plan: JobPlan, prepared: PreparedOutput) -> None:
    """A killed commit that was finished just now may have changed the table's columns."""
    run = plan.run
    if prepared.finished_runs and prepared.finished_run_id is None:
        now = read_table(open_storage(run.output), run.partition, run.overwrite).schema
        planned = decoded_schema(run.table_columns) if run.table_columns else None
        if not same_columns(now, planned):
            raise OutputError(
                f"{run.output}: a commit that was killed is finished now and has changed the "
                "table's columns; run the same command again"
            )


def _prepare(plan: JobPlan) -> PreparedOutput:
    """Prepare the output, and tell of staging that nobody goes on with, or remove it."""
    prepared = prepare_output(plan.run)
    if prepared.other_staging and plan.config.clean_staging:
        clean_staging(plan.run.output, prepared)
    elif prepared.other_staging:
        TERMINAL.say(
            f"{len(prepared.other_staging)} uncommitted runs of other work wait in staging, such "
            f"as {prepared.other_staging[0]}; {named('clean_staging')} removes them"
        )
    if prepared.staged_shards:
        shards = "1 shard" if prepared.staged_shards == 1 else f"{prepared.staged_shards:,} shards"
        TERMINAL.say(
            f"an earlier launch left {shards} in staging; where the input is the same, they are "
            "not made again"
        )
    _check_columns(plan, prepared)
    return prepared


def _tell_nothing_to_do(plan: JobPlan) -> None:
    line = f"nothing to do: all {len(plan.files)} files are done with this model and settings"
    TERMINAL.show(line)
    TERMINAL.result("nothing_to_do", {"files": len(plan.files)}, line)


def _check_places(plan: JobPlan) -> None:
    """Refuse what only this machine has where the workers are others, before staging."""
    if plan.model.is_local and runner_of(plan.options) == "DataflowRunner":
        raise ModelError(
            f"model {plan.model.name} is a folder of this machine; jobs on other machines need a "
            "gs:// prefix, a Hugging Face id or an embedded model"
        )
    config = plan.config
    check_places(plan.options, {named("input"): config.input, named("output"): (config.output,)})


def _check_run_id(plan: JobPlan) -> None:
    """A name stands for one committed run; a failed one may be used again."""
    run_id = plan.config.run_id
    if run_id is None:
        return
    if read_manifest(plan.run.output, run_id) is not None:
        raise OutputError(
            f"{plan.run.output} holds a committed run {run_id} already; give another "
            f"{named('run_id')}"
        )
    # What an earlier launch of that name failed of would be told as this one's reason.
    open_storage(plan.run.output).delete(failure_path(run_id))


def _put_page(output: str, run_id: str, render: Callable[..., str], *about: Any) -> list[str]:
    """Put a page beside a run's manifest or failure, and say where; no extra [report]: nowhere."""
    try:
        page = render(*about)
    except MissingExtra:
        return []
    storage, path = open_storage(output), f"runs/{run_id}/{REPORT}"
    storage.write(path, page.encode())
    return [storage.uri(path)]


def _pending(plan: JobPlan) -> list[FileEntry]:
    """The files that this run has to read."""
    if not plan.config.incremental:
        return plan.files
    return read_committed_files(plan.run.output).pending(plan.files, plan.run.answers_digest)


def _finished_before(plan: JobPlan, run_id: str | None, is_done: bool) -> Manifest | None:
    """The manifest of a launch of this very work that was killed inside its commit.

    Preparing the output has finished it; there is nothing left to do unless the input has changed.
    """
    if run_id is None or plan.config.overwrite:
        return None
    manifest = read_manifest(plan.run.output, run_id)
    if manifest is None or plan.config.incremental:
        return manifest if is_done else None
    listed = {file.path for file in plan.files}
    if {file.path for file in manifest.inputs} != listed:
        raise OutputError(
            f"{plan.run.output} holds run {run_id}, whose commit was finished now; its input was "
            f"another: give {named('overwrite')} to replace it, or another {named('partition')}"
        )
    return manifest


def launch(job: str, config: JobConfig, beam_flags: Sequence[str] = ()) -> PipelineResult | None:
    """Check, prepare and start a job, and do not wait for it: what a template's launcher does.

    An incremental job is started even if there is nothing for it to do: Dataflow counts a launcher
    that ends without a job's graph as failed.

    Returns:
      Beam's handle of the job; None after a dry run.

    Raises:
      UserError: something about the settings, input, model or output is wrong; nothing was done.
    """
    plan = _checked_plan(job, config, beam_flags)
    if plan is None:
        return None
    _prepare(plan)
    return submit(plan)


def submit(plan: JobPlan) -> PipelineResult:
    """Build the pipeline and start it; local runners return when it is done.

    Raises:
      ConfigError: Beam refuses its flags.
    """
    if runner_of(plan.options) == "DataflowRunner":
        tell_of_dataflow_jobs()
    try:
        pipeline = beam.Pipeline(options=plan.options)
    except ValueError as error:  # Beam's own check of its options
        raise ConfigError(f"Beam refuses these flags: {error}") from None
    build(pipeline, plan)
    return pipeline.run()


def _execute(plan: JobPlan, pending: Sequence[FileEntry]) -> console.RunnerMetrics:
    """Run the pipeline up to its commit; what the runner measured."""
    result: PipelineResult | None = None
    try:
        with show_progress(_snapshots(plan, pending)):
            if runner_of(plan.options) in LOCAL_RUNNERS:
                result = _apart(lambda: _finished(submit(plan)))
            else:
                result = submit(plan)
                _finished(result)
    except KeyboardInterrupt:
        told = goes_on(result, plan.options) or _stopped(plan.run)
        raise KeyboardInterrupt(told) from None
    except Exception as error:  # whatever a runner wraps a worker's error in
        on = goes_on(result, plan.options)
        if on is not None:  # the way to the service was lost, not the job
            raise RunFailed(f"{_failure(plan.run, error)}: {on}") from error
        _write_failure_report(plan.run)
        failure = stopped_job(result) or _failure(plan.run, error)
        if not _is_committed(plan.run):
            raise failure from error
        TERMINAL.warn(f"all is committed, but the pipeline did not end well: {one_line(failure)}")
        return console.RunnerMetrics()
    return _measured(result)


def _finished(result: PipelineResult) -> PipelineResult:
    result.wait_until_finish()
    return result


def _apart(work: Callable[[], T]) -> T:
    """Do work in a thread of its own, so that a signal interrupts the wait for it, not the work.

    Beam and native code make something else of a KeyboardInterrupt, or abort. The work is told to
    stop, which it does at the next count, and waited for a little: it may be committing.
    """
    LIVE.stopped = False
    done = in_thread(work)
    try:
        return done.result()
    except KeyboardInterrupt:
        LIVE.stopped = True
        wait([done], _STOPPING_S)
        raise


def _stopped(run: RunSpec) -> str:
    """Leave word of a run that was stopped; what is told of it."""
    if _is_committed(run):
        return f"stopped, but all is committed: {run.output}/{manifest_path(run.run_id)}"
    with suppress(BeamBertError, OSError):
        write_failure(run, "stopped", STOPPED)
        _write_failure_report(run)
    return STOPPED


def _is_committed(run: RunSpec) -> bool:
    """Whether a run that ended in some other way did so after its commit."""
    try:
        return read_manifest(run.output, run.run_id) is not None
    except BeamBertError:  # what the run failed of is what there is to tell
        return False


def _read_back(plan: JobPlan) -> Manifest:
    """The manifest of the run that has just been committed, whatever happens here."""
    try:
        manifest = read_manifest(plan.run.output, plan.run.run_id)
    except BeamBertError as error:
        raise CommittedUnread(
            f"all is committed, but its manifest cannot be read back: {one_line(error)}"
        ) from error
    if manifest is None:
        raise RunFailed(
            f"{plan.run.output}/runs/{plan.run.run_id} has no manifest: the run committed nothing"
        )
    return manifest


def _measured(result: PipelineResult) -> console.RunnerMetrics:
    """What RunInference and our steps counted, where the runner tells it."""
    try:
        metrics = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))
    except Exception:  # a finished run does not fail for a number that it shows
        return console.RunnerMetrics()
    loads = [
        metric.result.max
        for metric in metrics["distributions"]
        if metric.key.metric.name.endswith(LOADING_METRIC)
    ]
    reused = sum(m.result for m in metrics["counters"] if m.key.metric.name == REUSED_METRIC)
    return console.RunnerMetrics(max(loads) / 1000 if loads else None, reused)


def build(pipeline: beam.Pipeline, plan: JobPlan) -> Any:
    """Put the whole job into a pipeline; returns the PCollection with the one Manifest."""
    read = pipeline | "Read" >> ReadDocuments(
        plan.config.input,
        plan.spec,
        plan.settings_digest,
        plan.run,
        plan.config.not_input,
        plan.predict.options.arithmetic,
    )
    written = read.documents | plan.predict | "Write" >> WriteShards(plan.run, plan.schema)
    records = (written, read[DONE]) | "Records" >> beam.Flatten()
    return records | "Commit" >> CommitRun(plan.run, plan.schema)


def _snapshots(plan: JobPlan, pending: Sequence[FileEntry]) -> Callable[[], Snapshot]:
    total_bytes = max(sum(file.size for file in pending), 1)
    begun: list[float] = []  # share that an earlier run, which was killed, had done

    def snapshot() -> Snapshot:
        _, rows, bytes_ = staged_progress(plan.run)
        if not begun:
            begun.append(min(bytes_ / total_bytes, 1.0))
        # Live counts see inside a slice, but only in this process.
        documents = max(rows, int(LIVE.documents))
        if LIVE.rows_read:
            share = min(LIVE.documents / LIVE.rows_read, 1.0)
            bytes_ = max(bytes_, int(LIVE.bytes_read * share))
        share = min(bytes_ / total_bytes, 1.0)
        if isinstance(plan.config, AnswerConfig) and LIVE.windows:
            # A document may be a book: its windows are done one after another.
            return Snapshot(LIVE.windows, share, "windows", Snapshot(0, begun[0]))
        return Snapshot(documents, share)

    return snapshot


def _write_failure_report(run: RunSpec) -> None:
    """Put a page about a run that committed nothing beside its failure.json."""
    try:
        if failure := read_failure(run.output, run.run_id):
            for place in _put_page(run.output, run.run_id, render_failure, failure):
                TERMINAL.say(f"report: {place}")
    except Exception as error:  # the reason of the failure is told all the same
        TERMINAL.warn(f"the report could not be written: {one_line(error)}")


def _failure(run: RunSpec, error: Exception) -> BeamBertError:
    """The one line that says why a run failed, whatever the runner made of the worker's error."""
    if isinstance(error, BeamBertError):
        return type(error)(_STEP.sub("", str(error)))
    failure = read_failure(run.output, run.run_id)
    if failure is not None:
        return RunFailed(failure.message)
    # Runners hand on a worker's error as text, with its traceback.
    errors_told = re.findall(r"^beam_bert\.errors\.(\w+): (.*)$", str(error), re.MULTILINE)
    if errors_told:
        name, message = errors_told[-1]
        kind = getattr(errors, name, RunFailed)
        return kind(_STEP.sub("", message))
    last = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return RunFailed(f"the pipeline failed: {_STEP.sub('', last[-1])}")
