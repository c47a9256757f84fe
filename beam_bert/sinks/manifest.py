"""`Manifest`: the last file of a run and the only sign that it is committed. And `Failure`.

`python -m beam_bert.sinks` prints the JSON schemas of both.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Any, TypeVar

import pyarrow as pa
from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from beam_bert.errors import OutputError, shortened
from beam_bert.sinks.records import Counts, ShardFile, SourceFile
from beam_bert.sinks.run import (
    ArrowSchema,
    Document,
    RunFacts,
    RunName,
    RunSpec,
    Table,
    TablePath,
    failure_path,
    manifest_path,
)
from beam_bert.slices.schema import SCHEMA_VERSION
from beam_bert.storage.base import Storage
from beam_bert.storage.places import open_storage

DocumentType = TypeVar("DocumentType", bound=Document)

# Raise it when a field of the manifest is renamed, removed or changes its meaning.
MANIFEST_VERSION = 1


class OutputFile(Document):
    """One committed Parquet file."""

    path: TablePath = Field(description="Path relative to the output.")
    rows: int = Field(description="Rows in the file.")
    bytes: int = Field(description="Size of the file.")
    crc32c: str = Field(description="CRC32C as Cloud Storage shows it: base64, big-endian.")
    key: str = Field(description="Key of the slice that became this file.")
    sources: tuple[str, ...] = Field(
        default=(), description="Paths of the input files whose rows it holds."
    )

    @classmethod
    def of(
        cls, file: ShardFile, folder: str, key: str, sources: tuple[str, ...] = ()
    ) -> OutputFile:
        """A shard in its place."""
        written = file.model_dump(exclude={"name"})
        return cls(path=f"{folder}/{file.name}", key=key, sources=sources, **written)

    @property
    def table(self) -> Table:
        """Which table it is in."""
        return "predictions" if self.path.startswith("predictions/") else "rejects"

    @property
    def folder(self) -> str:
        """The path without its last part."""
        return self.path.rsplit("/", 1)[0]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]


class Replaced(Document):
    """A file that left the table: its sources were read again, or its rows are in another one."""

    path: TablePath = Field(description="Path relative to the output.")
    kept: OutputFile | None = Field(
        default=None, description="What holds the rows that stay, also of others; None: none stay."
    )


class Column(Document):
    """One column of the predictions table."""

    name: str = Field(description="Column name.")
    type: str = Field(description="Arrow type.")
    nullable: bool = Field(description="Whether nulls may occur.")
    description: str = Field(default="", description="What it means.")
    input_name: str = Field(default="", description="Its name in the input, where that is other.")
    input_type: str = Field(default="", description="Its Arrow type there, where that is other.")
    zone: str = Field(default="", description="Time zone that the input has; the table has UTC.")

    @model_serializer(mode="wrap")
    def _without_empty(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Most columns are what they are in the input: nothing is said of that."""
        return {
            name: value
            for name, value in serialize(self).items()
            if value != "" or name in ("name", "description")  # a name may be empty
        }


class Manifest(RunFacts):
    """What a committed run read, wrote, and was made with."""

    manifest_version: int = Field(default=MANIFEST_VERSION, description="Layout of this document.")
    schema_version: int = Field(
        default=SCHEMA_VERSION, description="Meaning of the output's columns."
    )
    committed_at: str = Field(description="When the commit began, ISO 8601, UTC.")
    counts: Counts = Field(description="The totals of the run.")
    inputs: tuple[SourceFile, ...] = Field(description="Every input file, by path.")
    outputs: tuple[OutputFile, ...] = Field(description="The files of predictions/, by path.")
    rejects: tuple[OutputFile, ...] = Field(description="The files of rejects/, by path.")
    replaced: tuple[Replaced, ...] = Field(
        default=(), description="Files of earlier runs that this one replaced, by path."
    )
    stats: dict[str, float] = Field(
        default_factory=dict,
        description="Sums over all slices; names that end in _s are seconds, in _us microseconds.",
    )
    columns: tuple[Column, ...] = Field(
        alias="schema", description="Columns of predictions/, in order."
    )
    arrow_schema: ArrowSchema = Field(
        default="",
        description="The same for programs, as Arrow's message of a schema in base64: later runs "
        "write their columns in this order and these types.",
    )

    def micro_batches(self) -> str | None:
        """Tokens of the micro-batches, and what sizes cost where workers measured it, in words."""

        def sizes(pattern: str) -> list[tuple[int, float]]:
            matches = [(re.fullmatch(pattern, name), value) for name, value in self.stats.items()]
            return sorted((int(match[1]), value) for match, value in matches if match)

        used = sizes(r"documents_in_batches_of_(\d{1,9})")
        text = "up to " + " or ".join(f"{size:,}" for size, _ in used) + " tokens"
        times = self.stats.get("batches_measured", 0.0)
        if times:
            costs = sizes(r"batches_of_(\d{1,9})_us")
            text += "; measured, µs a token and layer: "
            text += ", ".join(f"{size:,} {cost / times:.1f}" for size, cost in costs)
        return text if used else None

    def to_json(self) -> bytes:
        """The document as it is stored: on one line, as readers of JSON lines want it."""
        document = json.loads(self.model_dump_json(by_alias=True))
        return json.dumps(document, ensure_ascii=False).encode()


