"""Whether the job answers as the plain reference does, row by row.

    PYTHONPATH=. python benchmarks/answer_parity.py --model FOLDER --squad FILE
        [--precision fp32] [--recheck_margin GAP] [--every 1] [--max_length 384] [--stride 128]

The reference (`tests/pipeline/answering/reference.py`) reads one window at a time with
`AutoModelForQuestionAnswering`, at fp32. Every question of the file (or every so many-th, from
`--first` on) is asked of its text. An answer is the same where it stands at the same place.
Each precision runs as in a job, low margins rechecked at fp32
included (`--recheck_margin 0`: none).
Printed: rows, the shares that are the same, the largest difference of null score - score, windows
that were computed again.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from functools import partial
from pathlib import Path

import numpy as np
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from beam_bert.encoder import load_span_finder
from beam_bert.evaluation.answering.scoring import TOP_SPANS, answers_of
from beam_bert.inference.fp32_recheck import RecheckedModel
from beam_bert.labelled.answers import Asked, read_asked
from beam_bert.tasks import AnswerTask
from beam_bert.tokenization import QuestionTokenizer, WindowSettings
from tests.pipeline.answering import reference


def main() -> None:
    """Compare, and print one line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--squad", required=True)
    parser.add_argument("--precision", nargs="+", default=["fp32"])
    parser.add_argument("--recheck_margin", type=float)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--max_length", type=int, default=384)
    parser.add_argument("--stride", type=int, default=128)
    flags = parser.parse_args()
    logging.disable(logging.WARNING)
    asked = read_asked([flags.squad])[0][flags.first :: flags.every]
    settings = reference.Settings(flags.max_length, flags.stride, null_threshold=1e9)
    started = time.process_time()
    expected = [_reference(flags.model, each, settings) for each in asked]
    seconds = time.process_time() - started
    for precision in flags.precision:
        _compare(flags.model, asked, expected, settings, precision, flags.recheck_margin, seconds)


def _reference(folder: Path, asked: Asked, settings: reference.Settings) -> reference.Found:
    if folder not in _LOADED:
        model = AutoModelForQuestionAnswering.from_pretrained(str(folder)).eval()
        _LOADED[folder] = model, AutoTokenizer.from_pretrained(str(folder))
    (found,) = reference.answer(*_LOADED[folder], asked.question, asked.context, settings)
    return found


_LOADED: dict[Path, tuple[object, object]] = {}


def _compare(
    folder: Path,
    asked: list[Asked],
    expected: list[reference.Found],
    settings: reference.Settings,
    precision: str,
    recheck_margin: float | None,
    reference_seconds: float,
) -> None:
    windows = WindowSettings(settings.max_length, True, settings.stride)
    tokenizer = QuestionTokenizer(folder, windows, None)
    load = partial(
        load_span_finder,
        folder,
        device="cpu",
        max_answer_tokens=settings.max_answer_tokens,
        top_spans=TOP_SPANS,
    )
    task = AnswerTask(None, null_threshold=settings.null_threshold)
    model = RecheckedModel.of(
        load(precision=precision), task, partial(load, precision="fp32"), recheck_margin
    )
    started = time.process_time()
    found = answers_of(asked, tokenizer, model)
    seconds = time.process_time() - started
    same = [
        (start, start + len(text)) == (each.start, each.end)
        for start, text, each in zip(found.starts, found.answers, expected, strict=True)
    ]
    gaps = np.array([float(each.null_score) - float(each.score) for each in expected])
    same_side = np.mean((found.gaps <= 0) == (gaps <= 0))
    print(
        json.dumps(
            {
                "model": folder.name,
                "file": Path(asked[0].place.split(": ")[0]).name,
                "precision": precision,
                "rows": len(asked),
                "windows": found.windows,
                "computed_again": found.computed_again,
                "same_answer": float(np.mean(same)),
                "same_has_answer": float(same_side),
                "largest_gap_difference": float(np.abs(found.gaps - gaps).max()),
                "cpu_s": round(seconds, 1),
                "reference_cpu_s": round(reference_seconds, 1),
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
