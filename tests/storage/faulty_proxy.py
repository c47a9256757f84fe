"""A proxy in front of a Cloud Storage server that counts what passes, and can spoil any of it.

Which request meets a fault, and which, is decided by a function of the request's operation and
number; `random_faults` gives one of a seed, so a run can be repeated (as far as the client sends
its requests in the same order).
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from beam_bert.storage import retrying

# What a client asks for, and what can go wrong with each.
OPERATIONS = ("list", "look", "read", "write", "send", "copy", "delete")
FAULTS = (
    "503",  # the service has no time
    "429",  # too many requests
    "416",  # as if the range were none of the object's
    "reset",  # the connection is cut before the request was looked at
    "lost",  # it is carried out, and the connection is cut instead of an answer
    "stall",  # no answer at all
    "trickle",  # an answer at a byte a moment
    "flipped",  # one bit of the answer's middle is another
    "cut",  # the connection is cut in the middle of the answer
    "short",  # half of the answer, with a length that says it is all
)
TRANSIENT = ("503", "429", "reset", "lost", "cut", "short")
MOMENT_S = 0.05

Choose = Callable[[str, int], "str | None"]


@dataclass(frozen=True)
class Seen:
    """One request that passed, and the size of its answer."""

    operation: str
    name: str
    status: int
    bytes: int


def never(operation: str, number: int) -> str | None:
    """No fault."""
    return None


def random_faults(
    share: float = 0.2, seed: int = 0, faults: tuple[str, ...] = TRANSIENT, spared: int = 0
) -> Choose:
    """A share of all requests but the first ones, picked by a seed."""
    picked = random.Random(seed)

    def choose(operation: str, number: int) -> str | None:
        if number <= spared or picked.random() >= share:
            return None
        return picked.choice(faults)

    return choose


def operation_of(method: str, target: str) -> tuple[str, str]:
    """What a request is, in our words, and the object that it is about."""
    url = urlsplit(target)
    query = parse_qs(url.query)
    found = re.search(r"/o/([^/]+)", url.path)
    name = unquote(found.group(1)) if found else query.get("name", [""])[0]
    if method == "DELETE":
        return "delete", name
    if method == "GET":
        if query.get("alt") == ["media"]:
            return "read", name
        return ("look" if found else "list"), name
    if "/rewriteTo/" in url.path:
        return "copy", name
    return ("send" if method == "PUT" or "upload_id" in query else "write"), name


class FaultyProxy:
    """Forwards to `upstream`.

    Attributes:
      address: where it listens.
      met: faults that requests met, counted by (operation, fault).
      seen: every request that reached the server, with the bytes of its answer.
      payers: projects that any request asked to be billed to; None among them: some named none.
    """

    def __init__(self, upstream: str, choose: Choose = never) -> None:
        self.met: Counter[tuple[str, str]] = Counter()
        self.seen: list[Seen] = []
        self.payers: set[str | None] = set()
        self.requests = 0
        self.choose = choose
        self.message = "try later"
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._upstream = urlsplit(upstream)
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except (ConnectionError, BrokenPipeError):
                    self.close_connection = True

            def log_message(self, *args: Any) -> None:
                """Keep the test's output clean."""

            def _forward(self) -> None:
                proxy._answer(self)

            do_GET = do_POST = do_PUT = do_DELETE = _forward  # noqa: N815 - the base class asks

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Close the port, and let go of who waits."""
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def forget(self) -> None:
        """Count from nothing again."""
        self.seen.clear()
        self.payers.clear()
        self.met.clear()
        self.requests = 0

    def bytes_read(self, part: str = "") -> int:
        """Bytes of objects that were fetched, of those whose name holds `part`."""
        return sum(s.bytes for s in self.seen if s.operation == "read" and part in s.name)

    def _fault(self, operation: str, name: str) -> str | None:
        return self.choose(operation, self.requests)

    def _answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        operation, name = operation_of(request.command, request.path)
        payer = parse_qs(urlsplit(request.path).query).get("userProject", [None])[0]
        with self._lock:
            if request.path != "/":  # whether anybody answers at all
                self.payers.add(payer)
            self.requests += 1
            fault = self._fault(operation, name)
            if fault:
                self.met[operation, fault] += 1
        if fault and fault.isdecimal():
            error = {"code": int(fault), "message": self.message}
            self._send(request, int(fault), [], json.dumps({"error": error}).encode(), None)
            return
        if fault == "reset":
            _reset(request)
            return
        status, headers, content = self._ask(request, body)
        with self._lock:
            self.seen.append(Seen(operation, name, status, len(content)))
        if fault == "lost":
            _reset(request)
        elif fault == "stall":
            self._stopped.wait(20)
            _reset(request)
        else:
            self._send(request, status, headers, content, fault)

    def _send(
        self,
        request: http.server.BaseHTTPRequestHandler,
        status: int,
        headers: list[tuple[str, str]],
        content: bytes,
        fault: str | None,
    ) -> None:
        middle = len(content) // 2
        if fault == "flipped" and content:
            content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        if fault == "short":
            content = content[:middle]
        request.send_response(status)
        for header, value in headers:
            if header.lower() not in (
                *("transfer-encoding", "connection", "date", "server", "content-length"),
            ):
                ours = urlsplit(self.address).netloc
                request.send_header(header, value.replace(self._upstream.netloc, ours))
        if status != 204:
            request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if fault == "cut":
            request.wfile.write(content[:middle])
            request.wfile.flush()
            _reset(request)
        elif fault == "trickle":
            for byte in content:
                if self._stopped.wait(MOMENT_S):
                    break
                request.wfile.write(bytes([byte]))
                request.wfile.flush()
        elif request.command != "HEAD":
            request.wfile.write(content)

    def _ask(
        self, request: http.server.BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        assert self._upstream.hostname is not None
        connection = http.client.HTTPConnection(self._upstream.hostname, self._upstream.port)
        headers = {n: v for n, v in request.headers.items() if n.lower() not in ("connection",)}
        try:
            connection.request(request.command, request.path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()


@contextlib.contextmanager
def proxied(
    server: str, monkeypatch: pytest.MonkeyPatch, choose: Choose = never
) -> Iterator[FaultyProxy]:
    """Everything on gs:// goes through a proxy meanwhile."""
    proxy = FaultyProxy(server, choose)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.address)
    try:
        yield proxy
    finally:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server)
        proxy.stop()


def hurry(monkeypatch: pytest.MonkeyPatch, give_up_s: float = 120, attempt_s: float = 60) -> None:
    """Let a call wait for 50 ms before it tries again, and not for seconds."""
    monkeypatch.setattr(retrying.RETRY, "_initial", 0.05)
    monkeypatch.setattr(retrying.RETRY, "_timeout", give_up_s)
    monkeypatch.setattr(retrying, "ATTEMPT_S", attempt_s)
    if attempt_s < 60:
        monkeypatch.setattr(retrying, "SLOWEST_BYTES_PER_S", 1 << 30)


def _reset(request: http.server.BaseHTTPRequestHandler) -> None:
    """Close the connection with RST, as a machine that went away does."""
    request.close_connection = True
    connection: socket.socket = request.connection
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)
        connection.close()
