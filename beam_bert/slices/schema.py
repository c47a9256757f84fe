"""Arrow schemas: the contract between the steps, and the documentation of every output column.

One record batch a slice flows through the pipeline and gains and loses columns on its way:

    DocumentBatch    doc_id, text, text_pair?, source_file, source_row, carried
      Tokenize    -> TokenBatch       + input_ids, first_lengths?, num_tokens, truncated
      RunInference-> ScoreBatch       - input_ids, first_lengths, + logits
      Decode      -> PredictionBatch  the output schema: carried columns at the top level

Question answering has no `input_ids`; its windows are laid out when the model is about to read them
(`beam_bert.tokenization.question_windows`), of these columns of its TokenBatch:

    text_ids, token_starts, token_ends   a token of the text each (`tokenization.token_places`)
    before, first_lengths?               a question each: the tokens that stand before the text
    after                                the tokens that stand after it
    begins, context_lengths, questions   a window each: first token of the text in it, how many, and
                                         number of the question

Its `logits` are the output of `beam_bert.encoder.spans`, and a document may become several rows.

`carried` is one struct column until the end, so a user's column can have any name without
touching ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

import pyarrow as pa

from beam_bert.slices.conversion import with_nulls

# Part of every shard's key: raise it when the meaning or layout of an output column changes.
SCHEMA_VERSION = 1

INPUT_IDS = pa.list_(pa.list_(pa.int32()))  # windows of a document, tokens of a window
FIRST_LENGTHS = pa.list_(pa.int32())  # a window: tokens of the first segment, special ones included


def logits_type(num_labels: int) -> pa.DataType:
    """Type of the `logits` column: windows of a document, `num_labels` float32 each."""
    return pa.list_(pa.list_(pa.float32(), num_labels))


def document_schema(carried: pa.Schema, *, pair: bool = False) -> pa.Schema:
    """Schema of a DocumentBatch; `text_pair` only for two-segment models."""
    fields = [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        *([pa.field("text_pair", pa.string(), nullable=False)] if pair else []),
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
        pa.field("carried", pa.struct(list(carried)), nullable=False),
    ]
    return pa.schema(fields)


def described(name: str, type_: pa.DataType, description: str) -> pa.Field:
    """A field that carries its documentation, as Parquet readers show it.

    It may be null, whatever it is: a night without the column would not fit a required one.
    """
    return pa.field(name, type_, metadata={"description": description})


# What could not be used: one row for each row (or file) lost, with what a person needs to find it.
REJECT_SCHEMA = pa.schema(
    [
        described("source_file", pa.string(), "File that the row stood in."),
        described(
            "source_row",
            pa.int64(),
            "0-based row within the file; null where the file as a whole could not be read.",
        ),
        described("doc_id", pa.string(), "Document id, where one was known by then."),
        described("reason", pa.string(), "Stable code of what was wrong."),
        described("message", pa.string(), "The same for a person: value, place."),
        described("raw", pa.binary(), "The row's bytes as read, its first 65,536 at most."),
        described("raw_size", pa.int64(), "Size of the row in bytes before that cut."),
    ]
)
REJECT_RAW_LIMIT = 65_536

# Columns of every output row that come before and after a task's own (see beam_bert.tasks).
ID_FIELDS = [
    described(
        "doc_id",
        pa.string(),
        "Value of the id column, or <source_file>#<source_row>.",
    )
]
ORIGIN_FIELDS = [
    described(
        "num_tokens",
        pa.int32(),
        "Tokens of the whole document, special ones left out.",
    ),
    described("num_windows", pa.int32(), "Windows the model read it in."),
    described(
        "truncated",
        pa.bool_(),
        "True where tokens beyond max_length were not read.",
    ),
    described("source_file", pa.string(), "File that the row stood in."),
    described("source_row", pa.int64(), "0-based row within that file."),
    described("model", pa.string(), "Model, as it was asked for."),
    described(
        "model_version",
        pa.string(),
        "Its version in the model store; for other models a digest of the files.",
    ),
]


def output_schema(
    carried: pa.Schema, task_fields: Iterable[pa.Field], metadata: dict[str, str] | None = None
) -> pa.Schema:
    """The schema of a shard: doc_id, the carried columns, the task's, then where it came from."""
    return pa.schema(
        [*ID_FIELDS, *carried, *task_fields, *ORIGIN_FIELDS],
        metadata={"beam_bert.schema_version": str(SCHEMA_VERSION), **(metadata or {})},
    )


def all_nullable(schema: pa.Schema) -> pa.Schema:
    """The schema as files have it: what one night requires, readers ask of all nights."""
    fields = [field.with_type(with_nulls(field.type)).with_nullable(True) for field in schema]
    return pa.schema(fields, schema.metadata)


def same_name(name: str) -> str:
    """What two names have in common where SQL takes them for one: their case does not count."""
    return name.casefold()


def carried_names(names: Sequence[str], reserved: Iterable[str]) -> list[str]:
    """Output names of carried columns, no two the same to SQL.

    Each keeps its own, but for `input_<name>` where the output has a column of that name, and
    `<name>_2` where an input column before it has.
    """
    ours = {same_name(name) for name in reserved}
    kept: set[str] = set()
    outputs = []
    for place, name in enumerate(names):
        output = name
        while same_name(output) in ours or (output != name and same_name(output) in kept):
            output = f"input_{output}"
        if output != name:
            ours.add(same_name(output))
        elif same_name(name) in kept:
            others = {same_name(other) for other in names[place + 1 :]}
            output = numbered_name(name, ours | kept | others)
        kept.add(same_name(output))
        outputs.append(output)
    return outputs


def numbered_name(name: str, taken: Set[str]) -> str:
    """The name, or `<name>_2` and so on where it is among `taken`, which are `same_name`s."""
    unique, number = name, 2
    while same_name(unique) in taken:
        unique, number = f"{name}_{number}", number + 1
    return unique


def rejects_batch(rows: Iterable[dict[str, object]]) -> pa.RecordBatch:
    """Rejects from plain dicts (bad rows are few); `raw` is cut to its limit, `raw_size` kept."""
    cut = []
    for row in rows:
        raw = row.get("raw")
        if isinstance(raw, bytes):
            row = {"raw_size": len(raw)} | row | {"raw": raw[:REJECT_RAW_LIMIT]}
        cut.append(row)
    return pa.RecordBatch.from_pylist(cut, schema=REJECT_SCHEMA)
