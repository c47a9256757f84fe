"""Any bytes under any name: documents, rejects, a lost file or one line; no hang, no traceback.

Two thousand inputs by default; `BEAM_BERT_FUZZ=100000` tries as many (see tests/README.md).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_bert.errors import InputError
from tests.sources.reading_back import COMPRESS, csv_bytes, jsonl_bytes, parquet_bytes, read_back
from tests.sources.test_real_folders import zip_of

EXAMPLES = int(os.environ.get("BEAM_BERT_FUZZ", "2000"))
SECONDS = 10
ROWS = [{"id": str(i), "text": f'naïve "text" {i}, and more'} for i in range(12)]
SEEDS = {
    "txt": b"one\ntwo\r\nthree\n",
    "jsonl": jsonl_bytes([{**row, "n": i / 3, "o": {"k": [i]}} for i, row in enumerate(ROWS)]),
    "json": b"[" + b",\n".join(jsonl_bytes(ROWS).splitlines()) + b"]",
    "csv": csv_bytes(ROWS),
    "tsv": csv_bytes(ROWS, delimiter="\t"),
    "parquet": parquet_bytes(ROWS, 5),
}
PACKINGS = {**COMPRESS, ".zip": lambda data: zip_of(member=data)}


@contextmanager
def time_bound(what: str) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"{what} took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A name, and bytes that belong to it, or to another, cut, flipped or exchanged in places."""
    suffix, seed = draw(st.tuples(st.sampled_from(sorted(SEEDS)), st.sampled_from(sorted(SEEDS))))
    data = bytearray(SEEDS[suffix if draw(st.booleans()) else seed])
    packing = "" if suffix == "parquet" else draw(st.sampled_from(sorted(PACKINGS)))
    packed_last = draw(st.booleans())
    if packed_last:
        data = bytearray(PACKINGS[packing](bytes(data)))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        if draw(st.booleans()):
            data[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
        else:
            data = data[: max(place, 1)]
    if not packed_last:
        data = bytearray(PACKINGS[packing](bytes(data)))
    return f"a.{suffix}{packing}", bytes(data)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(damaged(), st.sampled_from([20, 4 << 20]))
def test_no_bytes_hang_or_break_the_readers(
    tmp_path: Path, named: tuple[str, bytes], slice_bytes: int
) -> None:
    name, data = named
    path = tmp_path / name
    path.write_bytes(data)
    try:
        with time_bound(f"{name} {data!r}"):
            read_back(path, slice_bytes)
    except InputError as error:
        assert "\n" not in str(error)
    finally:
        path.unlink()


# After JSONTestSuite (Nicolas Seriot, MIT), a part of its cases written anew: one file each.
# fmt: off
# ruff: noqa: E501
JSON_CASES = [
    b"[1 true]", b"[a\xe5]", b'["": 1]', b'[""],', b"[,1]", b"[1,,2]", b'["x",,]', b'["x"]]', b'["x"',
    b"[x", b"[3[4]]", b"[\xff]", b"[,]", b"[-]", b"[   , \"\"]", b'["a",\n4\n,1,', b"[1,]", b'["\x0b\x61"\\f]',
    b"[*]", b'[""', b"[1,", b"[1,\n1\n,1", b"[{}", b"[fals]", b"[nul]", b"[tru]", b"123\x00", b"[++1234]",
    b"[+1]", b"[-01]", b"[.2e-3]", b"[0.e1]", b"[1eE2]", b"[9.e+]", b"[Inf]", b"[NaN]", b"[0x1]", b"[1e1\xe5]",
    b'["x", truth]', b'{[: "x"}', b'{"x", null}', b'{"x"::"b"}', b"{\xf0\x9f\x87\xa8\xf0\x9f\x87\xad}",
    b'{"a":"a" 123}', b"{key: 'value'}", b'{"\xb9":"0",}', b'{"a" b}', b"{:\"b\"}", b'{"a" "b"}', b'{"a":',
    b'{"a"', b"{1:1}", b"{9999E9999:1}", b'{null:null,null:null}', b'{"id":0,,,,,}', b"{'a':0}",
    b'{"id":0,}', b'{"a":"b"}/**/', b'{"a":"b"}#', b'{"a":"b",,"c":"d"}', b'{a: "b"}', b'{"a":"a', b" ",
    b'["\\uD800\\u"]', b'["\\uD800\\"]', b'["\\x00"]', b'["\\\\\\"]', b'["\\\t"]', b'["\\a"]', b'["\\uqqqq"]',
    b"['single quote']", b"abc", b'["\x00a"]', b'["new\nline"]', b'["\t"]', b'"\\UA66D"', b'""x', b"[\xe2\x81\xa0]",
    b"\xef\xbb\xbf", b"<.>", b"[<null>]", b"[1]x", b"[1]]", b'["asd]', b"a\xc3\xa5", b"[True]", b"1]", b'{"x": true,',
    b"[][]", b"]", b"\xef\xbb{}", b"\xe5", b"[", b"", b"[\x00]", b"2@", b"{}}", b'{"":', b'{"a":/*comment*/"b"}',
    b'{"a": true} "x"', b"['", b"[,", b"[{", b'["a', b'["a"', b"{", b"{]", b"{,", b"{[", b'{"a', b"{'a'", b"*",
    b'["\\{["\\{["\\{["\\{', b"\xe9", b"[1", b'[ false, nul', b'[ true, fals', b'{"asd":"asd"', b"[\xe2\x81\xa0]",
    b"[\x0c]", b"[123.456e789]", b"[0.4e00669999999999999999999999999999999999999999999969999999006]",
    b"[-1e+9999]", b"[-123123123123123123123123123123]", b'{"\\uDFAA":0}', b'["\\uDADA"]', b'["\\uD888\\u1234"]',
    b"[\"\xe6\x97\xa5\xd1\x88\xfa\"]", b"\xff\xfe[\x00\"\x00\xe9\x00\"\x00]\x00", b"\x00[\x00\"\x00\xe9\x00\"\x00]",
    b"[\x00\"\x00\xe9\x00\"\x00]\x00", b'["\xed\xa0\x80"]', b'["\xf4\xbf\xbf\xbf"]', b'["\xc0\xaf"]', b"\xef\xbb\xbf{}",
    b"[" * 500 + b"]" * 500, b"[" * 100_000, b'[{"":' * 50_000, b"[[]   ]", b'[""]', b"[]", b"[null]", b"[1\n]",
    b' [1]', b"[1,null,null,null,2]", b"[123e65]", b"[0e+1]", b"[-0]", b'{"asd":"sdf", "dfg":"fgh"}',
    b'{"a":"b","a":"c"}', b"{}", b'{"":0}', b'{"foo\\u0000bar": 42}', b'{ "min": -1.0e+28, "max": 1.0e+28 }',
    b'{"a":[]}', b'{\n"a": "b"\n}', b'["\\u0060\\u012a\\u12AB"]', b'["\\uD801\\udc37"]', b'["\\ud83d\\ude39"]',
    b'["a/*b*/c/*d//e"]', b'["\x7f"]', b'["\\uFFFF"]', b'["\xe2\x80\xa8"]', b'" "', b"null", b"false", b"42", b"-0.1",
]
# fmt: on


def test_a_folder_of_odd_json_costs_nothing_but_its_own_rows(tmp_path: Path) -> None:
    (tmp_path / "good.jsonl").write_bytes(jsonl_bytes(ROWS))
    for number, content in enumerate(JSON_CASES):
        (tmp_path / f"{number:03}.json").write_bytes(content)
    for slice_bytes in (50, 4 << 20):
        with time_bound("the folder"):
            result = read_back(tmp_path, slice_bytes, id_column="id")
        assert result.texts == [row["text"] for row in ROWS]
        lost = [file for batch in result.batches for file in batch.files if file.lost]
        assert [(file.lost, Path(file.path).read_bytes()[:20]) for file in lost] == []
    assert len(result.rejects) > 100
