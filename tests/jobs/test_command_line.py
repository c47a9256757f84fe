"""Flags and YAML become settings; a mistake becomes one line and exit code 2."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

import beam_bert
from beam_bert.errors import ConfigError
from beam_bert.jobs import command_line
from beam_bert.jobs.command_line import parse_config
from beam_bert.jobs.commands import COMMANDS, main, run_command
from beam_bert.settings.inference import ClassifyConfig, SentimentConfig
from beam_bert.settings.training import FinetuneConfig
from beam_bert.terminal import stoppable
from tools import reference

NEEDED = ["--input", "in/*.jsonl", "--output", "out", "--model", "m"]


def parse(*flags: str, config: type = ClassifyConfig) -> tuple[ClassifyConfig, list[str]]:
    return parse_config(config, flags, "beam-bert classify")


def test_flags_become_typed_settings() -> None:
    config, beam_flags = parse(
        *NEEDED,
        "--input",
        "b",
        "c",
        "--top_k=3",
        "--keep_text",
        "--overwrite=false",
        "--keep_columns",
    )
    assert config.input == ("in/*.jsonl", "b", "c")
    assert (config.top_k, config.keep_text, config.overwrite, config.keep_columns) == (
        3,
        True,
        False,
        (),
    )
    assert beam_flags == []


def test_what_the_job_does_not_know_goes_to_beam() -> None:
    flags = ["--runner=DirectRunner", "--direct_num_workers", "2", "--temp_location=gs://b/t"]
    _, beam_flags = parse(*NEEDED, *flags)
    assert beam_flags == flags


def test_flags_win_over_the_yaml_file_and_its_other_names_go_to_beam(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("input: a.csv\noutput: o\nmodel: m\ntop_k: 2\nrunner: DirectRunner\n")
    config, beam_flags = parse("--config", str(file), "--top_k", "5")
    assert (config.input, config.top_k) == (("a.csv",), 5)
    assert beam_flags == ["--runner=DirectRunner"]


@pytest.mark.parametrize(
    ("line", "option", "value"),
    [
        ("use_public_ips: false", "use_public_ips", False),
        ("pipeline_type_check: false", "pipeline_type_check", False),
        ("direct_num_workers: 0", "direct_num_workers", 0),
        ("num_workers: 0", "num_workers", 0),
        ("streaming: false", "streaming", False),
        ("no_use_public_ips: false", "use_public_ips", None),
        ("use_public_ips: true", "use_public_ips", True),
        ("experiments: [a, b]", "experiments", ["a", "b"]),
        ("transform_name_mapping: {a: b}", "transform_name_mapping", {"a": "b"}),
        ("runner: null", "runner", None),
    ],
)
def test_what_a_yaml_file_says_to_beam_arrives(
    tmp_path: Path, line: str, option: str, value: object
) -> None:
    from apache_beam.options.pipeline_options import PipelineOptions

    file = tmp_path / "job.yaml"
    file.write_text(f"{line}\n")
    _, beam_flags = parse("--config", str(file), *NEEDED)
    assert PipelineOptions(beam_flags).get_all_options()[option] == value


@pytest.mark.parametrize("value", ["false", "0", "x"])
def test_a_name_of_a_yaml_file_that_nobody_knows_is_told_whatever_its_value(
    tmp_path: Path, value: str
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(f"num_wokers: {value}\n")
    with pytest.raises(
        ConfigError, match="unknown setting num_wokers in the YAML file; did you mean num_workers"
    ):
        parse("--config", str(file), *NEEDED)
    with pytest.raises(ConfigError, match="unknown setting num_wokers"):
        parse_config(ClassifyConfig, ["--config", str(file), *NEEDED], "x", beam=False)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (NEEDED[2:], r"--input is missing: files, folders or globs"),
        ([*NEEDED, "--max_lenght=3"], r"unknown flag --max_lenght; did you mean --max_length\?"),
        ([*NEEDED, "--temp_locatoin=x"], r"unknown flag --temp_locatoin; did you mean --temp_loc"),
        ([*NEEDED, "stray"], r"stray"),
        ([*NEEDED, "--top_k=0"], r"--top_k: .*greater than or equal to 1, got '0'"),
        ([*NEEDED, "--top_k=many"], r"--top_k: .*integer.*got 'many'"),
        ([*NEEDED, "--format=xml"], r"--format: .*'auto', 'text'.*got 'xml'"),
        ([*NEEDED, "--max_reject_rate=2"], r"--max_reject_rate: .*less than or equal to 1"),
        ([*NEEDED, "--all_scores", "--top_k=2"], r"all_scores and top_k cannot be combined"),
        ([*NEEDED, "--output="], r"--output: is empty"),
        (["--config", "/nowhere.yaml"], r"--config /nowhere\.yaml: cannot be read"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_flag_and_the_way_out(
    flags: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        parse(*flags)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "\x00"])
def test_a_yaml_file_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"job\.yaml"):
        parse("--config", str(file))


def test_a_mistake_ends_with_exit_code_2_and_no_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command("classify", ["--top_k=1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_sentiment_needs_no_model() -> None:
    config, _ = parse("--input", "a.txt", "--output", "o", config=SentimentConfig)
    assert config.model == "sentiment-small-en"
    assert config.long_documents == "window"


def test_help_is_grouped_and_does_not_wait_for_torch_or_beam() -> None:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pipelines.classify", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert time.monotonic() - started < 10  # a hang, not a speed: loaded machines are slow
    for group in ("Input:", "Model:", "Output:", "Results:", "Work:"):
        assert f"\n{group}\n" in done.stdout
    for name in ClassifyConfig.model_fields:
        assert f"--{name} " in done.stdout
    for heavy in ("torch", "apache_beam", "pyarrow", "transformers"):
        assert f"| {heavy}\n" not in done.stderr


def test_the_reference_shows_every_flag_as_the_code_has_it() -> None:
    assert reference.main(["--check"]) == 0


def test_dashes_do_as_well_and_values_keep_theirs() -> None:
    config, beam_flags = parse(
        *NEEDED, "--top-k", "2", "--id-column=my-id", "--direct_num_workers=2"
    )
    assert (config.top_k, config.id_column) == (2, "my-id")
    assert beam_flags == ["--direct_num_workers=2"]


def test_the_command_says_its_version_and_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"beam-bert {beam_bert.__version__}\n"
    assert main([]) == 0
    assert "  classify " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["clasify"], "no command clasify; did you mean classify?"),
        (["xyz"], "no command xyz; see beam-bert --help"),
        (["classify", "--version"], "unknown flag --version (see --help)"),
        (["finetune", "--versio"], "unknown flag --versio (see --help)"),
        (["completion", "csh"], "beam-bert completion takes one of bash"),
    ],
)
def test_a_wrong_word_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")


def test_completion_knows_commands_and_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert "classify" in script
    assert "--keep_text" in script


def test_errors_and_results_are_json_where_that_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["classify", "--log_format", "json", "--input", "x", "--output", "y"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert entry["severity"] == "ERROR"
    assert "--model is missing" in entry["message"]


def test_flags_for_special_cases_are_shown_by_help_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["finetune", "--help"])
    short = capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["finetune", "--help_all"])
    whole = capsys.readouterr().out
    assert "--learning_rate" in short
    assert "--token_mask_rate" not in short
    for name in FinetuneConfig.model_fields:
        assert f"--{name} " in whole


def test_texts_on_the_command_line_are_answered_at_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["sentiment", "I love it", "never again", " ", "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer.get("sentiment") for answer in answers] == ["positive", "negative", None]
    assert answers[2]["reject_reason"] == "empty_text"
    monkeypatch.setattr("sys.stdin", io.StringIO('{"body": "I love it"}\n\n{"body": "awful"}\n'))
    assert main(["sentiment", "--input", "-", "--text_column", "body", "--json"]) == 0
    again = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["text"] for answer in again] == ["I love it", "awful"]
    assert again[0] == answers[0]
    monkeypatch.setattr("sys.stdin", io.StringIO("I love it\n"))
    assert main(["sentiment", "--input", "-"]) == 0
    assert "positive" in capsys.readouterr().out


def test_a_line_of_stdin_without_text_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"body": "x"}\n'))
    assert main(["sentiment", "--input", "-"]) == 2
    assert "line 1 of stdin" in capsys.readouterr().err


def test_no_flag_of_beam_is_taken_for_a_mistyped_one_of_ours() -> None:
    from apache_beam.options.pipeline_options import PipelineOptions, _BeamArgumentParser

    parser = _BeamArgumentParser(add_help=False)
    for options in command_line._all_subclasses(PipelineOptions):
        if "_add_argparse_args" in vars(options):
            options._add_argparse_args(parser)
    beams = [name for name in parser._option_string_actions if name.startswith("--")]
    for command in COMMANDS.values():
        ours = [f"--{name}" for name in command.settings.model_fields]
        near = [name for name in beams if name not in ours if command_line._near(name, ours, 0.88)]
        assert not near


def test_a_wrong_file_name_is_told_before_beam_and_torch_are_imported() -> None:
    words = ["sentiment", "--input", "nope.csv", "--output", "out"]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "beam_bert", *words],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "error: nope.csv matches no file" in done.stderr
    for heavy in ("torch", "apache_beam", "transformers"):
        assert f"| {heavy}\n" not in done.stderr


def test_a_stop_by_signal_is_one_line_and_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        before = signal.getsignal(signal.SIGTERM)

        def wait(number: int = number) -> None:
            os.kill(os.getpid(), number)
            time.sleep(5)

        assert command_line.exit_code_of(wait) == code
        assert "the same command goes on from here" in capsys.readouterr().err
        assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    "words", [["--version"], ["--help"], ["check", "--help"], ["check"], ["sentiment", "--help"]]
)
def test_a_stdout_that_takes_no_more_is_one_line(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for buffering in (1, -1):  # told at once, as with PYTHONUNBUFFERED, or at the end
        with Path("/dev/full").open("w", buffering) as full:
            monkeypatch.setattr("sys.stdout", full)
            with suppress(SystemExit):
                assert stoppable(lambda: main(words)) == 1
            monkeypatch.undo()
    told = capfd.readouterr().err.splitlines()
    assert told and all("could not be written to stdout: No space left" in line for line in told)
