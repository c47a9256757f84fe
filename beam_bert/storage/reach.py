"""Whether Cloud Storage answers at all, asked before the first byte: its clients try for long."""

from __future__ import annotations

import os
import time
from functools import lru_cache

from beam_bert.errors import RunFailed

_ATTEMPTS = 4
_TIMEOUT_S = 5.0
_PAUSE_S = 1.0


def require_gs(path: str) -> None:
    """Do nothing for local paths; for gs:// ask once a process whether the service answers.

    Any answer will do, refusals included: only a network that leads nowhere is told here.

    Raises:
      RunFailed: nothing answers, after a few tries of about 20 seconds together.
    """
    if path.startswith("gs://"):
        universe = os.environ.get("GOOGLE_CLOUD_UNIVERSE_DOMAIN", "googleapis.com")
        _ask(os.environ.get("STORAGE_EMULATOR_HOST") or f"https://storage.{universe}")


@lru_cache(maxsize=4)
def _ask(endpoint: str) -> None:
    import requests  # comes with google-cloud-storage, and takes the proxies that its client takes

    reason = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_S)
        try:
            with requests.get(endpoint, timeout=_TIMEOUT_S, allow_redirects=False, stream=True):
                return
        except requests.RequestException as error:
            inner = getattr(error.args[0], "reason", error) if error.args else error
            reason = str(inner).partition("): ")[2] or str(inner)
    raise RunFailed(
        f"gs:// cannot be reached: {' '.join(reason.split())[:200]}; check the network of this "
        f"machine, the way to {endpoint} and HTTPS_PROXY"
    )
