from __future__ import annotations

import io
import pickle
import resource
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_bert.errors import OutputError, RunFailed
from beam_bert.sinks.prepare import prepare_output
from beam_bert.sinks.records import find_record, record_path, staged_progress
from beam_bert.sinks.shards import (
    HAS_BLOOM_FILTERS,
    ROW_GROUP_ROWS,
    parquet_bytes,
    row_group_rows,
    write_shard,
)
from beam_bert.slices.batch import FileRead
from beam_bert.slices.schema import REJECT_SCHEMA
from beam_bert.storage.base import crc32c_base64
from beam_bert.storage.places import open_storage
from tests.sinks.shard_factory import SCHEMA, make_batch, make_run, staged_records


def test_a_slice_becomes_a_shard_its_rejects_and_a_record_in_staging(output: str) -> None:
    run = make_run(output)
    record = write_shard(run, make_batch(3, rows=9, rejects=2), SCHEMA)

    storage = open_storage(output)
    assert [file.path for file in storage.list_files("staging")] == [
        "staging/work-1/predictions/part-00003-0000-0000000000000bb8.parquet",
        "staging/work-1/records/part-00003-0000-0000000000000bb8.json",
        "staging/work-1/rejects/part-00003-0000-0000000000000bb8.parquet",
    ]
    assert storage.list_files("predictions") == []
    data = storage.read("staging/work-1/predictions/part-00003-0000-0000000000000bb8.parquet")
    assert record.predictions.crc32c == crc32c_base64(data)
    assert record.predictions.bytes == len(data)
    assert (record.rows_read, record.rows_predicted, record.rows_rejected) == (11, 9, 2)
    assert record.rejects_by_reason == {"bad_json": 1, "empty_text": 1}
    assert record.label_counts == {"negative": 3, "neutral": 3, "positive": 3}
    assert record.stats == {"tokens": 90.0, "inference_s": 0.5}


def test_a_shard_has_the_rows_in_order_zstd_statistics_and_field_descriptions() -> None:
    rows = make_batch(0, rows=100).rows
    file = pq.ParquetFile(io.BytesIO(parquet_bytes(rows, SCHEMA)))

    assert file.read().to_pylist() == rows.to_pylist()
    assert file.schema_arrow.field("label").metadata[b"description"] == b"The likeliest label."
    assert file.schema_arrow.metadata[b"beam_bert.schema_version"] == b"1"
    column = file.metadata.row_group(0).column(1)
    assert column.compression == "ZSTD"
    assert (column.statistics.min, column.statistics.max) == (0, 99)


def test_the_same_slice_gives_the_same_bytes_however_its_batch_was_made() -> None:
    rows = make_batch(0, rows=500).rows
    doubled = pa.concat_batches([rows, rows])
    filtered = doubled.filter(pa.array([True] * 500 + [False] * 500))

    first = parquet_bytes(rows, SCHEMA)
    assert parquet_bytes(filtered, SCHEMA) == first
    assert parquet_bytes(doubled.slice(500), SCHEMA) == first
    threads = pa.cpu_count()
    try:
        pa.set_cpu_count(1)
        assert parquet_bytes(rows, SCHEMA) == first
    finally:
        pa.set_cpu_count(threads)


def test_dictionaries_are_kept_for_columns_whose_values_repeat() -> None:
    rows = make_batch(0, rows=1_000).rows
    labels = pa.array([["a", "b"]] * 1_000, pa.list_(pa.string()))
    rows = rows.append_column("labels", labels)
    metadata = pq.read_metadata(io.BytesIO(parquet_bytes(rows, rows.schema))).row_group(0)
    columns = [metadata.column(i) for i in range(metadata.num_columns)]
    encoded = {c.path_in_schema for c in columns if c.has_dictionary_page}
    assert {"label", "source_file", "model", "num_tokens", "labels.list.element"} <= encoded
    assert not {"doc_id", "score", "source_row", "stars"} & encoded


@given(st.integers(0, 10 * ROW_GROUP_ROWS))
def test_row_groups_hold_ten_thousand_rows_where_there_are_as_many(rows: int) -> None:
    size = row_group_rows(rows)
    rest = rows % size
    assert min(rows, 10_000) <= size <= 1.5 * ROW_GROUP_ROWS + 1
    assert rest == 0 or rest >= min(rows, 10_000)


def test_many_rows_are_written_in_equal_row_groups() -> None:
    rows = pa.RecordBatch.from_arrays(
        [pa.nulls(300_000, field.type) for field in SCHEMA.remove_metadata()],
        schema=pa.schema([field.with_nullable(True) for field in SCHEMA]),
    )
    metadata = pq.read_metadata(io.BytesIO(parquet_bytes(rows, rows.schema)))
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert groups == [150_000, 150_000]


