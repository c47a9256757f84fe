"""The columns of a job's output, settled before it runs: the input's types, then the table's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from beam_bert.settings.inference import JobConfig
from beam_bert.settings.naming import named
from beam_bert.sinks.column_names import name_notes, portable_names
from beam_bert.sinks.run import check_partition_columns, partition_notes
from beam_bert.sinks.table_schema import (
    CommittedTable,
    read_table,
    same_columns,
    schema_in_force,
)
from beam_bert.sinks.table_types import file_columns, type_notes
from beam_bert.slices.schema import output_schema, same_name
from beam_bert.sources import SourceSpec
from beam_bert.storage.places import open_storage


@dataclass(frozen=True)
class PlannedColumns:
    """What a run reads and writes.

    Attributes:
      spec: how to read, with the carried columns as they stand in the table.
      schema: of the table with this run in it.
      table: what was there before.
      change_table: whether earlier files have to be written anew.
      notes: lines that a person should read once.
    """

    spec: SourceSpec
    schema: pa.Schema
    table: CommittedTable
    change_table: bool
    notes: tuple[str, ...]


def plan_columns(
    config: JobConfig, spec: SourceSpec, task_fields: Sequence[pa.Field]
) -> PlannedColumns:
    """Settle names and types of the output's columns.

    Args:
      config: the job's settings.
      spec: resolved, with the carried columns as the input has them.
      task_fields: the task's columns.

    Raises:
      OutputError: a column does not go with the table's of that name, or with the partition.
    """
    finer = {
        field.name
        for name, field in zip(spec.carried_from, spec.resolved, strict=True)
        if name in spec.finer
    }
    carried = file_columns(spec.resolved, config.types, finer)
    notes = [*type_notes(spec.resolved, carried, config.types), *partition_notes(config.partition)]
    if config.portable_names:
        others = output_schema(pa.schema([]), task_fields).names
        carried = portable_names(carried, others)
    notes += name_notes(carried, f"; {named('portable_names')} renames")
    notes += name_notes(pa.schema(task_fields), "; give the question another name")
    table = read_table(open_storage(config.output), config.partition, config.overwrite)
    untyped = {
        field.name: name in spec.untyped
        for name, field in zip(spec.carried_from, carried, strict=True)
    }
    night = output_schema(carried, task_fields)
    schema = schema_in_force(table, night, untyped, to_text=config.evolve == "text")
    check_partition_columns(config.partition, schema)
    by_name = {same_name(field.name): field for field in schema}
    spec = spec.written_as(pa.schema([by_name[same_name(field.name)] for field in carried]))
    change_table = table.schema is not None and not same_columns(table.schema, schema)
    if change_table and table.files:
        notes.append(
            f"{_changes(table.schema, schema)}: the table's {len(table.files):,} files "
            f"({table.bytes / 2**20:,.1f} MiB) are written anew when this run is committed"
        )
    return PlannedColumns(spec, schema, table, change_table, tuple(notes))


def _changes(before: pa.Schema | None, after: pa.Schema) -> str:
    known = {} if before is None else {field.name: field.type for field in before}
    new = [field.name for field in after if field.name not in known]
    wider = [
        f"{field.name} is {field.type}, was {known[field.name]}"
        for field in after
        if field.name in known and known[field.name] != field.type
    ]
    return "; ".join([*wider, *([f"new columns {', '.join(new)}"] if new else [])])
