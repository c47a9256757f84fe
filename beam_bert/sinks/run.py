"""`RunSpec`: what a run is, in plain data, and where each of its files stands below the output.

    OUTPUT/predictions/<partition>/part-….parquet    the table: complete files and nothing else
    OUTPUT/rejects/<partition>/part-….parquet
    OUTPUT/runs/<run_id>/manifest.json, failure.json
    OUTPUT/staging/<run_key>/predictions/, rejects/, records/, commit.json

Readers differ in which names they skip (DuckDB skips none), so what is unfinished stands outside of
`predictions/`, under the `run_key`: a second launch of the same work finds what the first one left.
"""

from __future__ import annotations

import base64
import re
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from beam_bert.errors import OutputError
from beam_bert.settings.naming import named
from beam_bert.slices.schema import same_name

Table = Literal["predictions", "rejects"]
TABLES: tuple[Table, ...] = ("predictions", "rejects")

_PATH_PART = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$"
# A document of a run is input like any other: whoever may write there may have written it.
PathPart = Annotated[str, Field(pattern=_PATH_PART)]
# Readers percent-decode values, so '%' stays out; pyarrow skips folders that begin with '_' or '.'.
_PARTITION_LEVEL = re.compile(r"([A-Za-z][A-Za-z0-9_]*)=([\w][\w .:+,@-]*)")
_MAX_LEVEL_BYTES = 255
_NULLS = frozenset({"__hive_default_partition__", "null", "none", "nan"})
# Tried: 01 and 0x1 are 1 for some, 1e3 is 1000.0, true a boolean, inf a date in 9999 for DuckDB,
# 2026-1-2 is 2026-01-02, and 12:00 ends Polars.
_GUESSED = re.compile(
    r"[+-]?(0\d+|0x[\da-f]+|[\d.]+e[+-]?\d+|\.\d+|\d+\.(\d*0)?|inf(inity)?)"
    r"|true|false|\d+:\d+(:[\d.]+)?|\d{4}-(\d-\d{1,2}|\d{2}-\d)",
    re.IGNORECASE,
)
_SHARD_FILE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}\.parquet$")


def encoded_schema(schema: pa.Schema | None) -> str:
    """A schema as manifests keep it: Arrow's message of it, base64; "" for none."""
    return "" if schema is None else base64.b64encode(schema.serialize().to_pybytes()).decode()


def decoded_schema(text: str) -> pa.Schema:
    """The schema again.

    Raises:
      ValueError: it is none.
    """
    data = base64.b64decode(text, validate=True)
    try:
        return pa.ipc.read_schema(pa.py_buffer(data))
    except (pa.ArrowException, OSError) as error:  # Arrow's own of a damaged stream is an OSError
        raise ValueError(f"no schema: {error}") from None


def _checked_schema(text: str) -> str:
    if text:
        decoded_schema(text)
    return text


ArrowSchema = Annotated[str, AfterValidator(_checked_schema)]


class Document(BaseModel):
    """What is written beside the tables: never changed, and nothing unknown in it."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), populate_by_name=True
    )


class RunName(Document):
    """Which run a document is of.

    `run_id` names this launch; `run_key` names its work (a digest of partition, settings, model
    version and schema version), so that two launches of the same work share staged shards.
    """

    run_id: PathPart = Field(description="Name of the launch.")
    run_key: PathPart = Field(
        description="Digest of partition, settings, model version and schema version."
    )
    job: str = Field(description="Which job this was.")
    partition: str = Field(description="key=value levels below predictions/; may be empty.")
    started_at: str = Field(description="Start of the run, ISO 8601, UTC.")


class RunFacts(RunName):
    """What a launch knows of its run, and the manifest tells of it."""

    answers_digest: str = Field(
        default="",
        description="Digest of all that decides an answer beside the text: job, settings, model.",
    )
    files_left_out: int = Field(
        default=0, description="Files of input folders that were skipped: names without a format."
    )
    left_out: tuple[str, ...] = Field(default=(), description="The first of them, by path.")
    config: dict[str, Any] = Field(default_factory=dict, description="The job's settings.")
    model: dict[str, Any] = Field(default_factory=dict, description="Name, version and so on.")
    versions: dict[str, str] = Field(default_factory=dict, description="Software versions.")


class RunSpec(RunFacts):
    """One run, as every worker knows it: small, frozen, picklable.

    Attributes:
      output, overwrite, incremental, max_reject_rate, max_lost_files: the settings of these names.
      table_columns: the table's columns when the run was planned, as `encoded_schema` has them.
      changes_columns: whether the run adds to them or widens their types.
    """

    output: str = Field(min_length=1)
    overwrite: bool = False
    incremental: bool = False
    max_reject_rate: float = Field(default=0.05, ge=0, le=1)
    max_lost_files: int = Field(default=0, ge=0)
    table_columns: ArrowSchema = ""
    changes_columns: bool = False

    @property
    def billing_project(self) -> str | None:
        """Who pays for its requests to Cloud Storage."""
        project: str | None = self.config.get("billing_project")
        return project

    @property
    def has_whole_table(self) -> bool:
        """Whether the commit may write files of other partitions anew."""
        return self.incremental or self.changes_columns

    @property
    def staging(self) -> str:
        """Folder of what is not committed, relative to the output."""
        return f"staging/{self.run_key}"

    def staged(self, table: Table) -> str:
        """Folder of the staged shards of `table`."""
        return f"{self.staging}/{table}"

    @property
    def records(self) -> str:
        """Folder of the staged shards' records."""
        return f"{self.staging}/records"

    @property
    def journal(self) -> str:
        """The file whose presence says that a commit has begun and must be finished."""
        return f"{self.staging}/commit.json"

    def published(self, table: Table) -> str:
        """Folder of the committed shards of `table`; raises OutputError for a bad partition."""
        return "/".join([table, *partition_levels(self.partition)])


