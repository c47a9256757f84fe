"""What `inspect_source` finds out: formats, columns, types, and what it says when it cannot."""

from __future__ import annotations

import datetime
import decimal
import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_bert.errors import InputError
from beam_bert.sources import SourceSpec, inspect_source, list_files
from tests.sources.reading_back import jsonl_bytes, read_back


def inspected(folder: Path, reserved: tuple[str, ...] = (), **wishes: Any) -> SourceSpec:
    return inspect_source(list_files([str(folder)]), SourceSpec(**wishes), reserved)


def carried(folder: Path, **wishes: Any) -> dict[str, str]:
    return {field.name: str(field.type) for field in inspected(folder, **wishes).resolved}


def test_json_types_are_as_narrow_as_the_values_and_no_narrower(tmp_path: Path) -> None:
    records = [
        {"text": "a", "i": 1, "f": 1, "b": True, "date": "2024-01-01", "l": [1], "s": {"x": 1}},
        {"text": "b", "i": None, "f": 0.5, "l": [], "s": {"y": "z"}, "big": 2**70},
        {"text": "c", "mixed": 1, "never": None, "empty": [], "deep": [{"k": [None]}], "m": {}},
        {"text": "d", "mixed": "x"},
    ]
    (tmp_path / "a.jsonl").write_bytes(jsonl_bytes(records))
    assert carried(tmp_path) == {
        "i": "int64",
        "f": "double",
        "b": "bool",
        "date": "string",
        "l": "list<item: int64>",
        "s": "struct<x: int64, y: string>",
        "big": "string",
        "mixed": "string",
        "never": "string",
        "empty": "string",
        "deep": "list<item: struct<k: list<item: string>>>",
        "m": "string",
    }
    rows = [row["carried"] for row in read_back(tmp_path).rows]
    assert [row["mixed"] for row in rows] == [None, None, "1", "x"]
    assert [row["empty"] for row in rows] == [None, None, "[]", None]
    assert rows[0]["date"] == "2024-01-01"
    assert rows[1]["big"] == str(2**70)
    assert rows[1]["s"] == {"x": None, "y": "z"}


def test_a_column_of_nulls_takes_what_comes_later_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beam_bert.sources.sampling._SAMPLE_BYTES", 1_000)
    later: list[Any] = [17, 0.1, "x", [1, {"a": None}], True, None, 2**80]
    records = [{"text": "a", "n": None}] * 100 + [{"text": "b", "n": value} for value in later]
    (tmp_path / "a.jsonl").write_bytes(jsonl_bytes(records))
    result = read_back(tmp_path)
    assert result.rejects == []
    assert [row["carried"]["n"] for row in result.rows[100:]] == [
        "17",
        "0.1",
        "x",
        '[1,{"a":null}]',
        "true",
        None,
        str(2**80),
    ]


def test_parquet_types_survive_exactly(tmp_path: Path) -> None:
    moment = datetime.datetime(2024, 1, 2, 3, 4, 5, 678, tzinfo=datetime.timezone.utc)
    columns: dict[str, tuple[pa.DataType, Any]] = {
        "i64": (pa.int64(), 2**62 + 1),
        "i8": (pa.int8(), -3),
        "u64": (pa.uint64(), 2**64 - 1),
        "f32": (pa.float32(), 0.5),
        "zoned": (pa.timestamp("us", "Europe/Amsterdam"), moment),
        "naive": (pa.timestamp("ns"), moment.replace(tzinfo=None)),
        "day": (pa.date32(), datetime.date(2024, 1, 2)),
        "money": (pa.decimal128(20, 4), decimal.Decimal("12345.6789")),
        "raw": (pa.binary(), b"\xff\0"),
        "nested": (pa.list_(pa.struct([("k", pa.int16())])), [{"k": 1}, None]),
        "large": (pa.large_string(), "large"),
    }
    table = pa.table(
        {"text": ["a", "b"]}
        | {name: pa.array([value, None], kind) for name, (kind, value) in columns.items()}
        | {"word": pa.array(["x", "y"]).dictionary_encode()}
    )
    pq.write_table(table, tmp_path / "a.parquet", store_schema=True)
    stored = pq.read_schema(tmp_path / "a.parquet")
    result = read_back(tmp_path)
    schema = result.spec.resolved
    for name in columns:
        assert schema.field(name).type == stored.field(name).type, name
    assert schema.field("word").type == pa.string()
    got = pa.Table.from_batches([batch.rows for batch in result.batches])["carried"]
    flat = pa.Table.from_batches([pa.RecordBatch.from_struct_array(c) for c in got.chunks])
    assert flat.equals(table.drop_columns("text").cast(flat.schema))


