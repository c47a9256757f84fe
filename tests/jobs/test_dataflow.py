"""A Dataflow job is built, staged and described against a local stand-in for Google.

What is faked, since it cannot run here: Cloud Storage is an emulator, and a token endpoint answers
for a throw-away key with a token that nothing checks. Beam's DataflowRunner, its staging and the
job description that it would send are real; nothing is submitted (`--template_location`).
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
import torch
from apache_beam.portability.api import beam_runner_api_pb2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from beam_bert.errors import ConfigError, ModelError
from beam_bert.inference.model_handler import BertModelHandler
from beam_bert.jobs.dry_run import read_prices
from beam_bert.jobs.run import build, launch, plan_job
from beam_bert.jobs.runners import parse_gpu
from beam_bert.settings.answer import JOBS
from beam_bert.settings.inference import ClassifyConfig, SentimentConfig
from beam_bert.storage.places import open_storage
from tests.jobs.test_run_gs import upload
from tests.pipeline.answering.conftest import reader

__all__ = ["reader"]  # a fixture

IMAGE = "us-central1-docker.pkg.dev/beam-bert-test/r/beam-bert:1"
GPU_FLAGS = [
    "--runner=DataflowRunner",
    "--project=beam-bert-test",
    "--region=us-central1",
    f"--sdk_container_image={IMAGE}",
]


class _TokenEndpoint(http.server.BaseHTTPRequestHandler):
    """Answers every request for an OAuth token."""

    def do_POST(self) -> None:
        body = json.dumps({"access_token": "t", "token_type": "Bearer", "expires_in": 3600})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _TokenEndpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    account = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "k",
        "private_key": key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        "client_email": "worker@p.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"http://127.0.0.1:{server.server_port}/token",
    }
    file = tmp_path / "account.json"
    file.write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    yield
    server.shutdown()
    server.server_close()


def staged_pipeline(place: str) -> beam_runner_api_pb2.Pipeline:
    """The graph that Dataflow would run, as it was staged."""
    storage = open_storage(place)
    (file,) = [each for each in storage.list_files("staging") if each.name.endswith("pipeline.pb")]
    return beam_runner_api_pb2.Pipeline.FromString(storage.read(file.path) or b"")


@pytest.fixture
def job(
    new_gs_output: Callable[[], str], credentials: None, tmp_path: Path
) -> Callable[..., tuple[dict[str, Any], dict[str, Any]]]:
    """Build and stage a job; returns its description and the resource hints by step name."""

    place = new_gs_output()

    def stage(
        *flags: str, task: str = "sentiment", **settings: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        template = tmp_path / "template.json"
        open_storage(place).upload(Path("examples/reviews.jsonl"), "in/reviews.jsonl")
        config = JOBS[task](input=(f"{place}/in/",), output=f"{place}/out", **settings)
        launch(
            task,
            config,
            [
                *GPU_FLAGS,
                f"--temp_location={place}/temp",
                f"--staging_location={place}/staging",
                f"--template_location={template}",
                *flags,
            ],
        )
        components = staged_pipeline(place).components
        hints = {
            transform.unique_name: components.environments[transform.environment_id].resource_hints
            for transform in components.transforms.values()
            if transform.environment_id
        }
        return json.loads(template.read_text()), hints

    return stage


def test_a_gpu_job_asks_for_what_it_needs(job: Callable[..., Any]) -> None:
    description, hints = job(gpu="nvidia-l4")
    environment = description["environment"]
    pool = environment["workerPools"][0]
    assert pool["diskSizeGb"] == 100
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 10
    assert pool["numThreadsPerWorker"] == 4
    images = [each["containerImage"] for each in pool["sdkHarnessContainerImages"]]
    assert IMAGE in images
    assert "no_use_multiple_sdk_containers" in environment["experiments"]
    assert "use_runner_v2" in environment["experiments"]
    assert description["labels"]["beam_bert_job"] == "sentiment"
    asking = {name: hint for name, hint in hints.items() if hint}
    accelerator = b"type:nvidia-l4;count:1;machine_type:g2-standard-8;install-nvidia-driver:5xx"
    assert asking, "no step asks for a GPU"
    assert all("RunInference" in name for name in asking)
    assert all(accelerator in hint.values() for hint in asking.values())


def test_a_job_without_a_gpu_has_one_process_a_machine_for_all_of_its_cores(
    job: Callable[..., Any],
) -> None:
    description, hints = job()
    environment = description["environment"]
    pool = environment["workerPools"][0]
    assert (pool["numThreadsPerWorker"], pool["diskSizeGb"]) == (4, 50)
    assert pool["machineType"] == "n2-standard-4" == read_prices(None).default_machine
    assert "no_use_multiple_sdk_containers" in environment["experiments"]
    assert not any(hints.values())


def test_questions_are_asked_on_a_gpu_in_the_same_way(
    job: Callable[..., Any],
    reader: Path,
    new_gs_output: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BEAM_BERT_CACHE", str(tmp_path / "cache"))
    model = upload(reader, new_gs_output())
    description, hints = job(
        task="answer", gpu="nvidia-tesla-t4:2", model=model, question=("Who is it?",), stride=16
    )
    pool = description["environment"]["workerPools"][0]
    assert (pool["diskSizeGb"], pool["numThreadsPerWorker"]) == (100, 8)
    assert description["labels"]["beam_bert_job"] == "answer"
    accelerator = (
        b"type:nvidia-tesla-t4;count:2;machine_type:n1-standard-16;install-nvidia-driver:5xx"
    )
    asking = {name: hint for name, hint in hints.items() if hint}
    assert asking and all("RunInference" in name for name in asking)
    assert all(accelerator in hint.values() for hint in asking.values())


def test_the_hint_has_the_gpus_machine_whatever_the_plain_workers_are(
    job: Callable[..., Any],
) -> None:
    description, hints = job("--machine_type=n2-highmem-4", gpu="nvidia-l4")
    assert description["environment"]["workerPools"][0]["machineType"] == "n2-highmem-4"
    asked = {hint for step in hints.values() for hint in step.values()}
    assert asked == {b"type:nvidia-l4;count:1;machine_type:g2-standard-8;install-nvidia-driver:5xx"}


def test_only_planning_and_committing_stand_behind_a_shuffle(tmp_path: Path) -> None:
    """docs/dataflow.md: the GPU's workers read, tokenize, decode and write; others plan and commit.

    Without a shuffle between them the steps from ReadSlice to WriteShard are one stage.
    """
    config = SentimentConfig(input=("examples/reviews.jsonl",), output=str(tmp_path / "out"))
    plan = plan_job("sentiment", config)
    pipeline = beam.Pipeline(options=plan.options)
    build(pipeline, plan)
    transforms = pipeline.to_runner_api().components.transforms.values()
    shuffles = {each.unique_name for each in transforms if "group_by_key" in each.spec.urn}
    assert {name.split("/ReshufflePerKey")[0] for name in shuffles} == {
        "Read/SpreadUnits", "Read/SpreadSlices", "Commit/Gather",
    }  # fmt: skip


def handlers(monkeypatch: pytest.MonkeyPatch) -> list[BertModelHandler]:
    made: list[BertModelHandler] = []
    init = BertModelHandler.__init__

    def remember(self: BertModelHandler, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        made.append(self)

    monkeypatch.setattr(BertModelHandler, "__init__", remember)
    return made


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ([], {"gpu": "nvidia-l4"}),
        (["--flexrs_goal=COST_OPTIMIZED"], {"gpu": "nvidia-tesla-t4"}),
        (["--dataflow_service_options=worker_accelerator=type:nvidia-l4;count:1"], {}),
        (["--experiments=worker_accelerator=type:nvidia-l4;count:1"], {}),
        (["--resource_hints=accelerator=type:nvidia-l4;count:1"], {}),
    ],
    ids=["--gpu", "FlexRS", "service option", "experiment", "hint for all"],
)
def test_a_worker_that_was_asked_to_have_a_gpu_and_has_none_fails_with_one_line(
    job: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    settings: dict[str, Any],
) -> None:
    """Else a night runs on the CPUs of a machine that is paid for its GPU."""
    made = handlers(monkeypatch)
    job(*flags, **settings)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.version, "cuda", "13.0")  # as in the workers' image
    with pytest.raises(ConfigError, match=r"GPUs that torch sees: 0\).* mend the driver") as error:
        made[-1].load_model()
    assert "\n" not in str(error.value)


def test_a_worker_without_a_gpu_computes_on_its_cpu_where_none_was_asked_for(
    job: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = handlers(monkeypatch)
    job()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with made[-1].load_model().least_busy() as model:
        assert model.model.device == "cpu"


def test_what_the_user_set_is_kept(job: Callable[..., Any]) -> None:
    description, hints = job(
        "--disk_size_gb=200",
        "--max_num_workers=3",
        "--number_of_worker_harness_threads=2",
        "--experiments=use_multiple_sdk_containers",
        "--dataflow_service_options=worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver",
        gpu="nvidia-l4",
    )
    pool = description["environment"]["workerPools"][0]
    assert (pool["diskSizeGb"], pool["numThreadsPerWorker"]) == (200, 2)
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 3
    assert "no_use_multiple_sdk_containers" not in description["environment"]["experiments"]
    assert not any(hints.values())
    # It has to carry the user's GPU, of which we know nothing.
    assert "machineType" not in pool


def test_prime_chooses_the_machines_itself(job: Callable[..., Any]) -> None:
    description, _ = job("--dataflow_service_options=enable_prime")
    assert "machineType" not in description["environment"]["workerPools"][0]


@pytest.mark.parametrize(
    ("gpu", "message"),
    [
        ("nvidia-l5", "it is one of nvidia-l4, nvidia-tesla-t4"),
        ("nvidia-l4:3", "a machine has 1, 2, 4 of nvidia-l4"),
        ("nvidia-l4:x", "a machine has 1, 2, 4"),
    ],
)
def test_a_gpu_that_does_not_exist_is_refused_with_those_that_do(gpu: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_gpu(gpu)


@pytest.mark.parametrize(
    ("flags", "settings", "error", "message"),
    [
        ([], {"gpu": "nvidia-l4"}, ConfigError, "gpu is for --runner=DataflowRunner"),
        (GPU_FLAGS[:3], {"gpu": "nvidia-l4"}, ConfigError, "--sdk_container_image"),
        (GPU_FLAGS[:3], {}, ConfigError, "--extra_package"),
        (GPU_FLAGS, {"gpu": "nvidia-l4", "precision": "int8"}, ConfigError, "runs on CPUs"),
        (GPU_FLAGS, {"gpu": "nvidia-tesla-t4:2", "precision": "fp8"}, ConfigError, "has no fp8"),
        (GPU_FLAGS, {"gpu": "nvidia-l4", "precision": "fp8"}, ConfigError, "takes a GPU here"),
        (GPU_FLAGS, {"gpu": "nvidia-l4", "device": "cpu"}, ConfigError, "GPU idle"),
    ],
)
def test_workers_that_could_not_run_the_job_are_refused_before_it_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    settings: dict[str, Any],
    error: type,
    message: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = SentimentConfig(
        input=("examples/reviews.jsonl",), output=str(tmp_path / "out"), **settings
    )
    with pytest.raises(error, match=message):
        plan_job("sentiment", config, flags)


def test_a_model_that_only_this_machine_has_is_refused(tmp_path: Path, bert: Path) -> None:
    config = ClassifyConfig(
        input=("examples/reviews.jsonl",), output=str(tmp_path / "out"), model=str(bert)
    )
    with pytest.raises(ModelError, match="is a folder of this machine"):
        launch("classify", config, GPU_FLAGS)