def new_run_id(run_key: str) -> str:
    """Names a run that begins now; ids sort by time."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S%f}"[:-3] + f"Z-{run_key[:8]}"


def manifest_path(run_id: str) -> str:
    """Path of a run's manifest, relative to the output."""
    return f"runs/{run_id}/manifest.json"


def failure_path(run_id: str) -> str:
    """Path of what a failed run leaves, relative to the output."""
    return f"runs/{run_id}/failure.json"


def partition_levels(partition: str) -> list[str]:
    """The levels of a partition such as `run_date=2026-11-23/lang=en`; none for an empty one.

    Raises:
      OutputError: a level is not key=value, a key stands twice, or the path would leave the output.
    """
    if not partition:
        return []
    levels = partition.split("/")
    keys = set()
    for level in levels:
        match = _PARTITION_LEVEL.fullmatch(level)
        if match is None or level != level.strip() or len(level.encode()) > _MAX_LEVEL_BYTES:
            raise OutputError(
                f"{named('partition', partition)}: {level!r} is not key=value (letters, digits and "
                "'_' in the key; no '/', '=', '%' or quotes in the value), such as "
                "run_date=2026-11-23"
            )
        if match[2].casefold() in _NULLS:
            raise OutputError(
                f"{named('partition', partition)}: some readers take the value {match[2]!r} for "
                "null; give another"
            )
        key = match[1].casefold()
        if key in keys:
            raise OutputError(f"{named('partition', partition)}: the key {match[1]!r} stands twice")
        keys.add(key)
    return levels


def partition_notes(partition: str) -> list[str]:
    """What readers see differently in a partition's values."""
    values = [level.split("=", 1)[1] for level in partition_levels(partition)]
    return [
        f"{named('partition')}: not all readers see the text {value!r}: Spark, DuckDB, Polars and "
        "pyarrow guess types, each its own way; a value that is no number, time or boolean is one "
        "for all"
        for value in values
        if _GUESSED.fullmatch(value)
    ]


def _checked_table_path(path: str) -> str:
    table, *levels, name = path.split("/") if "/" in path else ("", path)
    try:
        is_ours = table in TABLES and partition_levels("/".join(levels)) == levels
    except OutputError:
        is_ours = False
    if not is_ours or not _SHARD_FILE.fullmatch(name):
        raise ValueError(f"{path!r} is no shard below predictions/ or rejects/")
    return path


TablePath = Annotated[str, AfterValidator(_checked_table_path)]
ShardFileName = Annotated[str, Field(pattern=_SHARD_FILE.pattern)]


def check_partition_columns(partition: str, schema: pa.Schema) -> None:
    """Refuse a partition whose key is also a column: readers would see one of the two, or fail.

    Raises:
      OutputError: a key of the partition is a column of `schema`, compared as SQL does, caseless.
    """
    columns = {same_name(name): name for name in schema.names}
    for level in partition_levels(partition):
        column = columns.get(same_name(level.split("=")[0]))
        if column is not None:
            raise OutputError(
                f"{named('partition', partition)}: the output has a column {column!r} of the same "
                f"name; use another key or leave that column out of {named('keep_columns')}"
            )
