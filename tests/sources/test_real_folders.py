"""What lies in real folders: wrong names, encodings and dialects, exact values, lost files."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import tarfile
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from beam_bert.errors import InputError
from beam_bert.sources import SourceSpec, inspect_source, list_files
from tests.sources.reading_back import COMPRESS, jsonl_bytes, parquet_bytes, read_back

ROWS = [{"id": i, "text": f"text {i}"} for i in range(5)]
LINES = jsonl_bytes(ROWS)


def zstd_with_window(data: bytes, log: int) -> bytes:
    parameters = zstandard.ZstdCompressionParameters(window_log=log)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return stream.compress(data) + stream.flush()


def integers_of_128_bits() -> bytes:
    """A file as Polars writes Int128, which Arrow has not: sound, and nothing for pyarrow."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": ["a"], "big": [1]}), sink)
    data = sink.getvalue().to_pybytes()
    stored = pq.read_metadata(pa.BufferReader(data)).metadata[b"ARROW:schema"]
    wide = base64.b64decode(stored).replace(b"\x40\0\0\0", b"\x80\0\0\0")
    return data.replace(stored, base64.b64encode(wide))


def tar_of(name: str, data: bytes, mode: str = "w") -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as archive:  # type: ignore[call-overload]
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return sink.getvalue()


