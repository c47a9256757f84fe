"""Each thing that can go wrong, with each operation: all is tried again, or told in one line.

The table of what became of each is printed, `-s` or not.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage as google_storage
from google.cloud.storage import blob as library

from beam_bert.errors import BeamBertError
from beam_bert.storage import gcs
from beam_bert.storage.base import crc32c_base64
from beam_bert.storage.gcs import GcsStorage
from beam_bert.storage.places import open_storage
from tests.storage.faulty_proxy import FAULTS, OPERATIONS, FaultyProxy, hurry
from tests.storage.servers import BUCKET, both_servers

DATA = bytes(range(256)) * 8
LARGE = bytes(range(256)) * 2500  # three requests of 256 KiB
BOUND_S = 12.0  # far from the proxy's 20 s of silence, on a busy machine


CALLS: dict[str, Callable[[GcsStorage, Path], object]] = {
    "list": lambda storage, _: [(f.path, f.size) for f in storage.list_files("in")],
    "look": lambda storage, _: storage.size("in/x"),
    "read": lambda storage, _: storage.read("in/x"),
    "write": lambda storage, _: storage.write("out/x", DATA),
    "send": lambda storage, large: storage.upload(large, "sent"),
    "copy": lambda storage, _: storage.publish("in/x", "out/copy"),
    "delete": lambda storage, _: storage.delete("in/y"),
}
EXPECTED = {"list": [("in/x", 2048)], "look": 2048, "read": DATA, "copy": True}
LEFT = {
    "write": ("out/x", crc32c_base64(DATA)),
    "send": ("sent", crc32c_base64(LARGE)),
    "copy": ("out/copy", crc32c_base64(DATA)),
}


def outcome(server: str, place: str, large: Path, operation: str, fault: str, times: int) -> str:
    """What became of one call whose first requests meet a fault."""
    met = itertools.count()
    proxy = FaultyProxy(
        server, lambda seen, _: fault if seen == operation and next(met) < times else None
    )
    client = google_storage.Client(
        "test", AnonymousCredentials(), client_options={"api_endpoint": proxy.address}
    )
    open_storage(place).write("in/x", DATA)
    began = time.monotonic()
    try:
        faulty = GcsStorage(client, BUCKET, place.partition(f"{BUCKET}/")[2])
        found = CALLS[operation](faulty, large)
        result = "tried again" if found == EXPECTED.get(operation) else "not seen"
    except BeamBertError as error:
        assert "\n" not in str(error) and place in str(error) and len(str(error)) < 600
        result = "one line"
    seconds = time.monotonic() - began
    proxy.stop()
    assert proxy.met[operation, fault] > 0, "no request met it"
    assert seconds < BOUND_S, "it was not bounded"
    files = {file.path: file.crc32c for file in open_storage(place).list_files("")}
    assert set(files) <= {"in/x", "out/x", "sent", "out/copy"}, "something is there twice"
    if result == "tried again" and operation in LEFT:
        path, crc32c = LEFT[operation]
        assert files[path] == crc32c
    return result


@both_servers
def test_every_fault_of_every_operation_is_tried_again_or_told_in_a_line(
    new_gs_output: Callable[[], str],
    gs_server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hurry(monkeypatch, give_up_s=2.0, attempt_s=0.7)
    # A little is sent as much is: in several requests.
    monkeypatch.setattr(gcs, "_SINGLE_UPLOAD_BYTES", 256 << 10)
    monkeypatch.setattr(gcs, "_RANGE_BYTES", 256 << 10)
    monkeypatch.setattr(library, "_MAX_MULTIPART_SIZE", 256 << 10)
    large = tmp_path / "large"
    large.write_bytes(LARGE)
    cases = list(itertools.product(OPERATIONS, FAULTS, (1, 10**6)))
    with ThreadPoolExecutor(24) as threads:
        outcomes = list(
            threads.map(lambda case: outcome(gs_server, new_gs_output(), large, *case), cases)
        )
    became = dict(zip(cases, outcomes, strict=True))
    # On a busy machine an attempt may last more than 0.7 s: such a case is tried alone, in peace.
    hurry(monkeypatch, give_up_s=20, attempt_s=3)
    for case in cases:
        if case[2] == 1 and became[case] == "one line":
            became[case] = outcome(gs_server, new_gs_output(), large, *case)
    with capsys.disabled():
        print(f"\n{'operation':10} {'fault':9} {'met once':12} met for ever")
        for operation, fault in itertools.product(OPERATIONS, FAULTS):
            once, forever = (became[operation, fault, times] for times in (1, 10**6))
            print(f"{operation:10} {fault:9} {once:12} {forever}")
    for (operation, fault, times), what in became.items():
        if fault == "416":  # an answer that will not change, unless it came too late to be one
            assert what == "one line" or (times == 1 and what == "tried again"), (operation, times)
        elif fault == "flipped" and operation != "read":
            pass  # what is no object's bytes has no checksum but TLS
        elif times == 1:
            assert what == "tried again", (operation, fault)
