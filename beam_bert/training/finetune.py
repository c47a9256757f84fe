"""`python -m pipelines.finetune`: labelled rows and an encoder become a published classifier."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beam_bert.encoder.config import EncoderConfig, read_config
from beam_bert.encoder.plan import Int64Array
from beam_bert.errors import ConfigError, InputError
from beam_bert.evaluation.metrics import CHOOSING_METRICS, dev_metrics
from beam_bert.labelled.cells import LabelColumn
from beam_bert.labelled.labels import (
    Meaning,
    label_settings,
    labels_without_rows,
    shown_names,
)
from beam_bert.labelled.learning import learn_labels
from beam_bert.labelled.parsing import LabelSettings
from beam_bert.labelled.provenance import SourceRecord, data_yaml
from beam_bert.labelled.rows import LabelsWanted, Rows, Tokens, tokenize_rows
from beam_bert.labelled.splitting import contradicting_rows, leaking_rows, split_holdout
from beam_bert.labelled.trained_rows import (
    TRAINED_ROWS,
    read_trained_rows,
    trained_rows_bytes,
)
from beam_bert.reports import evaluation as report
from beam_bert.settings.training import FinetuneConfig
from beam_bert.software import software_versions
from beam_bert.sources import SourceSpec
from beam_bert.storage.billing import bill_to
from beam_bert.tasks.classification import MULTI_LABEL, REGRESSION
from beam_bert.tokenization import DocumentTokenizer, WindowSettings
from beam_bert.training.batches import plan_epochs
from beam_bert.training.calibration import (
    calibrated_loss,
    cross_fitted_error,
    fit_temperature,
    fit_threshold,
)
from beam_bert.training.card import Card, render
from beam_bert.training.card_audit import audit_rows
from beam_bert.training.loop import Plan, Progress
from beam_bert.training.masking import find_mask_token
from beam_bert.training.network import load_network, network_outputs
from beam_bert.training.objective import ClassifierObjective, Teacher, TrainingRows
from beam_bert.training.pooling import resolve_pooling
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
    report_leaks,
    run_key,
    run_training,
    say,
    settings_of,
    source_dicts,
    training_device,
    training_digest,
    unlicensed_notes,
    work_folder,
)
from beam_bert.training.saving import (
    TRAINING_FILE,
    as_json,
    fold_temperature,
    new_folder,
    put_in_place,
    save_model,
)
from beam_bert.training.soup import WiseFtWeight
from beam_bert.training.student import make_student, needs_student

DEFAULT_MAX_LENGTH = 512
START_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True, eq=False)
class Labelled:
    """Training and dev rows with their targets, and what happened on the way there.

    Attributes:
      labels: names, in the order of the logits.
      held_out: whether dev was taken from train.
      leaked: training rows left out because dev has them; unlabelled ones likewise.
      rejected: rows that could not be used and were left out.
    """

    train: Rows
    dev: Rows
    unlabelled: Rows | None
    labels: tuple[str, ...]
    problem_type: str
    held_out: bool
    leaked: int
    unlabelled_leaked: int
    rejected: int

    @property
    def train_targets(self) -> np.ndarray:
        """Of the training rows; float32, or int64 classes."""
        return _for_torch(self.train)

    @property
    def dev_targets(self) -> np.ndarray:
        """Of the dev rows, likewise."""
        return _for_torch(self.dev)

    @property
    def texts(self) -> Rows:
        """Rows that the network learns from: those with labels, then those without."""
        if self.unlabelled is None:
            return self.train
        more = self.unlabelled
        pairs = None if self.train.pairs is None else [*self.train.pairs, *(more.pairs or [])]
        return replace(
            self.train,
            texts=[*self.train.texts, *more.texts],
            pairs=pairs,
            targets=None,
            places=[*self.train.places, *more.places],
        )


def finetune(config: FinetuneConfig) -> Delivered:
    """Fine-tune as the settings say, calibrate, and publish; goes on from its last checkpoint.

    Raises:
      UserError: something about settings, data, models or output is wrong; nothing was done.
      RunFailed: it did not finish; nothing was published.
    """
    started = time.monotonic()
    bill_to(config.billing_project)
    check_output(config)
    device = training_device(config.device)
    base = find_model(str(config.base or config.teacher))
    teacher = find_model(config.teacher) if config.teacher else None
    read_config(base.folder)  # an encoder, or one line now
    sources = training_sources(config)
    check_base_licence(config, base, *([teacher] if teacher else []))
    data = read_labelled(config)
    key = run_key("finetune", config, [base, *([teacher] if teacher else [])], sources)
    work = work_folder(config, key)
    torch.manual_seed(config.seed)
    folder = _student(config, base, data, work) if needs_student(config) else base.folder
    torch.manual_seed(config.seed)  # again: a run that goes on makes no student
    run = FineTuning(config, data, base, teacher, folder, sources, device)
    say(
        f"{len(data.train):,} rows to train on, {len(data.dev):,} to choose on"
        f"{' (held out)' if data.held_out else ''}, {len(data.labels)} labels, "
        f"{run.network.config.num_layers} layers, {run.trained_size / 1e6:.1f} M parameters trained"
    )
    delivered = run_training(run, work, key, start=run.start, wise_ft_weight=run.wise_ft_weight())
    say(f"model: {delivered.location} (in {time.monotonic() - started:,.0f} s)")
    return delivered


def read_labelled(config: FinetuneConfig) -> Labelled:
    """Read and check all rows: labels, hold-out, leaks.

    Raises:
      InputError: see `beam_bert.labelled.rows.read_rows` and `beam_bert.labelled.labels`; or
        training rows leak into dev and `leaks` is "refuse".
    """
    settings = label_settings(config)
    rows = _rows(
        config, config.train, "--train", settings, lambda c: learn_labels(c, settings).read(c)
    )
    assert rows.targets is not None and rows.meaning is not None
    targets, vocabulary = rows.targets, rows.meaning.vocabulary
    problem_type, names = vocabulary.problem_type, vocabulary.names
    keys = rows.content_keys()
    # Two values for one text are nothing odd: they say how far people agree.
    if problem_type != REGRESSION and len(odd := contradicting_rows(keys, targets)):
        say(
            f"warning: {len(odd):,} training rows have a text that stands elsewhere with another "
            f"label, the first at {rows.places[odd[0]]}; nobody can learn both"
        )
    leaked, rejected = 0, rows.rejected
    if config.dev:
        dev = _rows(config, config.dev, "--dev", settings, lambda c: vocabulary.read(c, "--dev"))
        assert dev.targets is not None
        rejected += dev.rejected
        _check_differ(dev.targets, names, problem_type)
        leaks = leaking_rows(keys, dev.content_keys())
        leaked = len(leaks)
        kept = np.setdiff1d(np.arange(len(rows)), leaks)
        places = [rows.places[n] for n in leaks]
        report_leaks(places, len(rows), "training rows", config.train_dev_overlap)
        train = rows.take(kept)
        if leaked and problem_type != REGRESSION:
            _check_all_taught(targets[kept], names)
    else:
        kept, held = split_holdout(keys, targets, config.holdout, config.seed)
        train, dev = rows.take(kept), rows.take(held)
    if len(train) == 0 or len(dev) == 0:
        raise InputError("too few rows: none is left to train on, or to choose on; add examples")
    unlabelled, unlabelled_leaked = None, 0
    if config.unlabelled:
        unlabelled = _rows(config, config.unlabelled, "--unlabelled")
        rejected += unlabelled.rejected
        leaks = leaking_rows(unlabelled.content_keys(), dev.content_keys())
        unlabelled_leaked = len(leaks)
        if unlabelled_leaked:
            say(f"warning: {unlabelled_leaked:,} rows of --unlabelled stand in dev too: left out")
        unlabelled = unlabelled.take(np.setdiff1d(np.arange(len(unlabelled)), leaks))
    if problem_type != REGRESSION:
        _warn_of_thin_labels(names, keys, targets, dev.targets)
    return Labelled(
        train=train,
        dev=dev,
        unlabelled=unlabelled,
        labels=names,
        problem_type=problem_type,
        held_out=not config.dev,
        leaked=leaked,
        unlabelled_leaked=unlabelled_leaked,
        rejected=rejected,
    )


def _for_torch(rows: Rows) -> np.ndarray:
    assert rows.targets is not None
    return rows.targets.astype(np.float32) if rows.targets.dtype == np.float64 else rows.targets


def _check_differ(dev: np.ndarray, names: tuple[str, ...], problem_type: str) -> None:
    """Raise InputError where a model could be neither chosen nor calibrated on dev."""
    if problem_type != MULTI_LABEL and len(np.unique(dev)) == 1:
        is_value = problem_type == REGRESSION
        what = f"value {dev[0, 0]}" if is_value else f"label {names[dev[0]]!r}"
        raise InputError(
            f"every row of --dev has the {what}: no model can be chosen on that; add other rows, "
            "or leave --dev out and some of --train are held out"
        )


def _warn_of_thin_labels(
    names: tuple[str, ...], keys: list[bytes], targets: np.ndarray, dev: np.ndarray | None
) -> None:
    """Tell of labels that nothing is known of: without a dev row, or with one text alone."""
    assert dev is not None
    if unchecked := labels_without_rows(dev, names):
        say(f"warning: no dev row has {shown_names(unchecked)}: nothing says how well it is learnt")
    rows, labels = (np.arange(len(targets)), targets) if targets.ndim == 1 else np.nonzero(targets)
    texts: dict[int, set[bytes]] = {}
    for row, label in zip(rows.tolist(), labels.tolist(), strict=True):
        texts.setdefault(label, set()).add(keys[row])
    if repeated := [names[label] for label in sorted(texts) if len(texts[label]) == 1]:
        say(f"warning: all rows of {shown_names(repeated)} have the same text: add others")


def _check_all_taught(targets: np.ndarray, names: tuple[str, ...]) -> None:
    """Raise InputError where a label has no row left to train on: all of its rows leaked."""
    untaught = labels_without_rows(targets, names)
    if untaught:
        more = f" (and {len(untaught) - 1} other labels)" if len(untaught) > 1 else ""
        raise InputError(
            f"label {untaught[0]!r}{more} has no row left to train on: --dev has all of them; "
            "add examples, or take them out of --dev"
        )


class FineTuning:
    """One fine-tuning: its network, objective and batches, and what becomes of them."""

    def __init__(
        self,
        config: FinetuneConfig,
        data: Labelled,
        base: StartingPoint,
        teacher: StartingPoint | None,
        folder: Path,
        sources: list[SourceRecord],
        device: torch.device,
    ) -> None:
        self.config, self.base, self.teacher = config, base, teacher
        self.folder, self.sources, self.device = folder, sources, device
        self.threshold = 0.5
        self.metric = _metric(config.metric, data.problem_type)
        pooling = resolve_pooling(config.pooling, base.folder)
        self.network = load_network(folder, data.labels, data.problem_type, device, pooling=pooling)
        if config.dropout is not None:
            self.network.use_dropout(config.dropout)
        self.read = tokens_reader(config, folder, self.network.config)
        data, train_tokens, dev_tokens = _tokenized(config, data, self.read)
        self.data = data
        mask_id = find_mask_token(folder) if config.token_mask_rate else None
        masks = [] if mask_id is None else [mask_id]
        used = np.unique(np.concatenate([train_tokens.input_ids, dev_tokens.input_ids, masks]))
        self.network.train_used_words(used.astype(np.int64))
        self.trained_size = sum(p.numel() for p in self.network.trained_parameters().values())
        self.lengths = train_tokens.lengths
        self.objective = ClassifierObjective(
            self.network,
            data.problem_type,
            TrainingRows(train_tokens, data.train_targets),
            self.metrics,
            dev_tokens,
            self.metric,
            device=device,
            smoothing=config.label_smoothing,
            balanced=config.class_weights == "balanced",
            r_drop_weight=config.r_drop_weight,
            token_mask_rate=config.token_mask_rate,
            mask_id=mask_id,  # without one, no word is dropped
            teacher=self._teacher() if teacher else None,
        )

    def start(self) -> dict[str, float] | None:
        """Fit a new head to the encoder as it is, where asked for; metrics unless it is random."""
        if self.network.head_is_new:
            if self.config.head == "random":
                return None
            self.objective.fit_head(self.config.seed, say)
            say("head fitted to the encoder as it is")
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
        config, settings = self.config, loop_settings(self.config, self.device)
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
        training = {
            "curves": progress.curves,
            **({"kept_epoch": progress.kept_epoch} if self.config.soup == 1 else {}),
            "metrics": metrics,
            "calibration": calibration,
            "settings": settings_of(self.config),
            "base": base_dict(self.base),
            "sources": source_dicts(self.sources),
        }
        card = self._card(progress, metrics, calibration, self._audit())
        model: Any = self.network.model
        if calibration:
            ours = {"temperature_folded_in": calibration["temperature"]}
            if self.data.problem_type == MULTI_LABEL:
                ours["threshold"] = self.threshold
            model.config.beam_bert = ours
        texts = {
            TRAINING_FILE: as_json(training),
            "data.yaml": data_yaml(self.sources),
            "README.md": render(card),
        }

        keys = trained_rows_bytes(
            self.data.texts.content_keys(), read_trained_rows(self.base.resolved)
        )

        def make(folder: Path) -> None:
            save_model(model, self.folder, folder, texts)
            (folder / TRAINED_ROWS).write_bytes(keys)

        notes = f"fine-tuned from {self.base.text}: {self.metric} {metrics[self.metric]:.4f} on dev"
        trained_on = training_digest(self.config, self.sources)
        return deliver(self.config, self.base, work, make, metrics, notes, trained_on)

    def _calibrate(self) -> dict[str, float]:
        """Fit a temperature on dev, put it into the head; what it did."""
        if self.data.problem_type == REGRESSION:
            return {}
        logits = self.objective.dev_logits()
        temperature = fit_temperature(logits, self.data.dev_targets, self.data.problem_type)
        fold_temperature(self.network, temperature)
        before, after = self.metrics(logits), self.metrics(logits / np.float32(temperature))
        found = {
            "temperature": temperature,
            "calibration_error_before": before["calibration_error"],
            "calibration_error_after": after["calibration_error"],
            "calibration_error_cross_fitted": cross_fitted_error(
                logits, self.data.dev_targets, self.data.problem_type
            ),
        }
        if self.data.problem_type == MULTI_LABEL:
            found["threshold"] = self.threshold
        return found

    def _audit(self) -> report.Audit | None:
        """Of the dev rows, with the words written back: a swap may bring any word."""
        if not self.config.audit_variants:
            return None
        return audit_rows(
            self.data.dev,
            self.objective.dev_logits(),
            self.network,
            self.read,
            self.device,
            threshold=self.threshold,
            max_variants=self.config.audit_variants,
        )

    def _teacher(self) -> Teacher:
        """The teacher's answers to every training row, in our order of labels."""
        config, data = self.config, self.data
        assert self.teacher is not None
        found = read_config(self.teacher.folder)
        if set(found.labels) != set(data.labels) or found.problem_type != data.problem_type:
            raise ConfigError(
                f"--teacher {self.teacher.resolved.name} answers with {len(found.labels)} labels "
                f"({found.problem_type}), the rows have {len(data.labels)} ({data.problem_type}); "
                "a teacher must know the same labels"
            )
        network = load_network(self.teacher.folder, found.labels, found.problem_type, self.device)
        read = tokens_reader(config, self.teacher.folder, network.config)
        tokens, kept, flaw = read(data.texts)
        if len(kept) < len(data.texts):
            raise InputError(f"--teacher {self.teacher.resolved.name}: {flaw}; remove the row")
        logits, states = network_outputs(network, tokens, self.device)
        order = [found.labels.index(label) for label in data.labels]
        same_width = states.shape[1] == self.network.config.hidden_size
        return Teacher(
            torch.from_numpy(logits[:, order]).to(self.device),
            torch.from_numpy(states).to(self.device) if same_width else None,
            config.teacher_weight,
            config.teacher_temperature,
            config.hidden_weight,
        )

    def _card(
        self,
        progress: Progress,
        metrics: dict[str, float],
        calibration: dict[str, float],
        audit: report.Audit | None,
    ) -> Card:
        config, data = self.config, self.data
        models = [self.base, *([self.teacher] if self.teacher else [])]
        notes = [*base_note(config, *models), *unlicensed_notes(self.sources)]
        if data.leaked:
            notes.append(f"{data.leaked} training rows stood in dev too and were left out")
        if data.unlabelled_leaked:
            notes.append(
                f"{data.unlabelled_leaked} rows without label stood in dev too and were left out"
            )
        notes += rejected_notes(data.rejected)
        rows = {"rows trained on": len(data.train), "rows held out as dev": len(data.dev)}
        if data.unlabelled is not None:
            rows["rows without label, answered by the teacher"] = len(data.unlabelled)
        rows["parameters"] = sum(p.numel() for p in self.network.model.parameters())
        return Card(
            name=Path(config.output.rstrip("/")).name,
            summary=f"A text classifier ({data.problem_type.replace('_', ' ')}) for column "
            f"{config.label_column or ', '.join(config.label_columns)} of its training rows.",
            base=self.base.text,
            base_model=self.base.resolved.name,
            base_licence=self.base.licence,
            teacher=self.teacher.text if self.teacher else None,
            task="text-classification",
            labels=data.labels,
            sources=self.sources,
            rows=rows,
            notes=notes,
            metrics=metrics,
            calibration=calibration,
            audit=audit,
            settings=settings_of(config),
            versions=software_versions(),
            curve=progress.curves["epochs"],
        )