def test_a_slice_without_rows_leaves_a_record_and_no_empty_file(output: str) -> None:
    run = make_run(output)
    record = write_shard(run, make_batch(0, rows=0), SCHEMA)

    assert (record.predictions, record.rejects) == (None, None)
    assert [f.path for f in open_storage(output).list_files("staging")] == [
        record_path(run, record.name)
    ]


def test_a_slice_of_rejects_alone_leaves_only_rejects(output: str) -> None:
    run = make_run(output)
    record = write_shard(run, make_batch(0, rows=0, rejects=3), SCHEMA)

    assert record.predictions is None
    data = open_storage(output).read(f"{run.staged('rejects')}/{record.rejects.name}")
    rejects = pq.read_table(io.BytesIO(data))
    assert rejects.schema.equals(REJECT_SCHEMA, check_metadata=True)
    assert rejects.column("raw").to_pylist() == [b"\xff{"] * 3


def test_labels_are_counted_where_a_row_has_several_or_none() -> None:
    from beam_bert.sinks.shards import _counts

    several = pa.record_batch({"label": pa.array([["a", "b"], [], ["a"], None])})
    assert _counts(several, "label") == {"a": 2, "b": 1}
    assert _counts(pa.record_batch({"label": pa.array(["a", None])}), "label") == {"a": 1}
    assert _counts(pa.record_batch({"score": pa.array([0.5])}), "label") == {}


def test_a_row_that_a_step_lost_fails_the_slice_by_the_sources_own_count(output: str) -> None:
    batch = make_batch(0, rows=5)
    lossy = pickle.loads(pickle.dumps(batch))
    object.__setattr__(lossy, "files", (FileRead("in/0-0.jsonl", 6, 1),))

    with pytest.raises(RunFailed, match="6 rows were read, but 5 predicted and 0 rejected"):
        write_shard(make_run(output), lossy, SCHEMA)
    assert open_storage(output).list_files("staging") == []


def test_a_batch_with_other_columns_than_the_schema_is_a_defect(tmp_path: Path) -> None:
    wrong = SCHEMA.remove(SCHEMA.get_field_index("stars"))
    with pytest.raises(ValueError, match="stars"):
        write_shard(make_run(tmp_path), make_batch(0, rows=1), wrong)


def test_a_partition_key_that_is_also_a_column_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path, partition="Stars=5")
    with pytest.raises(OutputError, match=r"'Stars=5'.*column 'stars'"):
        write_shard(run, make_batch(0, rows=1), SCHEMA)


def test_a_whole_shard_in_staging_is_found_and_others_are_not(output: str) -> None:
    run = make_run(output)
    records = [write_shard(run, make_batch(i, rows=3, rejects=1), SCHEMA) for i in range(3)]
    storage = open_storage(output)
    storage.delete(record_path(run, records[1].name))
    storage.write(f"{run.staged('rejects')}/{records[2].rejects.name}", b"cut short")

    prepare_output(run)  # a new launch
    assert find_record(run, records[0].name) == records[0]
    assert find_record(run, records[1].name) is None
    assert find_record(run, records[2].name) is None
    assert find_record(run, "part-00009-0000-ffffffffffffffff") is None
    assert find_record(make_run(output, run_key="work-2"), records[0].name) is None