def zip_of(**members: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return sink.getvalue()


LOST = [
    ("a.jsonl.gz", LINES, "damaged_file", "not gzip but plain text"),
    ("a.jsonl.bz2", LINES, "damaged_file", "not bzip2 but plain text"),
    ("a.jsonl.zst", LINES, "damaged_file", "not zstd but plain text"),
    ("a.jsonl.gz", zstandard.compress(LINES), "damaged_file", "not gzip but zstd"),
    ("a.jsonl.gz", gzip.compress(LINES, mtime=0)[:20], "damaged_file", "ends early"),
    ("a.jsonl.bz2", COMPRESS[".bz2"](LINES)[:30], "damaged_file", "ends early"),
    ("a.jsonl.zst", zstd_with_window(LINES, 31), "damaged_file", "2 GiB,.* zstd -d --long=31"),
    ("a.jsonl.zst", zstd_with_window(LINES, 28), "damaged_file", "256 MiB,.* --long=28"),
    ("a.csv", gzip.compress(LINES, mtime=0), "wrong_kind", "is gzip; .*ending .gz"),
    ("a.txt", gzip.compress(LINES, mtime=0), "wrong_kind", "is gzip"),
    ("a.jsonl", parquet_bytes([{"id": "1", "text": "a"}]), "wrong_kind", "is Parquet; .*.parquet"),
    ("a.csv", parquet_bytes([{"id": "1", "text": "a"}]), "wrong_kind", "is Parquet"),
    ("a.parquet", b"id,text\n1,a\n", "damaged_file", "no readable Parquet footer"),
    ("a.parquet", integers_of_128_bits(), "not_supported", "more than 64 bits.* another type"),
    ("a.parquet", b"<html><body>404</body></html>", "wrong_kind", "an HTML page"),
    ("a.csv", b"<!DOCTYPE html>\n<html>", "wrong_kind", "an HTML page"),
    ("a.jsonl", b"\n <HTML>", "wrong_kind", "an HTML page"),
    ("a.csv", b"<?xml version='1.0'?><a/>", "wrong_kind", "XML"),
    (
        "a.parquet",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
        "wrong_kind",
        "git lfs pull",
    ),
    (
        "a.csv",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
        "wrong_kind",
        "git lfs pull",
    ),
    ("a.txt", tar_of("a.txt", b"one\ntwo\n"), "wrong_kind", "tar archive; unpack it"),
    ("a.jsonl.gz", gzip.compress(tar_of("a.jsonl", LINES), mtime=0), "wrong_kind", "tar archive"),
    ("a.csv", zip_of(a=b"id,text\n"), "wrong_kind", "zip archive"),
    ("a.jsonl.zip", zip_of(a=LINES, b=LINES), "damaged_file", "holds 2 files.* unzip"),
    ("a.jsonl.zip", zip_of(a=LINES)[:-30], "damaged_file", "corrupt zip"),
    ("a.txt", b"%PDF-1.7 \n", "wrong_kind", "PDF"),
    ("a.jsonl", b'[{"text":"a"},\n{"text":"b"},\n{"text', "damaged_file", "cut short or broken"),
    ("a.json", b'[\n{"text":"a"}\n{"text":"b"}]', "damaged_file", "is broken"),
]


@pytest.mark.parametrize(("name", "content", "reason", "message"), LOST)
@pytest.mark.parametrize("slice_bytes", [7, 4 << 20])
def test_a_file_that_cannot_be_read_is_lost_and_says_what_it_is(
    tmp_path: Path, name: str, content: bytes, reason: str, message: str, slice_bytes: int
) -> None:
    (tmp_path / "good.jsonl").write_bytes(LINES)
    (tmp_path / name).write_bytes(content)
    result = read_back(tmp_path, slice_bytes)
    assert result.reasons == [(None, reason)]
    assert re.search(message, result.rejects[0]["message"])
    lost = [file for batch in result.batches for file in batch.files if file.lost]
    assert [Path(file.path).name for file in lost] == [name]
    assert {f"text {i}" for i in range(5)} <= set(result.texts)
    with pytest.raises(InputError, match=rf"{name}: .*max_lost_files.1"):
        inspect_source(list_files([str(tmp_path)]), SourceSpec(max_lost_files=0))
    spec = inspect_source(list_files([str(tmp_path)]), SourceSpec(max_lost_files=1))
    assert spec.resolved.names == ["id"]


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.7z", "a.jsonl.xz", "a.tar"])
def test_archives_are_told_with_the_command_that_helps(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(tar_of("a.jsonl", LINES))
    for format_ in ("auto", "jsonl"):
        with pytest.raises(InputError, match=r"unpack it first: (tar|7z|xz) "):
            inspect_source(list_files([str(path)]), SourceSpec(format=format_))  # type: ignore[arg-type]


def test_a_zip_with_one_member_is_read_as_gz_is(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.zip").write_bytes(zip_of(whatever=LINES))
    assert read_back(tmp_path).texts == [row["text"] for row in ROWS]


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize(
    "layout",
    [
        lambda rows: json.dumps(rows),
        lambda rows: json.dumps(rows, indent=2),
        lambda rows: json.dumps(rows, indent=2, ensure_ascii=False) + "\r\n",
        lambda rows: "\ufeff[" + ",\n".join(map(json.dumps, rows)) + "]\n",
        lambda rows: "\n".join(json.dumps(row, indent=2) for row in rows),
        lambda rows: "  \n" + " ".join(json.dumps(row, indent=2) for row in rows),
    ],
)
def test_json_that_is_no_lines_is_read_with_true_row_numbers(
    tmp_path: Path, layout: Any, compression: str
) -> None:
    rows = [{"text": f'é "{i}" ]}},{{[ \\', "n": {"a": [i, {"b": None}]}} for i in range(300)]
    rows[7]["text"] = 7
    path = tmp_path / f"a.json{compression}"
    path.write_bytes(COMPRESS[compression](layout(rows).encode()))
    result = read_back(path, slice_bytes=2_000)
    assert result.reasons == [(7, "not_text")]
    assert [(row["source_row"], row["text"]) for row in result.rows] == [
        (i, row["text"]) for i, row in enumerate(rows) if i != 7
    ]
    assert result.rows[0]["carried"]["n"] == {"a": [0, {"b": None}]} or "n" in str(result.rows[0])


def test_an_array_line_among_lines_costs_itself_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'[{"text":"x"}]\n{"text":"a"}\n[\n')
    result = read_back(tmp_path)
    assert result.texts == ["a"]
    assert result.reasons == [(0, "not_object"), (2, "invalid_json")]


WORDS = {
    "cp1252": "Très bon café – “größer”",
    "latin-1": "Très bon café größer",
    "utf-16": "Très bon 漢字 😀",
    "utf-16-be": "Très bon 漢字 😀",
    "utf-32": "Très bon 漢字 😀",
    "gb18030": "这个产品非常好用，我很喜欢",
    "shift_jis": "これは表示のテストです。ソ能十",
    "euc-kr": "정말 좋은 제품입니다",
    "cp1251": "Очень хороший товар",
}


@pytest.mark.parametrize("encoding", WORDS)
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl", "a.csv.gz"])
def test_other_encodings_are_read_the_same_however_they_are_cut(
    tmp_path: Path, name: str, encoding: str
) -> None:
    texts = [f"{WORDS[encoding]} {i}" for i in range(60)]
    if name == "a.jsonl":
        content = jsonl_bytes([{"text": text} for text in texts]).decode()
    else:
        mark = "\t" if name == "a.tsv" else ","
        lines = texts if name == "a.txt" else [f"text{mark}n", *(f"{t}{mark}1" for t in texts)]
        content = "".join(line + "\r\n" for line in lines)
    data = content.encode(encoding)
    path = tmp_path / name
    path.write_bytes(gzip.compress(data, mtime=0) if name.endswith("gz") else data)
    for slice_bytes in (50, 1_000, 4 << 20):
        result = read_back(path, slice_bytes, encoding=encoding)
        assert result.texts == texts
        assert result.rejects == []
        assert [row["source_row"] for row in result.rows] == list(range(60))
    if encoding in ("utf-16", "utf-32"):
        assert read_back(path).texts == texts  # by their mark


def test_bytes_that_are_no_character_cost_their_row(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("あ\n".encode("shift_jis") + b"\x81\n" + "い\n".encode("shift_jis"))
    result = read_back(path, encoding="shift_jis")
    assert result.texts == ["あ", "い"]
    assert result.reasons == [(1, "invalid_utf8")]
    path.write_bytes("a\nb\n".encode("utf-16-le") + b"\x00\xdc" + "c\nd\n".encode("utf-16-le"))
    assert read_back(path, encoding="utf-16-le").texts == ["a", "b", "d"]


def test_what_is_not_utf8_names_the_encoding_that_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for encoding in ("cp1252", "shift_jis", "gb18030", "euc-kr"):
        lines = "".join(f"{WORDS[encoding]} {i}\n" for i in range(20))
        (tmp_path / "a.txt").write_bytes(lines.encode(encoding))
        result = read_back(tmp_path)
        assert {reason for _, reason in result.reasons} == {"invalid_utf8"}
        told = capsys.readouterr().err
        assert "is not UTF-8 in 20 of its first 2" in told
        assert f"it fits {encoding.replace('-', '_')}: add " in told.replace("cp949", "euc_kr")


def test_utf16_beside_another_encoding_is_a_lost_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("é\n".encode("cp1252"))
    (tmp_path / "b.txt").write_bytes("é\n".encode("utf-16"))
    result = read_back(tmp_path, encoding="cp1252")
    assert result.texts == ["é"]
    assert result.reasons == [(None, "wide_encoding")]


@pytest.mark.parametrize(
    ("content", "wishes", "texts"),
    [
        ("id;text\n0;a, b\n1;c\n", {}, ["a, b", "c"]),
        ("id;text, long\n0;a, b\n1;c\n", {"text_columns": ("text, long",)}, ["a, b", "c"]),
        ("id\ttext\n0\ta, b\n1\tc\n", {}, ["a, b", "c"]),
        ("sep=;\nid;text\n0;a\n", {}, ["a"]),
        ("sep=,\r\nid,text\r\n0,a\r\n", {}, ["a"]),
        ('"sep=\t"\nid\ttext\n0\ta\n', {}, ["a"]),
        ("id|text\n0|a\n", {"delimiter": "|"}, ["a"]),
        ("id;text\n0;a\n", {"delimiter": ";", "format": "csv"}, ["a"]),
        ("id, text, n\n0, a, 1\n", {}, [" a"]),
        ("id,text\n1,'a, ''b'''\n", {"quote_char": "'"}, ["a, 'b'"]),
        (
            'id,text\n1,"a \\"b\\", c"\n2,"d\\\\"\n3,e\n',
            {"escape_char": "\\"},
            ['a "b", c', "d\\", "e"],
        ),
        ('id,text\n1,a\\,b\n2,"x\\\ny"\n', {"escape_char": "\\"}, ["a,b", "x\ny"]),
        ("text\na;b\nc;d\n", {}, ["a;b", "c;d"]),
    ],
)
@pytest.mark.parametrize("slice_bytes", [1, 4 << 20])
def test_dialects(
    tmp_path: Path, content: str, wishes: dict[str, Any], texts: list[str], slice_bytes: int
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content, newline="")
    result = read_back(path, slice_bytes, **wishes)
    assert (result.texts, result.rejects) == (texts, [])
    assert [row["source_row"] for row in result.rows] == list(range(len(texts)))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("id;text\n0;a\n", "is read with ; as its delimiter"),
        ("id\ttext\n0\ta\n", "is read with a tab as its delimiter"),
        ('id,text\n0,"a \\"b\\", c"\n', "escape_char"),
        ("12,text\n13,b\n", "looks like data .*column_names"),
        ("id,text,label\n0,text,x\n", "looks like data"),
        ("id,text\n0,a\n", None),
        ('id,text\n0,"a, b"\n', None),
    ],
)
def test_what_is_noteworthy_is_said_once(
    tmp_path: Path, content: str, told: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(content)
    read_back(tmp_path)
    lines = capsys.readouterr().err.splitlines()
    if told is None:
        assert lines == []
        return
    (line,) = lines
    assert re.search(told, line)
    assert "likewise 1 more" in line


@pytest.mark.parametrize(
    "values",
    [
        [2**64 - 1, 2**64 - 2, 1],
        [2**63, -1],
        [12345678901234567890123, 1],
        [9007199254740993, 0.5],
        [int("9" * 400), 1],
    ],
)
def test_no_number_is_rounded_on_the_way(tmp_path: Path, values: list[Any]) -> None:
    records = [{"text": "a", "id": value, "n": value, "l": [value]} for value in values]
    (tmp_path / "a.jsonl").write_bytes(jsonl_bytes(records))
    result = read_back(tmp_path, id_column="id")
    assert [row["doc_id"] for row in result.rows] == [json.dumps(value) for value in values]
    assert [str(row["carried"]["n"]) for row in result.rows] == [json.dumps(v) for v in values]
    assert [row["carried"]["l"] for row in result.rows] == [json.dumps([v]) for v in values]


def test_a_later_number_that_its_column_would_bend_costs_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beam_bert.sources.sampling._SAMPLE_BYTES", 1_000)
    begin = '{"text":"a","n":0.5,"s":{"x":[0.5]}}\n' * 50
    later = ["9007199254740993", "1e400", "9" * 400, "12345678901234567890", "-1e999"]
    good = ["9007199254740992", "1e300", "0.12345678901234567890", "12345678901234567168"]
    lines = [f'{{"text":"b","n":{n}}}\n{{"text":"c","s":{{"x":[{n}]}}}}\n' for n in later + good]
    (tmp_path / "a.jsonl").write_text(begin + "".join(lines))
    result = read_back(tmp_path)
    first = 50 + 2 * len(later)
    assert result.reasons == [(row, "carried_type") for row in range(50, first)]
    assert [row["source_row"] for row in result.rows[50:]] == list(range(first, first + 8))


def test_parquet_ids_and_numbers_stay_exact(tmp_path: Path) -> None:
    numbers = pa.array([1234567890123.0, 2.5, 1e20])
    pq.write_table(pa.table({"text": ["a", "b", "c"], "id": numbers}), tmp_path / "a.parquet")
    ids = [row["doc_id"] for row in read_back(tmp_path, id_column="id").rows]
    assert ids == ["1234567890123", "2.5", "1e+20"]
    for other, expected in [
        (pa.array([2**64 - 1], pa.uint64()), str(2**64 - 1)),
        (pa.array([Decimal("1234567890123456.78")]), "1234567890123456.78"),
    ]:
        kind = pa.int64() if pa.types.is_uint64(other.type) else pa.float64()
        a, b = pa.array([1], kind), other
        pq.write_table(pa.table({"text": ["a"], "n": a}), tmp_path / "a.parquet")
        pq.write_table(pa.table({"text": ["b"], "n": b}), tmp_path / "b.parquet")
        result = read_back(tmp_path)
        assert [row["carried"]["n"] for row in result.rows] == ["1", expected]
    pq.write_table(
        pa.table({"text": ["a"], "n": pa.array([0.5], pa.float32())}), tmp_path / "a.parquet"
    )
    pq.write_table(pa.table({"text": ["b"], "n": [2**40 + 1]}), tmp_path / "b.parquet")
    assert [row["carried"]["n"] for row in read_back(tmp_path).rows] == [0.5, 2**40 + 1]


def test_dates_of_int96_do_not_wrap_round(tmp_path: Path) -> None:
    moments = np.array(["9999-12-31", "0001-01-01", "2024-01-02T03:04:05.678901"], "M8[us]")
    table = pa.table({"text": ["a", "b", "c"], "d": pa.array(moments)})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    result = read_back(tmp_path)
    assert [row["carried"]["d"] for row in result.rows] == moments.tolist()


def test_binary_text_nested_text_and_fixed_lists_are_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array([b"fine", "é".encode(), b"\xff"]),
            "review": [{"body": "one"}, {"body": None}, {"body": "three"}],
            "pair": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32(), 2)),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    result = read_back(tmp_path)
    assert result.texts == ["fine", "é"]
    assert result.reasons == [(2, "invalid_utf8")]
    assert [row["carried"]["pair"] for row in result.rows] == [[1.0, 2.0], None]
    result = read_back(tmp_path, text_columns=("review.body",), keep_columns=("pair",))
    assert result.texts == ["one", "three"]
    assert result.reasons == [(1, "missing_text")]
    literal = table.append_column("review.body", pa.array(["x", "y", "z"]))
    pq.write_table(literal, tmp_path / "a.parquet")
    assert read_back(tmp_path, text_columns=("review.body",)).texts == ["x", "y", "z"]
    with pytest.raises(InputError, match=r"'review.title'"):
        read_back(tmp_path, text_columns=("review.title",))


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv", "txt"])
def test_hive_folders_are_columns(tmp_path: Path, suffix: str) -> None:
    for month, language in ((1, "en"), (2, "d%20e"), (12, "__HIVE_DEFAULT_PARTITION__")):
        folder = tmp_path / f"day=2024-{month:02}-01" / f"month={month:02}" / f"lang={language}"
        folder.mkdir(parents=True)
        path = folder / f"part-0.{suffix}"
        if suffix == "parquet":
            pq.write_table(pa.table({"text": [f"t{month}"], "n": [1]}), path)
        elif suffix == "jsonl":
            path.write_text(f'{{"text":"t{month}","n":1}}\n')
        else:
            path.write_text(f"text,n\nt{month},1\n" if suffix == "csv" else f"t{month}\n")
    result = read_back(tmp_path, keep_columns=("day", "month", "lang"))
    assert [str(field.type) for field in result.spec.resolved] == ["string", "int32", "string"]
    assert [tuple(row["carried"].values()) for row in result.rows] == [
        ("2024-01-01", 1, "en"),
        ("2024-02-01", 2, "d e"),
        ("2024-12-01", 12, None),
    ]
    assert {"day", "month", "lang"} <= set(read_back(tmp_path).spec.resolved.names)


