"""The nightly workflow's logic: nightly.yaml itself, run against a cloud of dictionaries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest
import yaml

from beam_bert.settings.inference import RUN_ID
from tests.platform.fake_cloud import CLASSIFY, EXECUTION, NIGHT, PARTITION, ROOT, WORKFLOW, Cloud
from tests.platform.workflow_interpreter import NotSupported, WorkflowError, http_error

GATE = "gates/20261124/gate.json"
LAUNCH = "flexTemplates.launch"
GET_JOB = "locations.jobs.get"


def events(workflow) -> list[str]:
    return [line["event"] for line in workflow.logs]


def test_a_plain_night_launches_one_job_under_the_nights_name_and_waits_for_it() -> None:
    cloud = Cloud([["QUEUED", "RUNNING", "RUNNING", "DONE"]])
    workflow = cloud.workflow()
    result = workflow.run()

    assert result == {
        "outcome": "done", "partition": PARTITION, "job_id": "job-1", "training": "off",
    }  # fmt: skip
    (launch,) = cloud.launches()
    assert launch["jobName"] == "beam-bert-20261124"
    assert launch["containerSpecGcsPath"] == CLASSIFY["container_spec_gcs_path"]
    assert launch["environment"] == CLASSIFY["environment"]
    assert launch["parameters"] == {
        **CLASSIFY["parameters"], "partition": PARTITION, "overwrite": "false",
        "run_id": f"20261124-{EXECUTION}-1",
    }  # fmt: skip
    assert workflow.now == NIGHT + 3 * 60
    assert events(workflow) == ["night_done"]


def test_the_date_is_the_time_zones_not_utcs() -> None:
    cloud = Cloud()
    cloud.on_done = lambda c: c.put("reviews/predictions/run_date=2026-11-25/part.parquet", "")
    result = cloud.workflow(now=NIGHT + 22.5 * 3600).run()  # 23:30 UTC, 00:30 in Berlin
    assert result["partition"] == "run_date=2026-11-25"


def test_a_night_that_is_committed_is_not_run_again() -> None:
    cloud = Cloud()
    cloud.workflow().run()
    again = cloud.workflow(training={"enabled": True})
    assert again.run() == {"outcome": "already_done", "partition": PARTITION, "training": "off"}
    assert len(cloud.launches()) == 1
    assert cloud.custom == []


def test_a_commit_that_was_killed_half_way_is_launched_again_to_be_finished() -> None:
    cloud = Cloud()
    cloud.commit()
    cloud.put("reviews/staging/abc/commit.json", "{}")
    cloud.on_done = lambda c: c.objects.pop(("out", "reviews/staging/abc/commit.json"))
    assert cloud.workflow().run()["outcome"] == "done"
    assert len(cloud.launches()) == 1


def test_a_listing_whose_first_pages_are_empty_is_read_to_its_end() -> None:
    cloud = Cloud()
    cloud.commit()
    cloud.empty_pages = 2
    assert cloud.workflow().run()["outcome"] == "already_done"
    cloud.put("reviews/staging/abc/commit.json", "{}")
    cloud.on_done = lambda c: c.objects.pop(("out", "reviews/staging/abc/commit.json"))
    assert cloud.workflow().run()["outcome"] == "done"


def test_an_incremental_night_may_find_nothing_new_and_can_run_again() -> None:
    cloud = Cloud()
    cloud.on_done = lambda c: None
    incremental = {"incremental": "true"}
    assert cloud.workflow(parameters=incremental).run()["outcome"] == "done"
    with pytest.raises(WorkflowError, match="is not committed"):
        cloud.workflow().run()
    cloud.commit()  # later documents of the same night are not left for the next one
    assert cloud.workflow(parameters=incremental).run()["outcome"] == "done"
    assert len(cloud.launches()) == 3


def test_an_incremental_night_does_not_end_well_while_a_commit_is_pending() -> None:
    cloud = Cloud()
    cloud.on_done = lambda c: c.put("reviews/staging/abc/commit.json", "{}")
    with pytest.raises(WorkflowError, match="is not committed"):
        cloud.workflow(parameters={"incremental": "true"}).run()


def shards(cloud: Cloud, folder: str, count: int) -> None:
    for number in range(count):
        cloud.put(f"reviews/{folder}/part-{number:05}-0000-0123456789abcdef.parquet", "PAR1")


def test_a_night_of_ten_thousand_shards_fits_a_workflows_memory() -> None:
    """A page of whole objects is over a megabyte; all variables together may hold half of one."""
    cloud = Cloud()
    cloud.on_done = lambda c: shards(c, f"predictions/{PARTITION}", 10_000)
    shards(cloud, "staging/0123456789abcdef/shards", 3_000)
    for number in range(250):  # work that was never finished
        cloud.put(f"reviews/staging/{number:016x}/part.parquet", "")
    assert cloud.workflow().run()["outcome"] == "done"
    assert cloud.workflow().run()["outcome"] == "already_done"
    cloud.put("reviews/staging/00000000000000f9/commit.json", "{}")  # in the last page
    with pytest.raises(WorkflowError, match="is not committed"):
        cloud.workflow().run()
    lists = [args for call, args in cloud.requests if call.endswith("objects.list")]
    assert len(lists) < 2_000


def test_the_interpreter_holds_the_services_limits() -> None:
    cloud = Cloud()
    shards(cloud, f"predictions/{PARTITION}", 1_000)
    listing = {"call": "googleapis.storage.v1.objects.list", "result": "page"}
    listing["args"] = {"bucket": "out", "prefix": "reviews/"}  # type: ignore[assignment]
    greedy = cloud.workflow()
    greedy.source = {"main": {"steps": [{"list": listing}]}}
    with pytest.raises(WorkflowError, match="the variables hold"):
        greedy.run()
    listing["args"] = {"bucket": "out", "prefix": "reviews/", "matchGlobs": "*"}  # type: ignore[assignment]
    with pytest.raises(NotSupported, match="takes no"):
        greedy.run()


def test_an_incremental_night_cannot_overwrite_and_says_so_before_anything_is_asked() -> None:
    cloud = Cloud()
    with pytest.raises(WorkflowError, match="overwrite is for nights that read everything"):
        cloud.workflow(parameters={"incremental": "true"}).run({"overwrite": True})
    assert cloud.requests == []


def test_a_backfill_takes_its_date_from_the_argument_and_can_overwrite() -> None:
    cloud = Cloud()
    cloud.put("reviews/predictions/run_date=2026-01-02/part.parquet", "")
    result = cloud.workflow().run({"run_date": "2026-01-02", "overwrite": True})
    assert result["partition"] == "run_date=2026-01-02"
    (launch,) = cloud.launches()
    assert launch["jobName"] == "beam-bert-20260102"
    assert launch["parameters"]["overwrite"] == "true"


@pytest.mark.parametrize("date", ["yesterday", "2026-1-2", "2026-01-02/../x", "2026-01-02\nx"])
def test_a_date_that_is_none_stops_before_anything_is_asked(date: str) -> None:
    cloud = Cloud()
    with pytest.raises(WorkflowError, match="is not YYYY-MM-DD"):
        cloud.workflow().run({"run_date": date})
    assert cloud.requests == []


def test_a_failed_job_is_tried_again_under_the_same_name() -> None:
    cloud = Cloud([["RUNNING", "FAILED"], ["RUNNING", "DONE"]])
    workflow = cloud.workflow()
    assert workflow.run()["job_id"] == "job-2"
    assert {launch["jobName"] for launch in cloud.launches()} == {"beam-bert-20261124"}
    assert events(workflow) == ["job_failed", "night_done"]


def test_the_last_failure_says_what_the_failure_json_of_its_run_says() -> None:
    cloud = Cloud([["FAILED"]])
    for run, message in {
        f"20261124-{EXECUTION}-1": "the first story",
        f"20261124-{EXECUTION}-2": "3 of 20 rows were rejected",
        "20261124-another-3": "somebody else's",
    }.items():
        cloud.put(f"reviews/runs/{run}/failure.json", json.dumps({"message": message}).encode())
    with pytest.raises(WorkflowError, match=r"attempt 2\): 3 of 20 rows were rejected$"):
        cloud.workflow().run()
    run_ids = [launch["parameters"]["run_id"] for launch in cloud.launches()]
    assert run_ids == [f"20261124-{EXECUTION}-{attempt}" for attempt in (1, 2)]
    assert all(re.fullmatch(RUN_ID, run_id) for run_id in run_ids)


@pytest.mark.parametrize("content", [None, "not json", "{}"])
def test_a_failure_without_a_readable_failure_json_says_where_to_look(content: str | None) -> None:
    cloud = Cloud([["FAILED"]])
    if content is not None:
        cloud.put(f"reviews/runs/20261124-{EXECUTION}-1/failure.json", content)
    with pytest.raises(WorkflowError, match="see the job's log"):
        cloud.workflow(settings={"attempts": 1}).run()
    assert len(cloud.launches()) == 1


@pytest.mark.parametrize("state", ["CANCELLED", "DRAINED", "UPDATED"])
def test_a_job_that_a_person_stopped_is_not_started_again(state: str) -> None:
    cloud = Cloud([["RUNNING", state]])
    with pytest.raises(WorkflowError, match=f"ended as JOB_STATE_{state}"):
        cloud.workflow().run()
    assert len(cloud.launches()) == 1


def test_a_launch_whose_answer_was_lost_does_not_run_twice() -> None:
    cloud = Cloud()
    cloud.faults[LAUNCH] = [http_error(503)]
    cloud.lost_answers.add("launch")
    assert cloud.workflow().run()["job_id"] == "job-1"
    assert len(cloud.dataflow) == 1


def test_two_executions_of_one_night_share_the_job() -> None:
    cloud = Cloud([["RUNNING"] * 5 + ["DONE"]])
    cloud._launch({"body": {"launchParameter": {"jobName": "beam-bert-20261124"}}})
    assert cloud.workflow().run()["job_id"] == "job-1"
    assert len(cloud.dataflow) == 1


def test_of_all_live_jobs_only_the_one_of_the_nights_name_is_adopted_and_cancelled() -> None:
    cloud = Cloud([["RUNNING"]])
    others = ["somebody-elses", "beam-bert-2026112", "beam-bert-20261124-x", "x-beam-bert-20261124"]
    for name in [*others, *(f"other-{n}" for n in range(60)), "beam-bert-20261124"]:
        cloud._launch({"body": {"launchParameter": {"jobName": name}}})
    with pytest.raises(WorkflowError, match="ran past the deadline"):
        cloud.workflow().run()
    assert cloud.cancelled == [cloud.dataflow[-1]["id"]]
    assert len(cloud.dataflow) == 65


def test_a_refused_name_without_a_live_job_of_it_fails_and_touches_nothing() -> None:
    cloud = Cloud([["RUNNING"]])
    cloud._launch({"body": {"launchParameter": {"jobName": "somebody-elses"}}})
    cloud.faults[LAUNCH] = [http_error(409, "no")]
    with pytest.raises(WorkflowError):
        cloud.workflow().run()
    assert cloud.cancelled == [] and len(cloud.dataflow) == 1


@pytest.mark.parametrize("code", [429, 502, 503, 504])
def test_a_short_outage_of_any_service_is_waited_out(code: int) -> None:
    cloud = Cloud()
    for name in ("objects.list", LAUNCH, GET_JOB):
        cloud.faults[name] = [http_error(code), http_error(code)]
    assert cloud.workflow().run()["outcome"] == "done"


@pytest.mark.parametrize("code", [400, 403, 404])
def test_a_refusal_fails_at_once(code: int) -> None:
    cloud = Cloud()
    cloud.faults[LAUNCH] = [http_error(code, "no")]
    with pytest.raises(WorkflowError):
        cloud.workflow().run()
    assert len(cloud.launches()) == 1


def test_a_job_past_the_deadline_is_cancelled_and_the_night_fails() -> None:
    cloud = Cloud([["RUNNING"]])
    workflow = cloud.workflow()
    with pytest.raises(WorkflowError, match="job-1 ran past the deadline of the night"):
        workflow.run()
    assert cloud.cancelled == ["job-1"]
    assert workflow.now <= NIGHT + 6 * 3600 + 2 * 60


def test_a_job_that_failed_after_the_deadline_is_not_tried_again() -> None:
    cloud = Cloud([["RUNNING", "FAILED"]])
    with pytest.raises(WorkflowError, match=r"attempt 1\)"):
        cloud.workflow(settings={"deadline_s": 30}).run()


def test_a_job_that_ends_well_without_output_fails_the_night() -> None:
    cloud = Cloud()
    cloud.on_done = lambda c: None
    with pytest.raises(WorkflowError, match="run_date=2026-11-24 is not committed"):
        cloud.workflow().run()


def train_night(gate: object = None, **states: list[str]) -> tuple[Cloud, object]:
    cloud = Cloud()
    cloud.custom_states = states
    if gate is not None:
        cloud.put(GATE, gate, bucket="models")
    return cloud, cloud.workflow(training={"enabled": True})


def stages(cloud: Cloud) -> list[str]:
    return [job["title"].split("-")[2] for job in cloud.custom]


def test_a_better_model_is_promoted_before_the_classification() -> None:
    cloud, workflow = train_night({"promote": True, "reason": "better"})
    assert workflow.run()["training"] == "promoted"
    assert stages(cloud) == ["train", "evaluate", "promote"]
    assert cloud.custom[1]["command"][-1] == "--output=gs://models/gates/20261124"
    kinds = [name.split(".")[-2] for name, _ in cloud.requests]
    assert kinds.index("flexTemplates") > max(i for i, k in enumerate(kinds) if k == "customJobs")
    assert {"severity": "NOTICE", "event": "gate", "promote": True, "reason": "better"} in (
        workflow.logs
    )


def test_a_model_that_is_no_better_is_kept_back_and_the_old_one_classifies() -> None:
    cloud, workflow = train_night(json.dumps({"promote": False}))
    assert workflow.run()["training"] == "kept"
    assert stages(cloud) == ["train", "evaluate"]
    assert len(cloud.launches()) == 1


@pytest.mark.parametrize(
    ("gate", "states", "ran"),
    [
        (None, {"train": ["RUNNING", "FAILED"]}, ["train"]),
        (None, {"evaluate": ["EXPIRED"]}, ["train", "evaluate"]),
        (None, {}, ["train", "evaluate"]),
        ({"verdict": "fine"}, {}, ["train", "evaluate"]),
        ({"promote": "yes"}, {}, ["train", "evaluate"]),
        ({"promote": True}, {"promote": ["FAILED"]}, ["train", "evaluate", "promote"]),
    ],
    ids=["train fails", "evaluate expires", "no gate", "other gate", "not a boolean", "promote"],
)
def test_a_failed_training_never_promotes_and_never_stops_the_classification(
    gate: object, states: dict, ran: list[str]
) -> None:
    cloud, workflow = train_night(gate, **states)
    if gate == {"promote": "yes"}:
        assert workflow.run()["training"] == "kept"
    else:
        with pytest.raises(
            WorkflowError, match="is classified with the old model: training failed"
        ):
            workflow.run()
        assert events(workflow)[-2:] == ["training_failed", "night_done"]
    assert stages(cloud) == ran
    assert len(cloud.dataflow) == 1
    assert ("out", f"reviews/predictions/{PARTITION}/part-00000.parquet") in cloud.objects


def test_a_second_execution_waits_for_the_training_job_that_is_there() -> None:
    cloud, workflow = train_night({"promote": False})
    job = {"displayName": "beam-bert-train-20261124"}
    spec = {"workerPoolSpecs": [{"containerSpec": {"command": []}}]}
    cloud._create_custom({"body": {**job, "jobSpec": spec}})
    workflow.run()
    assert stages(cloud) == ["train", "evaluate"]


def test_a_training_past_its_own_deadline_leaves_the_classification_its_time() -> None:
    cloud, workflow = train_night(train=["RUNNING"])
    cloud.script = [["RUNNING"] * 100 + ["DONE"]]  # takes almost two hours
    with pytest.raises(WorkflowError, match="is classified with the old model"):
        workflow.run()
    assert cloud.cancelled == ["customJobs/1"]  # and not the classification
    assert ("out", f"reviews/predictions/{PARTITION}/part-00000.parquet") in cloud.objects


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_train_and_evaluate_share_one_deadline(stage: str) -> None:
    """Each within its own limit, but together they would take the night."""
    cloud, workflow = train_night({"promote": True}, **{stage: ["RUNNING"]})
    cloud.custom_states.setdefault("train", ["RUNNING"] * 150 + ["SUCCEEDED"])
    cloud.script = [["RUNNING"] * 100 + ["DONE"]]
    with pytest.raises(WorkflowError, match="is classified with the old model"):
        workflow.run()
    assert workflow.now <= NIGHT + (3 + 2) * 3600
    assert len(cloud.cancelled) == 1 and cloud.dataflow


def test_a_training_job_uses_the_key_of_ones_own() -> None:
    key = {"encryptionSpec": {"kmsKeyName": "projects/p/locations/r/keyRings/k/cryptoKeys/c"}}
    for encryption in ({}, key):
        cloud = Cloud()
        cloud.put(GATE, {"promote": False}, bucket="models")
        cloud.workflow(training={"enabled": True, "encryption": encryption}).run()
        made = [args["body"] for call, args in cloud.requests if call.endswith("customJobs.create")]
        assert made and all(
            {k: v for k, v in body.items() if k == "encryptionSpec"} == encryption for body in made
        )
        assert all(body["jobSpec"]["serviceAccount"] for body in made)


def test_a_training_job_is_found_among_many_of_its_name_that_failed() -> None:
    cloud, workflow = train_night({"promote": False})
    spec = {"workerPoolSpecs": [{"containerSpec": {"command": []}}]}
    body = {"displayName": "beam-bert-train-20261124", "jobSpec": spec}
    cloud.custom_states = {"train": ["FAILED"]}
    for _ in range(45):
        cloud._create_custom({"body": body})
    cloud.custom_states = {}
    cloud._create_custom({"body": body})
    workflow.run()
    assert stages(cloud)[45:] == ["train", "evaluate"]


def execution(hours_ago: float, state: str) -> dict[str, str]:
    started = datetime.fromtimestamp(NIGHT - hours_ago * 3600, timezone.utc)
    return {"name": f"e{hours_ago}", "state": state, "startTime": f"{started:%Y-%m-%dT%H:%M:%SZ}"}


@pytest.mark.parametrize(
    ("executions", "message"),
    [
        ([], "none was started"),
        ([(13, "ACTIVE")], "the last one is ACTIVE"),
        ([(13, "FAILED"), (37, "SUCCEEDED")], "the last one is FAILED"),
        ([(13, "SUCCEEDED")], None),
        ([(2, "FAILED"), (13, "SUCCEEDED")], None),
        ([(13, "SUCCEEDED"), (15, "FAILED")], None),
        ([(0.1, "FAILED")] * 120 + [(13, "SUCCEEDED")], None),
    ],
)
def test_the_watch_fails_where_no_night_has_succeeded_by_its_hour(
    executions: list[tuple[float, str]], message: str | None
) -> None:
    cloud = Cloud()
    cloud.executions = [execution(*each) for each in executions]
    if message is None:
        assert cloud.watch().run({}) == "e13"
    else:
        with pytest.raises(WorkflowError, match=f"no night has succeeded in 14 hours; .*{message}"):
            cloud.watch().run({})


def test_training_can_be_switched_off_for_one_night() -> None:
    cloud, workflow = train_night()
    assert workflow.run({"train": False})["training"] == "off"
    assert cloud.custom == []


def test_the_services_know_every_field_of_what_they_are_sent() -> None:
    from google.cloud.aiplatform_v1.types import CustomJob
    from google.cloud.dataflow_v1beta3.types import Job, LaunchFlexTemplateRequest

    cloud, workflow = train_night({"promote": True})
    workflow.run()
    types = {"customJobs.create": CustomJob, "flexTemplates.launch": LaunchFlexTemplateRequest}
    for name, type_ in types.items():
        bodies = [args["body"] for call, args in cloud.requests if call.endswith(name)]
        assert bodies
        for body in bodies:
            type_.from_json(json.dumps(body))  # raises for a field that it does not know
    Job.from_json(json.dumps({"requestedState": "JOB_STATE_CANCELLED"}))


def test_the_workflow_fits_what_the_service_takes() -> None:
    text = WORKFLOW.read_text(encoding="utf-8")
    assert len(text.encode()) < 128 * 1024
    for name, body in yaml.safe_load(text).items():
        assert set(body) <= {"params", "steps"}, name
        names = list(step_names(body["steps"]))
        assert len(names) == len(set(names)), f"{name} has a step name twice"


def step_names(steps: list) -> Iterator[str]:
    """The names of all steps of a subworkflow, nested ones too."""
    for step in steps:
        ((name, body),) = step.items()
        yield name
        parts = [
            body,
            body.get("try"),
            body.get("except"),
            body.get("for"),
            *body.get("switch", []),
        ]
        for part in parts:
            if isinstance(part, dict):
                yield from step_names(part.get("steps", []))


def test_every_parameter_that_the_workflow_sets_is_one_of_the_template() -> None:
    metadata = json.loads((ROOT / "terraform/flex_template/metadata.json").read_text())
    known = {parameter["name"] for parameter in metadata["parameters"]}
    cloud = Cloud()
    cloud.workflow().run()
    assert set(cloud.launches()[0]["parameters"]) <= known
