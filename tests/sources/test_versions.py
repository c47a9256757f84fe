"""The version that was listed is read, or none: no row of another is ever beside its rows."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from beam_bert.slices.plan import Slice, plan_units
from beam_bert.sources import SourceSpec, cut_unit, inspect_source, list_files, read_slice
from beam_bert.storage.kept_bytes import KEPT
from beam_bert.storage.places import open_storage
from tests.sources.reading_back import parquet_bytes
from tests.storage.servers import both_servers

ROWS = 900


def jsonl(word: str) -> bytes:
    return b"".join(b'{"text": "%s %d"}\n' % (word.encode(), i) for i in range(ROWS))


def csv(word: str) -> bytes:
    return b"text\n" + b"".join(b"%s %d\n" % (word.encode(), i) for i in range(ROWS))


def parquet(word: str) -> bytes:
    return parquet_bytes([{"text": f"{word} {i}"} for i in range(ROWS)], 300)


FORMATS: dict[str, Callable[[str], bytes]] = {
    "a.jsonl": jsonl,
    "a.csv": csv,
    "a.txt": lambda word: csv(word)[5:],
    "a.parquet": parquet,
    "a.jsonl.gz": lambda word: gzip.compress(jsonl(word)),
}


def launched(place: str) -> tuple[list[Slice], SourceSpec]:
    files = list_files([place])
    spec = inspect_source(files, SourceSpec(slice_bytes=4000))
    (unit,) = plan_units(files, spec.slice_bytes)
    KEPT.begin()  # as on a worker that has not seen the file before
    return cut_unit(unit, spec), spec


def words_and_reasons(slices: list[Slice], spec: SourceSpec) -> tuple[set[str], set[str]]:
    words, reasons = set(), set()
    for slice_ in slices:
        for batch in read_slice(slice_, spec, ""):
            words |= {text.split()[0] for text in batch.rows["text"].to_pylist()}
            reasons |= set(batch.rejects["reason"].to_pylist())
            if reasons:
                assert batch.files[-1].version == "" or not batch.rejects.num_rows
    return words, reasons


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("new", ["new", "newer and longer"])
def test_a_local_file_that_is_written_while_it_is_read_is_not_mixed(
    tmp_path: Path, name: str, new: str
) -> None:
    path = tmp_path / name
    path.write_bytes(FORMATS[name]("old"))
    slices, spec = launched(str(path))
    read = min(2, len(slices) - 1)
    words, reasons = words_and_reasons(slices[:read], spec)
    assert (words, reasons) == ({"old"} if read else set(), set())
    path.write_bytes(FORMATS[name](new))
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))
    assert words_and_reasons(slices[read:], spec) == (set(), {"changed_file"})


def test_a_local_file_that_changes_within_a_slice_gives_no_row_of_what_it_became(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beam_bert.sources import stream

    path = tmp_path / "a.txt"
    path.write_bytes(b"old\n" * 3000)
    files = list_files([str(path)])
    spec = inspect_source(files, SourceSpec())
    real = stream.RecordStream._read

    def read(self: stream.RecordStream, size: int) -> bytes:
        data = real(self, 4000)
        with path.open("r+b") as file:
            file.write(b"new\n" * 3000)
        return data

    monkeypatch.setattr(stream.RecordStream, "_read", read)
    (unit,) = plan_units(files, spec.slice_bytes)
    words, reasons = words_and_reasons(cut_unit(unit, spec), spec)
    assert "new" not in words and reasons == {"changed_file"}


@both_servers
@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.jsonl.gz"])
@pytest.mark.parametrize("change", ["replaced", "deleted"])
def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed(
    new_gs_output: Callable[[], str], name: str, change: str
) -> None:
    place = new_gs_output()
    storage = open_storage(place)
    storage.write(name, FORMATS[name]("old"))
    slices, spec = launched(f"{place}/{name}")
    read = min(2, len(slices) - 1)
    assert words_and_reasons(slices[:read], spec)[1] == set()
    KEPT.begin()
    if change == "replaced":
        storage.write(name, FORMATS[name]("new"))
    else:
        storage.delete(name)
    reason = "changed_file" if change == "replaced" else "missing_file"
    assert words_and_reasons(slices[read:], spec) == (set(), {reason})


@both_servers
@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("gz.jsonl", 1),
        ("a.csv", 1),
        ("a.txt", 1),
        ("a.parquet", 1),
        ("a.jsonl.gz", 1),  # packed once, and said twice
        ("a.jsonl.gz", 2),
        ("a.csv.bz2", 2),
    ],
)
def test_an_object_that_is_stored_packed_is_unpacked_whatever_its_name_says(
    bucket, name: str, packed: int
) -> None:
    import bz2

    kind = name.removesuffix(".gz").removesuffix(".bz2").rpartition(".")[2]
    data = FORMATS[f"a.{kind}"]("word")
    if packed == 2:
        data = bz2.compress(data) if name.endswith(".bz2") else gzip.compress(data)
    blob = bucket.blob(name)
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(data), content_type="application/gzip")
    files = list_files([f"gs://{bucket.name}/{name}"])
    assert files[0].encoding == "gzip"
    spec = inspect_source(files, SourceSpec(slice_bytes=4000))
    texts = [
        text
        for unit in plan_units(list_files([f"gs://{bucket.name}"]), 4000)
        for slice_ in cut_unit(unit, spec)
        for batch in read_slice(slice_, spec, "")
        for text in batch.rows["text"].to_pylist() + batch.rejects["reason"].to_pylist()
    ]
    assert texts == [f"word {i}" for i in range(ROWS)]


@pytest.mark.parametrize(
    ("encoding", "gzips", "found"),
    [
        ("GZIP", 1, "word"),
        ("x-gzip", 1, "word"),
        ("gzip, gzip", 2, "word"),
        ("utf-8", 0, "word"),  # what is no packing is none, whoever wrote it there
        ("br", 1, "damaged_file"),
        ("deflate", 0, "damaged_file"),
    ],
)
def test_a_content_encoding_is_known_in_every_spelling_and_one_that_is_not_unpacked_is_told(
    bucket, encoding: str, gzips: int, found: str
) -> None:
    data = b'{"text": "word"}\n'
    for _ in range(gzips):
        data = gzip.compress(data)
    blob = bucket.blob("a.jsonl")
    blob.content_encoding = encoding
    blob.upload_from_string(data)
    files = list_files([f"gs://{bucket.name}/a.jsonl"])
    spec = inspect_source(files, SourceSpec())
    (unit,) = plan_units(files, spec.slice_bytes)
    (batch,) = read_slice(cut_unit(unit, spec)[0], spec, "")
    assert batch.rows["text"].to_pylist() + batch.rejects["reason"].to_pylist() == [found]
    for message in batch.rejects["message"].to_pylist():
        assert f"a.jsonl: its Content-Encoding is {encoding}, which is not unpacked" in message


@both_servers
def test_a_model_that_is_stored_packed_is_the_same_model(
    bucket, bert: Path, tmp_path: Path
) -> None:
    from beam_bert.models import fetch_model, resolve_model

    for path in bert.iterdir():
        blob, data = bucket.blob(f"model/{path.name}"), path.read_bytes()
        if path.suffix == ".json":
            blob.content_encoding, data = "gzip", gzip.compress(data)
        blob.upload_from_string(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEAM_BERT_CACHE", str(tmp_path))
        model = resolve_model(f"gs://{bucket.name}/model")
        folder = fetch_model(model)
    assert model.version == resolve_model(str(bert)).version
    assert json.loads((folder / "config.json").read_text()) == json.loads(
        (bert / "config.json").read_text()
    )


@both_servers
def test_a_text_that_is_stored_packed_is_read_as_what_it_was(bucket) -> None:
    from beam_bert.sources.opening import read_text

    blob = bucket.blob("job.yaml")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(b"input: a.csv\n"))
    assert read_text(f"gs://{bucket.name}/job.yaml", 1000) == "input: a.csv\n"
    with pytest.raises(OSError, match="larger than 5 bytes"):
        read_text(f"gs://{bucket.name}/job.yaml", 5)
