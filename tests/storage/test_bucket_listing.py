"""What a pattern on gs:// asks for: as little as will do; and what a refusal says."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beam_bert.errors import InputError
from beam_bert.jobs.commands import main
from beam_bert.models import fetch_model, resolve_model
from beam_bert.sources import list_files
from beam_bert.storage import gcs_client
from beam_bert.storage.base import StoredFile
from beam_bert.storage.billing import bill_to
from beam_bert.storage.gcs_client import process_client
from beam_bert.storage.places import open_storage
from tests.storage.faulty_proxy import FaultyProxy, Seen, proxied
from tests.storage.servers import BUCKET, both_servers


@pytest.fixture
def proxy(gs_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    with proxied(gs_server, monkeypatch) as proxy:
        yield proxy


@pytest.fixture
def place(new_gs_output: Callable[[], str], proxy: FaultyProxy) -> str:
    place = new_gs_output()
    storage = open_storage(place)
    for name in ("a.jsonl", "b.jsonl", "deep/c.jsonl", "deep/er/d.jsonl", "far/e.jsonl"):
        storage.write(name, b'{"text": "x"}\n')
    storage.write("br[1].jsonl", b'{"text": "y"}\n')
    proxy.forget()
    return place


def lists(proxy: FaultyProxy) -> list[Seen]:
    return [seen for seen in proxy.seen if seen.operation == "list"]


@both_servers
def test_each_pattern_asks_for_no_more_than_it_needs(place: str, proxy: FaultyProxy) -> None:
    def names(pattern: str) -> list[str]:
        proxy.forget()
        return [file.path.removeprefix(f"{place}/") for file in list_files([f"{place}/{pattern}"])]

    assert names("br[1].jsonl") == ["br[1].jsonl"] and lists(proxy) == []
    assert names("a.jsonl") == ["a.jsonl"] and len(proxy.seen) == 1
    assert names("*.jsonl") == ["a.jsonl", "b.jsonl", "br[1].jsonl"] and len(lists(proxy)) == 1
    assert names("*/c.jsonl") == ["deep/c.jsonl"]
    assert names("**/d.jsonl") == ["deep/er/d.jsonl"]
    assert names("deep/**.jsonl") == ["deep/c.jsonl", "deep/er/d.jsonl"]
    proxy.forget()
    with pytest.raises(InputError, match=r"aa\.jsonl matches no file; did you mean .*/a\.jsonl"):
        list_files([f"{place}/aa.jsonl"])
    assert len(lists(proxy)) == 2  # as a folder, and the neighbours, of one folder and one page
    proxy.forget()
    with pytest.raises(InputError, match=r"\*\.json matches no file; did you mean"):
        list_files([f"{place}/*.json"])
    assert len(lists(proxy)) == 1
    with pytest.raises(InputError, match="there is no bucket no-such-bucket;"):
        list_files(["gs://no-such-bucket/x.jsonl"])


def test_an_object_may_be_read_where_listing_is_forbidden(place: str, proxy: FaultyProxy) -> None:
    said = "me@x does not have storage.objects.list access to the bucket"
    proxy.message = said
    proxy.choose = lambda operation, _: "403" if operation == "list" else None
    assert [file.path for file in list_files([f"{place}/a.jsonl"])] == [f"{place}/a.jsonl"]
    with pytest.raises(InputError, match=rf"cannot list {re.escape(place)}/: 403 {said}") as error:
        list_files([f"{place}/*.jsonl"])
    assert "\n" not in str(error.value)


@both_servers
def test_every_slash_of_an_output_is_part_of_its_names(new_gs_output: Callable[[], str]) -> None:
    bucket = new_gs_output().removeprefix("gs://").partition("/")[0]
    storage = open_storage(f"gs://{bucket}//dbl//x/")
    storage.write("a/y", b"1")
    assert storage.uri("a/y") == f"gs://{bucket}//dbl//x/a/y"
    assert [file.path for file in storage.list_files("")] == ["a/y"]
    assert storage.list_folders("") == ["a"] and storage.read("a/y") == b"1"
    assert [f.path for f in open_storage(f"gs://{bucket}/dbl").list_files("")] == []
    storage.delete("a/y")


def test_an_object_without_a_size_is_empty(place: str) -> None:
    storage = open_storage(place)
    blob = storage._bucket.blob("x")  # type: ignore[attr-defined]
    found = storage._stored(blob)  # type: ignore[attr-defined]
    assert isinstance(found, StoredFile) and found.size == 0


def test_the_project_that_pays_is_named_in_each_request(place: str, proxy: FaultyProxy) -> None:
    proxy.forget()
    bill_to("payer")
    try:
        storage = open_storage(place)
        storage.write("z", b"1")
        assert (storage.read("z"), storage.size("z")) == (b"1", 1)
        assert list_files([f"{place}/*.jsonl"])
        storage.publish("z", "y")
        storage.delete("z")
    finally:
        bill_to(None)
    assert len(proxy.seen) >= 6 and proxy.payers == {"payer"}


@pytest.mark.parametrize(
    "words",
    [
        "classify --config GS/no.yaml --input x --model x --output x",
        "classify --input GS/*.none --model x --output x",
        "classify --input IN --model GS/none --output x",
        "sentiment --model GS/none a-text",
        "answer --input IN --model GS/none --question how --output x",
        "finetune --train GS/*.none --label_column n --base sentiment-small-en --output x/store",
        "finetune --train IN --label_column n --base x --output GS/store",
        "finetune --task answer --train GS/*.none --base sentiment-small-en --output x/store",
        "pretrain --input GS/*.none --base sentiment-small-en --output x/store",
        "evaluate --input GS/*.none --label_column n --model x --output x/report",
        "evaluate --task answer --input GS/*.none --model x --output x/report",
        "bench --input IN --model GS/none",
        "compact GS/none",
        "init GS/*.none",
        "models list GS/store",
        "models promote GS/store candidate --reason because",
        "check --input GS/*.none --output x",
    ],
)
def test_every_command_names_the_project_that_pays(
    place: str,
    proxy: FaultyProxy,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"text": "fine", "n": "good"}\n' * 3, encoding="utf-8")
    command = words.replace("GS", place).replace("IN", "a.jsonl").split()
    for flags, payers in ((["--billing_project", "payer"], {"payer"}), ([], {None})):
        proxy.forget()
        main([*command, *flags])
        assert proxy.payers == payers


def test_a_worker_that_fetches_a_model_names_the_project_that_pays(
    place: str, proxy: FaultyProxy, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEAM_BERT_CACHE", str(tmp_path / "cache"))
    model = f"{place}/model"
    for path in bert.iterdir():
        open_storage(model).upload(path, path.name)
    bill_to("payer")
    try:
        sent = pickle.dumps(resolve_model(model))
        bill_to(None)  # as in a process where no other step has run
        proxy.forget()
        fetch_model(pickle.loads(sent))
    finally:
        bill_to(None)
    assert proxy.bytes_read("model.safetensors") and proxy.payers == {"payer"}


def test_without_credentials_one_line_says_so_soon(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import time

    def wait(**_: object) -> None:
        time.sleep(30)

    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setattr("beam_bert.storage.gcs.require_gs", lambda place: None)
    monkeypatch.setattr("google.auth.default", wait)
    monkeypatch.setattr(gcs_client, "_CREDENTIALS_S", 0.2)
    began = time.monotonic()
    with pytest.raises(InputError, match="gcloud auth application-default login"):
        list_files(["gs://bucket/x.jsonl"])
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("gs://", "gs://: no bucket, write gs://bucket/prefix"),
        ("gs:///x.jsonl", "no bucket, write gs://bucket/prefix"),
        ("gs://../x.jsonl", "'gs://..': no name of a bucket"),
        ("gs://no-such-bucket/x.jsonl", "there is no bucket no-such-bucket"),
        ("gs://no-such-bucket/*/x.jsonl", "there is no bucket no-such-bucket"),
        (f"gs://{BUCKET}/\udcff.jsonl", "no object has a name that is not UTF-8"),
        (f"gs://{BUCKET}/*/\udcff.jsonl", "not UTF-8|matches no file"),
        (f"gs://{BUCKET}//no/x.jsonl", "matches no file"),
    ],
)
def test_a_place_that_cannot_be_is_one_line(gs_server: str, place: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list_files([place])


@both_servers
def test_an_object_of_any_name_is_read_by_its_name_and_by_its_folder(place: str) -> None:
    names = ["br[1]", "a*b", "q?", "h#h", "p%41", "p%2Fq", "s p", "nl\nx", "/x", "//d//x", "{x}"]
    names += ["back\\slash", "a+b", "a&b=c", "';\"", "\u00fc\U0001f600", "x:y", "~t"]
    bucket, _, prefix = place.removeprefix("gs://").partition("/")
    for name in names:
        process_client().bucket(bucket).blob(f"{prefix}/any/{name}.jsonl").upload_from_string(b"")
    urls = sorted(f"{place}/any/{name}.jsonl" for name in names)
    assert [file.path for url in urls for file in list_files([url])] == urls
    assert [file.path for file in list_files([f"{place}/any"])] == urls


def test_files_that_are_skipped_for_their_names_are_handed_over(place: str) -> None:
    storage = open_storage(place)
    for name in ("far/README", "far/notes.log"):
        storage.write(name, b"x")
    left_out: list[str] = []
    assert [f.path for f in list_files([f"{place}/far"], left_out=left_out)] == [
        f"{place}/far/e.jsonl"
    ]
    assert left_out == [f"{place}/far/README", f"{place}/far/notes.log"]
