"""JSON lines: pyarrow parses whole blocks; only a block that it refuses is looked at line by line.

What pyarrow's parser takes is the one measure of a good line: lines that it refuses are found with
Python's parser and by bisection, and the others are parsed together again. So a good row comes
out the same whatever stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from beam_bert.sources.bisect import refused
from beam_bert.sources.documents import Columns
from beam_bert.sources.fitting import holds_doubles, id_texts
from beam_bert.sources.json_values import (
    MISFIT,
    TOO_DEEP,
    VALUE_STARTS,
    Flaw,
    as_text,
    bent_number,
    checks_of,
    deeper_than_allowed,
    flaw_of,
    flaws_of,
)
from beam_bert.sources.records import Lines
from beam_bert.sources.rejects import Rejects
from beam_bert.sources.spec import SourceSpec
from beam_bert.sources.stream import Block

_OPEN, _CLOSE = b"{}"
_LOOKED_AT = 64  # lines of a block: where one of them is bad, so are too many to be singled out
_NO_OBJECT = ("invalid_json", "the line is no JSON object")
_BLANKS = np.frombuffer(b" \t\r\n", np.uint8)
_JSON_STARTS = np.frombuffer(VALUE_STARTS, np.uint8)


def jsonl_splitter(spec: SourceSpec) -> Lines:
    r"""Lines of up to four times the largest document: JSON may write é as \u00e9."""
    return Lines(4 * spec.max_document_bytes + (1 << 20))


def parse_jsonl(block: Block, spec: SourceSpec) -> tuple[Columns, Rejects]:
    """The objects of a block as documents. Blank lines are no rows, but they keep their number."""
    types = spec.column_types
    rejects = Rejects()
    block = _objects_only(block, rejects)
    block = rejects.without_flawed(block, _inexact(block, types))
    table = _parse(block, types)
    if table is None:
        block, table = _parse_with_care(block, types, frozenset(spec.mixed), spec, rejects)
    column = {name: table.column(name) for name in types}
    ids = None if spec.id_column is None else id_texts(column[spec.id_column])
    columns = Columns(
        rows=block.rows,
        texts=[column[name] for name in spec.text_columns],
        pair=None if spec.text_pair_column is None else column[spec.text_pair_column],
        ids=ids,
        carried=column,
        raw=block.raws,
    )
    return columns, rejects


def _objects_only(block: Block, rejects: Rejects) -> Block:
    """Lines that look like one object each, from brace to brace, as valid UTF-8 and not too deep.

    pyarrow reads on over line ends, so half an object would eat the next line (and a bare `null`
    line crashes its 25.0); where each line begins and ends with a brace, neither can happen.
    """
    block = rejects.without_unreadable(block)
    nul = np.flatnonzero(np.frombuffer(block.data, np.uint8) == 0)
    nul_lines = block.records_at(nul)
    block = rejects.without(block, nul_lines, ("nul_byte", "the line holds a NUL byte"))
    too_deep = np.array(list(_too_deep(block)), np.int64)
    block = rejects.without(block, too_deep, ("invalid_json", TOO_DEEP))
    array = np.frombuffer(block.data, np.uint8)
    inked = np.flatnonzero(~np.isin(array, _BLANKS))
    firsts = np.searchsorted(inked, block.starts)
    lasts = np.searchsorted(inked, block.stops) - 1
    filled = firsts <= lasts
    begin = np.zeros(len(block), np.uint8)
    end = np.zeros(len(block), np.uint8)
    begin[filled] = array[inked[firsts[filled]]]
    end[filled] = array[inked[lasts[filled]]]
    keep = (begin == _OPEN) & (end == _CLOSE)
    # No JSON begins so: these need no parser.
    senseless = filled & ~np.isin(begin, _JSON_STARTS)
    rejects.without(block, np.flatnonzero(senseless), _NO_OBJECT)
    rest = np.flatnonzero(filled & ~keep & ~senseless)
    lines = pc.ascii_trim(block.raws(rest).view(pa.string()), " \t\r").view(pa.binary())
    numbers, flaws = flaws_of(lines, lambda i: flaw_of(lines[i].as_py())[0])
    numbers[numbers < 0] = len(flaws)
    rejects.without(block, rest, (numbers, [*flaws, _NO_OBJECT]))
    return block.only(keep)


def _inexact(block: Block, types: dict[str, pa.DataType]) -> dict[int, tuple[str, str]]:
    """Lines whose numbers a column of doubles would bend: long integers, and what is too large."""
    doubles = {name: type_ for name, type_ in types.items() if holds_doubles(type_)}
    if not doubles or len(block) == 0:
        return {}
    digits = np.frombuffer(block.data, np.uint8) - np.uint8(48) < 10
    run = digits
    for step in (1, 2, 4, 8):
        run = run[:-step] & run[step:]  # of 16 digits in the end
    array = np.frombuffer(block.data, np.uint8)
    exponent = np.flatnonzero((array[:-4] | 32 == 101) & (digits[3:-1] & digits[2:-2]))
    flaws = {}
    for i in block.records_at(np.concatenate([np.flatnonzero(run), exponent])).tolist():
        if message := bent_number(block.raw(i), doubles):
            flaws[i] = ("carried_type", message)
    return flaws


def _too_deep(block: Block) -> Iterable[int]:
    """Lines nested so deeply that recursive parsers, ours and those of readers, may break."""
    data = block.data
    if data.count(b"{") + data.count(b"[") <= len(block) + 100:
        return []
    array = np.frombuffer(data, np.uint8)
    opens = ((array == _OPEN) | (array == b"["[0])).astype(np.int32)
    a_line = np.add.reduceat(opens, block.starts)
    return [i for i in np.flatnonzero(a_line > 100).tolist() if deeper_than_allowed(block.raw(i))]


def _parse(block: Block, types: dict[str, pa.DataType]) -> pa.RecordBatch | None:
    """The block as columns of these types; None if pyarrow refuses it."""
    schema = pa.schema(list(types.items()))
    if len(block) == 0:
        return pa.RecordBatch.from_pylist([], schema=schema)
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(block.data),
            pyarrow.json.ReadOptions(use_threads=False, block_size=len(block.data) + 1),
            pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    if table.num_rows != len(block):
        return None  # several objects on a line
    batch: pa.RecordBatch = table.combine_chunks().to_batches(max_chunksize=None)[0]
    return batch


def _parse_with_care(
    block: Block,
    types: dict[str, pa.DataType],
    mixed: frozenset[str],
    spec: SourceSpec,
    rejects: Rejects,
) -> tuple[Block, pa.RecordBatch]:
    """The same for a block that pyarrow refuses as it is: without its bad lines."""
    strict = {name: kind for name, kind in types.items() if name not in mixed}
    checks = checks_of(strict, spec.text_parts)
    values: dict[bytes, dict[str, Any]] = {}
    suspects = np.arange(len(block))
    looked_at = range(0, len(block), max(len(block) // _LOOKED_AT, 1))
    if not mixed and not any(flaw_of(block.raw(i), checks)[0] for i in looked_at):
        # Python's parser is 20 times slower, but a call of pyarrow's costs as much as 100 lines.
        few = refused(
            suspects.tolist(),
            lambda some: _parse(_pick(block, some), types) is not None,
            at_once=1_000,
        )
        suspects = np.array(few, np.int64)
    lines = block.raws(suspects)

    def find(index: int) -> Flaw | None:
        line = lines[index].as_py()
        flaw, value = flaw_of(line, checks)
        if flaw and not flaw.certain:
            alone = _parse(_pick(block, [int(suspects[index])]), types)
            if alone is not None:
                flaw, value = None, alone.select(sorted(mixed & types.keys())).to_pylist()[0]
        if mixed and not flaw:
            values[line] = value
        return flaw

    numbers, flaws = flaws_of(lines, find)
    bad = numbers >= 0
    block = rejects.without(block, suspects[bad], (numbers[bad], flaws))
    table = _parse(block, strict)
    if table is None:
        indices = list(range(len(block)))
        misfits = refused(indices, lambda some: _parse(_pick(block, some), strict) is not None)
        block = rejects.without(block, np.array(misfits, np.int64), MISFIT.told)
        table = _parse(block, strict)
        if table is None:
            raise RuntimeError("pyarrow accepts each JSON line alone but not all together")
    if mixed:
        kept = block.raws(np.arange(len(block))).dictionary_encode()
        objects = [values[line] for line in kept.dictionary.to_pylist()]
        for name in mixed & types.keys():
            texts = pa.array([as_text(value.get(name)) for value in objects], pa.string())
            table = table.append_column(name, texts.take(kept.indices))
    return block, table


def _pick(block: Block, indices: list[int]) -> Block:
    keep = np.zeros(len(block), bool)
    keep[indices] = True
    return block.only(keep)