def test_a_key_with_half_a_character_costs_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(
        b'{"\\uDFAA": 0, "text": "x"}\n{"text":"y","m":{"\\uD800":1}}\n{"text":"z","m":null}\n'
    )
    result = read_back(tmp_path)
    assert result.texts == ["z"]
    assert result.reasons == [(0, "invalid_json"), (1, "invalid_json")]


def test_names_of_columns_are_made_distinct_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(",".join(["a"] * 19_999 + ["text"]) + "\n")
    names = inspect_source(list_files([str(tmp_path)]), SourceSpec()).resolved.names
    assert names[:2] == ["a", "a_2"] and names[-1] == "a_19999"
    (tmp_path / "a.csv").write_text(",".join(["a"] * 20_001) + "\n")
    assert "20,000 columns are the most" in read_back(tmp_path).rejects[0]["message"]


@pytest.mark.parametrize(
    ("name", "content", "rows", "rejects"),
    [
        ("a.txt", b"\n" * 200_000, 0, 200_000),
        ("a.jsonl", b"\n" * 200_000 + b'{"text":"a"}', 1, 0),
        ("a.jsonl", b"x\n" * 200_000, 0, 200_000),
        ("a.csv", b"id,text\n" + b"1,x\n" * 200_000, 200_000, 0),
        ("a.csv", b"id,text\n" + b"x\n" * 200_000, 0, 200_000),
    ],
)
def test_a_slice_has_at_most_so_many_rows(
    tmp_path: Path, name: str, content: bytes, rows: int, rejects: int
) -> None:
    (tmp_path / name).write_bytes(content)
    result = read_back(tmp_path)
    assert max(batch.rows_read for batch in result.batches) <= 65_536
    assert sum(len(batch) for batch in result.batches) == rows
    assert sum(batch.rejects.num_rows for batch in result.batches) == rejects
    names = [batch.slice.shard_name(batch.key) for batch in result.batches]
    assert names == sorted(names)


