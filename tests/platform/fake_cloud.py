"""A cloud of dictionaries behind the workflow's connectors: buckets, Dataflow, Vertex AI.

It answers as the services do where that has a cost: whole resources, pages of their size, and an
error for an argument that the connector's page does not list.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.platform.workflow_interpreter import NotSupported, Workflow, http_error

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "terraform/modules/nightly/nightly.yaml"
WATCH = ROOT / "terraform/modules/nightly/watch.yaml"
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
# What each connector takes: https://cloud.google.com/workflows/docs/reference/googleapis
_LIST = {"filter", "pageSize", "pageToken"}
ARGUMENTS = {
    "storage.v1.objects.list": {
        "bucket", "delimiter", "endOffset", "includeTrailingDelimiter", "maxResults", "pageToken",
        "prefix", "projection", "startOffset", "userProject", "versions",
    },
    "storage.v1.objects.get": {"bucket", "object", "alt", "generation", "userProject"},
    "dataflow.v1b3.projects.locations.flexTemplates.launch": {"projectId", "location", "body"},
    "dataflow.v1b3.projects.locations.jobs.get": {"projectId", "location", "jobId", "view"},
    "dataflow.v1b3.projects.locations.jobs.list": {"projectId", "location", "view", *_LIST},
    "dataflow.v1b3.projects.locations.jobs.update": {"projectId", "location", "jobId", "body"},
    "aiplatform.v1.projects.locations.customJobs.create": {
        "parent", "region", "body", "connector_params",
    },
    "aiplatform.v1.projects.locations.customJobs.get": {"name", "region"},
    "aiplatform.v1.projects.locations.customJobs.list": {"parent", "region", "readMask", *_LIST},
    "aiplatform.v1.projects.locations.customJobs.cancel": {"name", "region"},
    "workflowexecutions.v1.projects.locations.workflows.executions.list": {
        "parent", "orderBy", "view", *_LIST,
    },
}  # fmt: skip
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
    "deadline_s": 3 * 3600,
    "encryption": {},
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
        self.executions: list[dict[str, Any]] = []
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

    def watch(self, *, now: float = NIGHT, hours: int = 14) -> Workflow:
        """The workflow that looks whether the night has ended well."""
        source = yaml.safe_load(WATCH.read_text(encoding="utf-8"))
        environment = {"NIGHTLY": "projects/p/locations/r/workflows/w", "HOURS": str(hours)}
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
            "googleapis.workflowexecutions.v1.projects.locations.workflows.executions.list": (
                self._list_executions
            ),
        }
        for name, function in functions.items():
            yield name, self._with_faults(name, function)

    def _with_faults(
        self, name: str, function: Callable[[dict[str, Any]], Any]
    ) -> Callable[[dict[str, Any]], Any]:
        def call(args: dict[str, Any]) -> Any:
            self.requests.append((name, args))
            short = name.removeprefix("googleapis.")
            unknown = set(args) - ARGUMENTS[short]
            if unknown:
                raise NotSupported(f"{short} takes no {sorted(unknown)}")
            faults = next((v for k, v in self.faults.items() if short.endswith(k) and v), None)
            if faults and name.rsplit(".", 1)[-1] not in self.lost_answers:
                raise faults.pop(0)
            result = function(args)
            if faults:
                raise faults.pop(0)
            return result

        return call

    def _list_objects(self, args: dict[str, Any]) -> Any:
        prefix, delimiter = args["prefix"], args.get("delimiter")
        names = sorted(
            name for bucket, name in self.objects
            if bucket == args["bucket"] and name.startswith(prefix)
        )  # fmt: skip
        found: dict[str, str] = {}
        for name in names:
            inner = name[len(prefix) :]
            folder = bool(delimiter) and delimiter in inner
            found[prefix + inner.split(delimiter)[0] + delimiter if folder else name] = (
                "prefixes" if folder else "items"
            )
        empty, _, start = args.get("pageToken", f"{self.empty_pages}:0").partition(":")
        if int(empty):
            return {"kind": "storage#objects", "nextPageToken": f"{int(empty) - 1}:{start}"}
        size = args.get("maxResults", 1000)
        page = list(found.items())[int(start) : int(start) + size]
        answer: dict[str, Any] = {"kind": "storage#objects"}
        for name, kind in page:
            one = name if kind == "prefixes" else _object_resource(args["bucket"], name)
            answer.setdefault(kind, []).append(one)
        if int(start) + size < len(found):
            answer["nextPageToken"] = f"0:{int(start) + size}"
        return answer

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
        live = [
            {"id": job["id"], "name": job["name"], "type": "JOB_TYPE_BATCH",
             "currentState": "JOB_STATE_RUNNING", "createTime": "2026-11-24T01:00:00.000000Z",
             "projectId": SETTINGS["project"], "location": SETTINGS["region"]}
            for job in self.dataflow if _lives(job)
        ]  # fmt: skip
        return _page(live, "jobs", args)

    def _update_job(self, args: dict[str, Any]) -> Any:
        assert args["body"] == {"requestedState": "JOB_STATE_CANCELLED"}
        self.cancelled.append(args["jobId"])
        return {}

    def _create_custom(self, args: dict[str, Any]) -> Any:
        name = args["body"]["displayName"]
        stage = name.split("-")[2]
        states = self.custom_states.get(stage, ["RUNNING", "SUCCEEDED"])
        job = {"name": f"customJobs/{len(self.custom) + 1}", "title": name, "states": list(states)}
        job["spec"] = args["body"]["jobSpec"]
        job["command"] = job["spec"]["workerPoolSpecs"][0]["containerSpec"]["command"]
        self.custom.append(job)
        return {"name": job["name"]}

    def _get_custom(self, args: dict[str, Any]) -> Any:
        (job,) = [job for job in self.custom if job["name"] == args["name"]]
        return {"state": _next(job)}

    def _list_custom(self, args: dict[str, Any]) -> Any:
        name = re.fullmatch('display_name="(.*)"', args["filter"])[1]  # type: ignore[index]
        found = [
            {"name": job["name"], "displayName": job["title"],
             "state": "JOB_STATE_" + job["states"][0], "jobSpec": job["spec"]}
            for job in self.custom if job["title"] == name
        ]  # fmt: skip
        return _page(found, "customJobs", args)

    def _list_executions(self, args: dict[str, Any]) -> Any:
        return _page(self.executions, "executions", args)

    def _cancel_custom(self, args: dict[str, Any]) -> Any:
        self.cancelled.append(args["name"])
        return {}


def _object_resource(bucket: str, name: str) -> dict[str, Any]:
    """As Cloud Storage shows an object: about a kilobyte for a shard's name."""
    path = urllib.parse.quote(name, safe="")
    url = f"https://www.googleapis.com/storage/v1/b/{bucket}/o/{path}"
    when = "2026-11-24T02:11:12.345Z"
    return {
        "kind": "storage#object",
        "id": f"{bucket}/{name}/1795482000123456",
        "selfLink": url,
        "mediaLink": f"{url.replace('storage/v1', 'download/storage/v1')}?alt=media",
        "name": name,
        "bucket": bucket,
        "generation": "1795482000123456",
        "metageneration": "1",
        "contentType": "application/octet-stream",
        "storageClass": "STANDARD",
        "size": "1048576",
        "md5Hash": "rL0Y20zC+Fzt72VPzMSk2A==",
        "crc32c": "AAAAAA==",
        "etag": "CMCGvIyAgIADEAE=",
        "timeCreated": when,
        "updated": when,
        "timeStorageClassUpdated": when,
        "timeFinalized": when,
    }


def _page(found: list[dict[str, Any]], kind: str, args: dict[str, Any]) -> dict[str, Any]:
    start, size = int(args.get("pageToken") or 0), args.get("pageSize", 100)
    page = found[start : start + size]
    more = {"nextPageToken": str(start + size)} if start + size < len(found) else {}
    return {**({kind: page} if page else {}), **more}


def _next(job: dict[str, Any]) -> str:
    """The state now; the last one of the script stays."""
    states = job["states"]
    return "JOB_STATE_" + (states.pop(0) if len(states) > 1 else states[0])


def _lives(job: dict[str, Any]) -> bool:
    return job["states"][0] in ("RUNNING", "QUEUED", "PENDING")
