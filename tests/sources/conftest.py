"""A Cloud Storage emulator in this process, for the one client that is real: Beam's."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import gcp_storage_emulator.server as emulator_server
import pytest

BUCKET = "sources-test"


@pytest.fixture(scope="session")
def _emulator() -> Iterator[str]:
    for name in ("api.object", "gcp_storage_emulator"):  # it logs each 404 as an error
        logging.getLogger(name).setLevel(logging.CRITICAL)
    server = emulator_server.create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    host, port = server._api._httpd.server_address
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(_emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """An empty google-cloud-storage bucket, which Beam's gs:// reaches too."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", _emulator)
    # Without credentials Beam asks for some four times, for 25 s in all.
    monkeypatch.setattr("google.auth.default", lambda **_: (AnonymousCredentials(), "test-project"))
    client = storage.Client("test-project", AnonymousCredentials())
    found = client.bucket(BUCKET)
    yield found
    for blob in client.list_blobs(BUCKET):
        blob.delete()
