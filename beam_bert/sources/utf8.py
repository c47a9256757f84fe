"""Find the records of a block that are not valid UTF-8."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from beam_bert.sources.stream import Block


def is_valid_utf8(data: bytes) -> bool:
    """Whether the bytes are valid UTF-8; Arrow's check is several GB/s and copies nothing."""
    if data.isascii():
        return True
    offsets = pa.py_buffer(np.array([0, len(data)], np.int64))
    array = pa.LargeStringArray.from_buffers(1, offsets, pa.py_buffer(data))
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def invalid_records(block: Block) -> npt.NDArray[np.int64]:
    """Indices of the records that are not valid UTF-8; each costs its bytes and no object."""
    if is_valid_utf8(block.data):
        return np.array([], np.int64)
    # Records end in ASCII, so no character goes on from one to the next.
    offsets = np.flatnonzero(_misplaced(np.frombuffer(block.data + b"\n", np.uint8)))
    return block.records_at(offsets)


def invalid_values(values: pa.Array) -> npt.NDArray[np.int64]:
    """Indices of the values (of bytes or text) that are not valid UTF-8; nulls are valid."""
    values = pc.fill_null(values.cast(pa.binary()), b"")
    stops = np.cumsum(pc.binary_length(values).to_numpy().astype(np.int64) + 1) - 1
    lines = pa.ListArray.from_arrays([0, len(values)], values)
    data = pc.binary_join(lines, b"\n")[0].as_buffer()
    offsets = np.flatnonzero(_misplaced(np.append(np.frombuffer(data, np.uint8), np.uint8(10))))
    return np.unique(np.searchsorted(stops, offsets))


def _misplaced(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """The bytes that cannot stand where they do, by Table 3-7 of the Unicode Standard.

    Args:
      data: uint8, the last one ASCII.
    """
    before = np.concatenate([[0], data[:-1]])
    goes_on = (data & 0xC0) == 0x80
    expected = before >= 0xC2
    for back, least in ((2, 0xE0), (3, 0xF0)):
        expected[back:] |= (data[:-back] >= least) & (goes_on & expected)[back - 1 : -1]
    return np.asarray(
        (goes_on != expected)
        | (data == 0xC0)
        | (data == 0xC1)
        | (data > 0xF4)
        | ((before == 0xE0) & (data < 0xA0))  # longer than it need be
        | ((before == 0xED) & (data > 0x9F))  # half of a surrogate pair
        | ((before == 0xF0) & (data < 0x90))
        | ((before == 0xF4) & (data > 0x8F))  # above U+10FFFF
    )
