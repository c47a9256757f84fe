"""YAML of people is read by one function: whatever stands in it, one line and no more memory."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from beam_bert.errors import ConfigError, InputError, UserError, one_line
from beam_bert.evaluation.identity_terms import load_identity_terms
from beam_bert.jobs.command_line import parse_config
from beam_bert.jobs.dry_run import read_prices
from beam_bert.labelled.provenance import check_sources
from beam_bert.settings.inference import ClassifyConfig
from beam_bert.slices.plan import FileEntry
from beam_bert.sources.yaml_files import parse_yaml, read_yaml

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "laughs": (LAUGHS, r"line 2, column 8: aliases are not read"),
    "alias of a list in itself": ("a: &a [*a]", "aliases are not read"),
    "merge": ("a: &a {b: 1}\nc: {<<: *a}", "aliases are not read"),
    "deep lists": ("[" * 5_000 + "]" * 5_000, "more than 32 levels"),
    "deep mappings": ("{a: " * 5_000 + "}" * 5_000, "more than 32 levels"),
    "deep blocks": ("".join(f"{' ' * i}a:\n" for i in range(900)), "more than 32 levels"),
    "open lists": ("[" * 100_000, "more than 32 levels"),
    "many values": ("- 1\n" * 250_000, "more than 200,000 values"),
    "impossible date": ("date: 2024-13-45", r"line 1, column 7: '2024-13-45' is no timestamp"),
    "no day": ("date: 2023-02-30 25:61:61", "is no timestamp"),
    "5,000 digits": ("n: " + "9" * 5_000, r"'9{70,80}.*… is no int"),
    "abc as int": ("n: !!int abc", "'abc' is no int"),
    "hours of hours": ("n: 1" + ":0" * 500_000, r"'1:0:0.*… is no int"),
    "hours as float": ("n: !!float 1" + ":0" * 500_000, r"'1:0:0.*… is no float"),
    "hexadecimal": ("n: 0x" + "f" * 5_000, r"'0xfff.*… is no int"),
    "nothing as int": ("n: !!int ''", "'' is no int"),
    "abc as float": ("n: !!float abc", "'abc' is no float"),
    "abc as bool": ("n: !!bool abc", "'abc' is no bool"),
    "abc as time": ("n: !!timestamp abc", "'abc' is no timestamp"),
    "abc as binary": ("n: !!binary é", "no base64|is no binary|failed to"),
    "text as map": ("n: !!map abc", "not YAML"),
    "list as name": ("? [a]\n: 1", "not YAML"),
    "mapping as name": ("{{a: 1}: 2}", "not YAML"),
    "an object": ("n: !!python/object/apply:os.system [true]", "could not determine"),
    "a tag": ("n: !env HOME", "could not determine"),
    "twice": ("a: 1\na: 2", "'a' is given twice"),
    "twice, long": (f"{'a' * 900}: 1\n{'a' * 900}: 2", "is given twice"),
    "two documents": ("a: 1\n---\nb: 2", "expected a single document"),
    "not closed": ("a: [1, 2", "expected"),
    "tabs": ("a:\n\tb: 1", "not YAML"),
    "NUL": ("a: \0", "not YAML"),
    "a control": ("a: \x1b[2J", "not YAML"),
    "a lone mark": ("&", "not YAML"),
    "directive": ("%YAML 9.9\n---\na: 1", "not YAML"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_whatever_stands_in_yaml_is_one_line_with_its_place(kind: str) -> None:
    text, pattern = HOSTILE[kind]
    started = time.process_time()
    with pytest.raises(InputError, match=rf"^x\.yaml: not YAML: .*({pattern})|{pattern}") as caught:
        parse_yaml(text, "x.yaml", InputError)
    assert "\n" not in one_line(caught.value) and len(str(caught.value)) < 500
    assert time.process_time() - started < 5  # a hang fails, a slow machine does not


def test_plain_yaml_is_read_as_ever() -> None:
    text = "a: 1\nb: [x, 2.5, true, null]\nc: {d: 2020-03-10}\ne: |\n  two\n  lines\n&f g: h\n"
    found = parse_yaml(text, "x", ConfigError)
    assert (found["a"], found["b"], found["e"]) == (1, ["x", 2.5, True, None], "two\nlines\n")
    assert found["c"]["d"].isoformat() == "2020-03-10" and found["g"] == "h"
    assert parse_yaml("", "x", ConfigError) is None


READERS = {
    "--config": lambda path: parse_config(ClassifyConfig, ["--config", path], "x"),
    "--prices": read_prices,
    "--audit_terms": load_identity_terms,
    "--data": lambda path: check_sources(
        [("train", FileEntry("/x/a.csv", 1))], declared_in=path, allowed=[], accept_unlicensed=False
    ),
}


@pytest.mark.parametrize("flag", READERS)
def test_every_yaml_file_is_read_so(flag: str, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    cases = {LAUGHS: "aliases are not read", "a: !!int b": "'b' is no int", "[" * 99: "levels"}
    for text, pattern in cases.items():
        file.write_text(text)
        with pytest.raises(UserError, match=rf"{flag[2:]}\W.*x\.yaml'?: not YAML: .*{pattern}"):
            READERS[flag](str(file))
    file.write_text("a: 1\n" + "#" * 2**20)
    with pytest.raises(UserError, match="larger than 1,048,576 bytes"):
        READERS[flag](str(file))
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UserError, match="not a regular file"):
        READERS[flag](str(file))
    for path in (
        "/dev/zero",
        str(tmp_path),
        str(tmp_path / "none"),
        "x" * 300,
        "a\0b",
        "~nobody_/x",
    ):
        with pytest.raises(UserError, match="cannot be read"):
            READERS[flag](path)


@pytest.mark.parametrize(
    "text",
    [
        "input: {0}",
        "{0}: 1",
        "max_length: {0}",
        "input: [{0}, {{a: 1}}]",
        "partition: {0}",
        "task: {0}",
        "gpu: {0}",
        "output: {0}",
        "precision: {0}",
        "encoding: {0}",
        "quote_char: {0}",
    ],
)
def test_a_value_of_a_megabyte_is_not_echoed(tmp_path: Path, text: str) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(text.format("x" * 900_000) + "\n")
    with pytest.raises(ConfigError) as caught:
        parse_config(ClassifyConfig, ["--config", str(file)], "x")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("value", "pattern"),
    [
        ("~nosuchuser_/x", "there is no user ~nosuchuser_"),
        ("a/" + "x" * 256, "longer than the name of a file may be"),
        ("a/" * 3_000, "longer than the name of a file may be"),
        ("a\0b", "has a NUL in it"),
        ("\ud800", "surrogate"),
    ],
)
@pytest.mark.parametrize("flag", ["input", "output", "model", "prices"])
def test_what_cannot_be_a_path_is_told_with_its_flag(flag: str, value: str, pattern: str) -> None:
    given = {"input": "a", "output": "b", "model": "m", flag: value}
    flags = [f"--{name}={value}" for name, value in given.items()]
    with pytest.raises(ConfigError, match=rf"--{flag}: .*({pattern}|valid string)"):
        parse_config(ClassifyConfig, flags, "x")


def test_a_file_that_may_be_missing_is_none(tmp_path: Path) -> None:
    assert read_yaml(str(tmp_path / "x"), "x", InputError, or_none=True) is None
