"""What is told before Beam and torch are imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from beam_bert.errors import InputError
from beam_bert.jobs.command_line import _all_subclasses, _spelled_by_beam
from beam_bert.jobs.first_look import first_look
from beam_bert.settings.answer import AnswerConfig
from beam_bert.settings.inference import SentimentConfig

REVIEWS = "examples/reviews.csv"
JOB = ["--input", REVIEWS, "--output", "out"]
MISTAKES = {
    "--inptu": (["--inptu", REVIEWS], "did you mean --input?"),
    "no such file": (["--input", "nope.csv", "--output", "out"], "nope.csv matches no file"),
    "no such flag at all": ([*JOB, "--frobnicate"], "unknown flag --frobnicate (see --help)"),
    "a value alone": ([*JOB, "--limit", "3", "4"], "unknown flag 4; a value needs its flag"),
    "text": ([*JOB, "--text_column", "nosuch"], "no file has a column 'nosuch' (--text_column)"),
    "id": ([*JOB, "--id_column", "idd"], "did you mean --id_column id?"),
    "keep": ([*JOB, "--keep_columns", "zip"], "the columns are: id, text, channel, received"),
    "model": ([*JOB, "--model", "./nowhere"], "model ./nowhere: there is no such folder"),
    "a file for an output": (
        ["--input", REVIEWS, "--output", "README.md"],
        "--output README.md is a file; name a folder, or one file as FILE.parquet",
    ),
    "a format that is not written": (
        ["--input", REVIEWS, "--output", "out/rows.XLSX"],
        "would be a folder named rows.XLSX; name a folder, or one file as FILE.parquet",
    ),
    "a file for a model": ([*JOB, "--model", REVIEWS], "reviews.csv is a file; give the folder"),
}


def test_a_mistake_is_told_before_beam_and_torch_are_imported() -> None:
    code = (
        "import json, sys\n"
        "from beam_bert.jobs.commands import main\n"
        "codes = [main(['sentiment', *words]) for words in json.loads(sys.argv[1])]\n"
        "heavy = {'apache_beam', 'torch', 'transformers', 'rich'} & set(sys.modules)\n"
        "print(json.dumps([codes, sorted(heavy)]))\n"
    )
    words = json.dumps([words for words, _ in MISTAKES.values()])
    done = subprocess.run(
        [sys.executable, "-c", code, words], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [[2] * len(MISTAKES), []]
    for line, (_, message) in zip(done.stderr.splitlines(), MISTAKES.values(), strict=True):
        assert line.startswith("error: ") and message in line


def test_beams_flags_are_read_from_its_source_without_one_missing() -> None:
    from apache_beam.options.pipeline_options import PipelineOptions, _BeamArgumentParser

    parser = _BeamArgumentParser(allow_abbrev=False, add_help=False)
    for options in _all_subclasses(PipelineOptions):
        if "_add_argparse_args" in vars(options) and options.__module__.startswith("apache_beam."):
            options._add_argparse_args(parser)
    assert set(parser._option_string_actions) <= set(_spelled_by_beam())


def test_the_first_look_names_the_jobs_own_flag(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,q\na,b\n")
    config = AnswerConfig.model_validate(
        {"input": tmp_path / "in.csv", "output": "o", "model": "m/n", "question_column": "nosuch"}
    )
    with pytest.raises(InputError, match=r"no file has a column 'nosuch' \(question_column\)"):
        first_look(config)


def test_a_column_that_only_some_files_have_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "b", "id": 1}\n')
    (tmp_path / "day=1").mkdir()
    (tmp_path / "day=1" / "c.jsonl").write_text('{"text": "c"}\n')
    config = SentimentConfig.model_validate(
        {"input": tmp_path, "output": "o", "id_column": "id", "keep_columns": ["day"]}
    )
    first_look(config)
