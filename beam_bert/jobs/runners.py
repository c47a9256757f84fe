"""Beam's options from its flags, and what a Dataflow job needs, unless the user set it.

A GPU is asked for by a resource hint on the inference step, so that right-fitting gives GPUs to the
stage of that step: reading, tokenizing, decoding and writing a slice are fused with it. Planning,
cutting and committing stand behind a shuffle and run on plain workers. (FlexRS has no
right-fitting: there the service option asks for the GPU everywhere.)

Names and rules, as read on 2026-11-23:
  https://docs.cloud.google.com/dataflow/docs/gpu/gpu-support (types, machine families, disk)
  https://docs.cloud.google.com/dataflow/docs/gpu/use-l4-gpus (the accelerator string)
  https://docs.cloud.google.com/dataflow/docs/guides/right-fitting (hints; not with the option)
  https://docs.cloud.google.com/compute/docs/gpus/create-gpu-vm-accelerator-optimized (machines)
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.runners.worker import sdk_worker

from beam_bert.encoder.replicas import devices_of
from beam_bert.errors import BeamBertError, ConfigError, shown
from beam_bert.settings.inference import GPU_MACHINES
from beam_bert.settings.naming import named
from beam_bert.terminal import TERMINAL

LOCAL_RUNNER = "FnApiRunner"
# Their workers are processes or threads of the machine that starts the job.
LOCAL_RUNNERS = ("DirectRunner", LOCAL_RUNNER, "BundleBasedDirectRunner", "PrismRunner")
_POOL = "external_service_address"  # of --environment_option

# The image takes more than the default boot disk, with CUDA in it still more.
DISK_GB = 50
GPU_DISK_GB = 100
MAX_WORKERS = 10
# Dataflow's own default has one slow core, and less memory than this package and a base model.
MACHINE_TYPE = "n2-standard-4"
# The series that Google's samples force for T4 and L4; CUDA 12.6, which the image has, wants 525 or
# newer. Which version is installed without a number is documented nowhere.
DRIVER = "install-nvidia-driver:5xx"
_OURS = f"{BeamBertError.__module__}."  # in the tracebacks that runners hand on as text
# Enough to read, tokenize and write while the model, which they share, has one slice.
THREADS = 4


def pipeline_options(beam_flags: Sequence[str]) -> PipelineOptions:
    """Beam's options from its flags."""
    options = PipelineOptions(list(beam_flags))
    standard = options.view_as(StandardOptions)
    if standard.runner in (None, "DirectRunner"):
        # DirectRunner would first try to download Prism, and then run the very same thing.
        standard.runner = LOCAL_RUNNER
    else:
        _check_runner(str(standard.runner))
    portable = options.view_as(PortableOptions)
    pool = portable.lookup_environment_option(_POOL)
    if pool is not None and portable.environment_config is None:
        # Beam 2.77 documents this option, and fails where the older form of it is not given.
        portable.environment_config = pool
        portable.environment_options = [
            option for option in portable.environment_options if not option.startswith(f"{_POOL}=")
        ]
    return options


def _check_runner(name: str) -> None:
    """Refuse a runner that Beam does not know: it would say so after all the checks."""
    known = [path.rsplit(".", 1)[-1] for path in StandardOptions.ALL_KNOWN_RUNNERS]
    lower = {each.lower() for each in (*known, "PythonRPCDirectRunner")}
    if "." in name or {name.lower(), f"{name.lower()}runner"} & lower:
        return
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    hint = f"did you mean {near[0]}?" if near else f"Beam has {', '.join(known)}"
    raise ConfigError(f"--runner {shown(name)}: Beam has no such runner; {hint}")


def use_threads(options: PipelineOptions, device: str) -> None:
    """Let a local run read, tokenize and write beside its GPUs, where no other way is asked for."""
    direct = options.view_as(DirectOptions)
    if (direct.direct_running_mode, direct.direct_num_workers) == ("in_memory", 1):
        direct.direct_running_mode = "multi_threading"
        direct.direct_num_workers = THREADS * len(devices_of(device))


