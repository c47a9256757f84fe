"""Resolve, at launch, what every shard must agree on: the columns there are and their types."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pyarrow as pa

from beam_bert.errors import InputError
from beam_bert.slices.plan import FileEntry
from beam_bert.slices.schema import carried_name
from beam_bert.sources.fitting import is_text
from beam_bert.sources.json_types import Shape, type_of
from beam_bert.sources.sampling import Sample, sample_files
from beam_bert.sources.spec import SourceSpec


def inspect_source(
    files: Sequence[FileEntry], spec: SourceSpec, reserved: Iterable[str] = ()
) -> SourceSpec:
    """Look at the files and fill in `carried`, `carried_from`, `mixed` and `id_type`.

    A column that several kinds of files or values disagree on is read as text where JSON or
    CSV has part in it; Parquet types are promoted where no value is lost by kind (int64 with
    double is double). Columns that some files lack are null there.

    Args:
      files: the listing.
      spec: as the user wants it.
      reserved: output columns of the task; a carried column of that name becomes input_<name>.

    Raises:
      InputError: the text, pair, id or a carried column is in none of the files, or holds no
        text; types cannot be united; see also `sample_files`.
    """
    samples = sample_files(files, spec) if files else []
    _check_first_records(samples, spec)
    columns = list(dict.fromkeys(name for sample in samples for name in sample.columns))
    _check_columns(samples, columns, spec)
    names = _carried_columns(columns, spec)
    used = dict.fromkeys([*names, *([spec.id_column] if spec.id_column else [])])
    types, mixed = _united(samples, [name for name in used if name not in spec.text_parts])
    taken = set(reserved)
    fields = []
    for name in names:
        output = carried_name(name, taken)
        taken.add(output)
        type_ = pa.string() if name in spec.text_parts else types[name]
        fields.append(pa.field(output, type_))
    return replace(
        spec,
        carried=pa.schema(fields),
        carried_from=tuple(names),
        mixed=tuple(mixed),
        id_type=types.get(spec.id_column) if spec.id_column else None,
    )


def _carried_columns(columns: Sequence[str], spec: SourceSpec) -> list[str]:
    texts = list(spec.text_parts) if spec.keep_text else []
    if spec.keep_columns is not None:
        return list(dict.fromkeys([*spec.keep_columns, *texts]))
    doubled = {"doc_id"} & {spec.id_column}
    return [
        name
        for name in columns
        if name not in doubled and (spec.keep_text or name not in spec.text_parts)
    ]


def _united(
    samples: Sequence[Sample], columns: Sequence[str]
) -> tuple[dict[str, pa.DataType], list[str]]:
    """One type for each of the columns over all files, and which of them are mixed."""
    stored: dict[str, list[tuple[str, pa.DataType]]] = {}
    textual: dict[str, None] = {}
    shapes: dict[str, dict[Shape, None]] = {}
    for sample in samples:
        for name, type_ in sample.types.items():
            if sample.format == "parquet":
                stored.setdefault(name, []).append((sample.path, type_))
            else:
                textual[name] = None
        for name, found in sample.shapes.items():
            shapes.setdefault(name, {}).update(found)
    types: dict[str, pa.DataType] = {}
    mixed: list[str] = []
    for name in columns:
        kinds: list[pa.DataType | None] = []
        if name in stored:
            kinds.append(_promoted(name, stored[name]))
        if name in textual:
            kinds.append(pa.string())
        if name in shapes and (set(shapes[name]) != {"null"} or not kinds):
            kinds.append(type_of(shapes[name]))
        type_ = _agreed(kinds)
        if type_ is None:
            mixed.append(name)
        types[name] = pa.string() if type_ is None else type_
    return types, mixed


def _promoted(name: str, found: Sequence[tuple[str, pa.DataType]]) -> pa.DataType:
    """The type that all Parquet files' columns of that name go into."""
    path, type_ = found[0]
    for other_path, other in found[1:]:
        if other == type_:
            continue
        try:
            schemas = [pa.schema([(name, kind)]) for kind in (type_, other)]
            united = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise InputError(
                f"column {name} is {type_} in {path} but {other} in {other_path}; "
                "leave it out with --keep_columns, or read the files in two runs"
            ) from error
        type_ = united
    return type_


def _agreed(kinds: Sequence[pa.DataType | None]) -> pa.DataType | None:
    """One type for the kinds of files that have the column; None: it must be read as text."""
    distinct = [kind for i, kind in enumerate(kinds) if kind not in kinds[:i]]
    if len(distinct) == 1:
        return distinct[0]
    present = [kind for kind in distinct if kind is not None and not pa.types.is_null(kind)]
    if len(present) == 1 and None not in distinct:
        return present[0]
    if None not in distinct and all(map(_is_number, present)):
        schemas = [pa.schema([("x", kind)]) for kind in present]
        try:
            return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return None
    return None


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_))


def _check_columns(samples: Sequence[Sample], columns: Sequence[str], spec: SourceSpec) -> None:
    """Every column that the user named must be in some file, if any shows its columns."""
    tabular = [sample for sample in samples if sample.format != "text"]
    if not columns:
        for sample in tabular:
            if sample.spread_out:
                path, filter_ = sample.path, "'.[]'" if sample.spread_out == "array" else "."
                raise InputError(
                    f"{path} is one JSON {sample.spread_out}, not JSON lines; "
                    f"write each object on a line: jq -c {filter_} {path} > {path}l"
                )
        return
    named = {"--id_column": [spec.id_column], "--keep_columns": spec.keep_columns or ()}
    if len(tabular) == len(samples):
        named = {
            "--text_column": spec.text_columns,
            "--text_pair_column": [spec.text_pair_column],
            **named,
        }
    elif not tabular and (spec.id_column or spec.text_pair_column):
        raise InputError("plain text has no columns; leave out --id_column and --text_pair_column")
    for flag, wanted in named.items():
        for name in wanted:
            if name is not None and name not in columns:
                raise InputError(_no_such_column(name, flag, columns))
    for name in spec.text_parts:
        stored = [s.types[name] for s in tabular if s.format == "parquet" and name in s.types]
        if stored and not any(map(is_text, stored)) and len(stored) == len(samples):
            raise InputError(f"column {name} is {stored[0]}, not text; name another --text_column")


def _no_such_column(name: str, flag: str, columns: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, columns, n=1, cutoff=0.5)
    lower = {column.lower(): column for column in columns}
    guess = lower.get(name.lower()) or (near[0] if near else None)
    hint = f"did you mean {flag} {guess}? " if guess else ""
    shown = ", ".join(columns[:20]) + (", ..." if len(columns) > 20 else "")
    return f"no file has a column {name!r} ({flag}); {hint}the columns are: {shown}"


def _check_first_records(samples: Sequence[Sample], spec: SourceSpec) -> None:
    """Names for columns without header must be as many as the fields, in some file at least."""
    seen = [s for s in samples if s.first_record_fields is not None]
    names = spec.column_names
    if names is not None and seen and all(s.first_record_fields != len(names) for s in seen):
        raise InputError(
            f"--column_names has {len(names)} names, but the first record of {seen[0].path} "
            f"has {seen[0].first_record_fields} fields"
        )
