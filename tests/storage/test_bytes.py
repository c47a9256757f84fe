"""Each byte of the input is fetched once, a small file by one request: counted at the server."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_bert.errors import RunFailed
from beam_bert.slices.plan import Slice, Unit, plan_units
from beam_bert.sources import SourceSpec, cut_unit, inspect_source, list_files, read_slice
from beam_bert.storage.kept_bytes import KEPT
from beam_bert.storage.places import open_storage
from tests.storage.faulty_proxy import FaultyProxy, proxied
from tests.storage.servers import both_servers

WORDS = ("the", "room", "was", "small", "but", "clean", "and", "nobody", "spoke", "of", "rain")
ROWS = 9_000


def sentence(i: int) -> str:
    return " ".join(WORDS[(i * 7 + j * j) % len(WORDS)] for j in range(12)) + f" {i * 7919}"


def as_text() -> bytes:
    return "".join(f"{sentence(i)}\n" for i in range(ROWS)).encode()


def as_jsonl() -> bytes:
    return "".join(json.dumps({"text": sentence(i), "n": i}) + "\n" for i in range(ROWS)).encode()


def as_csv() -> bytes:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["n", "text"])
    writer.writerows([i, sentence(i) + ("\nand" if i % 9 == 0 else "")] for i in range(ROWS))
    return file.getvalue().encode()


def as_parquet() -> bytes:
    columns = {
        "text": [sentence(i) for i in range(ROWS)],
        "other": [f"{i * 6700417 % 1000003:x}" * 4 for i in range(ROWS)],
        "n": list(range(ROWS)),
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, row_group_size=ROWS // 12, compression="none")
    return sink.getvalue()


FILES = {
    "a.txt": as_text,
    "a.jsonl": as_jsonl,
    "a.csv": as_csv,
    "a.csv.gz": lambda: gzip.compress(as_csv()),
}


@pytest.fixture
def proxy(gs_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    with proxied(gs_server, monkeypatch) as proxy:
        yield proxy


def read_all(place: str, spec: SourceSpec) -> int:
    """Rows of all slices, as a launch and its workers in one process read them."""
    files = list_files([place])
    resolved = inspect_source(files, spec)
    return sum(
        batch.rows_read
        for unit in plan_units(list_files([place]), spec.slice_bytes)
        for slice_ in cut_unit(unit, resolved)
        for batch in read_slice(slice_, resolved, "")
    )


@pytest.mark.parametrize("slice_bytes", [70_000, 64 << 20])
@pytest.mark.parametrize("name", FILES)
def test_each_byte_is_fetched_once_at_any_slice_size(
    new_gs_output, proxy: FaultyProxy, name: str, slice_bytes: int
) -> None:
    place, data = new_gs_output(), FILES[name]()
    open_storage(place).write(name, data)
    proxy.forget()
    assert read_all(place, SourceSpec(slice_bytes=slice_bytes)) == ROWS
    assert len(data) <= proxy.bytes_read() <= 1.1 * len(data)
    assert all(seen.status in (200, 206) for seen in proxy.seen if seen.operation == "read")


def test_processes_of_one_machine_fetch_each_byte_once_together(
    new_gs_output, proxy: FaultyProxy
) -> None:
    place, data = new_gs_output(), as_csv()
    open_storage(place).write("a.csv", data)
    proxy.forget()
    spec = inspect_source(list_files([place]), SourceSpec(slice_bytes=70_000))
    (unit,) = plan_units(list_files([place]), spec.slice_bytes)
    slices = cut_in_another_process(unit, spec)
    assert len(slices) > 8
    assert sum(b.rows_read for each in slices for b in read_slice(each, spec, "")) == ROWS
    assert len(data) <= proxy.bytes_read() <= 1.1 * len(data)


def cut_in_another_process(unit: Unit, spec: SourceSpec) -> list[Slice]:
    """As a worker that a runner on this machine starts."""
    script = (
        "import pickle, sys; from beam_bert.sources import cut_unit\n"
        "sys.stdout.buffer.write(pickle.dumps(cut_unit(*pickle.load(sys.stdin.buffer))))"
    )
    given, command = pickle.dumps((unit, spec)), [sys.executable, "-c", script]
    done = subprocess.run(command, input=given, stdout=subprocess.PIPE, check=True)
    return list(pickle.loads(done.stdout))


@both_servers
@pytest.mark.parametrize("slice_bytes", [200_000, 64 << 20])
def test_of_parquet_the_wanted_column_chunks_are_fetched(
    new_gs_output, proxy: FaultyProxy, slice_bytes: int
) -> None:
    place, data = new_gs_output(), as_parquet()
    open_storage(place).write("a.parquet", data)
    footer = pq.read_metadata(io.BytesIO(data))
    needed = sum(
        footer.row_group(group).column(0).total_compressed_size
        for group in range(footer.num_row_groups)
    )
    spec = inspect_source(list_files([place]), SourceSpec(keep_columns=()))
    (unit,) = plan_units(list_files([place]), slice_bytes)
    slices = cut_unit(unit, spec)
    proxy.forget()
    rows = sum(batch.rows_read for slice_ in slices for batch in read_slice(slice_, spec, ""))
    assert rows == ROWS
    assert needed <= proxy.bytes_read() <= 1.05 * needed


@both_servers
def test_a_small_file_is_one_request_and_nothing_is_asked_beyond_its_end(
    new_gs_output, proxy: FaultyProxy
) -> None:
    place = new_gs_output()
    storage = open_storage(place)
    for number in range(20):
        storage.write(f"in/{number:02d}.jsonl", b'{"text": "a small file"}\n' * 40)
    storage.write("in/empty.jsonl", b"")
    proxy.forget()
    files = list_files([f"{place}/in"])
    spec = inspect_source(files, SourceSpec())
    looks = [seen for seen in proxy.seen if seen.operation == "read"]
    assert len(looks) == 20 and len(proxy.seen) <= 22  # one look for an object, one listing
    for fresh in (False, True):  # the process that looked, and another
        proxy.forget()
        if fresh:
            KEPT.stop()
        (unit,) = plan_units(files, spec.slice_bytes)
        (slice_,) = cut_unit(unit, spec)
        (batch,) = read_slice(slice_, spec, "")
        assert batch.rows_read == 800
        assert [seen.status for seen in proxy.seen] == [206] * (20 if fresh else 0)


@pytest.mark.parametrize("times", [1, 10**6])
@pytest.mark.parametrize("slice_bytes", [70_000, 4 << 20])
def test_a_flipped_byte_of_the_input_is_fetched_again_or_fails_the_run(
    new_gs_output, proxy: FaultyProxy, slice_bytes: int, times: int
) -> None:
    place = new_gs_output()
    open_storage(place).write("a.txt", as_text())
    spec = inspect_source(list_files([place]), SourceSpec(slice_bytes=slice_bytes))
    KEPT.stop()  # as a worker that has not seen the launch
    (unit,) = plan_units(list_files([place]), slice_bytes)
    met = itertools.count()
    proxy.choose = lambda seen, _: "flipped" if seen == "read" and next(met) < times else None

    def rows() -> int:
        batches = [b for s in cut_unit(unit, spec) for b in read_slice(s, spec, "")]
        return sum(batch.rows_read for batch in batches)

    if times == 1:
        assert rows() == ROWS
        assert proxy.met["read", "flipped"] == 1
    else:
        with pytest.raises(RunFailed, match=r"a\.txt: the bytes that came have crc32c .*, what is"):
            rows()


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv"])
def test_a_flipped_byte_of_a_slice_that_another_machine_fetches_fails_it(
    new_gs_output, proxy: FaultyProxy, name: str
) -> None:
    place = new_gs_output()
    open_storage(place).write(name, FILES[name]())
    spec = inspect_source(list_files([place]), SourceSpec(slice_bytes=170_000))
    (unit,) = plan_units(list_files([place]), spec.slice_bytes)
    slices = cut_unit(unit, spec)
    KEPT.stop()
    assert sum(b.rows_read for s in slices for b in read_slice(s, spec, "")) == ROWS
    proxy.choose = lambda seen, _: "flipped" if seen == "read" else None
    assert len(slices) > 3
    for each in slices:
        with pytest.raises(RunFailed, match=rf"{name}, bytes .* have crc32c .*, what is stored"):
            list(read_slice(each, spec, ""))