def runner_of(options: PipelineOptions) -> str:
    """Name of the runner, without its module."""
    return str(options.view_as(StandardOptions).runner).rsplit(".", 1)[-1]


def check_places(options: PipelineOptions, paths_of: Mapping[str, Sequence[str]]) -> None:
    """Refuse places that the runner's workers cannot see, or say that they must see them.

    Args:
      options: of the runner.
      places: paths by the flag or field that named them.

    Raises:
      ConfigError: Dataflow's workers would look for a path of this machine.
    """
    runner = runner_of(options)
    if runner in LOCAL_RUNNERS or _workers_live_here(options, runner):
        return
    local = [(flag, p) for flag, paths in paths_of.items() for p in paths if p[:5] != "gs://"]
    for flag, path in local:
        if runner == "DataflowRunner":
            raise ConfigError(
                f"{flag} {path} is a path of this machine, which Dataflow's workers do not see; "
                "give a gs:// path (`gcloud storage cp` copies files there)"
            )
        TERMINAL.warn(
            f"{flag} {path} must be seen by every worker of {runner}: a disk that all share, or "
            "gs://"
        )


def _workers_live_here(options: PipelineOptions, runner: str) -> bool:
    """Whether a portable runner's workers run in the process that starts the job."""
    type_ = options.view_as(PortableOptions).environment_type
    if type_ is None and runner == "FlinkRunner":
        return options.view_as(FlinkRunnerOptions).flink_master in ("[auto]", "[local]")
    return type_ == "LOOPBACK"


def runs_on_cuda(device: str) -> bool:
    """Whether `device` is, or would be found to be, a GPU of this machine."""
    import torch

    return device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())


def quiet_beam(beam_flags: Sequence[str]) -> None:
    """Keep Beam's notes about its local runners off the terminal: for a process that is a command.

    What is changed stays changed, so that a library call does not do it.
    """
    if TERMINAL.level == "verbose" or (
        runner_of(pipeline_options(beam_flags)) not in LOCAL_RUNNERS
    ):
        return
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    logging.getLogger("root").setLevel(logging.ERROR)
    logging.getLogger("beam_bert").setLevel(logging.WARNING)  # but what we say is shown
    logging.getLogger("apache_beam.runners.common").addFilter(_is_not_ours)
    # Where workers are threads or processes, these print and log the same once more each.
    for name in ("worker.sdk_worker", "portability.local_job_service"):
        logging.getLogger(f"apache_beam.runners.{name}").addFilter(_is_not_ours)
    sdk_worker.print = _print_others  # type: ignore[attr-defined] # the module's own, from now on


@contextmanager
def beam_notes_off() -> Iterator[None]:
    """Leave out what Beam logs below a warning, and one warning of no use, while the body runs."""
    beam, root = logging.getLogger("apache_beam"), logging.getLogger()
    level = beam.level
    beam.setLevel(max(level, logging.WARNING))
    root.addFilter(_is_of_use)
    try:
        yield
    finally:
        beam.setLevel(level)
        root.removeFilter(_is_of_use)


