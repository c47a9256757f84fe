"""`python -m pipelines.finetune`: labelled rows and an encoder become a published classifier."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beam_bert.encoder.config import read_config
from beam_bert.errors import ConfigError, InputError
from beam_bert.evaluation.metrics import CHOOSING_METRICS, dev_metrics
from beam_bert.labelled.trained_rows import (
    TRAINED_ROWS,
    read_trained_rows,
    trained_rows_bytes,
)
from beam_bert.reports import evaluation as report
from beam_bert.settings.naming import named
from beam_bert.settings.training import FinetuneConfig
from beam_bert.tasks.classification import MULTI_LABEL, REGRESSION
from beam_bert.terminal import tell
from beam_bert.training.batches import plan_epochs
from beam_bert.training.calibration import (
    calibrated_loss,
    cross_fitted_error,
    fit_temperature,
    fit_threshold,
)
from beam_bert.training.card_audit import audit_rows
from beam_bert.training.classifier_rows import Labelled, read_labelled, tokenized, tokens_reader
from beam_bert.training.delivery import Delivered, deliver, documents
from beam_bert.training.loop import Plan, Progress
from beam_bert.training.masking import find_mask_token
from beam_bert.training.network import load_network, network_outputs
from beam_bert.training.objective import ClassifierObjective, Teacher, TrainingRows
from beam_bert.training.pooling import resolve_pooling
from beam_bert.training.run import run_training
from beam_bert.training.saving import fold_temperature, new_folder, put_in_place, save_model
from beam_bert.training.setup import Setup, StartingPoint, set_up, training_digest, work_folder
from beam_bert.training.soup import WiseFtWeight
from beam_bert.training.student import make_student, needs_student

SOURCES = ("train", "dev", "unlabelled")  # settings that name files
START_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)


def finetune(config: FinetuneConfig) -> Delivered:
    """Fine-tune as the settings say, calibrate, and publish; goes on from its last checkpoint.

    Raises:
      UserError: something about settings, data, models or output is wrong; nothing was done.
      RunFailed: it did not finish; nothing was published.
    """
    setup = set_up(config, *SOURCES, teacher=config.teacher)
    data = read_labelled(config)
    pooling = resolve_pooling(config.pooling, setup.base.folder)
    key = setup.key("finetune", pooling=pooling)
    torch.manual_seed(config.seed)
    folder = _student(setup, data, key) if needs_student(config) else setup.base.folder
    torch.manual_seed(config.seed)  # again: a run that goes on makes no student
    run = FineTuning(setup, data, folder, pooling)
    tell(
        f"{len(data.train):,} rows to train on, {len(data.dev):,} to choose on"
        f"{' (held out)' if data.held_out else ''}, {len(data.labels)} labels, "
        f"{run.network.config.num_layers} layers, {run.trained_size / 1e6:.1f} M parameters trained"
    )
    return run_training(run, setup, key, run.start, run.wise_ft_weight())


class FineTuning:
    """One fine-tuning: its network, objective and batches, and what becomes of them."""

    def __init__(
        self, setup: Setup[FinetuneConfig], data: Labelled, folder: Path, pooling: str
    ) -> None:
        config = setup.config
        self.setup, self.config, self.folder = setup, config, folder
        self.threshold = 0.5
        self.metric = _metric(config.metric, data.problem_type)
        self.network = load_network(
            folder, data.labels, data.problem_type, setup.device, pooling=pooling
        )
        if config.dropout is not None:
            self.network.use_dropout(config.dropout)
        self.read = tokens_reader(config, folder, self.network.config)
        data, train_tokens, dev_tokens = tokenized(config, data, self.read)
        self.data = data
        mask_id = find_mask_token(folder) if config.token_mask_rate else None
        masks = [] if mask_id is None else [mask_id]
        used = np.unique(np.concatenate([train_tokens.ids, dev_tokens.ids, masks]))
        self.network.train_used_words(used.astype(np.int64))
        self.trained_size = sum(p.numel() for p in self.network.trained_parameters().values())
        self.lengths = train_tokens.lengths
        self.objective = ClassifierObjective(
            self.network,
            config,
            data.problem_type,
            TrainingRows(train_tokens, data.train_targets),
            dev_tokens,
            self.metrics,
            self.metric,
            device=setup.device,
            mask_id=mask_id,
            teacher=self._teacher(setup.teacher) if setup.teacher else None,
        )

    def start(self) -> dict[str, float] | None:
        """Fit a new head to the encoder as it is, where asked for; metrics unless it is random."""
        if self.network.head_is_new:
            if self.config.head == "random":
                return None
            self.objective.fit_head(self.config.seed)
            tell("head fitted to the encoder as it is")
        return self.objective.evaluate()

    def wise_ft_weight(self) -> WiseFtWeight | None:
        """What `--wise_ft_weight` asks for."""
        asked = self.config.wise_ft_weight
        candidates = START_SHARES if asked is None else (asked,)

        def dev_loss() -> float:
            logits, data = self.objective.dev_logits(), self.data
            return calibrated_loss(logits, data.dev_targets, data.problem_type)

        return WiseFtWeight(candidates, dev_loss) if any(candidates) else None

    def plans(self) -> list[Plan]:
        """One training, or as many as `--soup` says: other orders of the rows, other dropout."""
        config, settings = self.config, self.setup.loop_settings()
        # Drawn: the second of seed 0 must not be the first of seed 1.
        more = np.random.SeedSequence(config.seed).generate_state(config.soup - 1)
        return [
            Plan(
                plan_epochs(self.lengths, config.batch_tokens, config.epochs, seed),
                replace(settings, seed=seed),
            )
            for seed in (config.seed, *map(int, more))
        ]

    def metrics(self, logits: np.ndarray) -> dict[str, float]:
        """On dev; of several labels, those are given that reach the best threshold as yet."""
        if self.data.problem_type == MULTI_LABEL:
            self.threshold = fit_threshold(logits, self.data.dev_targets)
        return dev_metrics(logits, self.data.dev_targets, self.data.problem_type, self.threshold)

    def finish(self, progress: Progress, work: Path) -> Delivered:
        """Calibrate, save, publish."""
        calibration = self._calibrate()
        metrics = self.objective.evaluate()  # with temperature and threshold as they are saved
        self.network.write_back_words()
        model: Any = self.network.model
        if calibration:
            ours = {"temperature_folded_in": calibration["temperature"]}
            if self.data.problem_type == MULTI_LABEL:
                ours["threshold"] = self.threshold
            model.config.beam_bert = ours
        texts = self._documents(progress, metrics, calibration)
        keys = trained_rows_bytes(
            self.data.texts.content_keys(), read_trained_rows(self.setup.base.resolved)
        )

        make = partial(save_model, model, self.folder, extra={**texts, TRAINED_ROWS: keys})
        base, value = self.setup.base.text, metrics[self.metric]
        notes = f"fine-tuned from {base}: {self.metric} {value:.4f} on dev"
        trained_on = training_digest(self.config, self.setup.sources)
        return deliver(self.setup, work, make, metrics, notes, trained_on)

    def _calibrate(self) -> dict[str, float]:
        """Fit a temperature on dev, put it into the head; what it did."""
        if self.data.problem_type == REGRESSION:
            return {}
        logits = self.objective.dev_logits()
        temperature = fit_temperature(logits, self.data.dev_targets, self.data.problem_type)
        fold_temperature(self.network, temperature)
        before, after = self.metrics(logits), self.metrics(logits / np.float32(temperature))
        calibration = {
            "temperature": temperature,
            "calibration_error_before": before["calibration_error"],
            "calibration_error_after": after["calibration_error"],
            "calibration_error_cross_fitted": cross_fitted_error(
                logits, self.data.dev_targets, self.data.problem_type
            ),
        }
        if self.data.problem_type == MULTI_LABEL:
            calibration["threshold"] = self.threshold
        return calibration

    def _audit(self) -> report.Audit | None:
        """Of the dev rows, with the words written back: a swap may bring any word."""
        if not self.config.audit_variants:
            return None
        return audit_rows(
            self.data.dev,
            self.objective.dev_logits(),
            self.network,
            self.read,
            self.setup.device,
            threshold=self.threshold,
            max_variants=self.config.audit_variants,
        )

    def _teacher(self, teacher: StartingPoint) -> Teacher:
        """The teacher's answers to every training row, in our order of labels."""
        config, data, device = self.config, self.data, self.setup.device
        given = named("teacher", teacher.resolved.name)
        shape = read_config(teacher.folder)
        if set(shape.labels) != set(data.labels) or shape.problem_type != data.problem_type:
            raise ConfigError(
                f"{given} answers with {len(shape.labels)} labels "
                f"({shape.problem_type}), the rows have {len(data.labels)} ({data.problem_type}); "
                "a teacher must know the same labels"
            )
        network = load_network(teacher.folder, shape.labels, shape.problem_type, device)
        read = tokens_reader(config, teacher.folder, network.config)
        tokens, kept, flaw = read(data.texts)
        if len(kept) < len(data.texts):
            raise InputError(f"{given}: {flaw}; remove the row")
        logits, states = network_outputs(network, tokens, device)
        order = [shape.labels.index(label) for label in data.labels]
        same_width = states.shape[1] == self.network.config.hidden_size
        return Teacher(
            torch.from_numpy(logits[:, order]).to(device),
            torch.from_numpy(states).to(device) if same_width else None,
        )

    def _documents(
        self, progress: Progress, metrics: dict[str, float], calibration: dict[str, float]
    ) -> dict[str, str]:
        config, data = self.config, self.data
        rows = {"rows trained on": len(data.train), "rows held out as dev": len(data.dev)}
        if data.unlabelled is not None:
            rows["rows without label, answered by the teacher"] = len(data.unlabelled)
        rows["parameters"] = sum(p.numel() for p in self.network.model.parameters())
        left_out = {"training rows": data.leaked, "rows without label": data.unlabelled_leaked}
        kept_epoch = {"kept_epoch": progress.kept_epoch} if config.soup == 1 else {}
        return documents(
            self.setup,
            progress,
            metrics,
            record={**kept_epoch, "calibration": calibration},
            rejected=data.rejected,
            notes=[
                f"{n} {of} stood in dev too and were left out" for of, n in left_out.items() if n
            ],
            summary=f"A text classifier ({data.problem_type.replace('_', ' ')}) for column "
            f"{', '.join(config.columns_of_labels)} of its training rows.",
            task="text-classification",
            labels=data.labels,
            rows=rows,
            calibration=calibration,
            audit=self._audit(),
        )


def _metric(asked: str, problem_type: str) -> str:
    """The metric that chooses the epoch."""
    possible = CHOOSING_METRICS[problem_type]
    if asked == "auto":
        return possible[0]
    if asked not in possible:
        kind = problem_type.replace("_", " ")
        raise ConfigError(f"{named('metric', asked)}: for {kind} it is {' or '.join(possible)}")
    return asked


def _student(setup: Setup[FinetuneConfig], data: Labelled, key: str) -> Path:
    folder = work_folder(setup.config, key) / "student"
    if not folder.is_dir():
        words = [*data.texts.texts, *(data.texts.pairs or [])]
        with new_folder(folder) as made:
            make_student(setup.base.folder, setup.config, words, made)
            put_in_place(made, folder)
    return folder
