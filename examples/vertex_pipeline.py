"""A night in Vertex AI Pipelines: train and judge a model where that is due, classify what is new.

    pip install kfp google-cloud-pipeline-components
    python examples/vertex_pipeline.py night.json       writes the pipeline, to be scheduled there

Training and judging run in the project's image; the classification is the flex template that the
build wrote, so no Python of ours has to run beside Google's. Give the pipeline a service account
that may act as the workers' account.
"""

import sys

from google_cloud_pipeline_components.v1.dataflow import DataflowFlexTemplateJobOp
from google_cloud_pipeline_components.v1.wait_gcp_resources import WaitGcpResourcesOp
from kfp import compiler, dsl

# No `from __future__ import annotations` here: Kubeflow reads the types of a component's arguments.
IMAGE = "europe-west1-docker.pkg.dev/your-project/beam-bert/beam-bert:1"


@dsl.container_component
def refresh(config: str, date: str):  # type: ignore[no-untyped-def] # kfp makes of it what it needs
    """Train, judge and promote; does nothing where nothing is due."""
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["python", "-m", "pipelines.nightly"],
        args=["--config", config, "--date", date, "--steps", "train", "gate", "promote"],
    )


@dsl.pipeline(name="beam-bert-night")
def night(
    place: str = "gs://your-project-data",
    date: str = "2026-11-24",
    template: str = "gs://your-project-data/templates/classify-first.json",
    worker: str = "beam-bert-worker@your-project.iam.gserviceaccount.com",
    location: str = "europe-west1",
) -> None:
    """The refresh, then the job, then its end."""
    model = refresh(config=f"{place}/nightly.yaml", date=date).set_cpu_limit("8")
    launched = DataflowFlexTemplateJobOp(
        location=location,
        container_spec_gcs_path=template,
        job_name=f"beam-bert-{date}",
        service_account_email=worker,
        temp_location=f"{place}/temp",
        machine_type="n2-standard-4",
        parameters={
            "input": f"{place}/incoming/*.jsonl",
            "output": f"{place}/out",
            "model": f"{place}/store@production",
            "partition": f"run_date={date}",
            "incremental": "true",
            "sdk_container_image": IMAGE,
        },
    ).after(model)
    WaitGcpResourcesOp(gcp_resources=launched.outputs["gcp_resources"])


if __name__ == "__main__":
    compiler.Compiler().compile(night, sys.argv[1])
