"""`--dry_run` tells what a job would read, take and cost, and leaves no trace."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
import yaml

from beam_bert.encoder.config import read_config
from beam_bert.errors import ConfigError
from beam_bert.jobs.command_line import parse_config
from beam_bert.jobs.dry_run import Estimate, estimate, flop_a_token, read_prices
from beam_bert.jobs.plan import plan_job
from beam_bert.settings.inference import ClassifyConfig
from tests.jobs.test_run import ROWS, flags, run, write_csv, write_jsonl

DATAFLOW = [
    "--runner=DataflowRunner",
    "--project=p",
    "--region=us-central1",
    "--temp_location=gs://p/temp",
    "--sdk_container_image=us-central1-docker.pkg.dev/p/r/beam-bert:1",
]


def estimate_of(source: Path, model: Path, *more: str) -> Estimate:
    config, beam = parse_config(
        ClassifyConfig, [*flags(source, Path("nowhere"), model), *more], "pipelines.classify"
    )
    plan = plan_job("classify", config, beam)
    return estimate(plan, plan.files)


def test_a_dry_run_prints_an_estimate_and_writes_nothing(
    tmp_path: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", ROWS * 3)
    assert run(source, tmp_path / "out", bert, "--dry_run") == 0
    shown = capsys.readouterr().out
    assert "nothing is submitted" in shown
    assert f"an estimate from {3 * len(ROWS)} documents" in shown
    assert f"documents: about {3 * len(ROWS)}\n" in shown
    assert re.search(r"duration: +about 0:0\d:\d\d", shown) and "measured here" in shown
    assert not (tmp_path / "out").exists()


def test_documents_are_counted_from_a_sample_of_large_and_compressed_files(
    tmp_path: Path, bert: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_jsonl(folder / "large.jsonl", ROWS * 400)
    plain = write_csv(tmp_path / "small.csv")
    (folder / "small.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    found = estimate_of(folder, bert)
    assert found.sampled_documents <= 1_000
    assert found.documents == pytest.approx(401 * len(ROWS), rel=0.05)


def test_dataflow_is_reckoned_with_the_tables_machine_scaled_to_the_model(
    tmp_path: Path, bert: Path
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", ROWS * 20)
    prices = tmp_path / "prices.yaml"
    prices.write_text(
        yaml.safe_dump(
            {
                "date": "2030-01-01",
                "currency": "EUR",
                "mflop_a_token": flop_a_token(read_config(bert)) / 1e6 / 2,
                "start_s": 60,
                "default_machine": "m",
                "machines": {
                    "m": {"price_an_hour": 1.0, "tokens_a_second": 1},  # Prime's, or whose else
                    "n2-standard-4": {"price_an_hour": 3.0, "tokens_a_second": 200},
                },
                "gpus": {"nvidia-l4:1": {"price_an_hour": 36.0, "tokens_a_second": 2000}},
            }
        )
    )
    more = [*DATAFLOW, f"--prices={prices}", "--slice_bytes=20000", "--max_num_workers=2"]
    found = estimate_of(source, bert, *more)
    assert (found.machine, found.workers, found.currency) == ("n2-standard-4", 2, "EUR")
    assert found.tokens_a_second == pytest.approx(200)  # half the table's speed, two workers
    assert found.seconds == pytest.approx(60 + found.tokens / 200)
    assert found.cost == pytest.approx(2 * found.seconds / 3600 * 3)
    found = estimate_of(source, bert, *more, "--gpu=nvidia-l4")
    assert found.machine == "g2-standard-8 with nvidia-l4:1"
    assert found.cost == pytest.approx(2 * found.seconds / 100)
    prime = estimate_of(source, bert, *more, "--dataflow_service_options=enable_prime")
    assert prime.machine == "m"
    found = estimate_of(source, bert, *more, "--machine_type=odd-1")
    assert found.cost is None and "does not hold odd-1" in found.basis


def test_the_packages_table_knows_every_gpu_that_the_flag_takes() -> None:
    from beam_bert.settings.inference import GPU_MACHINES

    prices = read_prices(None)
    assert set(prices.gpus) == {f"{t}:{n}" for t, counts in GPU_MACHINES.items() for n in counts}
    assert prices.default_machine in prices.machines
    assert "to be replaced" in prices.note and str(prices.date) == "2026-11-24"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not YAML"),
        ("date: 1", "mflop_a_token: Field required"),
        ("[]", "the file"),
    ],
)
def test_a_table_that_is_none_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"--prices {file}: .*{message}"):
        read_prices(str(file))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_prices(str(tmp_path / "none.yaml"))


def test_base_bert_takes_170_million_operations_a_token(bert: Path) -> None:
    import dataclasses

    config = dataclasses.replace(
        read_config(bert), hidden_size=768, intermediate_size=3072, num_layers=12
    )
    assert flop_a_token(config) == pytest.approx(170e6, rel=0.01)


def test_a_run_may_be_named_and_a_name_stands_for_one_committed_run(
    tmp_path: Path, bert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", ROWS[:5])
    assert run(source, tmp_path / "out", bert, "--run_id=night-7") == 0
    assert (tmp_path / "out/runs/night-7/manifest.json").is_file()
    capsys.readouterr()
    assert run(source, tmp_path / "out", bert, "--run_id=night-7", "--overwrite") == 2
    assert "give another --run_id" in capsys.readouterr().err
    assert run(source, tmp_path / "out2", bert, "--run_id=../x") == 2
    assert "--run_id" in capsys.readouterr().err
