"""The command `init`: a commented YAML file to start from, filled in from what a folder holds."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path

import yaml

from beam_bert.errors import OutputError
from beam_bert.jobs.command_line import Parser, add_billing_flag, parse_words
from beam_bert.settings.inference import ClassifyConfig
from beam_bert.terminal import TERMINAL

# What people call them; the first that is there is taken.
TEXT_NAMES = ("text", "body", "review", "comment", "message", "content", "sentence", "document")
ID_NAMES = ("id", "doc_id", "uuid", "key")
LABEL_NAMES = ("label", "labels", "category", "class", "sentiment", "stars", "rating", "target")


def run(argv: Sequence[str], prog: str) -> None:
    """Run the command."""
    words = parse_words(parser(prog), argv)
    target = Path(words.output or f"{words.kind}.yaml")
    if target.exists():
        raise OutputError(f"{target} is there already; --output names another file")
    target.write_text(_TEXTS[words.kind](words.input), encoding="utf-8")
    command = {"job": "sentiment", "nightly": "nightly"}.get(words.kind)
    then = f"; beam-bert {command} --config {target}" if command else ""
    TERMINAL.show(f"{target} is written{then}")


def parser(prog: str) -> argparse.ArgumentParser:
    """What the command takes."""
    words = Parser(prog=prog, description=__doc__, allow_abbrev=False)
    words.add_argument("input", nargs="+", help="Files, folders or globs with your text or labels.")
    words.add_argument(
        "--kind",
        choices=_TEXTS,
        default="job",
        help="job: settings of an inference job; nightly: of the nightly job; data: the origin and "
        "licence of files to train on. [job]",
    )
    words.add_argument("--output", help="File to write; default: KIND.yaml.")
    add_billing_flag(words)
    return words


def _job(patterns: Sequence[str]) -> str:
    columns, formats, count = _look(patterns)
    text, id_, rest = _guess(columns)
    lines = [
        f"# beam-bert sentiment --config FILE, or classify with a model of yours: {count:,} files, "
        f"{', '.join(formats)}.",
        "",
        _line("input", list(patterns)),
        _line("output", "out/"),
        "# " + _line("model", "MODEL"),
        "",
    ]
    if columns:
        lines += [f"# columns: {', '.join(columns)}", _line("text_column", text)]
        lines.append(_line("id_column", id_) if id_ else "# id_column: NAME")
        lines += ["# " + _line("keep_columns", rest), ""]
    for name in ("precision", "long_documents", "max_reject_rate", "incremental", "partition"):
        field = ClassifyConfig.model_fields[name]
        lines += textwrap.wrap(
            field.description or "", 96, initial_indent="# ", subsequent_indent="# "
        )
        lines += ["# " + _line(name, field.default), ""]
    return "\n".join(lines)


def _nightly(patterns: Sequence[str]) -> str:
    columns, formats, count = _look(patterns)
    text, id_, _ = _guess(columns)
    label = next((name for name in LABEL_NAMES if name in columns), "label")
    names = [f"  {_line('text_column', text)}"] if columns and text != "text" else []
    return "\n".join(
        [
            f"# beam-bert nightly --config FILE ({count:,} files of text, {', '.join(formats)})",
            "# Sections have the settings of the command of their name; {date} is the night.",
            "store: store/",
            "",
            "# finetune:            # take the # away to train where the labels changed",
            "#   train: labels/*.csv",
            "#   dev: dev.csv",
            f"#   {_line('label_column', label)}",
            "#   base: MODEL",
            "#   data: labels/data.yaml",
            "",
            "# evaluate:            # needed with finetune: candidate and production on these rows",
            "#   input: dev.csv",
            f"#   {_line('label_column', label)}",
            "",
            "classify:",
            f"  {_line('input', list(patterns))}",
            "  output: out/",
            "  partition: run_date={date}",
            *names,
            *([f"  {_line('id_column', id_)}"] if id_ else []),
            "",
        ]
    )


def _data(patterns: Sequence[str]) -> str:
    from beam_bert.sources import list_files

    lines = [
        "# Where files to train on come from, and what one may do with them. Fill in each line:",
        "# beam-bert finetune refuses a file that is not declared, or has a licence that you did "
        "not allow.",
        "sources:",
    ]
    for file in list_files(tuple(patterns)):
        lines += [
            f"  - {_line('path', file.path)}",
            "    origin: TODO   # a URL, a contract, a team",
            "    licence: TODO  # an SPDX name such as CC-BY-4.0, or proprietary",
            "    date: TODO     # when it was collected, YYYY-MM-DD",
        ]
    return "\n".join(lines) + "\n"


_TEXTS = {"job": _job, "nightly": _nightly, "data": _data}


def _look(patterns: Sequence[str]) -> tuple[list[str], list[str], int]:
    """Names of the columns, formats, and number of files."""
    from beam_bert.sources import SourceSpec, list_files
    from beam_bert.sources.sampling import sample_files

    files = list_files(tuple(patterns))
    samples = sample_files(files, SourceSpec())
    columns = list(dict.fromkeys(name for sample in samples for name in sample.columns))
    formats = sorted({str(sample.format) for sample in samples})
    return ([] if formats == ["text"] else columns), formats, len(files)


def _guess(columns: Sequence[str]) -> tuple[str, str | None, list[str]]:
    """The column that is probably the text, the id's, and the others."""
    text = next((name for name in TEXT_NAMES if name in columns), columns[0] if columns else "text")
    id_ = next((name for name in ID_NAMES if name in columns), None)
    return text, id_, [name for name in columns if name not in (text, id_)]


def _line(name: str, value: object) -> str:
    """`name: value` in YAML, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**9, allow_unicode=True)
    return f"{name}: {text.removesuffix('...' + chr(10)).strip()}"
