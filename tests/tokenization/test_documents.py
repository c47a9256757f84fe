"""Documents become the windows that `transformers` would make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from beam_bert.errors import ConfigError, ModelError
from beam_bert.slices.batch import SliceBatch
from beam_bert.slices.plan import Segment, Slice
from beam_bert.slices.schema import document_schema, rejects_batch
from beam_bert.tokenization import DocumentTokenizer, WindowSettings, fit_pair, plan_windows

TEXTS = [
    "I love this film!",
    "Terrible service, never again.",
    "x",
    "the meeting is at 3pm " * 30,
    "Café naïve ÜBER",
    "emoji 😀 and 日本語",
    "tab\tand\nline break \u00a0 nbsp",
    "[SEP] written by a user",
]


def documents(texts: list[str], pairs: list[str] | None = None) -> SliceBatch:
    columns = {
        "doc_id": [str(row) for row in range(len(texts))],
        "text": texts,
        **({"text_pair": pairs} if pairs is not None else {}),
        "source_file": ["a.txt"] * len(texts),
        "source_row": list(range(len(texts))),
        "carried": [{}] * len(texts),
    }
    schema = document_schema(pa.schema([]), pair=pairs is not None)
    carried = pa.array(columns.pop("carried"), pa.struct([]))
    arrays = {name: pa.array(value, schema.field(name).type) for name, value in columns.items()}
    arrays["carried"] = carried
    rows = pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema)
    return SliceBatch(Slice(0, (Segment("a.txt"),)), "k", rows, rejects_batch([]))


@pytest.mark.parametrize("max_length", [8, 16, 64])
def test_a_single_segment_gets_the_ids_that_transformers_gives(bert: Path, max_length: int) -> None:
    reference = AutoTokenizer.from_pretrained(str(bert))
    tokenized = DocumentTokenizer(bert, WindowSettings(max_length)).tokenize(documents(TEXTS))
    expected = reference(TEXTS, truncation=True, max_length=max_length)["input_ids"]
    full = reference(TEXTS, add_special_tokens=False)["input_ids"]
    assert tokenized.rows["input_ids"].to_pylist() == [[ids] for ids in expected]
    assert tokenized.rows["num_tokens"].to_pylist() == [len(ids) for ids in full]
    assert tokenized.rows["truncated"].to_pylist() == [len(ids) + 2 > max_length for ids in full]


@pytest.mark.parametrize("max_length", [9, 16, 64])
def test_pairs_get_the_ids_and_token_types_that_transformers_gives(
    bert: Path, max_length: int
) -> None:
    reference = AutoTokenizer.from_pretrained(str(bert))
    pairs = [TEXTS[(row + 3) % len(TEXTS)] for row in range(len(TEXTS))]
    tokenizer = DocumentTokenizer(bert, WindowSettings(max_length), pair=True)
    rows = tokenizer.tokenize(documents(TEXTS, pairs)).rows
    expected = reference(TEXTS, pairs, truncation="longest_first", max_length=max_length)
    assert rows["input_ids"].to_pylist() == [[ids] for ids in expected["input_ids"]]
    types = [[row.count(0)] for row in expected["token_type_ids"]]
    assert rows["first_lengths"].to_pylist() == types


def test_windows_overlap_by_the_stride_and_cover_every_token(bert: Path) -> None:
    reference = AutoTokenizer.from_pretrained(str(bert))
    settings_ = WindowSettings(16, overlapping=True, stride=5)
    rows = DocumentTokenizer(bert, settings_).tokenize(documents(TEXTS)).rows
    expected = [
        reference(text, truncation=True, max_length=16, stride=5, return_overflowing_tokens=True)[
            "input_ids"
        ]
        for text in TEXTS
    ]
    assert rows["input_ids"].to_pylist() == expected
    assert not any(rows["truncated"].to_pylist())


def test_a_document_of_a_hundred_thousand_tokens_is_read_whole(bert: Path) -> None:
    text = "good bad " * 50_000
    settings_ = WindowSettings(64, overlapping=True, stride=8)
    rows = DocumentTokenizer(bert, settings_).tokenize(documents([text])).rows
    windows = rows["input_ids"].to_pylist()[0]
    assert rows["num_tokens"].to_pylist() == [100_000]
    read = [windows[0][1:-1]] + [window[1 + 8 : -1] for window in windows[1:]]
    assert sum(len(each) for each in read) == 100_000


def test_a_text_that_the_tokenizer_drops_whole_is_a_reject_and_its_neighbours_are_not(
    bert: Path,
) -> None:
    texts = ["good", "\u200d\u200b", "bad"]
    batch = DocumentTokenizer(bert, WindowSettings(16)).tokenize(documents(texts))
    assert batch.rows["doc_id"].to_pylist() == ["0", "2"]
    assert batch.rejects["reason"].to_pylist() == ["no_tokens"]
    assert batch.rejects["raw"].to_pylist() == [texts[1].encode()]
    alone = DocumentTokenizer(bert, WindowSettings(16)).tokenize(documents(["bad"]))
    assert batch.rows["input_ids"].to_pylist()[1] == alone.rows["input_ids"].to_pylist()[0]


def test_no_documents_are_no_windows(bert: Path) -> None:
    for overlapping in (False, True):
        settings_ = WindowSettings(16, overlapping=overlapping, stride=2)
        assert len(DocumentTokenizer(bert, settings_).tokenize(documents([]))) == 0


def test_a_window_with_no_room_is_refused_with_the_way_out(bert: Path) -> None:
    with pytest.raises(ConfigError, match=r"max_length.16 leaves 14 tokens.*stride.64"):
        DocumentTokenizer(bert, WindowSettings(16, overlapping=True, stride=64))


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match=r"tokenizer.*tokenizer\.json or vocab\.txt"):
        DocumentTokenizer(tmp_path, WindowSettings(16))


@given(
    lengths=st.lists(st.integers(1, 300), max_size=20),
    room=st.integers(2, 100),
    data=st.data(),
)
def test_windows_cover_each_document_in_order_without_a_gap(
    lengths: list[int], room: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(0, room - 1))
    sizes = np.array(lengths, np.int64)
    windows = plan_windows(
        sizes, np.full_like(sizes, room), WindowSettings(room, overlapping=True, stride=stride)
    )
    position, first = 0, 0
    for length, count in zip(lengths, windows.counts, strict=True):
        covered = 0
        for window in range(first, first + count):
            begin = windows.starts[window] - position
            assert begin == max(covered - stride, 0) if window > first else begin == 0
            assert 0 < windows.lengths[window] <= room
            covered = begin + windows.lengths[window]
        assert covered == length
        position, first = position + length, first + count


@given(first=st.integers(1, 80), second=st.integers(0, 80), room=st.integers(2, 60))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_pair_fills_the_room_and_the_longer_segment_gives_way(
    first: int, second: int, room: int
) -> None:
    kept = fit_pair(np.array([first]), np.array([second]), room, WindowSettings(room))
    kept_first, kept_second = int(kept[0][0]), int(kept[1][0])
    assert kept_first + kept_second == min(first + second, room)
    if first + second > room and min(first, second) > room // 2:
        assert abs(kept_first - kept_second) <= 1
