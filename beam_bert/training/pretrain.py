"""`python -m pipelines.pretrain`: raw text of a domain makes an encoder know it better."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from beam_bert.encoder.checkpoint import Checkpoint
from beam_bert.encoder.config import read_config
from beam_bert.encoder.families import FAMILIES
from beam_bert.errors import ConfigError, InputError
from beam_bert.labelled.provenance import SourceRecord, data_yaml
from beam_bert.labelled.rows import Rows, Tokens, tokenize_rows
from beam_bert.labelled.splitting import split_holdout
from beam_bert.settings.training import PretrainConfig
from beam_bert.software import software_versions
from beam_bert.sources import SourceSpec
from beam_bert.storage.billing import bill_to
from beam_bert.tokenization import DocumentTokenizer, WindowSettings
from beam_bert.training.batches import plan_epochs
from beam_bert.training.card import Card, render
from beam_bert.training.loop import Plan, Progress
from beam_bert.training.masking import MaskedObjective, load_language_model, mask_token
from beam_bert.training.run import (
    Delivered,
    StartingPoint,
    base_dict,
    base_note,
    check_base_licence,
    check_emptied,
    check_output,
    declared_sources,
    deliver,
    find_model,
    loop_settings,
    read_and_tell,
    rejected_notes,
    run_key,
    run_training,
    say,
    settings_of,
    source_dicts,
    training_device,
    unlicensed_notes,
    work_folder,
)
from beam_bert.training.saving import TRAINING_FILE, as_json, save_model

DEFAULT_MAX_LENGTH = 512
WEIGHTS = "model.safetensors"


def pretrain(config: PretrainConfig) -> Delivered:
    """Pre-train as the settings say, and publish; goes on from its last checkpoint.

    Raises:
      UserError: something about settings, text, base or output is wrong; nothing was done.
      RunFailed: it did not finish; nothing was published.
    """
    started = time.monotonic()
    bill_to(config.billing_project)
    check_output(config)
    device = training_device(config.device)
    base = find_model(str(config.base))
    read_config(base.folder)  # an encoder, or one line now
    sources = declared_sources(config, "input")
    check_base_licence(config, base)
    key = run_key("pretrain", config, [base], sources)
    torch.manual_seed(config.seed)
    training = PreTraining(config, base, sources, device)
    tokens = training.tokens
    say(
        f"{len(tokens):,} sequences, {len(tokens.input_ids):,} tokens; "
        f"dev masked_loss {training.before['masked_loss']:.4f} before the first step"
    )
    delivered = run_training(training, work_folder(config, key), key)
    say(f"model: {delivered.location} (in {time.monotonic() - started:,.0f} s)")
    return delivered


class PreTraining:
    """One pre-training: its network, objective and batches, and what becomes of them."""

    def __init__(
        self,
        config: PretrainConfig,
        base: StartingPoint,
        sources: list[SourceRecord],
        device: torch.device,
    ) -> None:
        self._config = config
        self._base = base
        self._sources = sources
        self._device = device
        limit = read_config(base.folder).max_length
        if config.max_length is not None and config.max_length > limit:
            raise ConfigError(f"--max_length {config.max_length}: the model reads {limit} at most")
        rows = _rows(config)
        self._texts, self._rejected = len(rows), rows.rejected
        self.tokens, dev_tokens = _tokens(config, base.folder, rows, limit)
        del rows  # gigabytes, maybe, for as long as the training lasts
        self.network = load_language_model(base.folder, device)
        self.objective = MaskedObjective(
            self.network,
            self.tokens,
            dev_tokens,
            rate=config.mask_rate,
            mask_id=mask_token(base.folder),
            dev_batch_tokens=config.batch_tokens,
            device=device,
        )
        self.before = self.objective.evaluate()

    def plans(self) -> list[Plan]:
        """One training; see `beam_bert.training.run.Training`."""
        config, lengths = self._config, self.tokens.lengths
        epochs = plan_epochs(lengths, config.batch_tokens, config.epochs, config.seed)
        return [Plan(epochs, loop_settings(config, self._device))]

    def finish(self, progress: Progress, work: Path) -> Delivered:
        """See `beam_bert.training.run.Training`."""
        config, base, sources = self._config, self._base, self._sources
        metrics = self.objective.evaluate()
        training = {
            "curves": progress.curves,
            "metrics_before": self.before,
            "metrics": metrics,
            "settings": settings_of(config),
            "base": base_dict(base),
            "sources": source_dicts(sources),
        }
        texts = {
            TRAINING_FILE: as_json(training),
            "data.yaml": data_yaml(sources),
            "README.md": render(_card(config, base, sources, self._rows, metrics, progress)),
        }

        def make(folder: Path) -> None:
            save_model(self.network.model, base.folder, folder, texts)
            _keep_pooler(base.folder, folder)

        loss = f"masked_loss {metrics['masked_loss']:.4f} on held-out text"
        return deliver(config, base, work, make, metrics, f"pre-trained from {base.text}: {loss}")


def _rows(config: PretrainConfig) -> Rows:
    spec = SourceSpec.of(config, text_columns=config.text_column, text_unit=config.text_unit)
    return read_and_tell(
        config.input,
        spec,
        labels=None,
        max_reject_rate=config.max_reject_rate,
        flag="--input",
    )


def _tokens(config: PretrainConfig, folder: Path, rows: Rows, limit: int) -> tuple[Tokens, Tokens]:
    """Tokens to train on and held out: long documents are read whole, piece by piece."""
    if len(rows) < 2:
        raise InputError("--input has one row only: none would be left to measure on; add text")
    kept, held = split_holdout(
        rows.content_keys(), np.zeros(len(rows), np.int64), config.holdout, config.seed
    )
    if len(held) == 0:
        raise InputError("all rows of --input have the same text; there is nothing to learn")
    length = config.max_length or min(limit, DEFAULT_MAX_LENGTH)
    tokenizer = DocumentTokenizer(folder, WindowSettings(length, overlapping=True, stride=0))
    found = [tokenize_rows(rows.take(part), tokenizer) for part in (kept, held)]
    check_emptied(
        len(rows) - sum(len(used) for _, used, _ in found),
        next((flaw for _, _, flaw in found if flaw), ""),
        rejected=rows.rejected,
        rows_read=len(rows) + rows.rejected,
        max_reject_rate=config.max_reject_rate,
    )
    if any(len(used) == 0 for _, used, _ in found):
        raise InputError("--input: the tokenizer leaves nothing of the text; give other text")
    (train, _, _), (dev, _, _) = found
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


def _card(
    config: PretrainConfig,
    base: StartingPoint,
    sources: list[SourceRecord],
    rows: Rows,
    metrics: dict[str, float],
    progress: Progress,
) -> Card:
    return Card(
        name=Path(config.output.rstrip("/")).name,
        summary="An encoder, trained further on raw text by guessing masked words.",
        base=base.text,
        base_model=base.resolved.name,
        base_licence=base.licence,
        teacher=None,
        task="fill-mask",
        labels=(),
        sources=sources,
        rows={"texts": len(rows)},
        notes=[
            *base_note(config, base),
            *unlicensed_notes(sources),
            *rejected_notes(rows.rejected),
        ],
        metrics=metrics,
        calibration={},
        settings=settings_of(config),
        versions=software_versions(),
        curve=progress.curves["epochs"],
    )
