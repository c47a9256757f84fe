"""The jobs from Python: named as the commands, silent, with the errors that they raise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import beam_bert
from beam_bert.errors import ConfigError, InputError

REVIEWS = Path(__file__).parents[2] / "examples" / "reviews.csv"


def test_the_public_names_are_those_of_the_commands() -> None:
    assert {"classify", "sentiment", "answer", "finetune", "evaluate", "nightly"} <= set(
        dir(beam_bert)
    )
    assert all(getattr(beam_bert, name) for name in dir(beam_bert))


def test_a_job_from_python_says_nothing_and_returns_its_manifest(tmp_path: Path) -> None:
    program = (
        "import beam_bert; m = beam_bert.sentiment("
        f"input={str(REVIEWS)!r}, output={str(tmp_path / 'out')!r}, keep_columns='channel');"
        "assert m.counts.rows_read == 36; assert 'channel' in [c.name for c in m.columns]"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_mistakes_are_raised_with_the_name_that_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting outptu; did you mean output\?"):
        beam_bert.sentiment(input="x.csv", outptu="out")
    with pytest.raises(InputError, match="nowhere"):
        beam_bert.sentiment(input="nowhere.csv", output="out")
    with pytest.raises(ConfigError, match="not both"):
        from beam_bert.settings.inference import SentimentConfig

        config = SentimentConfig(input="x.csv", output="out")
        beam_bert.sentiment(config, input="y.csv")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_small_result_is_one_file_and_its_rejects_stand_beside_it(
    tmp_path: Path, suffix: str
) -> None:
    source = tmp_path / "in.csv"
    source.write_text('id,text\na,"good, really"\nb," "\nc,awful\n')
    target = tmp_path / "out" / f"rows.{suffix}"
    settings = {"input": source, "output": target, "max_reject_rate": 1, "id_column": "id"}
    beam_bert.sentiment(**settings)
    names = sorted(path.name for path in target.parent.iterdir())
    assert names == [f"rows.{suffix}", f"rows.rejects.{suffix}"]
    if suffix == "parquet":
        assert pq.read_table(target)["doc_id"].to_pylist() == ["a", "c"]
    else:
        lines = target.read_text().splitlines()
        assert len(lines) == (3 if suffix == "csv" else 2)
        assert "empty_text" in (target.parent / names[1]).read_text()
    with pytest.raises(beam_bert.BeamBertError, match="is there already: give overwrite"):
        beam_bert.sentiment(**settings)
    before = target.read_bytes()
    beam_bert.sentiment(**settings, overwrite=True)
    assert target.read_bytes() == before
    with pytest.raises(ConfigError, match="partition is for a dataset"):
        beam_bert.sentiment(**settings, partition="d=1")


def test_rows_on_stdout_are_json_lines_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beam_bert.sentiment(input=REVIEWS, output="-", tell="normal")
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 36
    assert all(line.startswith('{"doc_id": ') for line in out)


@pytest.mark.parametrize("limit", [1, 7, 25, 36, 37, 500])
def test_a_limit_takes_the_first_rows_of_the_real_job(tmp_path: Path, limit: int) -> None:
    for part in (1, 2):
        rows = "".join(f"{part}-{n},{' ' if n % 5 == 4 else 'good'}\n" for n in range(18))
        (tmp_path / f"part{part}.csv").write_text(f"id,text\n{rows}")
    settings = {"input": tmp_path / "part*.csv", "max_reject_rate": 1, "id_column": "id"}
    small = {"slice_bytes": 64}  # so that a file is several slices
    whole = beam_bert.sentiment(**settings, **small, output=tmp_path / "whole")
    some = beam_bert.sentiment(**settings, **small, output=tmp_path / "some", limit=limit)
    assert whole is not None
    assert some is not None
    assert some.counts.rows_read == min(limit, 36)
    assert some.config["limit"] == limit
    first = pq.read_table(tmp_path / "whole/predictions")["doc_id"].to_pylist()
    taken = pq.read_table(tmp_path / "some/predictions")["doc_id"].to_pylist()
    assert taken == first[: some.counts.rows_predicted]


def test_a_limit_does_not_go_with_incremental() -> None:
    with pytest.raises(ConfigError, match="limit and incremental cannot be combined"):
        beam_bert.sentiment(input="x.csv", output="out", limit=3, incremental=True)
