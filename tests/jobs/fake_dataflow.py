"""A stand-in for Dataflow's REST API: takes a job, and reports the states of a script in turn."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

JOB_ID = "2026-11-24_01_02_03-1234567890123456789"


class FakeDataflow:
    """What was asked of it, and what it answers: `states` are those that a poll sees, in order."""

    def __init__(self, *states: str) -> None:
        self.states = list(states) or ["QUEUED", "RUNNING", "DONE"]
        self.jobs: list[dict[str, Any]] = []
        self.is_down = False
        self.endpoint = ""

    @property
    def created(self) -> bool:
        return bool(self.jobs)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if self.is_down:
            return 403, {"error": {"code": 403, "message": "the way is closed", "status": "X"}}
        if method == "POST" and re.fullmatch(r"/v1b3/projects/[^/]+/locations/[^/]+/jobs", path):
            self.jobs.append(json.loads(body))
            return 200, {"id": JOB_ID, "currentState": "JOB_STATE_PENDING"}
        if path.endswith("/messages"):
            return 200, {}
        if path.endswith(f"/jobs/{JOB_ID}"):
            state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            return 200, {"id": JOB_ID, "currentState": f"JOB_STATE_{state}"}
        if path.endswith("/metrics"):
            return 200, {}
        return 404, {"error": {"code": 404, "message": f"{method} {path}"}}


@contextmanager
def serve(dataflow: FakeDataflow) -> Iterator[FakeDataflow]:
    """Let it answer on a port of this machine, at `dataflow.endpoint`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = dataflow.answer(self.command, self.path.split("?")[0], body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _any  # noqa: N815

        def log_message(self, *args: Any) -> None:
            """Keep the test's output clean."""

    server = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    dataflow.endpoint = f"http://localhost:{server.server_port}"
    try:
        yield dataflow
    finally:
        server.shutdown()
        server.server_close()
