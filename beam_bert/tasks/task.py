"""`Task`: what the steps and checks ask of one, whatever its model says."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa


class Task(Protocol):
    """What a model's outputs mean, and when a fast precision may have got them wrong."""

    def fields(self) -> list[pa.Field]:
        """The task's columns of the output, with their documentation."""

    def close_gap(self, precision: str) -> float:
        """Gap below which a call of that precision is close, in logits; 0: none is."""

    def low_margin(self, rows: pa.RecordBatch, outputs: np.ndarray, gap: float) -> np.ndarray:
        """Windows that decide a call closer than `gap`, bool [windows].

        A call that is no number counts as close: another precision may know better.

        Args:
          rows: of a TokenBatch.
          outputs: float32 [windows, width], what the model says of its windows.
          gap: in logits.
        """

    def logits(self, outputs: np.ndarray) -> np.ndarray:
        """What of the outputs [windows, width] are logits, which rounding moves."""

    def same(self, rows: pa.RecordBatch, outputs: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """Which calls say the same as the reference, bool [documents], or [questions asked].

        Args as in `low_margin`; `reference` are outputs of the same windows, usually at fp32.
        """
