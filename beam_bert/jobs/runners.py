"""Beam's options from its flags, and what a Dataflow job needs, unless the user set it.

A GPU is asked for by a resource hint on the inference step, so that right-fitting gives GPUs to the
workers of that step alone; planning and committing run on plain ones. (FlexRS has no right-fitting:
there the service option asks for the GPU everywhere.)

Names and rules, as read on 2026-11-23:
  https://docs.cloud.google.com/dataflow/docs/gpu/gpu-support (types, machine families, disk)
  https://docs.cloud.google.com/dataflow/docs/gpu/use-l4-gpus (the accelerator string)
  https://docs.cloud.google.com/dataflow/docs/guides/right-fitting (hints; not with the option)
  https://docs.cloud.google.com/compute/docs/gpus/create-gpu-vm-accelerator-optimized (machines)
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from apache_beam.options.pipeline_options import (
    DebugOptions,
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)

from beam_bert.encoder.replicas import devices_of
from beam_bert.errors import BeamBertError, ConfigError
from beam_bert.settings.inference import GPU_MACHINES
from beam_bert.terminal import TERMINAL

LOCAL_RUNNER = "FnApiRunner"
LOCAL_RUNNERS = ("DirectRunner", LOCAL_RUNNER, "BundleBasedDirectRunner", "PrismRunner")
_POOL = "external_service_address"  # of --environment_option

# The image with CUDA, torch and the model takes more than the default boot disk.
DISK_GB = 100
MAX_WORKERS = 10
# Enough to read, tokenize and write while the model, which they share, has one slice.
THREADS = 4


def pipeline_options(beam_flags: Sequence[str]) -> PipelineOptions:
    """Beam's options from its flags."""
    options = PipelineOptions(list(beam_flags))
    standard = options.view_as(StandardOptions)
    if standard.runner in (None, "DirectRunner"):
        # DirectRunner would first try to download Prism, and then run the very same thing.
        standard.runner = LOCAL_RUNNER
    portable = options.view_as(PortableOptions)
    pool = portable.lookup_environment_option(_POOL)
    if pool is not None and portable.environment_config is None:
        # Beam 2.77 documents this option, and fails where the older form of it is not given.
        portable.environment_config = pool
        portable.environment_options = [
            option for option in portable.environment_options if not option.startswith(f"{_POOL}=")
        ]
    return options


def use_threads(options: PipelineOptions, device: str) -> None:
    """Let a local run read, tokenize and write beside its GPUs, where no other way is asked for."""
    direct = options.view_as(DirectOptions)
    if (direct.direct_running_mode, direct.direct_num_workers) == ("in_memory", 1):
        direct.direct_running_mode = "multi_threading"
        direct.direct_num_workers = THREADS * len(devices_of(device))


def runner_of(options: PipelineOptions) -> str:
    """Name of the runner, without its module."""
    return str(options.view_as(StandardOptions).runner).rsplit(".", 1)[-1]


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
    return not (record.exc_info and isinstance(record.exc_info[1], BeamBertError))


@dataclass(frozen=True)
class Gpu:
    """GPUs of a worker: their type as Dataflow names it, how many, and the machine around them."""

    type: str
    count: int
    machine_type: str

    @property
    def accelerator(self) -> str:
        """The value of the `accelerator` resource hint, also of the service option."""
        return f"type:{self.type};count:{self.count};install-nvidia-driver"


def parse_gpu(text: str) -> Gpu:
    """Read `TYPE` or `TYPE:COUNT`.

    Raises:
      ConfigError: no such type, or no machine has that many; the message lists what there is.
    """
    type_, _, count = text.partition(":")
    machines = GPU_MACHINES.get(type_)
    if machines is None:
        raise ConfigError(f"--gpu {text}: no such type; it is one of {', '.join(GPU_MACHINES)}")
    if not (count or "1").isdigit() or int(count or 1) not in machines:
        counts = ", ".join(map(str, machines))
        raise ConfigError(f"--gpu {text}: a machine has {counts} of {type_}")
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
    if gpu is None:
        return None
    if worker.disk_size_gb is None:
        worker.disk_size_gb = DISK_GB
    return _ask_for(gpu, worker, cloud)


def _ask_for(gpu: Gpu, worker: WorkerOptions, cloud: GoogleCloudOptions) -> str | None:
    services = cloud.dataflow_service_options or []
    if any(option.startswith("worker_accelerator=") for option in services):
        return None  # the user asked for GPUs in their own way
    if cloud.flexrs_goal:
        cloud.dataflow_service_options = [*services, f"worker_accelerator={gpu.accelerator}"]
        if worker.machine_type is None:
            worker.machine_type = gpu.machine_type
        return None
    # The machine in the hint is for the GPU's workers alone and wins over --machine_type.
    machine = worker.machine_type or gpu.machine_type
    return f"type:{gpu.type};count:{gpu.count};machine_type:{machine};install-nvidia-driver"


def _require_package(setup: SetupOptions, worker: WorkerOptions, gpu: Gpu | None) -> None:
    if worker.sdk_container_image:
        return
    if gpu is not None:
        raise ConfigError(
            "--gpu needs the project's container, which has CUDA: give --sdk_container_image="
            "REGION-docker.pkg.dev/PROJECT/REPOSITORY/beam-bert:TAG (cloudbuild.yaml builds it)"
        )
    if not (setup.setup_file or setup.extra_packages or setup.requirements_file):
        raise ConfigError(
            "Dataflow's workers need this package: give --sdk_container_image (cloudbuild.yaml "
            "builds it) or --extra_package with its wheel"
        )
