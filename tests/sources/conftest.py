"""A bucket of its own, with the client that tests write to it by."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

BUCKET = "sources-test"


@pytest.fixture
def bucket(gs_server: str) -> Iterator[object]:
    """An empty google-cloud-storage bucket."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    client = storage.Client("test-project", AnonymousCredentials())
    if client.lookup_bucket(BUCKET) is None:
        client.create_bucket(BUCKET)
    found = client.bucket(BUCKET)
    yield found
    for blob in client.list_blobs(BUCKET):
        blob.delete()
