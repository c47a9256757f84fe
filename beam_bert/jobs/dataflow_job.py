"""What a person or a scheduler is told of a Dataflow job: its id, its page, its states."""

from __future__ import annotations

import logging
import re
from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from beam_bert.errors import RunFailed
from beam_bert.terminal import TERMINAL

_BEAMS = logging.getLogger("apache_beam.runners.dataflow")
# Beam logs these at INFO. Schedulers search for these words: Airflow for the first line, Vertex
# AI's pipelines for the address in the second (apache/airflow#68279, apache/beam#35013).
_TOLD = re.compile(
    r"Created job with id: \[|To access the Dataflow monitoring console|Job \S+ is in state "
)


class _Told(logging.Handler):
    """Prints what people and schedulers wait for, and warnings; Beam notes much more."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            TERMINAL.warn(message)
        elif _TOLD.search(message):
            TERMINAL.say(message, at_quiet=True)


def tell_of_dataflow_jobs() -> None:
    """From now on let through what Beam says of the jobs that this process starts."""
    if not any(isinstance(handler, _Told) for handler in _BEAMS.handlers):
        _BEAMS.addHandler(_Told(logging.INFO))
    _BEAMS.setLevel(logging.INFO)


def goes_on(result: Any, options: PipelineOptions) -> str | None:
    """How to go about a job that runs on without this process; None where there is none."""
    if result is None or not getattr(result, "has_job", False) or result.is_in_terminal_state():
        return None
    cloud = options.view_as(GoogleCloudOptions)
    where = f"--project={cloud.project} --region={cloud.region}"
    return (
        f"job {result.job_id()} goes on in the cloud and commits its own output; to stop it: "
        f"gcloud dataflow jobs cancel {result.job_id()} {where}"
    )


def stopped_job(result: Any) -> RunFailed | None:
    """The error of a job that somebody stopped: Dataflow gives no reason for those."""
    if result is None or not getattr(result, "has_job", False):
        return None
    stopped = str(result.state) in ("CANCELLED", "DRAINED", "UPDATED")
    return RunFailed(f"job {result.job_id()} ended as {result.state}") if stopped else None
