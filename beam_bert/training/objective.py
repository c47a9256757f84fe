"""What fine-tuning minimizes: labels, the agreement of two dropout passes, a teacher's answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from beam_bert.encoder.plan import Int64Array
from beam_bert.settings.training import FinetuneConfig
from beam_bert.slices.token_arrays import TokenArrays
from beam_bert.tasks.classification import REGRESSION
from beam_bert.terminal import tell
from beam_bert.training.losses import (
    agreement_loss,
    balanced_weights,
    label_loss,
    state_loss,
    teacher_loss,
)
from beam_bert.training.masking import drop_words
from beam_bert.training.network import PackedNetwork, network_outputs, packed
from beam_bert.training.probe import fit_linear, fit_means, fits_means, rows_to_fit
from beam_bert.training.weights import finite


@dataclass(frozen=True, eq=False)
class Teacher:
    """A teacher's answers for every training row, computed once.

    Attributes:
      logits: float32 [n, labels], in the student's order of labels.
      states: float32 [n, hidden] of [CLS]; None where widths differ.
    """

    logits: Tensor
    states: Tensor | None


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Rows to learn from: the first `len(targets)` have labels, the rest (a teacher's) have not."""

    tokens: TokenArrays
    targets: np.ndarray


class ClassifierObjective:
    """Fine-tuning as `beam_bert.training.loop` runs it.

    Args:
      network: what is trained.
      config: how.
      problem_type: as in a Hugging Face config.
      train: rows to learn from.
      dev: rows to choose on, and `evaluate`, which makes metrics of their logits.
      metric: that chooses the epoch.
      device: where the network is.
      mask_id: of the tokenizer's mask; None: no word is dropped.
      teacher: its answers, where there is one.
    """

    def __init__(
        self,
        network: PackedNetwork,
        config: FinetuneConfig,
        problem_type: str,
        train: TrainingRows,
        dev: TokenArrays,
        evaluate: Callable[[np.ndarray], dict[str, float]],
        metric: str,
        *,
        device: torch.device,
        mask_id: int | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        self.metric, self.dev_size = metric, len(dev)
        self.network, self._config, self._teacher = network, config, teacher
        self._problem_type, self._train, self._dev = problem_type, train, dev
        self._metrics_of, self._device, self._mask_id = evaluate, device, mask_id
        self._targets = torch.from_numpy(train.targets).to(device)
        self._weights = None
        if config.class_weights == "balanced" and problem_type != REGRESSION:
            self._weights = balanced_weights(self._targets, problem_type)

    def fit_head(self, seed: int) -> None:
        """Start the head as the best linear answer from the encoder as it is; see `probe`.

        The seed draws the rows to fit it on, where there are more than enough.
        """
        layer = self.network.head_out
        most = rows_to_fit(layer.out_features, self._problem_type)
        drawn = np.random.default_rng(seed).permutation(len(self._targets))[:most]
        rows = np.sort(drawn).astype(np.int64)
        tell(f"fitting the head to the encoder as it is, on {len(rows):,} rows")
        _, states = network_outputs(self.network, self._train.tokens, self._device, chosen=rows)
        with torch.no_grad():
            features = self.network.head_features(torch.from_numpy(states).to(self._device))
        targets = self._targets[torch.from_numpy(rows).to(self._device)]
        if fits_means(layer.out_features, self._problem_type):
            fit_means(layer, features, targets)
        else:
            fit_linear(layer, features, targets, self._problem_type, self._weights)

    def loss(self, rows: Int64Array) -> Tensor:
        """The mean loss over these rows."""
        agreement, mask_rate = self._config.r_drop_weight, self._config.token_mask_rate
        copies = 2 if agreement else 1
        batch, order = packed(
            self._train.tokens, rows, self.network.config, self._device, copies=copies
        )
        if mask_rate and self._mask_id is not None:
            batch = drop_words(batch, mask_rate, self._mask_id)
        first = self.network.hidden(batch, first_tokens_only=True)
        logits = self.network.head(first).float()
        loss = self._row_losses(logits, first, torch.from_numpy(order).to(self._device)).mean()
        if copies == 2:
            apart = agreement_loss(logits[0::2], logits[1::2], self._problem_type)
            loss = loss + agreement * apart.mean()
        return loss

    def evaluate(self) -> dict[str, float]:
        """Metrics on dev, by name."""
        return self._metrics_of(self.dev_logits())

    def dev_logits(self) -> np.ndarray:
        """Logits float32 [n, labels] of the dev rows.

        Raises:
          FloatingPointError: some are no numbers.
        """
        return finite(network_outputs(self.network, self._dev, self._device)[0])

    def _row_losses(self, logits: Tensor, first: Tensor, rows: Tensor) -> Tensor:
        """Loss of each row; those without label have the teacher's answers alone."""
        labelled, config, taught = rows < len(self._targets), self._config, self._teacher
        loss = logits.new_zeros(len(rows))
        share = 1.0 if taught is None else 1.0 - config.teacher_weight
        if share > 0 and bool(labelled.any()):
            of_labels = label_loss(
                logits[labelled],
                self._targets[rows[labelled]],
                self._problem_type,
                smoothing=config.label_smoothing,
                weights=self._weights,
            )
            loss = loss.index_put((labelled.nonzero()[:, 0],), share * of_labels)
        if taught is None:
            return loss
        answers = teacher_loss(
            logits, taught.logits[rows], self._problem_type, config.teacher_temperature
        )
        loss = loss + torch.where(labelled, config.teacher_weight, 1.0) * answers
        if taught.states is not None and config.hidden_weight:
            loss = loss + config.hidden_weight * state_loss(first, taught.states[rows])
        return loss