def _metric(asked: str, problem_type: str) -> str:
    """The metric that chooses the epoch."""
    possible = CHOOSING_METRICS[problem_type]
    if asked == "auto":
        return possible[0]
    if asked not in possible:
        kind = problem_type.replace("_", " ")
        raise ConfigError(f"--metric {asked}: for {kind} it is {' or '.join(possible)}")
    return asked


TokensReader = Callable[[Rows], tuple[Tokens, Int64Array, str]]


def _tokenized(
    config: FinetuneConfig, data: Labelled, read: TokensReader
) -> tuple[Labelled, Tokens, Tokens]:
    """The data without rows of whose text the tokenizer leaves nothing, and both kinds' tokens."""
    train_tokens, train, flaw = read(data.texts)
    dev_tokens, dev, other_flaw = read(data.dev)
    lost = len(data.texts) + len(data.dev) - len(train) - len(dev)
    check_emptied(
        lost,
        flaw or other_flaw,
        rejected=data.rejected,
        rows_read=len(data.texts) + len(data.dev) + data.leaked + data.rejected,
        max_reject_rate=config.max_reject_rate,
    )
    if not lost:
        return data, train_tokens, dev_tokens
    labelled = train[train < len(data.train)]
    unlabelled = data.unlabelled
    if unlabelled is not None:
        unlabelled = unlabelled.take(train[len(labelled) :] - len(data.train))
    left = replace(
        data,
        train=data.train.take(labelled),
        dev=data.dev.take(dev),
        unlabelled=unlabelled,
        rejected=data.rejected + lost,
    )
    if len(left.train) == 0 or len(left.dev) == 0:
        raise InputError("too few rows: none is left to train on, or to choose on; add examples")
    if left.problem_type != REGRESSION:
        _check_all_taught(left.train_targets, left.labels)
    return left, train_tokens, dev_tokens


