"""The settings of `pipelines.evaluate`; defaults stand nowhere else."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from pydantic import field_validator, model_validator

from beam_bert.settings.fields import Settings, same_setting, setting
from beam_bert.settings.inference import ClassifyConfig
from beam_bert.settings.naming import named
from beam_bert.settings.text_files import Character, Encoding, OptionalCharacter
from beam_bert.settings.training import FinetuneConfig, check_label_columns, task_field

# Readers and model are the same.
_same = partial(same_setting, ClassifyConfig)


def _as_in_finetune(name: str) -> Any:
    """The setting of that name as fine-tuning has it: one rule says what a label is."""
    field = FinetuneConfig.model_fields[name]
    return setting("Labels", str(field.description), default=field.default)


class EvaluateConfig(Settings):
    """Measure a model on labelled text: how right, how sure, where it fails, and compare two."""

    task: Literal["classify", "answer"] = task_field("classify")
    input: tuple[str, ...] = _same("input")
    format: Literal["auto", "text", "jsonl", "csv", "tsv", "parquet"] = _same("format")
    text_column: tuple[str, ...] = _same("text_column")
    text_pair_column: str | None = _same("text_pair_column")
    id_column: str | None = _same("id_column")
    column_names: tuple[str, ...] | None = _same("column_names")
    encoding: Encoding = _same("encoding")
    delimiter: OptionalCharacter = _same("delimiter")
    quoting: bool | None = _same("quoting")
    quote_char: Character = _same("quote_char")
    escape_char: OptionalCharacter = _same("escape_char")
    max_document_bytes: int = _same("max_document_bytes")

    label_column: str | None = _as_in_finetune("label_column")
    label_columns: tuple[str, ...] = _as_in_finetune("label_columns")
    label_separator: str | None = setting(
        "Labels",
        "Text that parts several labels of a row, such as ','; lists need none.",
        default=None,
    )
    label_names: str | None = setting(
        "Labels",
        "File that names label 0, 1, 2, … line by line, where the rows have numbers or vectors; "
        "default: the model's own names.",
        default=None,
    )
    keep_null_labels: bool = _as_in_finetune("keep_null_labels")
    blank_labels: Literal["missing", "none"] = _as_in_finetune("blank_labels")
    max_reject_rate: float = setting(
        "Labels",
        "Share of rows without usable text or label to go on without.",
        default=0.0,
        ge=0,
        le=1,
    )

    model: str = _same("model")
    compare: str | None = setting(
        "Model", "Another model, named likewise, to compare with on the same rows.", default=None
    )
    precision: Literal["auto", "fp32", "bf16", "int8", "fp8"] = _same("precision")
    recheck_margin: float | None = _same("recheck_margin")
    device: Literal["auto", "cpu", "cuda"] = _same("device")
    max_length: int | None = _same("max_length")
    long_documents: Literal["truncate", "window"] = _same("long_documents")
    stride: int = _same("stride")
    batch_tokens: int | None = _same("batch_tokens")
    threshold: float | None = _same("threshold")
    combine_windows: Literal["mean", "max"] = _same("combine_windows")

    output: str = setting("Report", "Folder or gs:// prefix for evaluation.json and report.html.")
    slices: tuple[str, ...] | None = setting(
        "Report", "Columns by whose values to measure too, such as language,channel.", default=None
    )
    language_column: str | None = setting(
        "Report",
        "Column with the language, for the balance of the data; default: a column `language`, if "
        "there is one.",
        default=None,
    )
    billing_project: str | None = _same("billing_project", group="Report")
    examples: int = setting("Report", "Hardest rows to show.", default=20, ge=0, le=1_000)
    replicates: int = setting(
        "Report", "Bootstrap replicates behind the intervals.", default=1_000, ge=100, le=100_000
    )
    seed: int = setting("Report", "The same seed draws the same replicates.", default=0, ge=0)

    audit: bool = setting(
        "Audit", "Swap identity terms in your rows, and see how the answers move.", default=False
    )
    audit_terms: str | None = setting(
        "Audit", "YAML file with your own terms; default: the package's list.", default=None
    )
    audit_variants: int = setting(
        "Audit",
        "Swapped texts to score at most; rows beyond are not audited.",
        default=20_000,
        ge=1,
    )

    @field_validator("task")
    @classmethod
    def _check_task(cls, value: str) -> str:
        if value != "classify":
            raise ValueError("answer has settings of its own: AnswerEvaluateConfig")
        return value

    @field_validator("slices", mode="before")
    @classmethod
    def _part_slices(cls, value: Any) -> Any:
        """Names may be parted by commas, and stand in YAML without the brackets of a list."""
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, (list, tuple)) or not all(isinstance(v, str) for v in values):
            return value
        return tuple(name.strip() for part in values for name in part.split(",") if name.strip())

    @model_validator(mode="after")
    def _check_columns(self) -> EvaluateConfig:
        check_label_columns(self.label_column, self.label_columns)
        texts = {*self.text_column, self.text_pair_column} - {None}
        if both := texts & {self.label_column, *self.label_columns}:
            raise ValueError(f"column {both.pop()!r} cannot be both text and label")
        if self.audit_terms is not None and not self.audit:
            raise ValueError(f"{named('audit_terms')} needs {named('audit')}")
        return self
