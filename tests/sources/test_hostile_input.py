"""Bad input: each case ends in rejects with place, bytes and reason; its neighbours are used."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_bert.errors import InputError
from beam_bert.slices.plan import Segment, Slice
from beam_bert.sources import SourceSpec, read_slice
from tests.sources.reading_back import COMPRESS, jsonl_bytes, parquet_bytes, read_back

GOOD = b'{"text":"good"}\n'
fuzz = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DEEP = b"[" * 200_000 + b"]" * 200_000


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text":"\xff"}', "invalid_utf8"),
        (b"\xff\xfe\xfd", "invalid_utf8"),
        (b'{"text":"a\0b"}', "nul_byte"),
        (b'{"text":"a\\u0000b"}', "nul_byte"),
        (b'{"text":"a"', "invalid_json"),
        (b'{"text":"a"} trailing', "invalid_json"),
        (b'{"text":"a"}{"text":"b"}', "invalid_json"),
        (b'{"text":"a"},', "invalid_json"),
        (b"{'text':'a'}", "invalid_json"),
        (b"nonsense", "invalid_json"),
        (b'"text": "a"}', "invalid_json"),
        (b'{"text":"a\tb"}', "invalid_json"),
        (b'{"text":"\\ud800"}', "invalid_json"),
        (b'{"text":"a","carried":' + DEEP + b"}", "invalid_json"),
        (b'{"text":"a","ignored":' + DEEP + b"}", "invalid_json"),
        (DEEP, "invalid_json"),
        (b"null", "not_object"),
        (b"[]", "not_object"),
        (b'["a"]', "not_object"),
        (b'"text"', "not_object"),
        (b"17", "not_object"),
        (b"true", "not_object"),
        (b'{"text":"a","text":"b"}', "duplicate_key"),
        (b'{"text":"a","carried":1,"carried":2}', "duplicate_key"),
        (b"{}", "missing_text"),
        (b'{"txt":"a"}', "missing_text"),
        (b'{"text":null}', "missing_text"),
        (b'{"text":17}', "not_text"),
        (b'{"text":1.5}', "not_text"),
        (b'{"text":true}', "not_text"),
        (b'{"text":["a"]}', "not_text"),
        (b'{"text":{"a":1}}', "not_text"),
        (b'{"text":""}', "empty_text"),
        (b'{"text":" \\t\\n\\u00a0\\u3000"}', "empty_text"),
        (b'{"text":"a","carried":"x"}', "carried_type"),
        (b'{"text":"a","carried":1.5}', "carried_type"),
        (b'{"text":"a","carried":true}', "carried_type"),
        (b'{"text":"a","carried":99999999999999999999}', "carried_type"),
        (b'{"text":"a","carried":' + b"9" * 5_000 + b"}", "carried_type"),
        (b'{"text":"a","nested":{"k":"x"}}', "carried_type"),
        (b'{"text":"a","nested":[1]}', "carried_type"),
        (b'{"text":"' + b"a" * 2_000 + b'"}', "too_large"),
    ],
)
def test_a_bad_json_line_is_rejected_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes, reason: str
) -> None:
    path = tmp_path / "a.jsonl"
    typed = b'{"text":"first","carried":1,"nested":{"k":1}}\n'
    # The bad line lies behind what is sampled, so it has no say in the types.
    monkeypatch.setattr("beam_bert.sources.sampling._SAMPLE_BYTES", 1_000)
    filler = GOOD * 80
    path.write_bytes(typed + filler + line + b"\n" + typed + GOOD)
    result = read_back(path, max_document_bytes=1_000)
    assert result.reasons == [(81, reason)]
    reject = result.rejects[0]
    assert reject["raw"] == line[:65_536]
    assert reject["raw_size"] == len(line)
    assert reject["source_file"] == str(path)
    assert "\n" not in reject["message"]
    assert [row["source_row"] for row in result.rows[-2:]] == [82, 83]
    assert len(result.rows) == 83
    assert result.rows[-2]["carried"] == {"carried": 1, "nested": {"k": 1}}


def test_a_question_in_squads_json_that_is_not_utf8_costs_itself_alone(tmp_path: Path) -> None:
    qas = [{"id": name, "question": f"{name}?"} for name in ("one", "two")]
    article = json.dumps({"title": "t", "paragraphs": [{"context": "Anna's", "qas": qas}]})
    of_digits = b'{"title": ' + b"1" * 5_000 + b"}"  # more than Python makes a number of
    parts = [article.encode(), article.encode().replace(b"two?", b"t\xffo?"), of_digits]
    file = tmp_path / "squad.json"
    file.write_bytes(b'{"version": "1", "data": [' + b", ".join([*parts, parts[0]]) + b"]}")
    read = read_back(file, text_columns=("context",), text_pair_column="question")
    asked = [row["text_pair"] for row in read.rows]
    assert asked == ["one?", "two?", "one?", "one?", "two?"]
    assert read.reasons == [(3, "invalid_json"), (4, "missing_text")]


def test_half_an_object_does_not_eat_the_next_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text":"a"\n,"id":"b"}\n{"text":"c"}\n')
    result = read_back(path)
    assert result.texts == ["c"]
    assert result.reasons == [(0, "invalid_json"), (1, "invalid_json")]


def test_blank_json_lines_are_no_rows_but_keep_their_number(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\n{"text":"a"}\r\n \t\r\n\n{"text":"b"}\n\n')
    result = read_back(path)
    assert [(row["source_row"], row["text"]) for row in result.rows] == [(1, "a"), (4, "b")]
    assert result.rejects == []


@pytest.mark.parametrize(
    ("content", "texts", "reasons"),
    [
        (b"id,text\n1,a\n2\n3,c\n", ["a", "c"], [(1, "ragged_row")]),
        (b"id,text\n1,a\n2,b,x\n3,c\n", ["a", "c"], [(1, "ragged_row")]),
        (b'id,text\n1,a\n2,"b\n3,c\n', ["a", "c"], [(1, "unclosed_quote")]),
        (b'id,text\n1,"a\n2,"b"\n3,c\n', ["b", "c"], [(0, "unclosed_quote")]),
        (b'id,text\n1,"a\n2,b\n3,"c"\n', ["b", "c"], [(0, "unclosed_quote")]),
        (b'id,text\n1,"a"x\n2,b\n', ["b"], [(0, "unclosed_quote")]),
        (b'id,text\n1,"a\nb"\n2,"c\r\nd"\n', ["a\nb", "c\r\nd"], []),
        (b'id,text\n1,5" pipe\n2,a "b" c\n', ['5" pipe', 'a "b" c'], []),
        (b'id,text\n1,"say ""hi"""\n2,"""x"""\n', ['say "hi"', '"x"'], []),
        (b"id,text\n1,a\xff\n2,b\n", ["b"], [(0, "invalid_utf8")]),
        (b"id,text\n1,a\0\n2,b\n", ["b"], [(0, "nul_byte")]),
        (b'id,text\n1,\n2,""\n3, \n4,d\n', ["d"], [(i, "empty_text") for i in range(3)]),
        (b"id,text\n\n1,a\n\r\n2,b\n\n", ["a", "b"], []),
        (b"id,text\r1,a\r2,b\r", ["a", "b"], []),
        (b"id,text\r\n1,a\r\n2,b", ["a", "b"], []),
        (b"\xef\xbb\xbfid,text\n1,a\n", ["a"], []),
        (b'\xef\xbb\xbf"text",id\na,1\n', ["a"], []),
        (b"id,text\n", [], []),
        (b"id,text", [], []),
        (b"", [], []),
        (b"id,text\n1," + b"a" * 2_000 + b"\n2,b\n", ["b"], [(0, "too_large")]),
    ],
)
@pytest.mark.parametrize("slice_bytes", [1, 8, 4 << 20])
@pytest.mark.parametrize("compression", COMPRESS)
def test_hostile_csv(
    tmp_path: Path,
    content: bytes,
    texts: list[str],
    reasons: list[tuple[int, str]],
    slice_bytes: int,
    compression: str,
) -> None:
    path = tmp_path / f"a.csv{compression}"
    path.write_bytes(COMPRESS[compression](content))
    result = read_back(path, slice_bytes, max_document_bytes=1_000)
    assert result.texts == texts
    assert result.reasons == reasons
    assert all(reject["raw"] for reject in result.rejects if reject["reason"] != "empty_text")


