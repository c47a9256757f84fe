"""What fine-tuning for questions minimizes: the cross-entropy of an answer's first and last token.

Each window is two classifications over its tokens (Devlin et al. 2018, arXiv:1810.04805, section
4.3); where the answer is not in it, the first token is right for both. Dev is asked as
`pipelines.answer` asks: whole texts, all windows, the same decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from beam_bert.encoder.packing import PackedBatch
from beam_bert.encoder.plan import Int32Array, Int64Array, plan_micro_batches
from beam_bert.encoder.spans import best_spans
from beam_bert.evaluation.answering.scoring import TOP_SPANS, answers_of, best_thresholds
from beam_bert.inference.fp32_recheck import RecheckedModel
from beam_bert.labelled.answers import Asked
from beam_bert.labelled.question_windows import AnswerWindows
from beam_bert.slices.token_arrays import TokenArrays
from beam_bert.tokenization import QuestionTokenizer
from beam_bert.training.network import PackedNetwork, packed

_DEV_BATCH_TOKENS = 4096


class SpanObjective:
    """Fine-tuning for questions as `beam_bert.training.loop` runs it.

    Attributes:
      metric: exact or f1.
    """

    def __init__(
        self,
        network: PackedNetwork,
        windows: AnswerWindows,
        dev: Sequence[Asked],
        tokenizer: QuestionTokenizer,
        metric: str,
        *,
        device: torch.device,
        max_answer_tokens: int,
    ) -> None:
        self.network = network
        self.metric, self.dev_size = metric, len(dev)
        self._tokens, self._device = windows.tokens, device
        self._targets = torch.from_numpy(np.column_stack([windows.starts, windows.ends]))
        self._dev, self._tokenizer = dev, tokenizer
        self._finder = _TrainedSpanFinder(network, device, max_answer_tokens)

    def loss(self, rows: Int64Array) -> Tensor:
        """The mean loss over these windows, of start and end."""
        batch, order = packed(self._tokens, rows, self.network.config, self._device)
        logits = by_sequence(self.network.span_logits(batch).float(), batch)
        targets = self._targets[torch.from_numpy(order)].to(self._device)
        return F.cross_entropy(logits.transpose(1, 2).flatten(0, 1), targets.flatten())

    def evaluate(self) -> dict[str, float]:
        """Exact match and F1 on dev, each at its best null threshold, and that of F1."""
        predictions = answers_of(self._dev, self._tokenizer, RecheckedModel(self._finder))
        best = best_thresholds(self._dev, predictions)
        values = {name: threshold.value for name, threshold in best.items()}
        return values | {"null_threshold": best["f1"].threshold}


def by_sequence(logits: Tensor, batch: PackedBatch) -> Tensor:
    """Packed logits [total_tokens, 2] as [n, longest, 2], -inf after each sequence's end."""
    lengths = torch.diff(batch.boundaries.starts)
    place = torch.arange(batch.boundaries.longest, device=logits.device)
    rows = (batch.first_tokens[:, None] + place).clamp(max=len(logits) - 1)
    beyond = place >= lengths[:, None]
    return logits[rows].masked_fill(beyond[:, :, None], float("-inf"))


class _TrainedSpanFinder:
    """The network as it is, as `beam_bert.inference.model_handler.score` takes a model."""

    precision = "fp32"

    def __init__(
        self, network: PackedNetwork, device: torch.device, max_answer_tokens: int
    ) -> None:
        self.network, self.device = network, str(device)
        self._max_answer_tokens = max_answer_tokens
        self.top_spans = TOP_SPANS
        self.width = 1 + 3 * self.top_spans

    @torch.no_grad()
    def outputs(
        self,
        input_ids: Int32Array,
        offsets: Int64Array,
        first_lengths: Int32Array | None = None,
        ranges: Int32Array | None = None,
        *,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Without dropout; see `beam_bert.encoder.PackedModel.outputs`."""
        assert ranges is not None
        network, device = self.network, torch.device(self.device)
        training = network.training
        network.eval()
        tokens = TokenArrays.sequences(input_ids, offsets, first_lengths)
        outputs = np.empty((len(tokens), self.width), np.float32)
        for plan in plan_micro_batches(tokens.lengths, _DEV_BATCH_TOKENS):
            batch, rows = packed(tokens, plan.rows, network.config, device)
            spans = best_spans(
                network.span_logits(batch).float(),
                batch.first_tokens,
                torch.from_numpy(ranges[rows]).long().to(device),
                int(ranges[rows, 1].max()),
                self._max_answer_tokens,
                self.top_spans,
            )
            outputs[rows] = spans.cpu().numpy()
        network.train(training)
        if np.isnan(outputs).any():  # -inf are spans that may not be
            raise FloatingPointError("a network's outputs are no numbers")
        return outputs
