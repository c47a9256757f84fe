"""Tokenized documents from all over an input: what `pipelines.bench` and `--dry_run` measure on.

Places are spread evenly over the input's stored bytes, so large files weigh as much as they hold.
Only the files at those places are opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import pyarrow as pa

from beam_bert.errors import InputError
from beam_bert.slices.batch import SliceBatch
from beam_bert.slices.plan import FileEntry, Segment, Slice, Unit, plan_units
from beam_bert.slices.token_arrays import TokenArrays
from beam_bert.sources import SourceSpec, cut_unit, read_slice
from beam_bert.sources.formats import format_of
from beam_bert.tokenization import Tokenizer, windows_of

PLACES = 16
SLICE_BYTES = 2**20
FIRST_BYTES = 2**16
# A file that cannot be cut (compressed) is read this far, in SLICE_BYTES unpacked, and no further.
MAX_BATCHES = 16
# What text unpacks to where a file was too long to be read to its end.
ASSUMED_COMPRESSION = 4


@dataclass(frozen=True)
class Sample:
    """Documents of a sample.

    Attributes:
      rows: TokenBatch rows of the documents taken.
      rows_read: rows at the places that were read, rejects included.
      stored_bytes: bytes that those rows take in the files, as stored.
      is_exact: whether `stored_bytes` is known; False where a long compressed file was left early.
    """

    rows: pa.RecordBatch
    rows_read: int
    stored_bytes: float
    is_exact: bool

    @property
    def tokens(self) -> TokenArrays:
        """What a model is given of them."""
        return windows_of(self.rows).everything()


def sample_documents(
    files: Sequence[FileEntry], spec: SourceSpec, tokenizer: Tokenizer, documents: int
) -> Sample:
    """Take about `documents` documents from places spread over `files`.

    Args:
      files: the listing.
      spec: resolved, with `slice_bytes` of `SLICE_BYTES`.
      tokenizer: of the model.
      documents: at most so many are taken, evenly from every place.

    Raises:
      InputError: none of the places holds a usable document.
    """
    parts: list[pa.RecordBatch] = []
    rows_read, stored_bytes, is_exact = 0, 0.0, True
    slices = list(_places(files, spec))
    share = -(-documents // max(len(slices), 1))
    for slice_, stored in slices:
        batches = list(islice(read_slice(slice_, spec, ""), MAX_BATCHES + 1))
        if len(batches) > MAX_BATCHES:
            stored = sum(file.bytes for batch in batches for file in batch.files)
            stored /= ASSUMED_COMPRESSION
            is_exact = False
        rows_read += sum(batch.rows_read for batch in batches)
        stored_bytes += stored
        filled = [batch for batch in batches if len(batch)]
        for batch in filled:
            count = min(-(-share // len(filled)), len(batch))
            spread = np.unique(np.linspace(0, len(batch) - 1, count).astype(np.int64))
            parts.append(tokenizer.tokenize(batch.take(spread)).rows)
    if not sum(part.num_rows for part in parts):
        raise InputError(
            f"no usable document to measure with in {len(files):,} files, such as {files[0].path}"
        )
    return Sample(pa.concat_batches(parts).slice(0, documents), rows_read, stored_bytes, is_exact)


def first_documents(files: Sequence[FileEntry], spec: SourceSpec) -> Iterator[SliceBatch]:
    """The documents of the first file's first bytes, which may end within one; none of no file."""
    for file in files[:1]:
        stop = 1 if format_of(file.path, spec) == "parquet" else min(file.size, FIRST_BYTES)
        first = Slice(0, (Segment(file.path, 0, stop),), files=(file,))
        yield from islice(read_slice(first, replace(spec, slice_bytes=FIRST_BYTES), ""), 1)


def _places(files: Sequence[FileEntry], spec: SourceSpec) -> Iterator[tuple[Slice, float]]:
    """Slices at even distances over the input's bytes, each once, with their stored bytes."""
    units = [unit for unit in plan_units(files, SLICE_BYTES) if unit.size]
    ends = np.cumsum([unit.size for unit in units])
    wanted = (np.arange(PLACES) + 0.5) / PLACES * (ends[-1] if units else 0)
    chosen: dict[int, list[float]] = {}
    for place in wanted if units else ():
        number = int(np.searchsorted(ends, place, side="right"))
        start = ends[number] - units[number].size
        chosen.setdefault(number, []).append((place - start) / units[number].size)
    for number, shares in chosen.items():
        slices = cut_unit(units[number], spec)
        for place in sorted({min(int(share * len(slices)), len(slices) - 1) for share in shares}):
            yield slices[place], _stored_bytes(slices[place], slices, units[number])


def _stored_bytes(slice_: Slice, slices: Sequence[Slice], unit: Unit) -> float:
    last = slices[-1].segments[-1].stop
    if last is None or len(slices) == 1:
        return unit.size
    (segment,) = slice_.segments
    # Offsets count bytes, or row groups for Parquet: a share of the file in both.
    return unit.size * ((segment.stop or last) - segment.start) / last