def test_a_text_column_may_be_a_dictionary_or_large(tmp_path: Path) -> None:
    words = pa.array(["a", "b", "a"])
    pq.write_table(pa.table({"text": words.dictionary_encode()}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": words.cast(pa.large_string())}), tmp_path / "b.parquet")
    assert read_back(tmp_path).texts == ["a", "b", "a"] * 2


def test_files_that_differ_are_united(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "n": [1], "p": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"n": [0.5], "text": ["b"], "q": ["x"]}), tmp_path / "b.parquet")
    (tmp_path / "c.jsonl").write_text('{"text":"c","n":3,"r":[1]}\n')
    (tmp_path / "d.csv").write_text("q,text\n007,d\n")
    result = read_back(tmp_path)
    assert carried(tmp_path) == {
        "n": "double",
        "p": "int64",
        "q": "string",
        "r": "list<item: int64>",
    }
    assert [row["carried"] for row in result.rows] == [
        {"n": 1.0, "p": 1, "q": None, "r": None},
        {"n": 0.5, "p": None, "q": "x", "r": None},
        {"n": 3.0, "p": None, "q": None, "r": [1]},
        {"n": None, "p": None, "q": "007", "r": None},
    ]


def test_what_csv_or_json_disagree_on_is_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "n": [1, None]}), tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text("text,n\nc,01\n")
    (tmp_path / "c.jsonl").write_text('{"text":"d","n":2.50}\n{"text":"e","n":{"x":1}}\n')
    result = read_back(tmp_path)
    assert [row["carried"]["n"] for row in result.rows] == ["1", None, "01", "2.5", '{"x":1}']


def test_parquet_types_that_nothing_unites_are_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "n": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["a"], "n": [[1]]}), tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"column n is int64 in .*a.parquet but list<.*b.parquet"):
        inspected(tmp_path)
    assert carried(tmp_path, keep_columns=()) == {}


def test_csv_values_stay_as_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,n,t\na,007,NaN\nb, 1.50 ,true\nc,,NULL\n")
    rows = [row["carried"] for row in read_back(tmp_path).rows]
    assert rows == [
        {"n": "007", "t": "NaN"},
        {"n": " 1.50 ", "t": "true"},
        {"n": "", "t": "NULL"},
    ]


def test_headers_with_doubles_and_gaps_get_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,a,a,,"x,y",01\n1,2,3,4,5,6\n')
    assert list(carried(tmp_path)) == ["a", "a_2", "column_4", "x,y", "01"]


def test_names_that_the_output_has_get_a_prefix(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label,input_label,doc_id\na,b,c,d\n")
    spec = inspected(tmp_path, reserved=("doc_id", "label"))
    assert spec.resolved.names == ["input_label", "input_input_label", "input_doc_id"]
    assert spec.carried_from == ("label", "input_label", "doc_id")
    spec = inspected(tmp_path, reserved=("doc_id", "label"), id_column="doc_id")
    assert "input_doc_id" not in spec.resolved.names


def test_carry_chooses_and_orders_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,a,b\nx,1,2\n")
    assert list(carried(tmp_path, keep_columns=("b", "a"))) == ["b", "a"]
    assert list(carried(tmp_path, keep_columns=("b",), keep_text=True)) == ["b", "text"]
    assert list(carried(tmp_path, keep_text=True)) == ["text", "a", "b"]
    assert read_back(tmp_path, keep_text=True).rows[0]["carried"]["text"] == "x"


def test_plain_text_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x\n")
    assert read_back(tmp_path, keep_text=True).rows[0]["carried"] == {"text": "x"}
    assert read_back(tmp_path).rows[0]["carried"] == {}


def test_ids_become_strings_and_fall_back_to_file_and_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"text":"a","id":12}\n{"text":"b","id":null}\n{"text":"c"}\n{"text":"d","id":-1}\n'
    )
    result = read_back(path, id_column="id")
    assert [row["doc_id"] for row in result.rows] == ["12", f"{path}#1", f"{path}#2", "-1"]
    assert result.rows[0]["carried"]["id"] == 12
    path.write_text('{"text":"a","id":"x"}\n{"text":"b","id":7}\n{"text":"c","id":""}\n')
    result = read_back(path, id_column="id", keep_columns=())
    assert [row["doc_id"] for row in result.rows] == ["x", "7", f"{path}#2"]
    path.write_text('{"text":"a","id":{"n":[1]}}\n')
    assert read_back(path, id_column="id").rows[0]["doc_id"] == '{"n":[1]}'


def test_several_text_columns_are_joined_and_pairs_are_not(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"t":"a","b":"b","q":"why"}\n{"t":"a","b":"","q":"x"}\n{"b":"b","q":""}\n{"q":"y"}\n'
    )
    result = read_back(tmp_path, text_columns=("t", "b"), text_pair_column="q")
    assert [(row["text"], row["text_pair"]) for row in result.rows] == [("a b", "why"), ("a", "x")]
    assert result.reasons == [(2, "empty_text"), (3, "missing_text")]
    assert "column q" in result.rejects[0]["message"]
    assert "columns t, b" in result.rejects[1]["message"]


