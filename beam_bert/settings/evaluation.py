"""The settings of `pipelines.evaluate`; defaults stand nowhere else."""

from __future__ import annotations

from copy import copy
from typing import Any, Literal

from pydantic import field_validator, model_validator

from beam_bert.settings.fields import Settings, setting
from beam_bert.settings.inference import ClassifyConfig
from beam_bert.settings.training import task_field


def _as_in_classify(name: str) -> Any:
    """The setting of that name as the inference jobs have it: readers and model are the same."""
    return copy(ClassifyConfig.model_fields[name])


class EvaluateConfig(Settings):
    """Measure a model on labelled text: how right, how sure, where it fails, and compare two."""

    task: Literal["classify", "answer"] = task_field("classify")
    input: tuple[str, ...] = _as_in_classify("input")
    format: Literal["auto", "text", "jsonl", "csv", "tsv", "parquet"] = _as_in_classify("format")
    text_column: tuple[str, ...] = _as_in_classify("text_column")
    text_pair_column: str | None = _as_in_classify("text_pair_column")
    id_column: str | None = _as_in_classify("id_column")
    column_names: tuple[str, ...] | None = _as_in_classify("column_names")
    quoting: bool | None = _as_in_classify("quoting")
    max_document_bytes: int = _as_in_classify("max_document_bytes")

    label_column: str = setting("Labels", "Column with the label, the labels or the value.")
    label_separator: str | None = setting(
        "Labels",
        "Text that parts several labels of a row, such as ','; lists need none.",
        default=None,
    )
    label_names: str | None = setting(
        "Labels",
        "File that names label 0, 1, 2, … line by line, where the rows have numbers; "
        "default: the model's own numbers.",
        default=None,
    )
    max_reject_rate: float = setting(
        "Labels",
        "Share of rows without usable text or label to go on without.",
        default=0.0,
        ge=0,
        le=1,
    )

    model: str = _as_in_classify("model")
    compare: str | None = setting(
        "Model", "Another model, named likewise, to compare with on the same rows.", default=None
    )
    precision: Literal["auto", "fp32", "bf16", "int8", "fp8"] = _as_in_classify("precision")
    recheck_margin: float | None = _as_in_classify("recheck_margin")
    device: Literal["auto", "cpu", "cuda"] = _as_in_classify("device")
    max_length: int | None = _as_in_classify("max_length")
    long_documents: Literal["truncate", "window"] = _as_in_classify("long_documents")
    stride: int = _as_in_classify("stride")
    batch_tokens: int | None = _as_in_classify("batch_tokens")
    threshold: float | None = _as_in_classify("threshold")
    combine_windows: Literal["mean", "max"] = _as_in_classify("combine_windows")

    output: str = setting("Report", "Folder or gs:// prefix for evaluation.json and report.html.")
    slices: tuple[str, ...] | None = setting(
        "Report", "Columns by whose values to measure too, such as language,channel.", default=None
    )
    language_column: str | None = setting(
        "Report",
        "Column with the language, for the balance of the data; default: a column `language` if "
        "there is one, else a guess from stop words.",
        default=None,
    )
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
        return tuple(name.strip() for each in values for name in each.split(",") if name.strip())

    @field_validator("label_column", "output", "model")
    @classmethod
    def _check_not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty")
        return value

    @model_validator(mode="after")
    def _check_columns(self) -> EvaluateConfig:
        texts = {*self.text_column, self.text_pair_column}
        if self.label_column in texts:
            raise ValueError(f"column {self.label_column!r} cannot be both text and label")
        if self.audit_terms is not None and not self.audit:
            raise ValueError("--audit_terms needs --audit")
        return self
