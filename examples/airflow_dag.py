"""A night in Airflow 3: train and judge a model where that is due, classify what is new.

Put this file into the DAGs folder of an Airflow with the providers `standard`, `google` and
`apache-beam`, and install the package with its extras gcp and report where its workers run, or name
another environment's Python as BEAM_BERT_PYTHON. Everything lies on gs://: Dataflow's workers do
not see the disk of Airflow's. With BEAM_BERT_RUNNER=DirectRunner it all runs where Airflow does.

The steps are those of `pipelines.nightly`, which knows from the model store what is due, so each
may be cleared and run again. The night's file (examples/nightly.yaml) needs the sections finetune,
evaluate and gate; what is classified is said below.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.providers.apache.beam.operators.beam import BeamRunPythonPipelineOperator
from airflow.providers.google.cloud.operators.dataflow import DataflowConfiguration
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

PYTHON = os.environ.get("BEAM_BERT_PYTHON", "python3")
RUNNER = os.environ.get("BEAM_BERT_RUNNER", "DataflowRunner")
PROJECT = os.environ.get("BEAM_BERT_PROJECT", "your-project")
REGION = os.environ.get("BEAM_BERT_REGION", "europe-west1")
PLACE = os.environ.get("BEAM_BERT_PLACE", "gs://your-project-data")
IMAGE = os.environ.get("BEAM_BERT_IMAGE", "europe-west1-docker.pkg.dev/your-project/r/beam-bert:1")
ON_DATAFLOW = {
    "temp_location": f"{PLACE}/temp",
    "sdk_container_image": IMAGE,
    "machine_type": "n2-standard-4",
    "service_account_email": f"beam-bert-worker@{PROJECT}.iam.gserviceaccount.com",
}


def step(name: str) -> str:
    """The command of a step of the night; exit code 0 also where nothing is due."""
    return f"{PYTHON} -m pipelines.nightly --config={PLACE}/nightly.yaml --date={{{{ ds }}}} {name}"


with DAG(
    dag_id="beam_bert_night",
    description=(__doc__ or "").split("\n")[0],
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 1, "retry_delay": timedelta(minutes=5)},
) as dag:
    finetune = BashOperator(task_id="finetune", bash_command=step("--steps=train"))
    evaluate = BashOperator(task_id="evaluate", bash_command=step("--steps=gate --steps=promote"))
    classify = BeamRunPythonPipelineOperator(
        task_id="classify",
        # Documents are classified with the model in production, whatever the refresh came to.
        trigger_rule="all_done",
        py_interpreter=PYTHON,
        py_options=["-m"],
        py_file="pipelines.classify",
        runner=RUNNER,
        pipeline_options={
            "input": [f"{PLACE}/incoming/"],
            "output": f"{PLACE}/out",
            "model": f"{PLACE}/store@production",
            "id_column": "id",
            "partition": "run_date={{ ds }}",
            "incremental": True,
            **(ON_DATAFLOW if RUNNER == "DataflowRunner" else {}),
        },
        dataflow_config=DataflowConfiguration(
            job_name="beam-bert-{{ ds_nodash }}", project_id=PROJECT, location=REGION
        ),
        # With deferrable=True the worker's slot is free while the job runs; the operator finds the
        # job by the line `Created job with id: […]`, which the launcher prints.
    )
    finetune >> evaluate >> classify
