"""`RecheckedModel`: a fast model whose low margins are rechecked at fp32.

Rounding moves logits a little, and so can only change a call (a label, an answer) that was close to
another. Where a precision's roundings are known to matter, those few calls are computed again:
nearly all of the speed, and the answers of fp32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
import pyarrow as pa
import torch
from apache_beam.metrics import Metrics

from beam_bert.errors import RunFailed
from beam_bert.inference.busy_time import SharedSeconds
from beam_bert.slices.live_counts import LIVE
from beam_bert.slices.token_arrays import TokenArrays
from beam_bert.tasks import Task
from beam_bert.tokenization import QuestionWindows, windows_of

NAMESPACE = "beam_bert"  # of all of this package's metrics


class Computes(Protocol):
    """What a `RecheckedModel` needs of a model: `PackedModel` has it, and a network in training."""

    width: int
    precision: str
    device: str

    def outputs(
        self,
        input_ids: np.ndarray,
        offsets: np.ndarray,
        first_lengths: np.ndarray | None = None,
        ranges: np.ndarray | None = None,
        *,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """See `PackedModel.outputs`."""


@dataclass(frozen=True, eq=False)
class RecheckedModel:
    """A model, and the same at fp32 for the calls that a faster precision may get wrong.

    Attributes:
      model: in the precision asked for.
      exact: at fp32; None: what `model` says is taken as it is.
      low_margin: given the rows of a TokenBatch and `model`'s outputs, the windows that `exact`
        computes again, bool [windows].
      seconds: in which they were busy.
    """

    model: Computes
    exact: Computes | None = None
    low_margin: Callable[[pa.RecordBatch, np.ndarray], np.ndarray] | None = None
    seconds: SharedSeconds = field(default_factory=SharedSeconds)

    @staticmethod
    def of(
        model: Computes, task: Task, load_exact: Callable[[], Computes], gap: float | None
    ) -> RecheckedModel:
        """With a model at fp32 where the precision and the task ask for one.

        Args:
          model: as it will run.
          task: says which calls are close.
          load_exact: loads the model at fp32.
          gap: in logits; None: the task's own for the precision; 0: none.
        """
        gap = task.close_gap(model.precision) if gap is None else gap
        if model.precision == "fp32" or gap == 0:
            return RecheckedModel(model)
        return RecheckedModel(model, load_exact(), partial(task.low_margin, gap=gap))

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.model.device

    def outputs(self, rows: pa.RecordBatch) -> Outputs:
        """What the model says of the windows of a TokenBatch."""
        tokens = windows_of(rows)
        values, broken = _outputs_or_errors(self.model, tokens, _progress(tokens))
        if self.exact is None or self.low_margin is None:
            return Outputs(tokens, values, broken, 0)
        is_exact = np.zeros(len(values), bool)
        # What is computed again may fall back to what was not: until no low margin is left.
        while len(chosen := np.flatnonzero(self.low_margin(rows, values) & ~is_exact)):
            values[chosen], again = _outputs_or_errors(self.exact, tokens.windows(chosen), None)
            owners = np.repeat(np.arange(len(tokens.counts)), tokens.counts)
            broken |= {int(owners[chosen[place]]): text for place, text in again.items()}
            is_exact[chosen] = True
        return Outputs(tokens, values, broken, int(is_exact.sum()))


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a `RecheckedModel` says of windows.

    Attributes:
      tokens: of the windows, as the model was given them.
      values: float32 [windows, width]; NaN where a document broke the model.
      broken: what it broke it with, by the document's place.
      again: windows that were computed again at fp32.
    """

    tokens: TokenArrays | QuestionWindows
    values: np.ndarray
    broken: dict[int, str]
    again: int


def _outputs_or_errors(
    model: Computes,
    tokens: TokenArrays | QuestionWindows,
    on_batch: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, dict[int, str]]:
    """Outputs for all windows, NaN for documents that break the model, and what they broke it with.

    When a call fails, the documents are halved until the one that fails stands alone.

    Raises:
      RunFailed: a GPU is lost to this process: every document would fail.
    """
    documents = len(tokens.counts)
    try:
        outputs = [model.outputs(*part.arguments, on_batch=on_batch) for part in tokens.parts()]
        return np.concatenate([np.zeros((0, model.width), np.float32), *outputs]), {}
    except torch.AcceleratorError as error:  # for good, and whatever the text
        reason = " ".join(str(error).split())[:500]
        raise RunFailed(
            f"the GPU failed ({reason}); start the run again, it goes on where this one stopped"
        ) from error
    except (RuntimeError, ValueError, IndexError) as error:
        if documents == 1:
            reason = " ".join(str(error).split())[:500]
            windows = int(tokens.counts[0])
            empty = np.full((windows, model.width), np.nan, np.float32)
            return empty, {0: f"the model failed on this text: {reason}"}
    half = documents // 2
    left, left_errors = _outputs_or_errors(model, tokens.documents(0, half), on_batch)
    right, right_errors = _outputs_or_errors(model, tokens.documents(half, documents), on_batch)
    errors = left_errors | {half + row: text for row, text in right_errors.items()}
    return np.concatenate([left, right]), errors


def _progress(tokens: TokenArrays | QuestionWindows) -> Callable[[int, int], None]:
    documents_a_window = len(tokens.counts) / max(len(tokens.lengths), 1)
    sizes = Metrics.distribution(NAMESPACE, "batch_tokens")

    def count(windows: int, batch_tokens: int) -> None:
        LIVE.add_documents(windows * documents_a_window, windows)
        sizes.update(batch_tokens)

    return count