def test_tsv_without_header_takes_names_from_the_user(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('say "hi"\t1\tx\n"open\t2\ty\n')
    result = read_back(tmp_path, column_names=("text", "n", "id"), id_column="id")
    assert result.texts == ['say "hi"', '"open']
    assert [row["source_row"] for row in result.rows] == [0, 1]
    with pytest.raises(InputError, match=r"column_names has 2 names, but .* has 3 fields"):
        inspected(tmp_path, column_names=("text", "n"))


def test_a_file_can_be_one_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfthree"))
    (tmp_path / "c.txt").write_text("")
    (tmp_path / "d.txt").write_bytes(b"\xff")
    (tmp_path / "e.txt").write_text("x" * 101)
    result = read_back(tmp_path, text_unit="file", max_document_bytes=100, slice_bytes=1)
    assert result.texts == ["one\ntwo\n", "three"]
    assert result.reasons == [(0, "empty_text"), (0, "invalid_utf8"), (0, "too_large")]


def test_a_name_that_tells_no_format_needs_the_flag(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("x\n")
    with pytest.raises(InputError, match=r"a\.log: .*format"):
        inspected(tmp_path)
    assert read_back(tmp_path, format="text").texts == ["x"]


@pytest.mark.parametrize("suffix", ["json", "ndjson", "JSONL", "json.gz"])
def test_suffixes_tell_json_lines(tmp_path: Path, suffix: str) -> None:
    content = b'{"text":"a"}\n'
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    assert read_back(tmp_path).texts == ["a"]


def test_a_column_that_no_file_has_is_named_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Text,label\na,b\n")
    with pytest.raises(InputError, match=r"'text'.*text_column Text\?.*Text, label"):
        inspected(tmp_path)
    with pytest.raises(InputError, match=r"'labels' \(.*keep_columns\).*label"):
        inspected(tmp_path, text_columns=("Text",), keep_columns=("labels",))
    with pytest.raises(InputError, match=r"'key' \(.*id_column\)"):
        inspected(tmp_path, text_columns=("Text",), id_column="key")
    with pytest.raises(InputError, match=r"'b' \(.*text_pair_column\)"):
        inspected(tmp_path, text_columns=("Text",), text_pair_column="b")
    (tmp_path / "a.csv").unlink()
    (tmp_path / "a.jsonl").write_text('{"body":"x"}\n')
    with pytest.raises(InputError, match="the columns are: body"):
        inspected(tmp_path)
    (tmp_path / "a.jsonl").unlink()
    (tmp_path / "a.txt").write_text("x\n")
    with pytest.raises(InputError, match="plain text has no columns"):
        inspected(tmp_path, id_column="id")


def test_parquet_text_must_be_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="column text is int64, not text"):
        inspected(tmp_path)
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "b.parquet")
    result = read_back(tmp_path)
    assert result.texts == ["a"]
    assert result.reasons == [(0, "not_text"), (1, "not_text")]


def test_parquet_inside_gzip_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.parquet.gz").write_bytes(b"")
    with pytest.raises(InputError, match="unpack"):
        inspected(tmp_path)


def test_documents_longer_than_the_sample_are_seen(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl_bytes([{"text": "x" * 3_000_000, "n": 1}] * 2))
    assert carried(tmp_path) == {"n": "int64"}
    assert len(read_back(tmp_path).rows) == 2


def test_many_files_are_sampled_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_bert.sources.sampling._MAX_FILES", 3)
    for i in range(9):
        (tmp_path / f"{i}.jsonl").write_text(json.dumps({"text": "a", f"c{i}": 1}))
    assert list(carried(tmp_path)) == ["c0", "c3", "c6"]


def test_a_spec_travels_to_workers_and_its_digest_follows_what_matters(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text":"a","n":1}\n')
    spec = inspected(tmp_path)
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert inspected(tmp_path, slice_bytes=7).digest() == spec.digest()
    assert inspected(tmp_path, keep_text=True).digest() != spec.digest()


def test_a_member_of_json_objects_is_told_how_to_bring_up(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1, "review": {"body": "x"}}\n')
    files = list_files([str(tmp_path)])
    with pytest.raises(InputError, match=r"Parquet alone; .*jq -c '\.body = \.review\.body' IN"):
        inspect_source(files, SourceSpec(text_columns=("review.body",)))
    (tmp_path / "a.jsonl").write_text('{"review": {"body": "x"}, "review.body": "y"}\n')
    assert read_back(tmp_path, text_columns=("review.body",)).texts == ["y"]
