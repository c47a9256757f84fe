"""Resolve, at launch, what every shard must agree on: the columns there are and their types."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from beam_bert.errors import InputError, shown
from beam_bert.settings.naming import named
from beam_bert.slices.plan import FileEntry
from beam_bert.slices.schema import carried_names, same_name
from beam_bert.sources.delimited import MAX_COLUMNS
from beam_bert.sources.fitting import is_text
from beam_bert.sources.json_types import Shape, type_of
from beam_bert.sources.partitions import partition_schema
from beam_bert.sources.sampling import FileSample, sample_files
from beam_bert.sources.spec import SourceSpec
from beam_bert.terminal import TERMINAL


@dataclass(frozen=True)
class AskingSettings:
    """The caller's settings behind the wishes of a `SourceSpec`, for messages.

    Attributes:
      pair: which names `text_pair_column`.
      kept: by column of `keep_columns`, which asks for it; the others are asked for by that name.
      lost: which names `max_lost_files`; None: the caller has no such setting.
    """

    pair: str = "text_pair_column"
    lost: str | None = "max_lost_files"
    kept: Mapping[str, str] = field(default_factory=dict)


def inspect_source(
    files: Sequence[FileEntry],
    spec: SourceSpec,
    reserved: Iterable[str] = (),
    asked: AskingSettings | None = None,
) -> SourceSpec:
    """Look at the files and fill in what `SourceSpec` resolves at launch.

    A column that several kinds of files or values disagree on is read as text where JSON or
    CSV has part in it; Parquet types are promoted where no value is lost by kind (int64 with
    double is double). Columns that some files lack are null there.

    Args:
      files: the listing.
      spec: as the user wants it.
      reserved: output columns of the task; a carried column of that name becomes input_<name>.
      asked: which of the caller's settings ask for columns; None: those of `spec`'s names.

    Raises:
      InputError: the text, pair, id or a carried column is in none of the files, or holds no
        text; types cannot be united; see also `sample_files`.
    """
    asked = asked or AskingSettings()
    given = spec.column_names or ()
    if twice := next((name for name in given if given.count(name) > 1), None):
        raise InputError(
            f"{named('column_names')}: {twice!r} stands twice; give each column its own name"
        )
    samples = sample_files(files, spec) if files else []
    _check_lost_files(samples, spec, asked)
    _tell(samples)
    _check_first_records(samples, spec)
    partitions = partition_schema(file.path for file in files)
    columns = _columns(samples, partitions)
    _check_columns(samples, columns, spec, asked)
    names = _carried_columns(columns, spec)
    if len(names) > MAX_COLUMNS:
        raise InputError(
            f"the input has {len(names):,} columns, {MAX_COLUMNS:,} are the most that are carried; "
            f"name those that you need: {named('keep_columns')}"
        )
    used = dict.fromkeys([*names, *([spec.id_column] if spec.id_column else [])])
    read = [name for name in used if name not in (*spec.text_parts, *partitions.names)]
    types, mixed = _united(samples, read, spec, asked)
    fields = []
    for name, output in zip(names, carried_names(names, reserved), strict=True):
        if name in partitions.names:
            type_ = partitions.field(name).type
        else:
            type_ = pa.string() if name in spec.text_parts else types[name]
        fields.append(pa.field(output, type_))
    return replace(
        spec,
        carried=pa.schema(fields),
        carried_from=tuple(names),
        mixed=tuple(mixed),
        id_type=types.get(spec.id_column) if spec.id_column else None,
        partitions=partitions,
        untyped=tuple(name for name in read if _shows_only_nulls(samples, name)),
        finer=tuple(name for name in names if any(name in sample.finer for sample in samples)),
    )


def check_columns(files: Sequence[FileEntry], spec: SourceSpec, asked: AskingSettings) -> None:
    """Refuse a named column that no file has, and tell nothing; `inspect_source` does more.

    Raises:
      InputError: as `inspect_source` does for it, and `sample_files`.
    """
    samples = sample_files(files, spec)
    partitions = partition_schema(file.path for file in files)
    _check_columns(samples, _columns(samples, partitions), spec, asked)


def _check_lost_files(
    samples: Sequence[FileSample], spec: SourceSpec, asked: AskingSettings
) -> None:
    """Refuse, before anything is computed, what the run would refuse in the end."""
    lost = [(sample.path, sample.lost) for sample in samples if sample.lost]
    most = len(samples) if spec.max_lost_files is None else spec.max_lost_files
    if len(lost) <= most and not (spec.max_lost_files is not None and len(lost) == len(samples)):
        return
    if not lost:
        return
    path, why = lost[0]
    others = f" (and {len(lost) - 1:,} more files cannot be read)" if len(lost) > 1 else ""
    more = f", or go on without: {named(asked.lost, len(lost))}" if asked.lost else ""
    raise InputError(f"{path}: {why}{others}; mend it, leave it out{more}")


def _tell(samples: Sequence[FileSample]) -> None:
    """Say once what is noteworthy about how the files are read."""
    told: dict[str, list[str]] = {}
    for sample in samples:
        for about, note in sample.notes.items():
            told.setdefault(about, []).append(f"{sample.path} {note}")
    for notes in told.values():
        more = f" (likewise {len(notes) - 1:,} more files)" if len(notes) > 1 else ""
        TERMINAL.warn(notes[0] + more)


def _carried_columns(columns: Sequence[str], spec: SourceSpec) -> list[str]:
    texts = list(spec.text_parts) if spec.keep_text else []
    if spec.keep_columns is not None:
        return list(dict.fromkeys([*spec.keep_columns, *texts]))
    is_doubled = spec.id_column is not None and same_name(spec.id_column) == "doc_id"
    return [
        name
        for name in columns
        if not (is_doubled and name == spec.id_column)
        and (spec.keep_text or name not in spec.text_parts)
    ]


def _shows_only_nulls(samples: Sequence[FileSample], name: str) -> bool:
    """Whether nothing but nulls was seen of a column: its type may be any."""
    shapes = {shape for sample in samples for shape in sample.shapes.get(name, {})}
    types = [sample.types.get(name, sample.nested_type(name)) for sample in samples]
    return shapes <= {"null"} and all(type_ is None or pa.types.is_null(type_) for type_ in types)


def _united(
    samples: Sequence[FileSample], columns: Sequence[str], spec: SourceSpec, asked: AskingSettings
) -> tuple[dict[str, pa.DataType], list[str]]:
    """One type for each of the columns over all files, and which of them are mixed."""
    stored: dict[str, list[tuple[str, pa.DataType]]] = {}
    textual: dict[str, None] = {}
    shapes: dict[str, dict[Shape, None]] = {}
    for sample in samples:
        nested = {
            name: type_
            for name in columns
            if name not in sample.types and (type_ := sample.nested_type(name)) is not None
        }
        for name, type_ in (sample.types | nested).items():
            if sample.format == "parquet":
                stored.setdefault(name, []).append((sample.path, type_))
            else:
                textual[name] = None
        for name, seen in sample.shapes.items():
            shapes.setdefault(name, {}).update(seen)
    types: dict[str, pa.DataType] = {}
    mixed: list[str] = []
    for name in columns:
        kinds: list[pa.DataType | None] = []
        if name in stored:
            kinds.append(_promoted(name, stored[name], asked))
        if name in textual:
            kinds.append(pa.string())
        if name in shapes and (set(shapes[name]) != {"null"} or not kinds):
            kinds.append(type_of(shapes[name]))
        type_ = _agreed(kinds)
        if name == spec.id_column and type_ is not None and pa.types.is_floating(type_):
            type_ = None if name in shapes else type_  # an id of 17 digits is no double
        if type_ is None:
            mixed.append(name)
        types[name] = pa.string() if type_ is None else type_
    return types, mixed


def _promoted(
    name: str, types: Sequence[tuple[str, pa.DataType]], asked: AskingSettings
) -> pa.DataType | None:
    """The type that all Parquet files' columns of that name go into; None: text holds them all."""
    path, type_ = types[0]
    for other_path, other in types[1:]:
        if other == type_:
            continue
        if (united := _united_type(type_, other)) is not None:
            type_ = united
        elif _is_number(type_) and _is_number(other):
            return None
        else:
            setting = named(asked.kept.get(name, "keep_columns"))
            raise InputError(
                f"column {name} is {type_} in {path} but {other} in {other_path}; "
                f"leave it out with {setting}, or read the files in two runs"
            )
    return type_


