"""The table has one schema over all its nights, and this decides what a night makes of it.

Names, order and types are the table's, as its committed manifests have them: new columns go to the
end, missing ones are nulls, and everything is nullable. Where a night widens a type or adds a
column, its commit writes the earlier files anew (`beam_bert.sinks.replacing`), since readers take
one file's columns for all: pyarrow drops what that one has not, Polars and Spark fail.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from beam_bert.errors import OutputError, RunFailed
from beam_bert.settings.naming import named
from beam_bert.sinks.committed_files import read_manifests
from beam_bert.sinks.manifest import OutputFile
from beam_bert.sinks.run import RunSpec, decoded_schema, partition_levels
from beam_bert.sinks.stored_files import or_damaged
from beam_bert.slices.conversion import is_list, is_text
from beam_bert.slices.schema import all_nullable, same_name
from beam_bert.storage.base import Storage

_EXACT_IN_DOUBLES = 2**53


@dataclass(frozen=True)
class CommittedTable:
    """The predictions of an output, but for what a run overwrites.

    Attributes:
      schema: of all files; None where there are none.
      files: by path.
      runs: ids of all committed runs of the output.
    """

    storage: Storage
    schema: pa.Schema | None = None
    files: tuple[OutputFile, ...] = ()
    runs: frozenset[str] = frozenset()

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.bytes for file in self.files)

    def holds_only_nulls(self, column: str) -> bool:
        """Whether no file has a value in a column, as their footers say."""
        return all(map(_has_only_nulls, self._chunks(column)))

    def fits_doubles(self, column: str) -> bool:
        """Whether doubles hold all integers of a column exactly, as the footers say."""
        for chunk in self._chunks(column):
            statistics = chunk.statistics
            if chunk.physical_type not in ("INT32", "INT64") or chunk.num_values == 0:
                continue
            if _has_only_nulls(chunk):
                continue
            if statistics is None or not statistics.has_min_max:
                return False
            if max(abs(int(statistics.min)), abs(int(statistics.max))) > _EXACT_IN_DOUBLES:
                return False
        return True

    def _chunks(self, column: str) -> Iterable[pq.ColumnChunkMetaData]:
        for file in reversed(self.files):
            data = self.storage.read(file.path)
            if data is None:
                continue
            with or_damaged(self.storage.uri(file.path)):
                metadata = pq.read_metadata(io.BytesIO(data))
            for group in map(metadata.row_group, range(metadata.num_row_groups)):
                for chunk in map(group.column, range(metadata.num_columns)):
                    if chunk.path_in_schema.split(".")[0] == column.split(".")[0]:
                        yield chunk


def _has_only_nulls(chunk: pq.ColumnChunkMetaData) -> bool:
    statistics = chunk.statistics
    if statistics is None or not statistics.has_null_count:
        return False
    return bool(statistics.null_count >= chunk.num_values)


def read_table(storage: Storage, partition: str, overwrite: bool) -> CommittedTable:
    """What the manifests say of the files that stay when a run into `partition` is committed.

    The latest manifest that names one of them has the schema of all: a commit that changes the
    columns writes the others anew and names them too.
    """
    folder = "/".join(["predictions", *partition_levels(partition)])
    there = {
        file.path
        for file in storage.list_files("predictions")
        if not (overwrite and file.path.rsplit("/", 1)[0] == folder)
    }
    schema = None
    files: dict[str, OutputFile] = {}
    manifests = read_manifests(storage)
    runs = frozenset(manifest.run_id for manifest in manifests)
    for manifest in manifests:
        kept = [file.kept for file in manifest.replaced if file.kept is not None]
        named = {file.path: file for file in (*manifest.outputs, *kept) if file.path in there}
        files |= named
        if named and manifest.arrow_schema:
            schema = decoded_schema(manifest.arrow_schema)
    known = sorted(files) if schema is not None else []
    return CommittedTable(storage, schema, tuple(files[path] for path in known), runs)


def same_columns(one: pa.Schema | None, other: pa.Schema | None) -> bool:
    """Whether names, order and types are the same; what is said of them may differ."""
    if one is None or other is None:
        return one is other
    return bool(one.equals(other, check_metadata=False))


def check_columns(table: CommittedTable, run: RunSpec, schema: pa.Schema) -> None:
    """The table has the run's columns, or those that the run was planned to change.

    Raises:
      RunFailed: it has others, by a run that was committed since this one was planned.
    """
    before = decoded_schema(run.table_columns) if run.table_columns else None
    known = [schema, before if run.changes_columns else None]
    # What a twin of this commit has changed already is as it should be.
    by_twin = run.run_id in table.runs
    if not by_twin and not any(same_columns(table.schema, columns) for columns in known):
        raise RunFailed(
            "another run has changed the table's columns meanwhile; nothing was committed, run "
            "again: this run's columns will be made to fit"
        )


def schema_in_force(
    table: CommittedTable, night: pa.Schema, carried: dict[str, bool], *, to_text: bool = False
) -> pa.Schema:
    """The table's schema with this night in it; a column of its may have the table's spelling.

    Args:
      table: what is there.
      night: the columns of this night as they would be without a table.
      carried: the columns of these that are the input's, and whether only nulls were seen of each.
      to_text: a column whose types do not go together becomes text.

    Raises:
      OutputError: types do not go together.
    """
    night = all_nullable(night)
    if table.schema is None:
        return night
    ours = {same_name(field.name): field for field in night}
    fields = []
    for field in table.schema:
        own = ours.pop(same_name(field.name), None)
        if own is not None:
            type_ = _united(table, field, own, carried, to_text)
            own_words = own.metadata if own.metadata else field.metadata
            field = pa.field(field.name, type_, metadata=own_words)
        fields.append(field)
    return pa.schema([*fields, *ours.values()], night.metadata)


def _united(
    table: CommittedTable, field: pa.Field, own: pa.Field, carried: dict[str, bool], to_text: bool
) -> pa.DataType:
    if own.name not in carried:
        if field.type != own.type and not table.holds_only_nulls(field.name):
            raise OutputError(
                f"the table's column {field.name} is {field.type}, and this job's is {own.type}; "
                f"use another {named('output')}"
            )
        return own.type
    if field.type == own.type or carried[own.name]:
        return field.type
    type_ = widened(field.type, own.type)
    becomes_text = type_ is not None and is_text(type_)
    if (type_ is None or becomes_text) and table.holds_only_nulls(field.name):
        return own.type
    if type_ is not None and (
        not _gains_doubles(field.type, type_) or table.fits_doubles(field.name)
    ):
        return type_
    if to_text:
        return pa.string()
    raise OutputError(
        f"column {own.name} is {own.type} in this input and {field.type} in the table: give "
        f"{named('evolve')} text to make it text from now on, leave it out of "
        f"{named('keep_columns')}, or use another {named('output')}"
    )


def widened(table: pa.DataType, night: pa.DataType) -> pa.DataType | None:
    """The type that holds every value of both; None: only text could."""
    if table == night or pa.types.is_null(night):
        return table
    if pa.types.is_null(table):
        return night
    if is_text(table):
        return table
    if is_list(table) and is_list(night):
        item = widened(table.value_type, night.value_type)
        return None if item is None else pa.list_(item)
    if pa.types.is_struct(table) and pa.types.is_struct(night):
        return _widened_struct(table, night)
    kinds = (pa.types.is_integer, pa.types.is_floating)
    are_times = pa.types.is_timestamp(table) and pa.types.is_timestamp(night)
    if are_times and table.tz != night.tz:
        return None
    if are_times or any(is_kind(table) and is_kind(night) for is_kind in kinds):
        return _promoted(table, night)
    numbers = (*kinds, pa.types.is_decimal)
    if not all(any(is_kind(type_) for is_kind in numbers) for type_ in (table, night)):
        return None
    if pa.types.is_decimal(table) or pa.types.is_decimal(night):
        floats = pa.types.is_floating(table) or pa.types.is_floating(night)
        return None if floats else _promoted(table, night)
    return pa.float64()


def _promoted(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    schemas = [pa.schema([("x", kind)]) for kind in (one, other)]
    try:
        type_ = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return None
    too_wide = pa.types.is_decimal(type_) and type_.precision > 38
    return None if too_wide else type_


def _widened_struct(table: pa.DataType, night: pa.DataType) -> pa.DataType | None:
    theirs = {field.name: field for field in night}
    fields = []
    for field in table:
        own = theirs.pop(field.name, None)
        type_ = field.type if own is None else widened(field.type, own.type)
        if type_ is None:
            return None
        fields.append((own or field).with_type(type_))
    return pa.struct([*fields, *theirs.values()])


def _gains_doubles(before: pa.DataType, after: pa.DataType) -> bool:
    """Whether integers become doubles somewhere inside."""
    if is_list(before) and is_list(after):
        return _gains_doubles(before.value_type, after.value_type)
    if pa.types.is_struct(before) and pa.types.is_struct(after):
        return any(_gains_doubles(field.type, after.field(field.name).type) for field in before)
    return bool(pa.types.is_integer(before) and pa.types.is_floating(after))
