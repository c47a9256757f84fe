"""A provider that knows its schema and nothing else: enough for `terraform validate` and `test`.

Terraform asks a provider for its schema even where a test replaces all that it does by mocks. This
one answers from provider_schema.json, over the plugin protocol, and never talks to Google:
https://developer.hashicorp.com/terraform/plugin/terraform-plugin-protocol
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

ROOT = Path(__file__).parents[2]
SCHEMA_FILE = Path(__file__).with_name("provider_schema.json")
_LIST = 2  # of Schema.NestedBlock.NestingMode


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _field(number: int, value: bytes | str | int) -> bytes:
    """A field of a protocol buffer: an integer, or anything with a length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _block(fields: dict[str, Any]) -> bytes:
    out = b""
    for name, entry in sorted(fields.items()):
        if "fields" in entry:
            inner = _field(1, name) + _field(2, _block(entry["fields"])) + _field(3, _LIST)
            inner += _field(4, 1) if entry.get("required") else b""
            out += _field(3, inner + (_field(5, 1) if entry.get("single") else b""))
            continue
        way = 4 if entry.get("required") else 5  # required, optional
        attribute = _field(1, name) + _field(2, json.dumps(entry["type"]))
        if not entry.get("computed"):
            attribute += _field(way, 1)
        if not entry.get("required"):  # whether it is is not known: what is not given may be
            attribute += _field(6, 1)
        out += _field(2, attribute)
    return out


def _schema(fields: dict[str, Any]) -> bytes:
    return _field(2, _block(fields))


def provider_schema() -> bytes:
    """The answer to GetSchema: GetProviderSchema.Response of tfplugin5."""
    schemas = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))["schemas"]
    settings = {name: {"type": "string"} for name in ("project", "region", "billing_project")}
    out = _field(1, _schema({**settings, "user_project_override": {"type": "bool"}}))
    for name, fields in schemas.items():
        kind, type_ = name.split(".")
        entry = _field(1, type_) + _field(2, _schema(fields))
        out += _field(2 if kind == "resource" else 3, entry)
    return out


class _Methods(grpc.GenericRpcHandler):
    def service(self, details: Any) -> Any:
        service, _, method = details.method.strip("/").partition("/")
        if service != "tfplugin5.Provider":
            return None  # what else a plugin may offer is not needed
        answers = {
            "GetSchema": lambda request: provider_schema(),
            "PrepareProviderConfig": lambda request: request,  # the configuration, as it was given
        }
        answer = answers.get(method, lambda request: b"")
        return grpc.unary_unary_rpc_method_handler(lambda request, _: answer(request))


@contextmanager
def provider() -> Iterator[dict[str, str]]:
    """Serve both of Google's providers; yields the environment in which Terraform finds them."""
    command = [sys.executable, "-m", "tests.platform.fake_provider"]
    # A process of its own: gRPC's threads would outlive the test.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    where = {
        "Protocol": "grpc",
        "ProtocolVersion": 5,
        "Pid": process.pid,
        "Test": True,
        "Addr": {"Network": "tcp", "String": process.stdout.readline().strip()},
    }
    providers = {f"registry.terraform.io/hashicorp/{n}": where for n in ("google", "google-beta")}
    try:
        yield {"TF_REATTACH_PROVIDERS": json.dumps(providers), "CHECKPOINT_DISABLE": "1"}
    finally:
        process.kill()
        process.wait()


def main() -> None:
    server = grpc.server(ThreadPoolExecutor(4), handlers=(_Methods(),))
    print(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", flush=True)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