def tokens_reader(config: FinetuneConfig, folder: Path, encoder: EncoderConfig) -> TokensReader:
    """How to make a model's tokens of rows; see `beam_bert.labelled.rows.tokenize_rows`.

    Raises:
      ConfigError: `--max_length` is more than the model reads.
    """
    limit = encoder.max_length
    if config.max_length is not None and config.max_length > limit:
        raise ConfigError(f"--max_length {config.max_length}: the model reads {limit} at most")
    windows = WindowSettings(config.max_length or min(limit, DEFAULT_MAX_LENGTH))
    tokenizer = DocumentTokenizer(folder, windows, pair=config.text_pair_column is not None)
    return lambda rows: tokenize_rows(rows, tokenizer)


def _student(config: FinetuneConfig, base: StartingPoint, data: Labelled, work: Path) -> Path:
    folder = work / "student"
    if not folder.is_dir():
        texts = data.texts
        with new_folder(folder) as made:
            make_student(base.folder, config, [*texts.texts, *(texts.pairs or [])], made)
            put_in_place(made, folder)
    return folder


def _rows(
    config: FinetuneConfig,
    patterns: tuple[str, ...],
    flag: str,
    settings: LabelSettings | None = None,
    read: Callable[[LabelColumn], Meaning] | None = None,
) -> Rows:
    spec = SourceSpec.of(
        config, text_columns=config.text_column, text_pair_column=config.text_pair_column
    )
    columns = (config.label_column,) if config.label_column else config.label_columns
    return read_and_tell(
        patterns,
        spec,
        labels=LabelsWanted(columns, settings, read) if settings and read else None,
        max_reject_rate=config.max_reject_rate,
        flag=flag,
    )


def training_sources(config: FinetuneConfig) -> list[SourceRecord]:
    """The files that the settings name, with digests and licences.

    Raises:
      InputError: a file is missing, or its licence is; see `check_sources`.
    """
    return declared_sources(config, "train", "dev", "unlabelled")