def _is_of_use(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Resource module is not available")


def _is_not_ours(record: logging.LogRecord) -> bool:
    """False for what Beam logs, with its traceback, of an error that ends as one line anyway."""
    if record.exc_info and isinstance(record.exc_info[1], BeamBertError):
        return False
    return _OURS not in record.getMessage()


def _print_others(text: str, **options: Any) -> None:
    if _OURS not in text:
        print(text, **options)


@dataclass(frozen=True)
class Gpu:
    """GPUs of a worker: their type as Dataflow names it, how many, and the machine around them."""

    type: str
    count: int
    machine_type: str

    @property
    def hint(self) -> str:
        """The value of the resource hint `accelerator`: its machine is the one that carries it.

        It wins over --machine_type, which is of the workers without a GPU.
        """
        return f"type:{self.type};count:{self.count};machine_type:{self.machine_type};{DRIVER}"


def parse_gpu(text: str) -> Gpu:
    """Read `TYPE` or `TYPE:COUNT`.

    Raises:
      ConfigError: no such type, or no machine has that many; the message lists what there is.
    """
    type_, _, count = text.partition(":")
    machines = GPU_MACHINES.get(type_)
    if machines is None:
        raise ConfigError(
            f"{named('gpu', text)}: no such type; it is one of {', '.join(GPU_MACHINES)}"
        )
    if not (count or "1").isdigit() or int(count or 1) not in machines:
        counts = ", ".join(map(str, machines))
        raise ConfigError(f"{named('gpu', text)}: a machine has {counts} of {type_}")
    return Gpu(type_, int(count or 1), machines[int(count or 1)])


def configure(options: PipelineOptions, gpu: Gpu | None, job: str) -> str | None:
    """Set what a Dataflow job needs and the user left open.

    Returns:
      The `accelerator` resource hint for the inference step, or None where there is none.

    Raises:
      ConfigError: the workers would not have this package, or a GPU job on a machine without one.
    """
    setup = options.view_as(SetupOptions)
    worker = options.view_as(WorkerOptions)
    cloud = options.view_as(GoogleCloudOptions)
    _require_package(setup, worker, gpu)
    if worker.sdk_container_image and setup.sdk_location == "default":
        setup.sdk_location = "container"  # the image has Beam; do not stage another
    if worker.max_num_workers is None:
        worker.max_num_workers = MAX_WORKERS
    labels = cloud.labels or []
    if not any(label.startswith("beam_bert_job=") for label in labels):
        cloud.labels = [*labels, f"beam_bert_job={job}"]
    debug = options.view_as(DebugOptions)
    if not {"use_multiple_sdk_containers", "no_use_multiple_sdk_containers"} & set(
        debug.experiments or []
    ):
        # Else one process for each CPU, every one with a model of its own on the same GPU or cores.
        # This one has a model on each GPU of its machine, or one whose forwards take all cores, and
        # threads that read, tokenize and write meanwhile.
        debug.add_experiment("no_use_multiple_sdk_containers")
    if debug.number_of_worker_harness_threads is None:
        debug.number_of_worker_harness_threads = THREADS * (gpu.count if gpu else 1)
    if worker.disk_size_gb is None:
        worker.disk_size_gb = GPU_DISK_GB if gpu else DISK_GB
    if asks_for_gpu(options):  # the user's own way of asking goes before ours, machine and all
        return None
    services = cloud.dataflow_service_options or []
    if gpu and cloud.flexrs_goal:
        # All workers have the GPU there, so all are the machine that carries it.
        accelerator = f"worker_accelerator=type:{gpu.type};count:{gpu.count};{DRIVER}"
        cloud.dataflow_service_options = [*services, accelerator]
        worker.machine_type = worker.machine_type or gpu.machine_type
    if worker.machine_type is None and "enable_prime" not in services:  # which sizes the workers
        worker.machine_type = MACHINE_TYPE
    return gpu.hint if gpu and not cloud.flexrs_goal else None


def asks_for_gpu(options: PipelineOptions) -> bool:
    """Whether Beam's own flags ask for GPUs, in whichever of their ways."""
    services = options.view_as(GoogleCloudOptions).dataflow_service_options or []
    experiments = options.view_as(DebugOptions).experiments or []
    hints = options.view_as(StandardOptions).resource_hints or []
    return any(
        option.startswith(("worker_accelerator=", "accelerator="))
        for option in (*services, *experiments, *hints)
    )


def _require_package(setup: SetupOptions, worker: WorkerOptions, gpu: Gpu | None) -> None:
    if worker.sdk_container_image:
        return
    if gpu is not None:
        raise ConfigError(
            f"{named('gpu')} needs the project's container, which has CUDA: give "
            "--sdk_container_image=REGION-docker.pkg.dev/PROJECT/REPOSITORY/beam-bert:TAG "
            "(cloudbuild.yaml builds it)"
        )
    if not (setup.setup_file or setup.extra_packages or setup.requirements_file):
        raise ConfigError(
            "Dataflow's workers need this package: give --sdk_container_image (cloudbuild.yaml "
            "builds it) or --extra_package with its wheel"
        )