class Failure(RunName):
    """Why a run committed nothing."""

    failed_at: str = Field(description="When it gave up, ISO 8601, UTC.")
    reason: str = Field(description="Stable code, such as reject_rate.")
    message: str = Field(description="The same for a person, one line.")
    counts: Counts | None = Field(default=None, description="The totals, where they were known.")
    staged_rejects: str | None = Field(default=None, description="Where the rejects can be read.")


def read_document(storage: Storage, path: str, kind: type[DocumentType]) -> DocumentType | None:
    """The document at `path`, which may be damaged or hostile; None where there is none.

    Raises:
      OutputError: it is no such document, or names a path that is not its own.
    """
    data = storage.read(path)
    if data is None:
        return None
    try:
        return kind.model_validate_json(data)
    except (ValidationError, OutputError) as error:
        why = str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_input=False, include_url=False)[0]
            why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
        raise OutputError(
            f"{storage.uri(path)} is damaged, or another version's ({shortened(why)}); bring it "
            "back, or remove it if you know it is not wanted"
        ) from None


def manifest_of(storage: Storage, run_id: str) -> Manifest | None:
    """The manifest of a run, the last thing that its commit writes; None: it is not committed.

    Raises:
      OutputError: as `read_document`, or it is another run's.
    """
    path = manifest_path(run_id)
    manifest = read_document(storage, path, Manifest)
    if manifest is not None and manifest.run_id != run_id:
        raise OutputError(
            f"{storage.uri(path)} is the manifest of run {manifest.run_id}; bring this one's own "
            "back"
        )
    return manifest


def read_manifest(output: str, run_id: str) -> Manifest | None:
    """The manifest of a committed run; None where `run_id` has committed nothing."""
    return manifest_of(open_storage(output), run_id)


def read_failure(output: str, run_id: str) -> Failure | None:
    """What a failed run left; None where `run_id` has not failed."""
    return read_document(open_storage(output), failure_path(run_id), Failure)


def write_failure(run: RunSpec, reason: str, message: str, counts: Counts | None = None) -> None:
    """Leave runs/<run_id>/failure.json, for entry points and schedulers to read."""
    storage = open_storage(run.output)
    rejected = counts is not None and counts.rows_rejected > 0
    failure = Failure(
        **run.model_dump(include={*RunName.model_fields}),
        failed_at=utc_now(),
        reason=reason,
        message=message,
        counts=counts,
        staged_rejects=storage.uri(run.staged("rejects")) if rejected else None,
    )
    storage.write(failure_path(run.run_id), failure.model_dump_json().encode())


def describe_columns(schema: pa.Schema) -> tuple[Column, ...]:
    """The columns of a schema with the descriptions that its fields carry."""
    return tuple(
        Column(
            name=field.name,
            type=str(field.type),
            nullable=field.nullable,
            **{
                key.decode(): value.decode()
                for key, value in (field.metadata or {}).items()
                if key in (b"description", b"input_name", b"input_type", b"zone")
            },
        )
        for field in schema
    )


def utc_now() -> str:
    """The time, ISO 8601 with seconds."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
