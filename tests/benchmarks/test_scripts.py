"""What the benchmarks count, where a slip would flatter the product."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from beam_bert.models.resolve import EMBEDDED_FOLDER
from beam_bert.settings.inference import EMBEDDED_SENTIMENT

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import engine
import gpu


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([], 0.0),
        ([(5, 9), (0, 4)], 8.0),
        ([(0, 4), (0, 4)], 4.0),
        ([(0, 9), (2, 3), (8, 12), (20, 21)], 13.0),
    ],
)
def test_a_gpu_is_busy_once_however_many_kernels_run(intervals, expected) -> None:
    scaled = [(start * 10**9, end * 10**9) for start, end in intervals]
    assert gpu.busy_seconds(scaled) == expected


def test_documents_differ_since_the_product_alone_computes_twins_once(tmp_path: Path) -> None:
    file = tmp_path / "texts.tsv"
    file.write_text("".join(f"line {n}\tlabel\n" for n in range(40)), encoding="utf-8")
    tokenizer = Tokenizer.from_file(str(EMBEDDED_FOLDER / EMBEDDED_SENTIMENT / "tokenizer.json"))
    documents = engine.read_documents([file], 100, tokenizer)
    assert len(documents.texts) == len(set(documents.texts)) == len(documents.ids) == 100
    with pytest.raises(SystemExit, match="40 lines make no 900 documents that differ"):
        engine.read_documents([file], 900, tokenizer)
