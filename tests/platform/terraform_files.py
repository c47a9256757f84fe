"""The Terraform files of the repository, parsed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import hcl2

ROOT = Path(__file__).parents[2]
TERRAFORM = ROOT / "terraform"
MARKS = ("__is_block__", "__comments__", "__inline_comments__")


@dataclass(frozen=True)
class Block:
    """A resource or data block: where it stands, and its body as python-hcl2 has it."""

    file: Path
    kind: str
    type: str
    name: str
    body: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}: {self.kind} {self.type}.{self.name}"


@cache
def parsed(file: Path) -> dict[str, Any]:
    return hcl2.loads(file.read_text(encoding="utf-8"))


def folders() -> list[Path]:
    return sorted({path.parent for path in TERRAFORM.rglob("*.tf")})


def named(blocks: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The blocks with one label: their names and bodies."""
    for block in blocks:
        for name, body in block.items():
            if name not in MARKS:
                yield name.strip('"'), body


def resources(folder: Path) -> Iterator[Block]:
    """Every resource and data block below a folder."""
    for file in sorted(folder.rglob("*.tf")):
        for kind in ("resource", "data"):
            for type_, instances in named(parsed(file).get(kind, [])):
                for name, body in named([instances]):
                    yield Block(file, kind, type_, name, body)


def google_types(folder: Path) -> set[tuple[str, str]]:
    return {(block.kind, block.type) for block in resources(folder)}


def fields(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Arguments and blocks of a body by name, dynamic blocks under the name that they make."""
    for name, value in body.items():
        if name == "dynamic":
            for made, dynamic in named(value):
                yield made, dynamic["content"]
        elif name not in MARKS:
            yield name, value


def is_block(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, dict) and "__is_block__" in each for each in value)
    )


def text(value: Any) -> str:
    """A literal string without its quotes, an expression without its marks."""
    value = str(value)
    if value.startswith("${") and value.endswith("}"):
        return value[2:-1]
    return value[1:-1] if value.startswith('"') else value
