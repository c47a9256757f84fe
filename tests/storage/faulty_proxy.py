"""A proxy in front of the Cloud Storage emulator that makes a share of the requests go wrong.

Which request fails, and how, comes from a seed and the request's number, so a run can be repeated
(as far as the client sends its requests in the same order).
"""

from __future__ import annotations

import http.client
import http.server
import random
import socket
import struct
import threading
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import pytest

from beam_bert.storage.retrying import RETRY

FAULTS = ("503", "429", "reset", "reset_after", "truncated", "slow")
SLOW_S = 0.2


class FaultyProxy:
    """Forwards to `upstream`; `share` of the requests meet one of `faults`.

    `reset_after` lets the request through and cuts the connection instead of answering: the change
    has happened and the client does not know. The first `spared` requests meet none. `seen` counts
    the faults by name, `requests` all requests.
    """

    def __init__(
        self,
        upstream: str,
        share: float = 0.2,
        seed: int = 0,
        faults: tuple[str, ...] = FAULTS,
        spared: int = 0,
    ) -> None:
        self.seen: Counter[str] = Counter()
        self.requests = 0
        self._spared = spared
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._share = share
        self._faults = faults
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
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()

    def _next_fault(self) -> str | None:
        with self._lock:
            self.requests += 1
            if self.requests <= self._spared or self._random.random() >= self._share:
                return None
            fault = self._random.choice(self._faults)
            self.seen[fault] += 1
            return fault

    def _answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        fault = self._next_fault()
        if fault in ("503", "429"):
            text = b'{"error": {"code": %s, "message": "try later"}}' % fault.encode()
            request.send_response(int(fault))
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(text)))
            request.end_headers()
            request.wfile.write(text)
            return
        if fault == "reset":
            _reset(request)
            return
        status, headers, content = self._ask(request, body)
        if fault == "reset_after":
            _reset(request)
            return
        if fault == "slow":
            time.sleep(SLOW_S)
        request.send_response(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                text = value.replace(self._upstream.netloc, urlsplit(self.address).netloc)
                if name.lower() != "content-length":
                    request.send_header(name, text)
        if status != 204:
            request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if fault == "truncated":
            request.wfile.write(content[: len(content) // 2])
            request.wfile.flush()
            _reset(request)
            return
        if request.command != "HEAD":
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


def hurry(monkeypatch: pytest.MonkeyPatch, give_up_s: float = 120) -> None:
    """Let the client of Cloud Storage wait for 50 ms before it tries again, and not for seconds."""
    monkeypatch.setattr(RETRY, "_initial", 0.05)
    monkeypatch.setattr(RETRY, "_timeout", give_up_s)


def _reset(request: http.server.BaseHTTPRequestHandler) -> None:
    """Close the connection with RST, as a machine that went away does."""
    request.close_connection = True
    connection: socket.socket = request.connection
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RD)
    connection.close()
