"""`SequenceClassifier`: token ids in, logits of labels out."""

from __future__ import annotations

from pathlib import Path

import torch

from beam_bert.encoder.checkpoint import Checkpoint
from beam_bert.encoder.config import EncoderConfig, read_config
from beam_bert.encoder.engine import Float32Array, OnBatch, PackedModel
from beam_bert.encoder.families import FAMILIES
from beam_bert.encoder.model import head
from beam_bert.encoder.packing import PackedBatch
from beam_bert.encoder.plan import Int32Array, Int64Array
from beam_bert.errors import ModelError


class SequenceClassifier(PackedModel):
    """An encoder with a classification head; make one with `load_classifier`."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: EncoderConfig,
        precision: str,
        device: str,
        batch_tokens: int | None,
    ) -> None:
        super().__init__(checkpoint, config, precision, device, batch_tokens)
        self.width = len(config.labels)
        self._head = head(checkpoint, config, torch.device(self.device))

    def logits(
        self,
        input_ids: Int32Array,
        offsets: Int64Array,
        first_lengths: Int32Array | None = None,
        *,
        on_batch: OnBatch | None = None,
    ) -> Float32Array:
        """Logits of many sequences, float32 [n, labels]: see `PackedModel.outputs`."""
        return self.outputs(input_ids, offsets, first_lengths, on_batch=on_batch)

    def _read(self, packed: PackedBatch, ranges: Int32Array | None) -> torch.Tensor:
        return self._head(self._encoder.forward(packed, first_tokens_only=True))


def load_classifier(
    path: str | Path,
    *,
    precision: str = "auto",
    device: str = "auto",
    batch_tokens: int | None = None,
) -> SequenceClassifier:
    """Load a sequence classifier from a local folder in Hugging Face's layout.

    Args:
      path: folder with config.json and model.safetensors (or its shards with their index).
      precision: "auto", "fp32", "bf16", "int8" (CPU) or "fp8" (GPU); auto is bf16 where the
        hardware multiplies it, else fp32. The two of 8 bits have to show first that they agree.
      device: "auto", "cpu", "cuda" or "cuda:<n>"; auto is a GPU where there is one.
      batch_tokens: tokens of a micro-batch; None: `beam_bert.encoder.micro_batch_size` has a
        default, and measures others once there is much to compute.

    Raises:
      ModelError: the folder holds no model that this encoder computes; the message says why.
      ConfigError: the precision or device is unknown here.
    """
    folder = Path(path)
    config = read_config(folder)
    checkpoint = Checkpoint(folder, FAMILIES[config.family].prefix)
    _require_head(folder, checkpoint, config)
    return SequenceClassifier(checkpoint, config, precision, device, batch_tokens)


def _require_head(folder: Path, checkpoint: Checkpoint, config: EncoderConfig) -> None:
    family = FAMILIES[config.family]
    out = checkpoint.shape(f"{family.head_out}.weight")
    if config.architecture.endswith("ForSequenceClassification") and out is not None:
        if out[:1] != [len(config.labels)]:
            raise ModelError(
                f"{folder} has a head of {out[0] if out else 'no'} logits and a config.json of "
                f"{len(config.labels)} labels; use the config.json it was saved with"
            )
        return
    if config.architecture.endswith("ForQuestionAnswering"):
        way = f"beam-bert answer runs it; to classify give a {family.classifier}"
    else:
        way = f"fine-tune one, or give a {family.classifier}"
    raise ModelError(
        f"{folder} is a {config.architecture} and has no sequence-classification head; {way}"
    )
