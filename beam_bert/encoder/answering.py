"""`SpanFinder`: windows of question and context in, the best answers of each out."""

from __future__ import annotations

from pathlib import Path

import torch

from beam_bert.encoder.checkpoint import Checkpoint
from beam_bert.encoder.config import EncoderConfig, read_config
from beam_bert.encoder.engine import PackedModel
from beam_bert.encoder.families import FAMILIES
from beam_bert.encoder.packing import PackedBatch, to_device
from beam_bert.encoder.plan import Int32Array
from beam_bert.encoder.precision import make_linear
from beam_bert.encoder.spans import best_spans
from beam_bert.errors import ModelError

# The extractive head has one name in every family: Linear(hidden, 2), start and end.
HEAD = "qa_outputs"


class SpanFinder(PackedModel):
    """An encoder with an extractive question-answering head; make one with `load_span_finder`.

    `outputs` takes the `ranges` of `beam_bert.encoder.spans` and gives its output; without ranges
    every token may be the answer.

    Attributes:
      max_answer_tokens: of a span.
      top_spans: spans of a window that leave the device.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: EncoderConfig,
        precision: str,
        device: str,
        batch_tokens: int | None,
        *,
        max_answer_tokens: int,
        top_spans: int,
    ) -> None:
        super().__init__(checkpoint, config, precision, device, batch_tokens)
        self.max_answer_tokens = max_answer_tokens
        self.top_spans = top_spans
        self.width = 1 + 3 * top_spans
        # In float32 whatever the precision: two outputs a token cost nothing.
        self._head = make_linear(
            checkpoint.tensor(f"{HEAD}.weight", (2, config.hidden_size)),
            checkpoint.tensor(f"{HEAD}.bias", (2,)),
            precision="fp32",
            device=torch.device(self.device),
        )

    def _read(self, packed: PackedBatch, ranges: Int32Array | None) -> torch.Tensor:
        logits = self._head(self._encoder.forward(packed).float())
        if ranges is None:
            lengths = torch.diff(packed.boundaries.starts.long())
            zero = torch.zeros_like(lengths)
            looked_at = torch.stack([zero, lengths, zero, 2 * lengths], dim=1)
            longest = packed.boundaries.longest
        else:
            looked_at = to_device(ranges, logits.device).long()
            longest = int(ranges[:, 1].max())
        return best_spans(
            logits,
            packed.first_tokens,
            looked_at,
            longest,
            self.max_answer_tokens,
            self.top_spans,
        )


def load_span_finder(
    path: str | Path,
    *,
    precision: str = "auto",
    device: str = "auto",
    batch_tokens: int | None = None,
    max_answer_tokens: int = 30,
    top_spans: int = 1,
) -> SpanFinder:
    """Load an extractive question-answering model from a local folder in Hugging Face's layout.

    Args:
      path: folder with config.json and model.safetensors (or its shards with their index).
      precision, device, batch_tokens: as in `load_classifier`.
      max_answer_tokens: longest answer.
      top_spans: answers to keep of each window.

    Raises:
      ModelError: the folder holds no such model; the message says which pipeline takes it.
      ConfigError: the precision or device is unknown here.
    """
    folder = Path(path)
    config = read_config(folder)
    checkpoint = Checkpoint(folder, FAMILIES[config.family].prefix)
    _require_head(folder, checkpoint, config)
    return SpanFinder(
        checkpoint,
        config,
        precision,
        device,
        batch_tokens,
        max_answer_tokens=max_answer_tokens,
        top_spans=top_spans,
    )


def _require_head(folder: Path, checkpoint: Checkpoint, config: EncoderConfig) -> None:
    shape = checkpoint.shape(f"{HEAD}.weight")
    if config.architecture.endswith("ForQuestionAnswering") and shape is not None:
        if shape[:1] != [2]:
            raise ModelError(
                f"{folder} has a question-answering head of {shape[0] if shape else 'no'} outputs; "
                "beam_bert runs extractive ones, which have two: start and end"
            )
        return
    wanted = FAMILIES[config.family].classifier.replace(
        "SequenceClassification", "QuestionAnswering"
    )
    if config.architecture.endswith("ForSequenceClassification"):
        way = f"beam-bert classify runs it; to answer questions give a {wanted}"
    else:
        way = f"fine-tune one (beam-bert finetune --task answer), or give a {wanted}"
    raise ModelError(
        f"{folder} is a {config.architecture} and has no question-answering head; {way}"
    )
