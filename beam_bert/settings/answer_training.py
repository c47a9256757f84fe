"""The settings of `--task answer` of `pipelines.finetune` and `pipelines.evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from beam_bert.errors import shown
from beam_bert.settings.answer import AnswerConfig
from beam_bert.settings.evaluation import ReportConfig
from beam_bert.settings.fields import same_setting, setting
from beam_bert.settings.training import SupervisedConfig, TaskConfig, task_field

_QUESTIONS = "Questions with their answers, SQuAD's JSON (v1, v2) or flat rows: "
# Not every script has words to compare: `beam_bert.evaluation.answering.metrics`.
Definition = Literal["auto", "squad", "cmrc", "characters"]


_data = partial(setting, "Data")
_training = partial(setting, "Training")
_report = partial(setting, "Report")


@dataclass(frozen=True)
class AskedColumns:
    """Names of the columns of flat rows.

    `answer` and `start` may hold one label or a list of them, or be null: no answer.
    """

    question: str = "question"
    context: str = "context"
    answer: str = "answer_text"
    start: str = "answer_start"
    id: str | None = None


_same = partial(same_setting, AnswerConfig)


def _column(name: str, what: str) -> Any:
    return _data(f"Flat rows: column with {what}.", default=name)


class _FlatColumns(TaskConfig):
    """Where flat rows have what."""

    OF_OTHER_TASK: ClassVar[str] = "FinetuneConfig, EvaluateConfig"

    task: Literal["classify", "answer"] = task_field("answer")
    format: Literal["auto", "text", "jsonl", "csv", "tsv", "parquet"] = _data(
        "Format of flat rows; auto goes by the file name.", default="auto"
    )
    question_column: str = _column("question", "the question")
    text_column: str = _column("context", "the text to find the answer in")
    answer_column: str = _column("answer_text", "the answer, or a list of them; null: none")
    start_column: str = _column("answer_start", "where it begins in the text, in code points")
    id_column: str | None = _data("Flat rows: column with a name.", default=None)
    max_reject_rate: float = _data(
        "Share of flat rows without usable text or question, and in training of labels that stand "
        "nowhere, to go on without.",
        default=0.0,
        ge=0,
        le=1,
    )

    def columns(self) -> AskedColumns:
        """The columns, as `read_asked` takes them."""
        return AskedColumns(
            question=self.question_column,
            context=self.text_column,
            answer=self.answer_column,
            start=self.start_column,
            id=self.id_column,
        )

    @model_validator(mode="after")
    def _check_columns(self) -> _FlatColumns:
        names = (self.question_column, self.text_column, self.answer_column, self.start_column)
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(
                f"column {shown(twice[0])} cannot be two of question, text, answer, start"
            )
        return self


class AnswerFinetuneConfig(_FlatColumns, SupervisedConfig):
    """Fine-tune an encoder on questions with their answers, and publish a model that answers."""

    train: tuple[str, ...] = _data(
        f"{_QUESTIONS}files, folders or globs, local or gs://.", min_length=1
    )
    dev: tuple[str, ...] = _data(
        "The same to choose on; default: texts held out from train.", default=()
    )
    holdout: float = _data(
        "Share of the texts of train held out, with all of their questions, where there is no dev.",
        default=0.1,
        gt=0,
        lt=1,
    )
    train_dev_overlap: Literal["remove", "refuse"] = _data(
        "Questions of train that dev asks of the same text: leave out, or stop.", default="remove"
    )

    max_length: int | None = _same("max_length", group="Training")
    stride: int = _same("stride", group="Training")
    max_answer_tokens: int = _training(
        "Longest answer that dev's questions get.", default=30, ge=1, le=512
    )
    without_answer: float = _training(
        "Windows without the answer to learn from, for each that has it; drawn anew each epoch.",
        default=1.0,
        ge=0,
    )
    epochs: int = _training("Passes over the training windows.", default=3, ge=1)
    learning_rate: float = _training("Its peak, at the head.", default=5e-5, gt=0)
    batch_tokens: int = _training("Tokens of a batch; nothing is padded.", default=4096, ge=1)
    metric: Literal["f1", "exact"] = _training(
        "Dev metric that chooses the epoch, at its best null threshold.", default="f1"
    )


class AnswerEvaluateConfig(ReportConfig, _FlatColumns):
    """Measure a question-answering model: how often it is right, and on which questions."""

    input: tuple[str, ...] = _data(
        f"{_QUESTIONS}files, folders or globs, local or gs://.", min_length=1
    )
    model: str = _same("model")
    precision: Literal["auto", "fp32", "bf16", "int8", "fp8"] = _same("precision")
    recheck_margin: float | None = _same("recheck_margin")
    device: Literal["auto", "cpu", "cuda"] = _same("device")
    max_length: int | None = _same("max_length")
    stride: int = _same("stride")
    batch_tokens: int | None = _same("batch_tokens")
    null_threshold: float | None = _same("null_threshold")
    max_answer_tokens: int = _same("max_answer_tokens")

    definition: Definition = _report(
        "What is right: squad compares words; cmrc (Chinese) and characters (scripts without word "
        "breaks, and Korean) what their names say; auto: by the script of the answers.",
        default="auto",
    )
    examples: int = _report("Wrong answers to show.", default=20, ge=0, le=1_000)
