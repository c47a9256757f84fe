"""The client of Cloud Storage, one a process; its credentials are found soon or not at all."""

from __future__ import annotations

import contextlib
import os
import re
from functools import lru_cache
from pathlib import Path

import google.auth
from google.api_core import exceptions
from google.auth import _cloud_sdk
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import storage
from requests.adapters import HTTPAdapter

from beam_bert.errors import one_line
from beam_bert.storage.retrying import within

# A copy is a round trip of about 50 ms and no work of ours: 100,000 shards in under two minutes.
CONNECTIONS = 64
LOGIN = "run `gcloud auth application-default login` or set GOOGLE_APPLICATION_CREDENTIALS"

_CREDENTIALS_S = 4.0
_URL = re.compile(r"^[A-Z]+ https?://\S+: ")


def process_client() -> storage.Client:
    """The client of this process; anonymous where STORAGE_EMULATOR_HOST is set.

    Raises:
      GoogleAuthError: there are no credentials.
    """
    return _client(os.getpid(), os.environ.get("STORAGE_EMULATOR_HOST"))


@lru_cache(maxsize=4)
def _client(pid: int, emulator: str | None) -> storage.Client:
    """One client a process: `pid` is in the key, as sockets do not survive a fork."""
    if emulator:
        client = storage.Client(project="emulator", credentials=AnonymousCredentials())
    else:
        # No project: objects need none, and looking for one fails with a laptop's credentials.
        client = storage.Client(project=None, credentials=_credentials())
    # For its own traces the library asks for a bucket's metadata, at a 404 again, in threads that
    # neither name the project that pays nor are waited for.
    client._bucket_metadata_cache = None
    # requests keeps ten connections by default and would open the others anew for each call.
    adapter = HTTPAdapter(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS)
    client._http.mount("https://", adapter)
    client._http.mount("http://", adapter)
    return client


def credentials_file() -> Path:
    """Where the default credentials would be, if a file holds them."""
    named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    return Path(named or _cloud_sdk.get_application_default_credentials_path())


def _credentials() -> Credentials:
    """The default credentials; where no file holds them, and this is no machine of Google's, soon.

    What is left there is a metadata server, which the library looks for up to a minute.
    """

    def found() -> Credentials:
        credentials, _ = google.auth.default(scopes=storage.Client.SCOPE)
        return credentials

    machine = Path("/sys/class/dmi/id/product_name")
    with contextlib.suppress(OSError):
        if machine.read_text().startswith("Google"):
            return found()
    if credentials_file().is_file():
        return found()
    try:
        return within(lambda: _CREDENTIALS_S, found)
    except TimeoutError:
        raise DefaultCredentialsError("neither a file nor a metadata server has any") from None


def reason_of(error: BaseException | None) -> str:
    """What the server said, in one line: Google names the permission that is missing."""
    if isinstance(error, exceptions.GoogleAPICallError):
        said = [reason.get("message") for reason in error.errors if isinstance(reason, dict)]
        text = f"{error.code} {next(filter(None, said), None) or _URL.sub('', error.message)}"
    else:
        text = one_line(error) if error is not None else ""
    return " ".join(text.split())[:300] or type(error).__name__
