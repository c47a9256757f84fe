"""`Tokenizer`: what the steps ask of one, whatever it lays out."""

from __future__ import annotations

from typing import Protocol

from beam_bert.slices.batch import SliceBatch


class Tokenizer(Protocol):
    """What turns a slice's documents into windows of token ids."""

    @property
    def vocab_size(self) -> int:
        """Ids that it can give."""

    def tokenize(self, batch: SliceBatch) -> SliceBatch:
        """Document rows -> a TokenBatch."""