@pytest.mark.parametrize(
    ("content", "texts", "reasons"),
    [
        (b"a\n\xff\nb\n", ["a", "b"], [(1, "invalid_utf8")]),
        (b"a\nx\0y\nb\n", ["a", "b"], [(1, "nul_byte")]),
        (b"a\n\nb\n \t\n", ["a", "b"], [(1, "empty_text"), (3, "empty_text")]),
        (b"a\rb\nc\r\nd", ["a\rb", "c", "d"], []),
        (b"\xef\xbb\xbfa\n", ["a"], []),
        (b"", [], []),
        (b"\n", [], [(0, "empty_text")]),
        (b"a\n" + b"x" * 1_001 + b"\nb\n", ["a", "b"], [(1, "too_large")]),
    ],
)
@pytest.mark.parametrize("slice_bytes", [1, 4 << 20])
def test_hostile_plain_text(
    tmp_path: Path,
    content: bytes,
    texts: list[str],
    reasons: list[tuple[int, str]],
    slice_bytes: int,
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    result = read_back(path, slice_bytes, max_document_bytes=1_000)
    assert result.texts == texts
    assert result.reasons == reasons


def test_a_text_of_exactly_the_largest_size_passes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 1_000 + b"\r\n" + b"y" * 1_000)
    assert read_back(path, max_document_bytes=1_000).texts == ["x" * 1_000, "y" * 1_000]
    large = tmp_path / "b.jsonl"
    large.write_bytes(jsonl_bytes([{"text": "é" * (8 << 20)}], ascii_only=True))
    assert len(read_back(large).texts[0].encode()) == 16 << 20


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.txt.gz"])
def test_a_line_of_50_mb_is_cut_to_what_a_person_needs(tmp_path: Path, name: str) -> None:
    before, after = {
        "a.jsonl": (b'{"text":"one"}\n{"text":"', b'"}\n{"text":"two"}\n'),
        "a.csv": (b'id,text\n1,one\n2,"', b'"\n3,two\n'),
    }.get(name, (b"one\n", b"\ntwo\n"))
    path = tmp_path / name
    path.write_bytes(
        COMPRESS[path.suffix if path.suffix == ".gz" else ""](before + b"x" * 50_000_000 + after)
    )
    result = read_back(path, slice_bytes=1 << 20)
    assert result.texts == ["one", "two"]
    assert result.reasons == [(1, "too_large")]
    assert len(result.rejects[0]["raw"]) == 65_536
    assert result.rejects[0]["raw_size"] >= 50_000_000
    assert [row["source_row"] for row in result.rows] == [0, 2]


