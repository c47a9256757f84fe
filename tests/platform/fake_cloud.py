"""A cloud of dictionaries behind the workflow's connectors: buckets, Dataflow, Vertex AI."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.platform.workflow_interpreter import Workflow, http_error

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "terraform/modules/nightly/nightly.yaml"
NIGHT = 1795482000.0  # 2026-11-24 02:00 in Berlin, 01:00 UTC
PARTITION = "run_date=2026-11-24"
EXECUTION = "0f6e1c9a-4b7d-4e0e-9c1b-1f2d3c4b5a69"

SETTINGS = {
    "project": "example",
    "region": "europe-west1",
    "name": "beam-bert",
    "time_zone": "Europe/Berlin",
    "partition_key": "run_date",
    "output_bucket": "out",
    "output_prefix": "reviews/",
    "deadline_s": 6 * 3600,
    "poll_s": 60,
    "attempts": 2,
    "labels": {"app": "beam-bert"},
}
CLASSIFY = {
    "container_spec_gcs_path": "gs://templates/classify.json",
    "parameters": {"input": "gs://raw/*.jsonl", "output": "gs://out/reviews", "model": "gs://m/x"},
    "environment": {"serviceAccountEmail": "worker@example.iam.gserviceaccount.com"},
}
TRAINING = {
    "enabled": False,
    "image": "image@sha256:0",
    "service_account": "trainer@example.iam.gserviceaccount.com",
    "machine": {"machineType": "g2-standard-8"},
    "timeout_s": 7200,
    "bucket": "models",
    "prefix": "gates/",
    "train_command": ["python", "-m", "pipelines.nightly", "--config=n.yaml", "--steps=train"],
    "evaluate_command": ["python", "-m", "pipelines.nightly", "--config=n.yaml", "--steps=gate"],
    "promote_command": ["python", "-m", "pipelines.nightly", "--config=n.yaml", "--steps=promote"],
}


class Cloud:
    """What the workflow can reach; `script` has the states that Dataflow reports, job by job."""

    def __init__(self, script: list[list[str]] | None = None) -> None:
        self.objects: dict[tuple[str, str], Any] = {}
        self.dataflow: list[dict[str, Any]] = []
        self.custom: list[dict[str, Any]] = []
        self.script = script if script is not None else [["RUNNING", "DONE"]]
        self.custom_states: dict[str, list[str]] = {}
        self.on_done: Callable[[Cloud], None] = Cloud.commit
        self.faults: dict[str, list[Exception]] = {}
        self.lost_answers: set[str] = set()
        self.empty_pages = 0
        self.cancelled: list[str] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def commit(self) -> None:
        self.put(f"reviews/predictions/{PARTITION}/part-00000.parquet", "PAR1")

    def put(self, name: str, content: Any, bucket: str = "out") -> None:
        self.objects[bucket, name] = content

    def workflow(
        self,
        *,
        now: float = NIGHT,
        settings: Any = None,
        training: Any = None,
        parameters: dict[str, str] | None = None,
    ) -> Workflow:
        environment = {
            "GOOGLE_CLOUD_WORKFLOW_EXECUTION_ID": EXECUTION,
            "SETTINGS": json.dumps({**SETTINGS, **(settings or {})}),
            "CLASSIFY": json.dumps(
                {**CLASSIFY, "parameters": {**CLASSIFY["parameters"], **(parameters or {})}}
            ),
            "TRAINING": json.dumps({**TRAINING, **(training or {})}),
        }
        source = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
        return Workflow(source, dict(self._calls()), environment, now)

    def launches(self) -> list[dict[str, Any]]:
        launch = "googleapis.dataflow.v1b3.projects.locations.flexTemplates.launch"
        return [args["body"]["launchParameter"] for name, args in self.requests if name == launch]

    def _calls(self) -> Iterator[tuple[str, Callable[[dict[str, Any]], Any]]]:
        dataflow = "googleapis.dataflow.v1b3.projects.locations"
        custom = "googleapis.aiplatform.v1.projects.locations.customJobs"
        functions = {
            "googleapis.storage.v1.objects.list": self._list_objects,
            "googleapis.storage.v1.objects.get": self._get_object,
            f"{dataflow}.flexTemplates.launch": self._launch,
            f"{dataflow}.jobs.get": self._get_job,
            f"{dataflow}.jobs.list": self._list_jobs,
            f"{dataflow}.jobs.update": self._update_job,
            f"{custom}.create": self._create_custom,
            f"{custom}.get": self._get_custom,
            f"{custom}.list": self._list_custom,
            f"{custom}.cancel": self._cancel_custom,
        }
        for name, function in functions.items():
            yield name, self._with_faults(name, function)

    def _with_faults(
        self, name: str, function: Callable[[dict[str, Any]], Any]
    ) -> Callable[[dict[str, Any]], Any]:
        def call(args: dict[str, Any]) -> Any:
            self.requests.append((name, args))
            short = name.rsplit("googleapis.", 1)[-1]
            faults = next((v for k, v in self.faults.items() if short.endswith(k) and v), None)
            if faults and name.rsplit(".", 1)[-1] not in self.lost_answers:
                raise faults.pop(0)
            result = function(args)
            if faults:
                raise faults.pop(0)
            return result

        return call

    def _list_objects(self, args: dict[str, Any]) -> Any:
        glob = args.get("matchGlob")
        pattern = glob and re.escape(glob).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
        names = sorted(
            name
            for bucket, name in self.objects
            if bucket == args["bucket"]
            and name.startswith(args["prefix"])
            and (pattern is None or re.fullmatch(pattern, name))
        )
        left = int(args.get("pageToken", self.empty_pages))
        if left:
            return {"kind": "storage#objects", "nextPageToken": str(left - 1)}
        return {
            "kind": "storage#objects",
            **({"items": [{"name": n} for n in names]} if names else {}),
        }

    def _get_object(self, args: dict[str, Any]) -> Any:
        name = urllib.parse.unquote(args["object"])
        if "/" in args["object"] or (args["bucket"], name) not in self.objects:
            raise http_error(404, f"no object {name}")
        return self.objects[args["bucket"], name]

    def _launch(self, args: dict[str, Any]) -> Any:
        name = args["body"]["launchParameter"]["jobName"]
        if any(job["name"] == name and _lives(job) for job in self.dataflow):
            raise http_error(409, "there is already an active job named " + name)
        states = self.script[min(len(self.dataflow), len(self.script) - 1)]
        job = {"id": f"job-{len(self.dataflow) + 1}", "name": name, "states": list(states)}
        self.dataflow.append(job)
        return {"job": {"id": job["id"], "name": name, "currentState": "JOB_STATE_QUEUED"}}

    def _get_job(self, args: dict[str, Any]) -> Any:
        (job,) = [job for job in self.dataflow if job["id"] == args["jobId"]]
        state = _next(job)
        if state == "JOB_STATE_DONE":
            self.on_done(self)
        return {"id": job["id"], "currentState": state}

    def _list_jobs(self, args: dict[str, Any]) -> Any:
        assert args["filter"] == "ACTIVE"
        live = [job for job in self.dataflow if job["name"] == args["name"] and _lives(job)]
        return {"jobs": [{"id": job["id"]} for job in live]} if live else {}

    def _update_job(self, args: dict[str, Any]) -> Any:
        assert args["body"] == {"requestedState": "JOB_STATE_CANCELLED"}
        self.cancelled.append(args["jobId"])
        return {}

    def _create_custom(self, args: dict[str, Any]) -> Any:
        name = args["body"]["displayName"]
        stage = name.split("-")[2]
        states = self.custom_states.get(stage, ["RUNNING", "SUCCEEDED"])
        job = {"name": f"customJobs/{len(self.custom) + 1}", "title": name, "states": list(states)}
        job["command"] = args["body"]["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["command"]
        self.custom.append(job)
        return {"name": job["name"]}

    def _get_custom(self, args: dict[str, Any]) -> Any:
        (job,) = [job for job in self.custom if job["name"] == args["name"]]
        return {"state": _next(job)}

    def _list_custom(self, args: dict[str, Any]) -> Any:
        name = re.fullmatch('display_name="(.*)"', args["filter"])[1]  # type: ignore[index]
        found = [job for job in self.custom if job["title"] == name]
        return {
            "customJobs": [
                {"name": j["name"], "state": "JOB_STATE_" + j["states"][0]} for j in found
            ]
        }

    def _cancel_custom(self, args: dict[str, Any]) -> Any:
        self.cancelled.append(args["name"])
        return {}


def _next(job: dict[str, Any]) -> str:
    """The state now; the last one of the script stays."""
    states = job["states"]
    return "JOB_STATE_" + (states.pop(0) if len(states) > 1 else states[0])


def _lives(job: dict[str, Any]) -> bool:
    return job["states"][0] in ("RUNNING", "QUEUED", "PENDING")