def test_a_record_of_another_version_of_the_package_is_not_found(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    record = write_shard(run, make_batch(0, rows=1), SCHEMA)
    open_storage(str(tmp_path)).write(record_path(run, record.name), b'{"name": "x"}')
    assert find_record(run, record.name) is None


def test_finding_records_on_gs_lists_staging_once_a_launch(
    new_gs_output, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beam_bert.storage.gcs import GcsStorage

    run = make_run(new_gs_output())
    record = write_shard(run, make_batch(0, rows=1), SCHEMA)
    prepare_output(run)
    calls = []
    real = GcsStorage.pages
    monkeypatch.setattr(
        GcsStorage, "pages", lambda *args, **kw: (calls.append(args), real(*args, **kw))[1]
    )
    for _ in range(3):
        assert find_record(run, record.name) == record
        assert find_record(run, "part-00001-0000-ffffffffffffffff") is None
    assert len(calls) == 1


def test_two_workers_that_write_one_shard_at_once_leave_one_whole_file(output: str) -> None:
    run = make_run(output)
    batch = make_batch(0, rows=2_000, rejects=5)
    barrier = threading.Barrier(6)
    records = []

    def work() -> None:
        barrier.wait()
        records.append(write_shard(run, batch, SCHEMA))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(records) == 6
    assert all(record == records[0] for record in records)
    storage = open_storage(output)
    assert len(storage.list_files("staging")) == 3
    data = storage.read(f"{run.staged('predictions')}/{records[0].predictions.name}")
    assert crc32c_base64(data) == records[0].predictions.crc32c


def test_progress_counts_whole_shards_with_their_rows_and_bytes(output: str) -> None:
    run = make_run(output)
    assert staged_progress(run) == (0, 0, 0)
    write_shard(run, make_batch(0, rows=10, rejects=2), SCHEMA)
    assert staged_progress(run) == (1, 12, 1000)
    write_shard(run, make_batch(1, rows=5), SCHEMA)
    assert staged_progress(run) == (2, 17, 1500)
    assert [record.name[:10] for record in staged_records(run)] == ["part-00000", "part-00001"]


def test_a_full_disk_ends_in_one_line_and_leaves_no_partial_file(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    batch = make_batch(0, rows=5_000)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, hard))  # the kernel cuts the write
        with pytest.raises(RunFailed, match=r"cannot write .*part-00000.*; make room") as caught:
            write_shard(run, batch, SCHEMA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert write_shard(run, batch, SCHEMA).rows_predicted == 5_000


def test_records_and_runs_travel_between_processes(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    record = write_shard(run, make_batch(0, rows=1), SCHEMA)
    assert pickle.loads(pickle.dumps((run, record))) == (run, record)


def _chunks(rows: pa.RecordBatch) -> dict[str, pq.ColumnChunkMetaData]:
    metadata = pq.read_metadata(io.BytesIO(parquet_bytes(rows, rows.schema)))
    group = metadata.row_group(0)
    assert group.column(0).has_column_index, "there is no page index"
    return {group.column(i).path_in_schema: group.column(i) for i in range(metadata.num_columns)}


def test_each_column_is_encoded_as_its_values_are() -> None:
    count = 2_000
    urls = pa.array([f"https://example.com/{i % 50}" for i in range(count)])
    rows = pa.RecordBatch.from_pydict(
        {
            "doc_id": [f"in/a.jsonl#{i}" for i in range(count)],
            "url": urls.cast(pa.large_string()),
            "view": urls.cast(pa.string_view()),
            "nested": pa.StructArray.from_arrays([urls], ["url"]),
            "day": pa.array([i % 7 for i in range(count)], pa.date32()),
            "score": pa.array([i / 7 for i in range(count)], pa.float32()),
            "source_file": ["in/a.jsonl"] * count,
            "source_row": pa.array(range(count), pa.int64()),
        }
    )
    chunks = _chunks(rows)
    assert "DELTA_BYTE_ARRAY" in chunks["doc_id"].encodings
    assert "DELTA_BINARY_PACKED" in chunks["source_row"].encodings
    assert "BYTE_STREAM_SPLIT" in chunks["score"].encodings
    for name in ("url", "view", "nested.url", "day", "source_file"):
        assert chunks[name].has_dictionary_page, name


def test_sorted_rows_say_so_and_a_file_without_rows_has_no_row_group() -> None:
    rows = make_batch(0, rows=5).rows
    metadata = pq.read_metadata(io.BytesIO(parquet_bytes(rows, SCHEMA)))
    places = [rows.schema.get_field_index(name) for name in ("source_file", "source_row")]
    found = metadata.row_group(0).sorting_columns
    assert [column.column_index for column in found] == places
    backwards = rows.take(pa.array([4, 3, 2, 1, 0]))
    metadata = pq.read_metadata(io.BytesIO(parquet_bytes(backwards, SCHEMA)))
    assert not metadata.row_group(0).sorting_columns
    assert pq.read_metadata(io.BytesIO(parquet_bytes(rows[:0], SCHEMA))).num_row_groups == 0


def test_ids_in_no_order_have_a_bloom_filter_and_ours_have_none() -> None:
    def filter_bytes(ids: list[str], **more: list) -> int | None:
        rows = pa.RecordBatch.from_pydict({"doc_id": ids, **more})
        metadata = pq.read_metadata(pa.BufferReader(parquet_bytes(rows, rows.schema)))
        return getattr(metadata.row_group(0).column(0), "bloom_filter_length", None)

    places = {"source_file": ["a", "a", "b"], "source_row": [9, 10, 0]}
    assert filter_bytes(["a#9", "a#10", "b#0"], **places) is None, "their range tells enough"
    assert filter_bytes(["a", "b", "c"], **places) is None
    assert bool(filter_bytes(["c", "a", "b"], **places)) == HAS_BLOOM_FILTERS
