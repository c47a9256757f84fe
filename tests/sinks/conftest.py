"""A local Cloud Storage emulator, and `output`: the same test over a folder and over gs://."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from http import HTTPStatus

import gcp_storage_emulator.server as emulator_server
import pytest
from gcp_storage_emulator.handlers import objects

BUCKET = "sinks-test"
_counter = itertools.count()


def _with_preconditions(insert: Callable) -> Callable:
    """Answer 412 to ifGenerationMatch=0 where the name is taken, as Cloud Storage does."""

    def guarded(request, response, storage, *args, **kwargs):  # type: ignore[no-untyped-def]
        if request.query.get("ifGenerationMatch") == ["0"]:
            name = request.query.get("name", [None])[0] or request.data["meta"]["name"]
            if name in storage.objects.get(request.params["bucket_name"], {}):
                response.status = HTTPStatus.PRECONDITION_FAILED
                response.json({"error": {"code": 412, "message": "conditionNotMet"}})
                return
        insert(request, response, storage, *args, **kwargs)

    return guarded


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """Address of an emulator that runs in this process."""
    for name in ("api.object", "gcp_storage_emulator"):  # it logs each 404 as an error
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as patch:
        guarded = _with_preconditions(objects.insert)
        patch.setattr(
            emulator_server,
            "HANDLERS",
            tuple(
                (route, {m: guarded if h is objects.insert else h for m, h in methods.items()})
                for route, methods in emulator_server.HANDLERS
            ),
        )
        # With its backlog of 5, parallel requests wait a second for their second SYN.
        patch.setattr(emulator_server.server.HTTPServer, "request_queue_size", 128)
        # It writes down everything it holds after each request, deleted objects included.
        patch.setattr(emulator_server.Storage, "_write_config_to_file", lambda storage: None)
        server = emulator_server.create_server(
            "127.0.0.1", 0, in_memory=True, default_bucket=BUCKET
        )
        server.start()
        host, port = server._api._httpd.server_address
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture
def new_gs_output(emulator: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """A gs:// prefix that nobody has used, at each call."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)
    return lambda: f"gs://{BUCKET}/out-{next(_counter)}"


@pytest.fixture(params=["local", "gs"])
def new_output(request: pytest.FixtureRequest) -> Callable[[], str]:
    """An output that nobody has used, at each call: a folder, then a gs:// prefix."""
    if request.param == "gs":
        return request.getfixturevalue("new_gs_output")
    folder = request.getfixturevalue("tmp_path")
    return lambda: str(folder / f"out-{next(_counter)}")


@pytest.fixture
def output(new_output: Callable[[], str]) -> str:
    return new_output()
