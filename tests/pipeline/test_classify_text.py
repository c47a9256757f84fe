"""ClassifyText answers each row of somebody else's pipeline, and drops none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from beam_bert import Classify, ClassifyText, ReadDocuments
from beam_bert.errors import ConfigError, InputError, ModelError
from tests.jobs.test_run import ROWS, run, table, write_jsonl

EXAMPLES = Path(__file__).parents[2] / "examples"


class Review(NamedTuple):
    body: str | None
    stars: int


def test_rows_get_the_answers_that_the_job_gives(tmp_path: Path, bert: Path) -> None:
    assert run(write_jsonl(tmp_path / "in.jsonl"), tmp_path / "out", bert) == 0
    expected = [(row["id"], row["label"]) for row in table(tmp_path / "out")]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        found = (
            pipeline
            | beam.Create(ROWS)
            | ClassifyText(str(bert))
            | beam.Map(lambda row: (row.id, row.label))
        )
        assert_that(found, equal_to(expected))


def test_every_row_comes_out_with_its_own_fields_and_a_reason_where_it_has_no_answer(
    bert: Path,
) -> None:
    reviews = [Review("good", 5), Review(None, 1), Review("  ", 2), Review("\u200b\u200d", 3)]

    def shown(row: Any) -> tuple[object, ...]:
        return row.body, row.stars, row.label is None, row.polarity is None, row.reject_reason

    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        found = (
            pipeline
            | beam.Create(reviews).with_output_types(Review)
            | ClassifyText(str(bert), text_field="body", sentiment=True)
            | beam.Map(shown)
        )
        expected = [
            ("good", 5, False, False, None),
            (None, 1, True, True, "missing_text"),
            ("  ", 2, True, True, "empty_text"),
            ("\u200b\u200d", 3, True, True, "no_tokens"),
        ]
        assert_that(found, equal_to(expected))


def test_eight_bits_are_not_silent_where_nothing_is_compared_with_fp32(
    bert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "beam_bert")  # jobs of other tests leave the root's at ERROR
    Classify(str(bert))
    ClassifyText(str(bert), precision="bf16")
    assert "compared" not in caplog.text
    for transform in (Classify, ClassifyText):
        caplog.clear()
        transform(str(bert), precision="int8")
        assert "int8 was not compared with fp32 on your text" in caplog.text


def test_the_type_of_the_rows_names_their_fields_for_yaml_and_sql(bert: Path) -> None:
    pipeline = beam.Pipeline(runner="FnApiRunner")
    rows = pipeline | beam.Create([Review("good", 5)]).with_output_types(Review)
    classified = rows | ClassifyText(str(bert), text_field="body", top_k=2)
    names = [name for name, _ in classified.element_type._fields]
    assert names == ["body", "stars", "label", "score", "labels", "scores", "reject_reason"]


def test_a_model_that_cannot_be_used_is_refused_when_the_pipeline_is_built(bert: Path) -> None:
    with pytest.raises(ModelError, match="nowhere/at/all"):
        ClassifyText("nowhere/at/all")
    with pytest.raises(ConfigError, match="64 tokens at most"):
        ClassifyText(str(bert), max_length=100)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "fp17"}, "precision: input should be 'auto', 'fp32', 'bf16'.*got 'fp17'"),
        ({"device": "gpu"}, "device: input should be 'auto', 'cpu' or 'cuda', got 'gpu'"),
        ({"batch_tokens": 0}, "batch_tokens: input should be greater than or equal to 1, got 0"),
        ({"top_k": 0}, "top_k: input should be greater"),
        ({"threshold": 2}, "threshold: input should be less"),
        ({"max_length": 1}, "max_length: input should be greater"),
    ],
)
def test_a_value_that_is_none_is_told_when_the_transform_is_made(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        ClassifyText(**settings)
    if "precision" in settings:
        with pytest.raises(ConfigError, match=message):
            Classify("sentiment-small-en", **settings)


def test_the_example_runs_with_the_embedded_model() -> None:
    command = [sys.executable, str(EXAMPLES / "in_your_pipeline.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    counts = [line.split() for line in done.stdout.splitlines()]
    of_files = [count for count in counts if count[0] == "labels"]
    of_rows = [count for count in counts if count[0] != "labels"]
    for found in (of_files, of_rows):
        assert sum(int(count) for _, _, count in found) == 36
        assert {sentiment for _, sentiment, _ in found} == {"negative", "neutral", "positive"}


def test_files_are_read_and_classified_in_somebody_elses_pipeline(
    tmp_path: Path, bert: Path
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl")
    assert run(source, tmp_path / "out", bert) == 0
    answers = ("source_row", "label", "score", "model_version")
    expected = [[row[name] for name in answers] for row in table(tmp_path / "out")]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        found = (
            pipeline
            | ReadDocuments(str(source))
            | Classify(model=str(bert))
            | beam.FlatMap(lambda batch: batch.rows.to_pylist())
            | beam.Map(lambda row: [row[name] for name in answers])
        )
        assert_that(found, equal_to(expected))
    with pytest.raises(InputError, match="matches no file"):
        ReadDocuments(str(tmp_path / "none.jsonl"))


def test_beam_yaml_runs_the_example() -> None:
    pytest.importorskip("jsonschema", reason="Beam YAML needs apache-beam[yaml]")
    command = [sys.executable, "-m", "apache_beam.yaml.main", "--runner=FnApiRunner"]
    command += [f"--yaml_pipeline_file={EXAMPLES / 'pipeline.yaml'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    logged = [line for line in done.stderr.splitlines() if '"sentiment"' in line]
    assert len(logged) == 3
    assert sum('"reject_reason": "empty_text"' in line for line in logged) == 1