def _united_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds the values of both as they are; None: there is none."""
    pair = (one, other)
    if any(map(pa.types.is_uint64, pair)) and any(map(pa.types.is_signed_integer, pair)):
        return None  # pyarrow would say int64
    if any(map(pa.types.is_decimal, pair)) and any(map(pa.types.is_floating, pair)):
        return None  # pyarrow would say double
    try:
        schemas = [pa.schema([("x", kind)]) for kind in pair]
        united = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return None
    if any(map(pa.types.is_integer, pair)) and pa.types.is_floating(united):
        return pa.float64()
    return united


def _agreed(kinds: Sequence[pa.DataType | None]) -> pa.DataType | None:
    """One type for the kinds of files that have the column; None: it must be read as text."""
    distinct = [kind for i, kind in enumerate(kinds) if kind not in kinds[:i]]
    if len(distinct) == 1:
        return distinct[0]
    present = [kind for kind in distinct if kind is not None and not pa.types.is_null(kind)]
    if len(present) == 1 and None not in distinct:
        return present[0]
    if None not in distinct and len(present) == 2 and all(map(_is_number, present)):
        return _united_type(present[0], present[1])
    return None


def _is_number(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)
    )


def columns_of(files: Sequence[FileEntry], spec: SourceSpec) -> list[str]:
    """Names of the columns that the files show, without a look at what they hold."""
    samples = sample_files(files, spec) if files else []
    return _columns(samples, partition_schema(file.path for file in files))


def _columns(samples: Sequence[FileSample], partitions: pa.Schema) -> list[str]:
    names = [name for sample in samples for name in sample.columns]
    return list(dict.fromkeys([*names, *partitions.names]))


def _check_columns(
    samples: Sequence[FileSample], columns: Sequence[str], spec: SourceSpec, asked: AskingSettings
) -> None:
    """Every column that the user named must be in some file, if any shows its columns."""
    samples = [sample for sample in samples if not sample.lost or sample.columns]
    tabular = [sample for sample in samples if sample.format != "text"]
    if not columns:
        return
    wishes = [("id_column", spec.id_column)]
    wishes += [(asked.kept.get(name, "keep_columns"), name) for name in spec.keep_columns or ()]
    if len(tabular) == len(samples):
        texts = [("text_column", name) for name in spec.text_columns]
        wishes = [*texts, (asked.pair, spec.text_pair_column), *wishes]
    elif not tabular and (spec.id_column or spec.text_pair_column):
        raise InputError(
            f"plain text has no columns; leave out {named('id_column')} and {named(asked.pair)}"
        )
    for setting, name in wishes:
        if name is None or name in columns:
            continue
        if all(sample.nested_type(name) is None for sample in samples):
            raise InputError(_no_such_column(name, named(setting), columns))
    for name in spec.text_parts:
        types = [s.types.get(name, s.nested_type(name)) for s in tabular if s.format == "parquet"]
        stored = [type_ for type_ in types if type_ is not None]
        if stored and not any(map(is_text, stored)) and len(stored) == len(samples):
            setting = named("text_column" if name in spec.text_columns else asked.pair)
            raise InputError(f"column {name} is {stored[0]}, not text; name another {setting}")


def _no_such_column(name: str, setting: str, columns: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
    lower = {column.lower(): column for column in columns}
    guess = lower.get(name.lower()) or (near[0] if near else None)
    hint = f"did you mean {setting} {_named(guess)}? " if guess else ""
    parent, _, member = name.rpartition(".")
    if parent.split(".")[0] in columns and re.fullmatch(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+", name):
        hint = (
            f"members of objects are read from Parquet alone; bring it up first: jq -c "
            f"'.{member} = .{name}' IN.jsonl > OUT.jsonl, then {setting} {member}; "
        )
    names = ", ".join(map(_named, columns[:20])) + (", ..." if len(columns) > 20 else "")
    return f"no file has a column {name!r} ({setting}); {hint}the columns are: {names}"


def _named(column: str) -> str:
    """A column's name as a message shows it: in quotes where its blanks would not be seen."""
    return column if re.fullmatch(r"\S+( \S+)*", column) else shown(column)


def _check_first_records(samples: Sequence[FileSample], spec: SourceSpec) -> None:
    """Names for columns without header must be as many as the fields, in some file at least."""
    seen = [s for s in samples if s.first_record_fields is not None]
    names = spec.column_names
    if names is not None and seen and all(s.first_record_fields != len(names) for s in seen):
        raise InputError(
            f"{named('column_names')} has {len(names)} names, but the first record of "
            f"{seen[0].path} has {seen[0].first_record_fields} fields"
        )
