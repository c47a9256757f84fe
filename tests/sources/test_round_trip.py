"""Any texts, in any format, however the file is cut and packed: the same rows come back."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sources.reading_back import (
    COMPRESS,
    csv_bytes,
    jsonl_bytes,
    parquet_bytes,
    plain_tsv_bytes,
    read_back,
)

_counter = itertools.count()
few = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# Characters that formats trip over come up often.
characters = st.one_of(
    st.sampled_from(list("\n\r\t\",'\\{}[]: a0é\u2028\ufeff")),
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
)
texts = st.lists(st.text(characters, max_size=12).filter(lambda text: text.strip()), max_size=12)
one_line_texts = st.lists(
    st.text(characters.filter(lambda c: c not in "\n\r\t"), max_size=12).filter(
        lambda text: text.strip()
    ),
    max_size=12,
)
slice_sizes = st.integers(1, 200)
compressions = st.sampled_from(list(COMPRESS))


def written(folder: Path, name: str, content: bytes, compression: str = "") -> Path:
    path = folder / f"{next(_counter)}-{name}{compression}"
    path.write_bytes(COMPRESS[compression](content))
    return path


def check(path: Path, expected: list[str], slice_bytes: int, **wishes: Any) -> None:
    result = read_back(path, slice_bytes, id_column="id", **wishes)
    assert result.rejects == []
    assert result.texts == expected
    assert [row["source_row"] for row in result.rows] == list(range(len(expected)))
    assert [row["doc_id"] for row in result.rows] == [f"id{i}" for i in range(len(expected))]


def records(texts: list[str]) -> list[dict[str, str]]:
    return [{"id": f"id{i}", "text": text} for i, text in enumerate(texts)]


@few
@given(texts, slice_sizes, compressions, st.booleans())
def test_json_lines_give_back_any_text(
    tmp_path: Path, texts: list[str], size: int, compression: str, ascii_only: bool
) -> None:
    content = jsonl_bytes(records(texts), ascii_only=ascii_only)
    check(written(tmp_path, "a.jsonl", content, compression), texts, size)


@few
@given(texts, slice_sizes, compressions, st.sampled_from(["\n", "\r\n", "\r"]))
def test_csv_gives_back_any_text_line_breaks_and_quotes_included(
    tmp_path: Path, texts: list[str], size: int, compression: str, terminator: str
) -> None:
    content = csv_bytes(records(texts), terminator=terminator)
    check(written(tmp_path, "a.csv", content, compression), texts, size)


@few
@given(texts, slice_sizes)
def test_csv_that_quotes_only_where_needed_gives_back_any_text(
    tmp_path: Path, texts: list[str], size: int
) -> None:
    content = csv_bytes(records(texts), terminator="\r\n", quoting=csv.QUOTE_MINIMAL)
    check(written(tmp_path, "a.csv", content), texts, size)


@few
@given(texts, slice_sizes, compressions)
def test_tsv_with_quoting_gives_back_any_text(
    tmp_path: Path, texts: list[str], size: int, compression: str
) -> None:
    content = csv_bytes(records(texts), delimiter="\t")
    check(written(tmp_path, "a.tsv", content, compression), texts, size, quoting=True)


@few
@given(one_line_texts, slice_sizes, compressions)
def test_tsv_takes_quotes_literally_by_default(
    tmp_path: Path, texts: list[str], size: int, compression: str
) -> None:
    content = plain_tsv_bytes(records(texts))
    check(written(tmp_path, "a.tsv", content, compression), texts, size)


@few
@given(texts, slice_sizes, st.integers(1, 5))
def test_parquet_gives_back_any_text(
    tmp_path: Path, texts: list[str], size: int, row_group_size: int
) -> None:
    content = parquet_bytes(records(texts), row_group_size)
    check(written(tmp_path, "a.parquet", content), texts, size)


@few
@given(
    st.lists(st.text(characters.filter(lambda c: c != "\n"), max_size=12), max_size=12),
    slice_sizes,
    compressions,
    st.sampled_from(["\n", "\r\n"]),
)
def test_plain_text_gives_back_any_line_and_tells_of_blank_ones(
    tmp_path: Path, lines: list[str], size: int, compression: str, terminator: str
) -> None:
    lines = [line.rstrip("\r") for line in lines]
    # A mark at the very beginning is the file's, not the text's.
    content = b"\xef\xbb\xbf" + "".join(line + terminator for line in lines).encode()
    result = read_back(written(tmp_path, "a.txt", content, compression), size)
    full = [(i, line) for i, line in enumerate(lines) if line.strip()]
    blank = [(i, "empty_text") for i, line in enumerate(lines) if not line.strip()]
    assert [(row["source_row"], row["text"]) for row in result.rows] == full
    assert result.reasons == blank


@pytest.mark.parametrize("last_line_end", ["", "\n"])
def test_a_line_end_at_the_end_is_no_row(tmp_path: Path, last_line_end: str) -> None:
    path = written(tmp_path, "a.txt", f"one\ntwo{last_line_end}".encode())
    assert read_back(path).texts == ["one", "two"]


def test_keys_and_rows_are_the_same_in_every_run(tmp_path: Path) -> None:
    texts = records(["a", "b", "c"] * 50)
    written(tmp_path, "a.jsonl", jsonl_bytes(texts), ".gz")
    written(tmp_path, "b.parquet", parquet_bytes(texts, 20))
    first, second = read_back(tmp_path, 300), read_back(tmp_path, 300)
    cuts = [(b.slice.ordinal, b.slice.cut, b.slice.piece) for b in first.batches]
    assert len(cuts) > 10
    assert cuts == sorted(set(cuts))
    for one, other in zip(first.batches, second.batches, strict=True):
        assert one.key == other.key
        assert one.rows.equals(other.rows)


def test_the_key_follows_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n")
    before = read_back(path).batches[0].key
    path.write_text("two\n")
    assert read_back(path).batches[0].key != before


def test_small_files_share_a_slice_and_keep_their_own_numbers(tmp_path: Path) -> None:
    for name in "cab":
        (tmp_path / f"{name}.txt").write_text("x\ny\n")
    result = read_back(tmp_path)
    assert len(result.batches) == 1
    assert [(Path(r["source_file"]).name, r["source_row"]) for r in result.rows] == [
        (f"{name}.txt", row) for name in "abc" for row in (0, 1)
    ]
    assert [file.bytes for file in result.batches[0].files] == [4, 4, 4]
