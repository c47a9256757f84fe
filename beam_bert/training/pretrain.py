"""`python -m pipelines.pretrain`: raw text of a domain makes an encoder know it better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from beam_bert.encoder.checkpoint import Checkpoint
from beam_bert.encoder.config import read_config
from beam_bert.encoder.families import FAMILIES
from beam_bert.errors import InputError
from beam_bert.labelled.rows import Rows, read_rows, tokenize_rows
from beam_bert.labelled.splitting import split_holdout
from beam_bert.settings.inference import window_length
from beam_bert.settings.naming import named
from beam_bert.settings.training import PretrainConfig
from beam_bert.slices.token_arrays import TokenArrays
from beam_bert.sources import SourceSpec
from beam_bert.terminal import tell
from beam_bert.tokenization import DocumentTokenizer, WindowSettings
from beam_bert.training.batches import plan_epochs
from beam_bert.training.delivery import Delivered, deliver, documents
from beam_bert.training.loop import Plan, Progress
from beam_bert.training.masking import MaskedObjective, load_language_model, mask_token
from beam_bert.training.reading import tell_of, tokenized_parts
from beam_bert.training.run import run_training
from beam_bert.training.saving import save_model
from beam_bert.training.setup import Setup, set_up

WEIGHTS = "model.safetensors"


def pretrain(config: PretrainConfig) -> Delivered:
    """Pre-train as the settings say, and publish; goes on from its last checkpoint.

    Raises:
      UserError: something about settings, text, base or output is wrong; nothing was done.
      RunFailed: it did not finish; nothing was published.
    """
    setup = set_up(config, "input")
    key = setup.key("pretrain")
    torch.manual_seed(config.seed)
    training = PreTraining(setup)
    tokens = training.tokens
    tell(
        f"{len(tokens):,} sequences, {len(tokens.ids):,} tokens; "
        f"dev masked_loss {training.before['masked_loss']:.4f} before the first step"
    )
    return run_training(training, setup, key)


class PreTraining:
    """One pre-training: its network, objective and batches, and what becomes of them."""

    def __init__(self, setup: Setup[PretrainConfig]) -> None:
        self._setup, config, base = setup, setup.config, setup.base
        length = window_length(config.max_length, read_config(base.folder).max_length)
        rows = _rows(config)
        self._texts, self._rejected = len(rows), rows.rejected
        self.tokens, dev_tokens = _tokens(config, base.folder, rows, length)
        del rows  # gigabytes, maybe, for as long as the training lasts
        self.network = load_language_model(base.folder, setup.device)
        self.objective = MaskedObjective(
            self.network,
            self.tokens,
            dev_tokens,
            config,
            mask_id=mask_token(base.folder),
            device=setup.device,
        )
        self.before = self.objective.evaluate()

    def plans(self) -> list[Plan]:
        """One training; see `beam_bert.training.run.Training`."""
        config, lengths = self._setup.config, self.tokens.lengths
        epochs = plan_epochs(lengths, config.batch_tokens, config.epochs, config.seed)
        return [Plan(epochs, self._setup.loop_settings())]

    def finish(self, progress: Progress, work: Path) -> Delivered:
        """See `beam_bert.training.run.Training`."""
        base, metrics = self._setup.base, self.objective.evaluate()
        texts = documents(
            self._setup,
            progress,
            metrics,
            record={"metrics_before": self.before},
            rejected=self._rejected,
            summary="An encoder, trained further on raw text by guessing masked words.",
            task="fill-mask",
            labels=(),
            rows={"texts": self._texts},
            calibration={},
        )

        def make(folder: Path) -> None:
            save_model(self.network.model, base.folder, folder, texts)
            _keep_pooler(base.folder, folder)

        loss = f"masked_loss {metrics['masked_loss']:.4f} on held-out text"
        return deliver(self._setup, work, make, metrics, f"pre-trained from {base.text}: {loss}")


def _rows(config: PretrainConfig) -> Rows:
    spec = SourceSpec.of(config, text_columns=config.text_column, text_unit=config.text_unit)
    rate = config.max_reject_rate
    rows = read_rows(config.input, spec, labels=None, max_reject_rate=rate, setting="input")
    return tell_of(rows, "input")


def _tokens(
    config: PretrainConfig, folder: Path, rows: Rows, length: int
) -> tuple[TokenArrays, TokenArrays]:
    """Tokens to train on and held out: long documents are read whole, piece by piece."""
    given = named("input")
    if len(rows) < 2:
        raise InputError(f"{given} has one row only: none would be left to measure on; add text")
    kept, held = split_holdout(
        rows.content_keys(), np.zeros(len(rows), np.int64), config.holdout, config.seed
    )
    if len(held) == 0:
        raise InputError(f"all rows of {given} have the same text; there is nothing to learn")
    tokenizer = DocumentTokenizer(folder, WindowSettings(length, overlapping=True, stride=0))
    (train, used), (dev, dev_used) = tokenized_parts(
        [rows.take(kept), rows.take(held)],
        lambda part: tokenize_rows(part, tokenizer),
        rejected=rows.rejected,
        rows_read=len(rows) + rows.rejected,
        max_reject_rate=config.max_reject_rate,
        setting="input",
    )
    if not len(used) or not len(dev_used):
        raise InputError(f"{given}: the tokenizer leaves nothing of the text; give other text")
    return train, dev


def _keep_pooler(base: Path, folder: Path) -> None:
    """Add the base's pooler, which a masked language model has not but a classifier starts from."""
    config = read_config(base)
    family = FAMILIES[config.family]
    if not family.head_dense.startswith(f"{family.prefix}."):
        return
    checkpoint = Checkpoint(base, family.prefix)
    shapes = {"weight": (config.hidden_size,) * 2, "bias": (config.hidden_size,)}
    names = {f"{family.head_dense}.{part}": shape for part, shape in shapes.items()}
    if not all(name in checkpoint for name in names):
        return
    tensors = load_file(folder / WEIGHTS)
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        metadata = file.metadata()
    tensors |= {name: checkpoint.tensor(name, shape) for name, shape in names.items()}
    save_file(tensors, folder / WEIGHTS, metadata)
