from __future__ import annotations

import errno
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from beam_bert.errors import BeamBertError, ModelError, OutputError, RunFailed
from beam_bert.storage.base import Wording, crc32c_base64, in_parallel
from beam_bert.storage.local import LocalStorage
from beam_bert.storage.places import open_storage
from tests.storage.faulty_proxy import hurry


def test_a_place_reads_lists_and_checks_what_was_written(output: str) -> None:
    place = open_storage(output)
    assert place.list_files("a") == []
    assert place.list_folders("a") == []
    assert (place.read("a/x"), place.size("a/x")) == (None, None)

    place.write("a/x", b"one")
    place.write("a/x", b"two!")
    place.write("a/b/y", b"")
    assert (place.read("a/x"), place.size("a/x"), place.size("a/b/y")) == (b"two!", 4, 0)
    assert [(f.path, f.name, f.size) for f in place.list_files("a")] == [
        ("a/b/y", "y", 0),
        ("a/x", "x", 4),
    ]
    assert [f.path for f in place.list_files("a", recursive=False)] == ["a/x"]
    assert place.list_folders("a") == ["b"]
    assert place.checksums("a", ["x", "y"]) == {"x": crc32c_base64(b"two!")}


def test_the_checksum_is_the_one_that_cloud_storage_shows() -> None:
    assert crc32c_base64(b"123456789") == "4waSgw=="  # the check value of CRC-32C, 0xE3069283


def test_only_the_first_create_of_a_name_succeeds(output: str) -> None:
    place = open_storage(output)
    outcomes = in_parallel(lambda i: place.create("a/x", b"%d" % i), range(8), 8)
    assert outcomes.count(True) == 1
    assert place.read("a/x") == b"%d" % outcomes.index(True)
    assert [f.path for f in place.list_files("a")] == ["a/x"]


def test_a_local_file_goes_up_and_comes_back_whole(output: str, tmp_path: Path) -> None:
    place = open_storage(output)
    (tmp_path / "source").write_bytes(bytes(range(256)) * 20_000)
    place.write("a/x", b"old")
    place.upload(tmp_path / "source", "a/x")
    assert [(f.path, f.size) for f in place.list_files("")] == [("a/x", 5_120_000)]
    place.download("a/x", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == (tmp_path / "source").read_bytes()


def test_a_file_that_is_not_there_neither_goes_up_nor_comes_back(
    output: str, tmp_path: Path
) -> None:
    place = open_storage(output)
    with pytest.raises(BeamBertError, match=r"cannot write .*a/x"):
        place.upload(tmp_path / "nowhere", "a/x")
    with pytest.raises(OutputError, match=r"cannot read .*a/x"):
        place.download("a/x", tmp_path / "target")
    assert place.list_files("") == []


def test_a_place_speaks_of_itself_as_its_user_does(tmp_path: Path) -> None:
    wording = Wording(place="the model store", error=ModelError, again="try again")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ModelError, match="check the model store and its permissions"):
        open_storage(str(tmp_path / "file"), wording).write("x", b"")
    with pytest.raises(ModelError, match="the model store=s3://x: only local folders and gs://"):
        open_storage("s3://x", wording)


def test_publishing_and_deleting_may_be_repeated(output: str) -> None:
    place = open_storage(output)
    place.write("a/x", b"one")
    assert place.publish("a/x", "b/c/x") is True
    place.delete("a/x")
    place.delete("a/x")
    assert place.publish("a/x", "b/c/x") is False
    assert place.read("b/c/x") == b"one"


def test_a_folder_without_hard_links_can_be_an_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    place = LocalStorage(tmp_path)
    assert place.create("a/x", b"one") is True
    assert place.create("a/x", b"two") is False
    assert place.read("a/x") == b"one"
    for name in map(str, range(10)):
        outcomes = in_parallel(partial(place.create, name), [b"%d" % i for i in range(8)], 8)
        assert outcomes.count(True) == 1
        assert place.read(name) == b"%d" % outcomes.index(True)


@pytest.mark.parametrize(
    ("code", "expected", "advice"),
    [
        (errno.ENOSPC, RunFailed, "No space left on device; make room and run the same command"),
        (errno.EDQUOT, RunFailed, "make room"),
        (errno.EACCES, OutputError, "Permission denied; check .*output"),
        (errno.EROFS, OutputError, "Read-only file system; check .*output"),
    ],
)
def test_each_refusal_of_the_system_says_where_why_and_what_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, expected: type, advice: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("beam_bert.storage.local.os.fsync", refuse)
    with pytest.raises(expected, match=advice) as caught:
        LocalStorage(tmp_path).write("a/x", b"one")
    assert str(tmp_path / "a/x") in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_service_that_keeps_failing_is_a_failed_run(
    new_gs_output, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.api_core import exceptions
    from google.cloud.storage import Blob

    def refuse(*_: object, **__: object) -> None:
        raise exceptions.ServiceUnavailable("try\nlater")

    place = open_storage(new_gs_output())
    monkeypatch.setattr(Blob, "upload_from_file", refuse)
    hurry(monkeypatch, give_up_s=0.1)
    with pytest.raises(
        RunFailed, match=r"cannot write gs://.*/a/x: .*the last time 503 try later; run the same"
    ):
        place.write("a/x", b"one")


def test_forbidden_is_a_users_mistake(new_gs_output, monkeypatch: pytest.MonkeyPatch) -> None:
    from google.api_core import exceptions
    from google.cloud.storage import Blob

    def refuse(*_: object, **__: object) -> None:
        raise exceptions.Forbidden("needs storage.objects.create")

    place = open_storage(new_gs_output())
    monkeypatch.setattr(Blob, "upload_from_file", refuse)
    with pytest.raises(OutputError, match=r"storage\.objects\.create; check .* your rights"):
        place.write("a/x", b"one")


def test_a_large_object_is_written_and_copied_whole(new_gs_output) -> None:
    place = open_storage(new_gs_output())
    data = bytes(range(256)) * (12 * 2**20 // 256)
    place.write("a/x", data)
    assert place.publish("a/x", "b/x") is True
    assert place.checksums("b", ["x"]) == {"x": crc32c_base64(data)}


def test_a_local_run_imports_neither_beam_nor_google_cloud() -> None:
    script = (
        "import sys; from beam_bert.storage.places import open_storage; "
        "import beam_bert.sinks.commit, beam_bert.sinks.prepare; "
        "open_storage('out').list_files('x'); "
        "print(*[m for m in ('apache_beam', 'google.cloud.storage', 'torch') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert printed.stdout.split() == []
