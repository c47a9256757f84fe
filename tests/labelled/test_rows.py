"""Rows to train on, read and tokenized piece by piece: an Arrow array ends at 2 GiB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from beam_bert.labelled import rows as rows_module
from beam_bert.labelled.rows import read_rows, tokenize_rows, unlabelled_rejects
from beam_bert.settings.answer import AnswerConfig
from beam_bert.settings.inference import ClassifyConfig
from beam_bert.settings.training import PretrainConfig
from beam_bert.sources import SourceSpec
from beam_bert.tokenization import DocumentTokenizer, WindowSettings


@pytest.mark.parametrize("pair", [None, "second"])
def test_text_tokenized_in_pieces_has_the_same_tokens(
    bert: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    pair: str | None,
) -> None:
    lines = [f"{'a very long day ' * (n % 7)}{n},and the {n}" for n in range(50)]
    file = tmp_path / "in.csv"
    file.write_text("\n".join(["text,second", *lines]) + "\n")
    spec = SourceSpec(text_pair_column=pair, slice_bytes=200)  # in slices, which stay apart
    read = read_rows([str(file)], spec, labels=None, max_reject_rate=0, setting="input")
    assert read.texts == [line.split(",")[0] for line in lines]
    windows = WindowSettings(16, overlapping=True, stride=0)
    tokenizer = DocumentTokenizer(bert, windows, pair=pair is not None)
    whole, used, flaw = tokenize_rows(read, tokenizer)
    assert (used.tolist(), flaw) == (list(range(50)), "")
    assert capfd.readouterr().err == ""
    for characters in (1, 100, 333):
        monkeypatch.setattr(rows_module, "_TOKENIZED_CHARACTERS", characters)
        pieces, used, _ = tokenize_rows(read, tokenizer)
        assert used.tolist() == list(range(50))
        np.testing.assert_array_equal(pieces.ids, whole.ids)
        np.testing.assert_array_equal(pieces.offsets, whole.offsets)
        if pair:
            np.testing.assert_array_equal(pieces.first_lengths, whole.first_lengths)
        assert "tokens made of 49 of 50 texts" in capfd.readouterr().err or characters > 1


def test_rows_without_label_are_rejects_where_the_text_is_more_than_an_array_holds() -> None:
    """Real gigabytes, for the price of one slice: the same buffer in every chunk."""
    slice_ = pa.table(
        {
            "doc_id": ["a.csv#1", "a.csv#2"],
            "text": ["x" * (60 << 20), "without label"],
            "source_file": ["a.csv", "a.csv"],
            "source_row": pa.array([1, 2], pa.int64()),
        }
    )
    rows = pa.concat_tables([slice_] * 40)
    assert rows["text"].nbytes > 2**31
    rejects = unlabelled_rejects(rows, np.arange(80) % 2 == 1, "has no label")
    assert rejects["source_row"].to_pylist() == [2] * 40
    nothing = unlabelled_rejects(rows, np.zeros(80, bool), "has no label")
    assert nothing.num_rows == 0


@pytest.mark.parametrize("size", [0, -1, 2**31])
def test_slices_and_documents_stay_inside_what_an_array_holds(size: int) -> None:
    needed = {"input": ["in"], "output": "out", "model": "m"}
    for config, settings in (
        (ClassifyConfig, needed),
        (AnswerConfig, {**needed, "question": ["who?"]}),
        (PretrainConfig, {"input": ["in"], "output": "out", "base": "b"}),
    ):
        for name in {"slice_bytes", "max_document_bytes"} & config.model_fields.keys():
            with pytest.raises(ValidationError, match=name):
                config(**settings, **{name: size})
