"""One way of calling Cloud Storage: tried again with backoff, and inside a bound whatever happens.

The library's own retries stop at a byte that is wrong (`DataCorruption`), and its timeouts are for
each read of the socket: a server that sends a byte a second is never slow enough for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
from io import BytesIO
from typing import TypeVar

from google.api_core.retry import Retry
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.exceptions import JSONDecodeError

from beam_bert.storage.base import in_thread

T = TypeVar("T")

# An attempt may take so long, and as much longer as its bytes need at the slowest rate.
ATTEMPT_S = 60.0
SLOWEST_BYTES_PER_S = 128 << 10


def _may_pass(error: BaseException) -> bool:
    ours = (DataCorruption, JSONDecodeError, TimeoutError)
    return isinstance(error, ours) or DEFAULT_RETRY._predicate(error)


# Beyond its timeout no new attempt begins: three minutes at most for a call that moves little.
RETRY = Retry(predicate=_may_pass, initial=1.0, maximum=20.0, multiplier=2.0, timeout=120.0)


def persistently(call: Callable[[], T], size: int = 0) -> T:
    """What `call` returns, tried again where its error may pass.

    Args:
      call: one attempt, without retries of its own; may be repeated.
      size: bytes that it sends.

    Raises:
      RetryError: it failed until the time was up; its `cause` is the last error.
      Exception: whatever `call` raises that will not pass.
    """
    return RETRY(lambda: within(lambda: _limit_s(size), call))()


def fetched(download: Callable[[BytesIO], None]) -> bytes:
    """The bytes that `download` writes, as `persistently`; each attempt begins with none."""

    def attempt() -> bytes:
        into = BytesIO()
        within(lambda: _limit_s(into.tell()), lambda: download(into))
        return into.getvalue()

    return RETRY(attempt)()


def _limit_s(moved: int) -> float:
    return ATTEMPT_S + moved / SLOWEST_BYTES_PER_S


def within(limit_s: Callable[[], float], call: Callable[[], T]) -> T:
    """What `call` returns, if it does so before `limit_s`, which may grow meanwhile.

    Else it is left to itself.

    Raises:
      TimeoutError: it did not.
    """
    began, result = time.monotonic(), in_thread(call)
    while (left := began + limit_s() - time.monotonic()) > 0:
        try:
            return result.result(left)
        except FutureTimeout:
            if result.done():  # the call's own
                raise
    raise TimeoutError(f"no whole answer within {limit_s():.0f} s")
