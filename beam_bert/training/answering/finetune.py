"""`python -m pipelines.finetune --task answer`: questions with answers and an encoder become a
published model that answers. Everything but data, network and objective is what
`beam_bert.training.finetune` has, too."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beam_bert.errors import InputError
from beam_bert.labelled.answers import Asked, LabelCheck, read_asked
from beam_bert.labelled.question_windows import (
    answer_windows,
    check_questions,
    question_tokenizer,
)
from beam_bert.labelled.rows import content_key
from beam_bert.labelled.splitting import leaking_rows, split_holdout
from beam_bert.settings.answer_training import AnswerFinetuneConfig
from beam_bert.settings.naming import named
from beam_bert.terminal import tell
from beam_bert.training.answering.objective import SpanObjective
from beam_bert.training.batches import plan_epoch
from beam_bert.training.delivery import Delivered, deliver, documents
from beam_bert.training.loop import Plan, Progress
from beam_bert.training.network import load_span_network
from beam_bert.training.reading import report_leaks
from beam_bert.training.run import run_training
from beam_bert.training.saving import save_model
from beam_bert.training.setup import Setup, set_up, training_digest


@dataclass(frozen=True, eq=False)
class Questions:
    """Questions to train on and to choose on, and what happened on the way there.

    Attributes:
      labels: what became of the labels, by the flag that named their files.
      held_out: whether dev was taken from train.
      leaked: questions of train left out because dev asks them of the same text.
    """

    train: list[Asked]
    dev: list[Asked]
    labels: dict[str, LabelCheck]
    held_out: bool
    leaked: int = 0


def finetune(config: AnswerFinetuneConfig) -> Delivered:
    """Fine-tune as the settings say, and publish; goes on from its last checkpoint.

    Raises:
      UserError: something about settings, data, model or output is wrong; nothing was done.
      RunFailed: it did not finish; nothing was published.
    """
    setup = set_up(config, "train", "dev")
    questions = read_questions(config)
    key = setup.key("finetune")
    torch.manual_seed(config.seed)
    training = AnswerTraining(setup, questions)
    windows = training.windows
    tell(
        f"{len(questions.train):,} questions to train on in {len(windows.tokens):,} windows, "
        f"{int(windows.has_answer.sum()):,} of them with the answer; {len(questions.dev):,} to "
        f"choose on{' (held out)' if questions.held_out else ''}"
    )
    return run_training(training, setup, key)


def read_questions(config: AnswerFinetuneConfig) -> Questions:
    """Read and check all questions: labels, texts held out, leaks.

    Raises:
      InputError: see `read_asked`; or questions leak into dev and `leaks` is "refuse".
    """
    train, checked = _read(config, "train", need_places=True)
    checked.check_rate(config.max_reject_rate, "train")
    labels = {"train": checked}
    leaked = 0
    if config.dev:
        dev, labels["dev"] = _read(config, "dev", need_places=False)
        leaks = leaking_rows(_keys(train), _keys(dev))
        leaked = len(leaks)
        places = [train[n].place for n in leaks]
        what = f"questions of {named('train')}"
        report_leaks(places, len(train), what, config.train_dev_overlap)
        train = [train[n] for n in np.setdiff1d(np.arange(len(train)), leaks)]
    else:
        texts = [content_key(question.context) for question in train]
        strata = np.zeros(len(train), np.int64)
        kept, held = split_holdout(texts, strata, config.holdout, config.seed)
        train, dev = [train[n] for n in kept], [train[n] for n in held]
    if not any(question.answers for question in train) or not dev:
        raise InputError(
            "too few questions: none with an answer is left to train on, or none on another text "
            "to choose on; add examples"
        )
    return Questions(train, dev, labels, not config.dev, leaked)


class AnswerTraining:
    """One fine-tuning: its network, objective and batches, and what becomes of them."""

    def __init__(self, setup: Setup[AnswerFinetuneConfig], questions: Questions) -> None:
        config, base = setup.config, setup.base
        self.setup, self.config, self.questions = setup, config, questions
        self.network = load_span_network(base.folder, setup.device)
        tokenizer = question_tokenizer(base.folder, self.network.config, config)
        self.windows = answer_windows(questions.train, tokenizer)
        self._count_lost()
        check_questions(questions.dev, tokenizer)
        used = np.unique(self.windows.tokens.ids).astype(np.int64)
        self.network.train_used_words(used)
        self.objective = SpanObjective(
            self.network,
            self.windows,
            questions.dev,
            tokenizer,
            config.metric,
            device=setup.device,
            max_answer_tokens=config.max_answer_tokens,
        )

    def _count_lost(self) -> None:
        """Answers that no window holds are labels left out, too."""
        labels, lost = self.questions.labels["train"], self.windows.lost
        for number in lost.tolist():
            asked = self.questions.train[number]
            labels.show(asked.place, f"no window holds {asked.answers[0][1][:60]!r}: left out")
        if len(lost):
            labels.right, labels.left_out = labels.right - len(lost), labels.left_out + len(lost)
            tell(f"{len(lost):,} questions whose answers fit in no window: left out")
            labels.check_rate(self.config.max_reject_rate, "train")

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        config, seed = self.config, [self.config.seed, epoch]
        rows = self.windows.sample(config.without_answer, seed)
        lengths = self.windows.tokens.lengths[rows]
        return [rows[batch] for batch in plan_epoch(lengths, config.batch_tokens, seed)]

    def plans(self) -> list[Plan]:
        """One training; see `beam_bert.training.run.Training`."""
        epochs = [self._epoch(epoch) for epoch in range(self.config.epochs)]
        return [Plan(epochs, self.setup.loop_settings())]

    def finish(self, progress: Progress, work: Path) -> Delivered:
        """Save and publish, with the null threshold that dev's questions without answer ask for."""
        # Not measured again: that would read all texts of dev once more.
        kept = progress.curves["epochs"][progress.kept_epoch - 1]
        metrics = {name: kept[name] for name in ("exact", "f1")}
        self.network.write_back_words()
        model: Any = self.network.model
        threshold = None
        if {bool(question.texts) for question in self.questions.dev} == {True, False}:
            threshold = kept["null_threshold"]
        # What a base of another task was tuned for must not stay.
        model.config.beam_bert = {} if threshold is None else {"null_threshold": threshold}
        texts = self._documents(progress, metrics, threshold)

        make = partial(save_model, model, self.setup.base.folder, extra=texts)
        name = self.config.metric
        notes = f"fine-tuned from {self.setup.base.text}: {name} {metrics[name]:.4f} on dev"
        trained_on = training_digest(self.config, self.setup.sources)
        return deliver(self.setup, work, make, metrics, notes, trained_on)

    def _documents(
        self, progress: Progress, metrics: dict[str, float], threshold: float | None
    ) -> dict[str, str]:
        questions = self.questions
        notes = [f"Labels of {use}: {checked}" for use, checked in questions.labels.items()]
        if questions.leaked:
            notes.append(f"{questions.leaked} questions of train stood in dev too: left out")
        if threshold is None:
            notes.append(
                "Dev has questions of one kind only, with or without answer: no null threshold was "
                "fitted, so 0 decides whether a text has the answer"
            )
        else:
            notes.append(f"Null threshold: {threshold:.3f}, where F1 on dev is best")
        labels = {use: dataclasses.asdict(checked) for use, checked in questions.labels.items()}
        return documents(
            self.setup,
            progress,
            metrics,
            record={
                "kept_epoch": progress.kept_epoch,
                "null_threshold": threshold,
                "labels": labels,
            },
            notes=notes,
            summary="Finds answers to questions in texts: an extractive question-answering model.",
            task="question-answering",
            labels=(),
            rows={
                "questions trained on": len(questions.train),
                "questions held out as dev": len(questions.dev),
                "windows with an answer": int(self.windows.has_answer.sum()),
                "parameters": sum(p.numel() for p in self.network.model.parameters()),
            },
            calibration={},
        )


def _read(
    config: AnswerFinetuneConfig, use: str, *, need_places: bool
) -> tuple[list[Asked], LabelCheck]:
    asked, labels = read_asked(
        getattr(config, use),
        config.columns(),
        file_format=config.format,
        max_reject_rate=config.max_reject_rate,
        setting=use,
        need_places=need_places,
    )
    tell(f"{named(use)}: {labels}")
    for line in (*labels.units, *labels.shown):
        tell(f"  {line}")
    return asked, labels


def _keys(asked: list[Asked]) -> list[bytes]:
    return [content_key(question.context, question.question) for question in asked]