@pytest.mark.parametrize("compression", [".gz", ".bz2", ".zst"])
@pytest.mark.parametrize("slice_bytes", [10_000, 4 << 20])
def test_rows_before_the_damage_are_used(
    tmp_path: Path, compression: str, slice_bytes: int
) -> None:
    chance = random.Random(7)
    lines = [b"%0100x" % chance.getrandbits(400) for _ in range(20_000)]
    whole = COMPRESS[compression](b"\n".join(lines))
    path = tmp_path / f"a.txt{compression}"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    result = read_back(path, slice_bytes)
    count = len(result.rows)
    assert 5_000 < count < 16_000
    assert result.texts == [line.decode() for line in lines[:count]]
    assert result.reasons == [(None, "damaged_file")]

    corrupt = bytearray(whole)
    corrupt[len(whole) // 2 : len(whole) // 2 + 100] = bytes(100)
    path.write_bytes(corrupt)
    result = read_back(path, slice_bytes)
    assert result.reasons[-1] == (None, "damaged_file")


@pytest.mark.parametrize("compression", [".gz", ".bz2", ".zst"])
def test_members_that_follow_each_other_are_one_file(tmp_path: Path, compression: str) -> None:
    path = tmp_path / f"a.txt{compression}"
    compress = COMPRESS[compression]
    path.write_bytes(compress(b"one\nt") + compress(b"") + compress(b"wo\n"))
    assert read_back(path).texts == ["one", "two"]
    path.write_bytes(compress(b"one\n") + b"garbage")
    result = read_back(path)
    assert result.texts == ["one"]
    assert result.reasons == [(None, "damaged_file")]
    path.write_bytes(b"")
    assert read_back(path).batches[0].rows_read == 0


def test_what_is_not_compressed_at_all_is_damaged(tmp_path: Path) -> None:
    for suffix in (".gz", ".bz2", ".zst"):
        path = tmp_path / f"a.csv{suffix}"
        path.write_bytes(b"id,text\n1,a\n")
        assert read_back(path).reasons == [(None, "damaged_file")]


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_truncated_parquet_is_one_reject(tmp_path: Path, part: float) -> None:
    whole = parquet_bytes([{"id": "a", "text": f"text {i}"} for i in range(100)])
    path = tmp_path / "a.parquet"
    path.write_bytes(whole[: int(len(whole) * part)])
    for slice_bytes in (1, 4 << 20):
        result = read_back(path, slice_bytes)
        assert result.rows == []
        assert result.reasons == [(None, "damaged_file")]


def test_a_corrupt_row_group_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"some text {i}" for i in range(3_000)]})
    pq.write_table(table, path, row_group_size=1_000, use_dictionary=False, compression="zstd")
    column = pq.read_metadata(path).row_group(1).column(0)
    content = bytearray(path.read_bytes())
    begin = column.data_page_offset
    content[begin : begin + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(content)
    for slice_bytes in (1, 4 << 20):
        result = read_back(path, slice_bytes)
        assert [r["source_row"] for r in result.rows] == [*range(1_000), *range(2_000, 3_000)]
        assert result.reasons == [(row, "damaged_file") for row in range(1_000, 2_000)]
        assert "row group 1, 1,000 rows" in result.rejects[0]["message"]
        assert not any(file.lost for batch in result.batches for file in batch.files)


@settings(fuzz, max_examples=60)
@given(st.data())
def test_corrupt_bytes_in_parquet_never_raise(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(parquet_bytes([{"id": "a", "text": f"text {i}"} for i in range(20)], 5))
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    try:
        read_back(path, data.draw(st.sampled_from([1, 4 << 20])))
    except InputError as error:
        assert "\n" not in str(error)  # such as a footer that says another name for the column


def test_a_file_that_went_away_is_one_reject(tmp_path: Path) -> None:
    spec = SourceSpec(carried=pa.schema([]))
    (tmp_path / "b.txt").write_text("here\n")
    paths = [str(tmp_path / name) for name in ("a.csv", "b.txt", "c.parquet")]
    (batch,) = read_slice(Slice(0, tuple(map(Segment, paths))), spec, "")
    assert batch.rows["text"].to_pylist() == ["here"]
    assert batch.rejects["reason"].to_pylist() == ["missing_file"] * 2
    assert batch.rejects["source_file"].to_pylist() == [paths[0], paths[2]]


def test_a_file_without_the_text_column_is_rejected_row_by_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,n\nx,1\n")
    (tmp_path / "b.csv").write_text("body,n\ny,2\nz,3\n")
    pq.write_table(pa.table({"n": [4, 5]}), tmp_path / "c.parquet")
    (tmp_path / "d.jsonl").write_text('{"n":6}\n')
    result = read_back(tmp_path, keep_columns=())
    assert result.texts == ["x"]
    assert [
        (Path(r["source_file"]).name, r["source_row"], r["reason"]) for r in result.rejects
    ] == [
        ("b.csv", 0, "missing_text"),
        ("b.csv", 1, "missing_text"),
        ("c.parquet", 0, "missing_text"),
        ("c.parquet", 1, "missing_text"),
        ("d.jsonl", 0, "missing_text"),
    ]
    assert result.rejects[0]["raw"] == b"y,2"


def test_parquet_values_that_do_not_fit_cost_their_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "n": [0.5]}), tmp_path / "a.parquet")
    huge = 2**60 + 1  # no float64 holds it
    pq.write_table(pa.table({"text": ["b", "c"], "n": [1, huge]}), tmp_path / "b.parquet")
    result = read_back(tmp_path)
    assert [(row["text"], row["carried"]["n"]) for row in result.rows] == [("a", 0.5), ("b", 1.0)]
    assert result.reasons == [(1, "carried_type")]


