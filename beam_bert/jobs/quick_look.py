"""A quick look: texts on the command line or on stdin, answers on the terminal, nothing written.

    beam-bert sentiment "I love it" "never again"
    head -3 reviews.jsonl | beam-bert classify --model MODEL --input - --json

The same tokenizer, model and decoding as in the job, without the pipeline around them.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from pydantic import BaseModel

from beam_bert.errors import ConfigError, InputError
from beam_bert.jobs.command_line import (
    importing,
    parse_config,
    settings_parser,
    with_underscores,
)
from beam_bert.settings.naming import named
from beam_bert.terminal import TERMINAL

BATCH_TEXTS = 1_024
STDIN = "-"


def wanted(config: type[BaseModel], argv: Sequence[str], prog: str) -> tuple[list[str], list[str]]:
    """The texts that the words of a command line hold, and the flags beside them.

    Words before the first flag are texts, and so are others that belong to no flag.

    Returns:
      Texts (`["-"]`: they come on stdin) and flags; no texts where a whole job is asked for.
    """
    first = next((n for n, word in enumerate(argv) if word.startswith("-") and word != STDIN), None)
    texts, flags = list(argv[:first]), list(argv[first:] if first is not None else [])
    parser = settings_parser(config, prog, beam=True)
    known, others = parser.parse_known_args(with_underscores(flags, parser))
    if known.input and known.input != [STDIN]:
        return [], list(argv)
    for before, word in zip(["", *others], others, strict=False):
        if not word.startswith("-") and (not before.startswith("--") or before == "--json"):
            texts.append(word)
            flags.remove(word)
    if known.input == [STDIN] and known.output is None and not texts:
        flags = [flag for flag in flags if flag not in ("--input", STDIN, "--input=-")]
        return [STDIN], flags
    return texts, flags


def run(
    job: str, config_type: type[BaseModel], texts: list[str], flags: list[str], prog: str
) -> None:
    """Answer the texts and print what came out.

    Raises:
      UserError: settings or model cannot be used.
    """
    as_json = "--json" in flags
    flags = [flag for flag in flags if flag != "--json"]
    given = ["--input", STDIN, "--output", STDIN, *flags]
    config, beam_flags = parse_config(config_type, given, prog)
    if beam_flags:
        raise ConfigError(f"{beam_flags[0]}: a quick look runs here, without Beam; leave it out")
    with importing():
        importlib.import_module("beam_bert.jobs.plan")
    answers = _answers(job, config, _stdin(config) if texts == [STDIN] else iter(texts))
    if as_json or TERMINAL.as_json:
        for answer in answers:
            print(json.dumps(answer, ensure_ascii=False), flush=True)
    else:
        _show(answers)


def _stdin(config: Any) -> Iterator[str]:
    """The lines of stdin; where the first is a JSON object, each one's text column."""
    column = config.text_column[0]
    as_json = None
    for number, line in enumerate(sys.stdin, 1):
        line = line.rstrip("\r\n")
        if not line.strip():
            continue
        if as_json is None:
            as_json = line.lstrip().startswith("{")
        if not as_json:
            yield line
            continue
        try:
            text = json.loads(line)[column]
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"line {number} of stdin is no JSON object with {column!r}; {named('text_column')} "
                "names it"
            ) from None
        yield text if isinstance(text, str) else ""


def _answers(job: str, config: Any, texts: Iterable[str]) -> Iterator[dict[str, Any]]:
    from beam_bert.inference.model_handler import score
    from beam_bert.jobs.plan import PREDICTORS, compute_options
    from beam_bert.models import fetch_model, resolve_model
    from beam_bert.pipeline.classify_text import documents_of
    from beam_bert.storage.billing import bill_to

    bill_to(config.billing_project)
    model = resolve_model(config.model)
    predict, _ = PREDICTORS[job](config, model, fetch_model(model), compute_options(config))
    tokenizer, checked = predict.tokenizer(), predict.load_checked()
    names = [field.name for field in predict.task.fields()]
    texts = iter(texts)
    while some := list(islice(texts, BATCH_TEXTS)):
        batch = predict.decode(score(tokenizer.tokenize(documents_of(some, "text")), checked))
        numbers = batch.rows["source_row"].to_pylist()
        rows = batch.rows.select(names).to_pylist()
        answers = [(place, row) for place, row in zip(numbers, rows, strict=True)]
        rejects = batch.rejects.select(["source_row", "reason", "message"]).to_pylist()
        answers += [(row.pop("source_row"), {"reject_reason": row["reason"]}) for row in rejects]
        for place, row in sorted(answers, key=lambda pair: pair[0]):
            yield {"text": some[place], **row}


def _show(answers: Iterator[dict[str, Any]]) -> None:
    from rich.console import Console

    from beam_bert.jobs.console import example_table

    rows = list(answers)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    Console().print(example_table(rows, columns, wrap=True))
