"""`Tokenizer`: what the steps ask of one, whatever it lays out."""

from __future__ import annotations

from typing import Protocol

from beam_bert.slices.batch import SliceBatch


class Tokenizer(Protocol):
    """What turns a slice's documents into windows of token ids."""

    def tokenize(self, batch: SliceBatch) -> SliceBatch:
        """Document rows -> a TokenBatch."""
