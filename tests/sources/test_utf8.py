"""Which records are not UTF-8: Python's own decoder is the measure."""

from __future__ import annotations

import io

from hypothesis import example, given
from hypothesis import strategies as st

from beam_bert.sources.records import Lines
from beam_bert.sources.stream import Block, RecordStream
from beam_bert.sources.utf8 import invalid_records

# Beginnings, middles and ends of characters, legal and not, as random bytes seldom have them.
PIECES = st.sampled_from(
    [bytes([value]) for value in (*range(0x7E, 0x92), *range(0x9E, 0xA2), *range(0xBE, 0xC4))]
    + [bytes([value]) for value in (*range(0xDE, 0xF6), 0xFF, 0x0A, 0x0D, 0x61)]
    + [text.encode() for text in ("é", "你", "😀", "\ud7ff", "\uffff", "\U0010ffff")]
)


def decodes(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(st.lists(PIECES, min_size=1, max_size=40).map(b"".join))
@example(b"\xe4\n\x80\n")
@example(b"\xf0\x90\n\x80\x80\nfine\n\xf0\x90\x80")
@example(b"\xf0\xc3\xa9\xa9\xa9\n")
def test_exactly_the_records_that_do_not_decode_are_found(data: bytes) -> None:
    (block,) = RecordStream(io.BytesIO(data), Lines(10**6), first_row=0).blocks(1 << 20)
    assert isinstance(block, Block)
    assert invalid_records(block).tolist() == [
        i for i in range(len(block)) if not decodes(block.raw(i))
    ]
