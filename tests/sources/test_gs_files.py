"""Input on gs://, against two servers: the same rows and the same errors."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from beam_bert.errors import InputError
from beam_bert.slices.plan import Segment, Slice
from beam_bert.sources import list_files, read_slice
from tests.sources.reading_back import parquet_bytes, read_back
from tests.storage.servers import both_servers

pytestmark = both_servers


@pytest.fixture
def uploaded(bucket: Any) -> str:
    lines = b"".join(b"text %d\n" % i for i in range(100))
    files = {
        "in/a.txt": lines,
        "in/b.txt.gz": gzip.compress(lines),
        "in/deep/c.csv": b'text,n\n"x\ny",1\nz,2\n',
        "in/d.parquet": parquet_bytes([{"id": "1", "text": "p"}, {"id": "2", "text": "q"}], 1),
        "in/_SUCCESS": b"",
        "in/.hidden.txt": b"x\n",
        "in/_tmp/e.txt": b"x\n",
        "in/": b"",
        "other/e.txt": b"x\n",
    }
    for name, content in files.items():
        bucket.blob(name).upload_from_string(content)
    return f"gs://{bucket.name}/in"


def test_a_prefix_is_read_as_a_folder(uploaded: str) -> None:
    for pattern in (uploaded, uploaded + "/"):
        files = list_files([pattern])
        assert [file.path for file in files] == [
            f"{uploaded}/{name}" for name in ("a.txt", "b.txt.gz", "d.parquet", "deep/c.csv")
        ]
        assert files[0].size == 790


def test_objects_and_globs_are_found(uploaded: str) -> None:
    assert [f.path for f in list_files([f"{uploaded}/a.txt"])] == [f"{uploaded}/a.txt"]
    found = list_files([f"{uploaded}/*.txt*", f"{uploaded}/a.txt"])
    assert [f.path for f in found] == [f"{uploaded}/a.txt", f"{uploaded}/b.txt.gz"]
    assert [f.path for f in list_files([f"{uploaded}/**.csv"])] == [f"{uploaded}/deep/c.csv"]


@pytest.mark.parametrize("slice_bytes", [50, 4 << 20])
def test_rows_come_back_however_the_objects_are_cut(uploaded: str, slice_bytes: int) -> None:
    result = read_back(uploaded, slice_bytes)
    lines = [f"text {i}" for i in range(100)]
    assert result.texts == [*lines, *lines, "p", "q", "x\ny", "z"]
    assert result.rejects == []
    rows = [row["source_row"] for row in result.rows]
    assert rows == [*range(100), *range(100), 0, 1, 0, 1]


def test_what_matches_nothing_names_what_is_near(uploaded: str) -> None:
    with pytest.raises(InputError, match=r"in/a.text matches no file; did you mean .*in/a.txt"):
        list_files([f"{uploaded}/a.text"])
    with pytest.raises(InputError, match="matches no file"):
        list_files([f"{uploaded}/*.tsv"])
    with pytest.raises(InputError, match="there is no bucket no-such-bucket-here") as error:
        list_files(["gs://no-such-bucket-here/x"])
    assert "\n" not in str(error.value)


def test_an_object_that_went_away_is_one_reject(uploaded: str) -> None:
    spec = read_back(uploaded).spec
    for name in ("gone.txt", "gone.csv.gz", "gone.parquet"):
        (batch,) = read_slice(Slice(0, (Segment(f"{uploaded}/{name}"),)), spec, "")
        assert batch.rejects["reason"].to_pylist() == ["missing_file"]
