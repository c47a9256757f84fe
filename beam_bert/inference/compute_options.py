"""`ComputeOptions`: how and where a model runs, as the workers are told."""

from __future__ import annotations

from dataclasses import dataclass

from beam_bert.encoder.engine import resolve_device
from beam_bert.encoder.precision import resolve_precision
from beam_bert.errors import BeamBertError


@dataclass(frozen=True)
class ComputeOptions:
    """How and where a model runs.

    Attributes:
      precision, device, batch_tokens: as in `beam_bert.encoder.load_classifier`.
      recheck_margin: gap in logits below which a call is computed again at fp32; None: the task's
        own for the precision; 0: never.
      accelerator: resource hint of the inference step, for runners that give GPUs to those who ask.
    """

    precision: str = "auto"
    device: str = "auto"
    batch_tokens: int | None = None
    recheck_margin: float | None = None
    accelerator: str | None = None

    def arithmetic(self) -> str:
        """What the products are made in on this machine, such as `bf16 on cpu`: it moves bits."""
        try:
            device = resolve_device(self.device)
            return f"{resolve_precision(self.precision, device)} on {device.type}"
        except (BeamBertError, RuntimeError, AssertionError):  # the model runs on other machines
            return f"{self.precision} on {self.device}"
