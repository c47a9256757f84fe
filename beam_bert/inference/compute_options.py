"""`ComputeOptions`: how and where a model runs, as the workers are told."""

from __future__ import annotations

from dataclasses import dataclass

from beam_bert.encoder.engine import resolve_device
from beam_bert.encoder.precision import resolve_precision
from beam_bert.errors import BeamBertError
from beam_bert.settings.fields import check_values
from beam_bert.settings.inference import InferenceConfig


@dataclass(frozen=True)
class ComputeOptions:
    """How and where a model runs.

    Attributes:
      precision, device, batch_tokens: as in `beam_bert.encoder.load_classifier`.
      recheck_margin: gap in logits below which a call is computed again at fp32; None: the task's
        own for the precision; 0: never.
      accelerator: resource hint of the inference step, for runners that give GPUs to those who ask.

    Raises:
      ConfigError: a value is none that the jobs' settings of that name may have.
    """

    precision: str = "auto"
    device: str = "auto"
    batch_tokens: int | None = None
    recheck_margin: float | None = None
    accelerator: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no worker could run, before there is one."""
        check_values(
            InferenceConfig,
            precision=self.precision,
            device="cuda" if self.device.startswith("cuda:") else self.device,
            batch_tokens=self.batch_tokens,
            recheck_margin=self.recheck_margin,
        )

    def arithmetic(self) -> str:
        """What the products are made in on this machine, such as `bf16 on cpu`: it moves bits."""
        try:
            device = resolve_device(self.device)
            return f"{resolve_precision(self.precision, device)} on {device.type}"
        except (BeamBertError, RuntimeError, AssertionError):  # the model runs on other machines
            return f"{self.precision} on {self.device}"


DEFAULTS = ComputeOptions()
