"""The settings of the training jobs; defaults stand nowhere else."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, field_validator, model_validator

from beam_bert.settings.fields import Settings, same_setting, setting
from beam_bert.settings.inference import (
    InputConfig,
    JobConfig,
    PairConfig,
    ReaderConfig,
    SourceConfig,
)
from beam_bert.settings.naming import named

# SPDX names under which text may be used to train a model that is passed on; "own": it is yours.
ALLOWED_LICENCES = (
    "own",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-4.0",
    "ISC",
    "MIT",
    "ODC-By-1.0",
    "PDDL-1.0",
    "Unlicense",
)


_label = partial(setting, "Labels")
_model = partial(setting, "Model")
_output = partial(setting, "Output")
_provenance = partial(setting, "Provenance")
_training = partial(setting, "Training")
_data = partial(setting, "Data")
_distillation = partial(setting, "Distillation")


def task_field(default: str) -> Any:
    """`--task`, with its default: the task whose settings a model has."""
    return setting(
        "Task",
        "classify: labels of documents; answer: answers to questions, with flags of their own "
        "(--task answer --help).",
        default=default,
    )


class TaskConfig(Settings):
    """`--task` chooses between settings of finetune and evaluate."""

    OF_OTHER_TASK: ClassVar[str]  # the names of those settings

    task: Literal["classify", "answer"] = task_field("classify")

    @field_validator("task")
    @classmethod
    def _check_task(cls, value: str) -> str:
        if value != cls.model_fields["task"].default:
            raise ValueError(f"{value} has settings of its own: {cls.OF_OTHER_TASK}")
        return value


class LabelConfig(Settings):
    """What a label is, and where it stands."""

    label_column: str | None = _label(
        "Column with the label, the labels or the value.", default=None
    )
    label_columns: tuple[str, ...] = _label(
        "Instead of it: columns that are each of a label of their name, and hold 0 or 1.",
        default=(),
    )
    label_separator: str | None = _label(
        "Text that parts several labels of a row, such as ','; lists need none.", default=None
    )
    label_names: str | None = _label(
        "File that names label 0, 1, 2, … line by line, where the rows have numbers or vectors.",
        default=None,
    )
    keep_null_labels: bool = _label(
        "NaN, None, NULL, N/A and the like are labels in CSV; default: rows of them have none.",
        default=False,
    )
    blank_labels: Literal["missing", "none"] = _label(
        "What an empty cell says where rows have several labels; missing: the row cannot be used; "
        "none: none of the labels applies.",
        default="missing",
    )
    max_reject_rate: float = _label(
        "Share of rows without usable text or label to go on without.", default=0.0, ge=0, le=1
    )

    @property
    def columns_of_labels(self) -> tuple[str, ...]:
        """The one column of labels, or one a label."""
        return (self.label_column,) if self.label_column else self.label_columns

    @model_validator(mode="after")
    def _check_label_columns(self) -> LabelConfig:
        one, several = named("label_column"), named("label_columns")
        if self.label_column is None and not self.label_columns:
            raise ValueError(f"{one} is missing: the column with the label")
        if self.label_column is not None and self.label_columns:
            raise ValueError(f"{one} and {several}: give one of the two")
        if len(self.label_columns) == 1 or len(set(self.label_columns)) < len(self.label_columns):
            raise ValueError(f"{several} needs two columns or more, none twice")
        return self


class TrainingConfig(Settings):
    """What fine-tuning and pre-training both take."""

    model_config = ConfigDict(allow_inf_nan=False)
    GROUPS: ClassVar[dict[str, str]] = {"Input": "Data", "Labels": "Data"}

    # Flags that few need: --help_all shows them.
    RARE: ClassVar[frozenset[str]] = frozenset(
        {
            "work_folder",
            "checkpoint_s",
            "billing_project",
            "allowed_licences",
            "gradient_accumulation",
            "pooling",
            "head",
            "unlabelled",
            *(ReaderConfig.model_fields.keys() - {"text_column"}),
            "train_dev_overlap",
            "student_hidden",
            "student_vocabulary",
            "teacher_weight",
            "teacher_temperature",
            "hidden_weight",
            "layer_decay",
            "warmup",
            "schedule",
            "weight_decay",
            "label_smoothing",
            "r_drop_weight",
            "dropout",
            "token_mask_rate",
            "ema_epochs",
            "wise_ft_weight",
            "class_weights",
            "audit_variants",
        }
    )

    base: str | None = _model(
        "Encoder to start from: folder, gs:// prefix, store@alias or Hugging Face id.", default=None
    )
    output: str = _output("Model store (folder or gs:// prefix) or, see layout, a folder.")
    layout: Literal["store", "folder"] = _output(
        "store: publish a version there and point the alias at it; folder: write the model itself.",
        default="store",
    )
    alias: str = _output("Alias that a published version gets.", default="candidate")
    overwrite: bool = _output("Layout folder: replace a model there.", default=False)
    work_folder: str | None = _output(
        "Local folder for checkpoints; default: one of this run's own in the cache folder.",
        default=None,
    )
    checkpoint_s: float = _output(
        "Seconds between checkpoints within an epoch.", default=120.0, gt=0
    )
    billing_project: str | None = same_setting(JobConfig, "billing_project", group="Output")

    data: str | None = _provenance(
        "YAML file that declares the sources; default: data.yaml beside the files.", default=None
    )
    allowed_licences: tuple[str, ...] = _provenance(
        "Licences that a source may have.", default=ALLOWED_LICENCES
    )
    accept_unlicensed: bool = _provenance(
        "Train although a source has no allowed licence; the model card says so.", default=False
    )
    accept_base_license: bool = _provenance(
        "Train from a model whose own card names none of the allowed licences, such as a "
        "non-commercial one, or none at all; the model card says so.",
        default=False,
    )

    seed: int = _training("The same seed gives the same model.", default=0, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = _training(
        "Arithmetic; auto: bf16 where the hardware has it, else fp32.", default="auto"
    )
    device: Literal["auto", "cpu", "cuda"] = _training(
        "Where to train; auto: CUDA where there is one.", default="auto"
    )
    gradient_accumulation: int = _training(
        "Batches that one step of the optimizer sums up.", default=1, ge=1
    )
    max_length: int | None = _training(
        "Tokens read of a document, special ones too; default: the model's limit, 512 at most.",
        default=None,
        ge=8,
    )
    schedule: Literal["linear", "cosine", "constant"] = _training(
        "How the learning rate falls after the warm-up.", default="linear"
    )
    weight_decay: float = _training("AdamW's, on matrices.", default=0.01, ge=0)

    @model_validator(mode="after")
    def _check_base(self) -> TrainingConfig:
        if self.base is None and getattr(self, "teacher", None) is None:
            raise ValueError(f"{named('base')} is missing: the encoder to start from")
        return self


class SupervisedConfig(TrainingConfig):
    """What both kinds of fine-tuning take: files of examples, and how they are gone through."""

    train: tuple[str, ...] = _data(
        "Labelled rows: files, folders or globs, local or gs://.", min_length=1
    )
    dev: tuple[str, ...] = _data(
        "Labelled rows to choose and calibrate on; default: held out from train.", default=()
    )
    holdout: float = _data(
        "Share of train held out where there is no dev.", default=0.1, gt=0, lt=1
    )
    train_dev_overlap: Literal["remove", "refuse"] = _data(
        "Training rows whose text stands in dev too: leave out, or stop.", default="remove"
    )
    layer_decay: float = _training(
        "Factor on the learning rate from each layer to the one below.", default=1.0, gt=0, le=1
    )
    warmup: float = _training("Share of the steps that warm up.", default=0.1, ge=0, lt=1)
    early_stopping: int = _training(
        "Stop after so many epochs without a better dev metric; 0: never.", default=0, ge=0
    )


class FinetuneConfig(LabelConfig, PairConfig, SupervisedConfig, TaskConfig):
    """Fine-tune an encoder on labelled text, and publish the classifier."""

    OF_OTHER_TASK: ClassVar[str] = "AnswerFinetuneConfig"

    pooling: Literal["auto", "cls", "mean"] = _model(
        "What a new head reads; mean: a layer is added that starts as the mean over all tokens. "
        "auto: mean where the base is a sentence encoder that pools so.",
        default="auto",
    )
    head: Literal["fitted", "random"] = _model(
        "How a new head starts; fitted: as the best linear answer from the encoder as it is.",
        default="fitted",
    )
    unlabelled: tuple[str, ...] = _data(
        "With a teacher: more text, without labels, for the student.", default=()
    )
    problem_type: Literal["auto", "single_label", "multi_label", "regression"] = _data(
        "What a label is; auto: multi_label for lists or with a separator, else single_label.",
        default="auto",
    )
    teacher: str | None = _distillation(
        "Model whose answers the student learns, named as base is.", default=None
    )
    student_layers: int | None = _distillation(
        "Layers of the student, spread over the base's; default: all.", default=None, ge=1
    )
    student_hidden: int | None = _distillation(
        "Hidden size of the student, which then starts from random weights; default: the base's.",
        default=None,
        ge=8,
    )
    student_vocabulary: int | None = _distillation(
        "WordPieces that the student keeps, the commonest in the text; default: all.",
        default=None,
        ge=64,
    )
    teacher_weight: float = _distillation(
        "Share of the teacher's answers in the loss; labels are the rest.", default=0.7, ge=0, le=1
    )
    teacher_temperature: float = _distillation(
        "Temperature of teacher and student in that loss.", default=2.0, gt=0
    )
    hidden_weight: float = _distillation(
        "Weight of the loss between [CLS] states, where widths are equal.", default=1.0, ge=0
    )

    epochs: int = _training("Passes over the training rows.", default=6, ge=1)
    learning_rate: float = _training("Its peak, at the head.", default=2e-4, gt=0)
    batch_tokens: int = _training("Tokens of a batch; nothing is padded.", default=1024, ge=1)
    label_smoothing: float = _training(
        "Probability that single-label targets give to other labels.", default=0.0, ge=0, lt=1
    )
    r_drop_weight: float = _training(
        "Weight of R-Drop: two dropout passes should agree; doubles the cost.", default=0.0, ge=0
    )
    dropout: float | None = _training(
        "Share of the hidden values that is dropped at each step; default: the base's own, as a "
        "rule 0.1. On a few thousand rows and a small encoder 0.3 may do better.",
        default=None,
        ge=0,
        lt=1,
    )
    token_mask_rate: float = _training(
        "Share of the tokens that is masked at each step, drawn anew: no word alone decides.",
        default=0.15,
        ge=0,
        lt=1,
    )
    ema_epochs: float = _training(
        "Epochs over which the weights are averaged as they change; 0: the last ones as they are.",
        default=0.5,
        ge=0,
    )
    soup: int = _training(
        "Trainings whose weights are averaged: as a rule better, as cheap to run as one.",
        default=1,
        ge=1,
    )
    wise_ft_weight: float | None = _training(
        "Weight of the start (the base with its fitted head, or the model gone on from) in an "
        "average with what was learnt, where that makes the loss on dev less; default: the best of "
        "0 to 0.5.",
        default=None,
        ge=0,
        lt=1,
    )
    class_weights: Literal["none", "balanced"] = _training(
        "balanced: rare labels weigh more in the loss.", default="none"
    )
    metric: Literal["auto", "accuracy", "macro_f1", "spearman"] = _training(
        "Dev metric that chooses the epoch: the latest within a standard error of the best; auto: "
        "accuracy, macro_f1 (multi_label), spearman.",
        default="auto",
    )

    audit_variants: int = _output(
        "Dev rows with identity terms swapped, to score for the card's bias audit; 0: no audit.",
        default=1_000,
        ge=0,
    )

    @model_validator(mode="after")
    def _check_unlabelled(self) -> FinetuneConfig:
        if self.unlabelled and self.teacher is None:
            more, teacher = named("unlabelled"), named("teacher")
            raise ValueError(f"{more} needs a {teacher} that answers for its rows")
        return self


class PretrainConfig(ReaderConfig, InputConfig, TrainingConfig):
    """Go on with an encoder's masked-language-model training on raw text of a domain."""

    input: tuple[str, ...] = _data(
        "Raw text: files, folders or globs, local or gs://.", min_length=1
    )
    text_unit: Literal["line", "file"] = same_setting(SourceConfig, "text_unit")
    holdout: float = _data(
        "Share of the texts that the loss is measured on.", default=0.02, gt=0, lt=1
    )
    max_reject_rate: float = _data(
        "Share of rows without usable text to go on without.", default=0.05, ge=0, le=1
    )
    mask_rate: float = _training("Share of the tokens to guess.", default=0.15, gt=0, lt=1)
    epochs: int = _training("Passes over the text.", default=1, ge=1)
    learning_rate: float = _training("Its peak.", default=1e-4, gt=0)
    warmup: float = _training("Share of the steps that warm up.", default=0.06, ge=0, lt=1)
    batch_tokens: int = _training("Tokens of a batch; nothing is padded.", default=4096, ge=1)
