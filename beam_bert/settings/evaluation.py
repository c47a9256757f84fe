"""The settings of `pipelines.evaluate`; defaults stand nowhere else."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from beam_bert.errors import shown
from beam_bert.settings.fields import Settings, same_setting, setting
from beam_bert.settings.inference import ClassifyConfig, InputConfig, ModelConfig, PairConfig
from beam_bert.settings.naming import named
from beam_bert.settings.training import LabelConfig, TaskConfig

_report = partial(setting, "Report")
_audit = partial(setting, "Audit")


class ReportConfig(Settings):
    """Where a report goes, and how sure its numbers are made."""

    output: str = _report("Folder or gs:// prefix for evaluation.json and report.html.")
    billing_project: str | None = same_setting(ClassifyConfig, "billing_project", group="Report")
    replicates: int = _report(
        "Bootstrap replicates behind the intervals.", default=1_000, ge=100, le=100_000
    )
    seed: int = _report("The same seed draws the same replicates.", default=0, ge=0)


class EvaluateConfig(ReportConfig, ModelConfig, LabelConfig, PairConfig, InputConfig, TaskConfig):
    """Measure a model on labelled text: how right, how sure, where it fails, and compare two."""

    OF_OTHER_TASK: ClassVar[str] = "AnswerEvaluateConfig"

    id_column: str | None = same_setting(ClassifyConfig, "id_column")
    label_names: str | None = setting(
        "Labels",
        "File that names label 0, 1, 2, … line by line, where the rows have numbers or vectors; "
        "default: the model's own names.",
        default=None,
    )
    compare: str | None = setting(
        "Model", "Another model, named likewise, to compare with on the same rows.", default=None
    )
    threshold: float | None = same_setting(ClassifyConfig, "threshold")
    combine_windows: Literal["mean", "max"] = same_setting(ClassifyConfig, "combine_windows")
    slices: tuple[str, ...] | None = _report(
        "Columns by whose values to measure too, such as language,channel.", default=None
    )
    language_column: str | None = _report(
        "Column with the language, for the balance of the data; default: a column `language`, if "
        "there is one.",
        default=None,
    )
    examples: int = _report("Hardest rows to show.", default=20, ge=0, le=1_000)

    audit: bool = _audit(
        "Swap identity terms in your rows, and see how the answers move.", default=False
    )
    audit_terms: str | None = _audit(
        "YAML file with your own terms; default: the package's list.", default=None
    )
    audit_variants: int = _audit(
        "Swapped texts to score at most; rows beyond are not audited.", default=20_000, ge=1
    )

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
        texts = {*self.text_column, self.text_pair_column} - {None}
        if both := texts & {self.label_column, *self.label_columns}:
            raise ValueError(f"column {shown(both.pop())} cannot be both text and label")
        if self.audit_terms is not None and not self.audit:
            raise ValueError(f"{named('audit_terms')} needs {named('audit')}")
        return self