def test_parquet_text_that_is_not_utf8_is_rejected(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"\xff\xfe"]).view(pa.string())
    pq.write_table(pa.table({"text": raw}), tmp_path / "a.parquet")
    result = read_back(tmp_path)
    assert result.texts == ["fine"]
    assert result.reasons == [(1, "invalid_utf8")]


json_bytes = st.lists(
    st.sampled_from(
        [b"{", b"}", b'"text"', b":", b'"a"', b",", b"\n", b"1", b"null", b"[", b"]", b"\xff"]
    )
    | st.sampled_from([b'{"text":"x"}\n', b'{"text":"y","n":1}\n', b'{"n":2}\n', b"\n", b"\0"]),
    max_size=40,
).map(b"".join)
csv_like = st.lists(
    st.sampled_from([b'"', b'"', b",", b"\n", b"\n", b"\r", b"a", b"bc", b"\xff", b"\0", b" "]),
    max_size=40,
).map(b"".join)


def outcome(path: Path, slice_bytes: int, **wishes: Any) -> tuple[Any, Any]:
    result = read_back(path, slice_bytes, **wishes)
    return result.rows, result.rejects


@settings(fuzz, max_examples=150)
@given(json_bytes, st.integers(1, 60))
def test_any_bytes_as_json_lines_come_out_the_same_however_they_are_cut(
    tmp_path: Path, content: bytes, slice_bytes: int
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text":"first","n":1}\n' + content)
    rows, rejects = outcome(path, 4 << 20)
    assert (rows, rejects) == outcome(path, slice_bytes)
    lines = path.read_bytes().split(b"\n")
    lines = lines[:-1] if not lines[-1] else lines
    numbers = sorted(r["source_row"] for r in rows + rejects)
    assert numbers == [i for i, line in enumerate(lines) if line.strip(b" \t\r")]
    for row in rows:
        assert json.loads(lines[row["source_row"]])["text"] == row["text"]


@settings(fuzz, max_examples=300)
@given(csv_like, st.integers(1, 60), st.booleans())
def test_any_bytes_as_csv_come_out_the_same_however_they_are_cut(
    tmp_path: Path, content: bytes, slice_bytes: int, quoting: bool
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,n\nfirst,1\n" + content)
    rows, rejects = outcome(path, 4 << 20, quoting=quoting)
    assert (rows, rejects) == outcome(path, slice_bytes, quoting=quoting)
    numbers = sorted(r["source_row"] for r in rows + rejects)
    assert numbers == list(range(len(numbers)))