def test_parquet_is_unpacked_a_few_rows_at_a_time(tmp_path: Path) -> None:
    table = pa.table({"text": pa.array(["x" * 100_000]).dictionary_encode().take([0] * 3_000)})
    pq.write_table(table, tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 20_000
    result = read_back(tmp_path, 16 << 20)
    assert max(batch.rows.nbytes for batch in result.batches) < 40 << 20
    assert sum(len(batch) for batch in result.batches) == 3_000
    pq.write_table(pa.table({"text": ["x"] * 200_000}), tmp_path / "a.parquet")
    result = read_back(tmp_path)
    assert max(map(len, result.batches)) <= 65_536
    assert sum(map(len, result.batches)) == 200_000


def test_what_macos_and_folders_add_to_a_zip_is_no_second_member(tmp_path: Path) -> None:
    members = {"d/": b"", "d/a.jsonl": LINES, "__MACOSX/d/._a.jsonl": b"junk"}
    (tmp_path / "a.jsonl.zip").write_bytes(zip_of(**members))
    (tmp_path / "b.jsonl").write_bytes(LINES)
    texts = read_back(tmp_path).texts
    assert texts == texts[: len(texts) // 2] * 2 and texts


def test_text_that_begins_as_a_page_is_read_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_bytes(b"<!DOCTYPE html>\n<p>503</p>\n")
    assert len(read_back(tmp_path).texts) == 2
    assert "a.txt begins as an HTML page, and is read as text" in capsys.readouterr().err
