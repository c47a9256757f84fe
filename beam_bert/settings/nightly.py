"""The settings of the nightly job: those of the other jobs, one section each, and the gate's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final, Literal, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from beam_bert.errors import shown
from beam_bert.settings.evaluation import EvaluateConfig
from beam_bert.settings.fields import Settings, kind_of, same_setting, setting
from beam_bert.settings.inference import ClassifyConfig
from beam_bert.settings.training import FinetuneConfig

Step = Literal["train", "gate", "promote", "classify"]
STEPS: Final[tuple[Step, ...]] = ("train", "gate", "promote", "classify")
DATE = "{date}"
FEWEST_ROWS = 200
PROVABLE = 0.03  # a fall by so much beyond max_fall must show
# What evaluate compares two models by.
LabelMetric = Literal["accuracy", "macro_f1", "weighted_f1"]
ValueMetric = Literal["spearman", "pearson", "mean_absolute_error", "root_mean_squared_error"]


_night = partial(setting, "Night")
_section = partial(setting, "Sections")


class GateConfig(Settings):
    """What a candidate must reach on the rows of `evaluate` to replace the model in production."""

    metric: Literal["auto", LabelMetric, ValueMetric] = Field(
        default="auto",
        description="auto: the one that evaluate leads with; of labels, accuracy, macro_f1 or "
        "weighted_f1; of values, spearman, pearson, mean_absolute_error or "
        "root_mean_squared_error.",
    )
    minimum: float | None = Field(
        default=None,
        description="What it must reach; of errors: what it must not exceed. Default: it must be "
        "better than always giving the commonest answer.",
        allow_inf_nan=False,
    )
    minimum_rows: int | None = Field(
        default=None,
        ge=1,
        description="Rows that it must be measured on. Default: those of which a fall by 3 points "
        f"beyond max_fall would be proven, {FEWEST_ROWS} at least.",
    )
    max_fall: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="How much worse it may be."
    )
    rule: Literal["proven_fall", "any_fall", "proven_safe"] = Field(
        default="proven_fall",
        description="A fall counts if it is larger than max_fall with 95 % certainty "
        "(proven_fall), as it is measured (any_fall), or unless it is smaller with 95 % certainty "
        "(proven_safe).",
    )
    promote: Literal["better", "not_worse"] = Field(
        default="better",
        description="better: than production, as measured; not_worse: an equal model is promoted "
        "too, though all documents are then read again.",
    )
    anchor: str = Field(
        default="best",
        min_length=1,
        description="What it is held against beside production, so that many small falls do not "
        "add up. best: the best version that was promoted since a person chose one; none; or a "
        "version, or an alias of the store.",
    )


class NightlyConfig(Settings):
    """Refresh the model if that is due and helps, then classify what is new."""

    store: str = _night("Model store of the versions: folder or gs:// prefix.")
    date: str = _night(
        f"Night, YYYY-MM-DD; stands for {DATE} in output and classify.partition; default: today.",
        default="",
    )
    steps: tuple[Step, ...] = _night(
        "Steps to take, for schedulers that run each as a job of its own.",
        default=STEPS,
        min_length=1,
    )
    output: str | None = _night(
        "Folder or gs:// prefix for the evaluation's report; default: nights/{date} below that of "
        "classify.",
        default=None,
    )
    billing_project: str | None = same_setting(ClassifyConfig, "billing_project", group="Night")
    task: Literal["classify", "sentiment"] = _night("Which job classifies.", default="classify")
    dry_run: bool = _night("Say what this night would do, and do nothing.", default=False)
    finetune: FinetuneConfig | None = _section(
        "As pipelines.finetune; left out: the model is not trained.", default=None
    )
    evaluate: EvaluateConfig | None = _section(
        "As pipelines.evaluate; left out: nothing is promoted.", default=None
    )
    gate: GateConfig = _section(
        "What a candidate must reach; docs/nightly.md says more.", default_factory=GateConfig
    )
    classify: ClassifyConfig = _section("As pipelines.classify.")

    @field_validator("store")
    @classmethod
    def _check_store(cls, value: str) -> str:
        if not value.strip() or "@" in value.rsplit("/", 1)[-1]:
            raise ValueError("must be a model store, without @alias")
        return value

    @field_validator("date")
    @classmethod
    def _check_date(cls, value: str) -> str:
        try:
            known = not value or value == datetime.strptime(value, "%Y-%m-%d").strftime("%Y-%m-%d")
        except ValueError:
            known = False
        if not known:
            raise ValueError(f"{shown(value)} is no day, YYYY-MM-DD")
        return value

    @field_validator("finetune", "evaluate", "classify", mode="before")
    @classmethod
    def _complete(cls, value: Any, info: ValidationInfo) -> Any:
        """A section with the settings that this job makes itself, and the project that pays.

        A config object cannot leave out what its own job requires (a model, an output): that is
        replaced. What it need not have said is refused, as it is in a mapping.
        """
        store = str(info.data.get("store", "?")).rstrip("/")  # "?": it is refused already
        section = str(info.field_name)
        sections: dict[str, dict[str, object]] = {
            "finetune": {"output": store, "layout": "store", "alias": "candidate"},
            "evaluate": {"model": f"{store}@candidate", "compare": None, "output": "nights"},
            "classify": {
                "model": f"{store}@production",
                "incremental": True,
                "overwrite": False,
                "run_id": None,
                "dry_run": False,
            },
        }
        ours = sections[section]
        config: type[Settings] = kind_of(cls.model_fields[section])
        given = value.model_dump(exclude_unset=True) if isinstance(value, config) else value
        if not isinstance(given, Mapping):
            return value
        for name in ours:
            unavoidable = given is not value and config.model_fields[name].is_required()
            if name in given and not unavoidable and (given is value or given[name] != ours[name]):
                raise ValueError(f"{section}.{name} is the nightly job's to set; leave it out")
        completed = {"billing_project": info.data.get("billing_project"), **given, **ours}
        return type(value)(**completed) if given is not value else completed

    @model_validator(mode="after")
    def _check_sections(self) -> NightlyConfig:
        if self.finetune is not None and self.evaluate is None:
            raise ValueError("finetune needs a section evaluate: nothing is promoted unseen")
        if self.finetune is not None and self.gate.metric != "auto":
            trains_values = self.finetune.problem_type == "regression"
            if trains_values != (self.gate.metric in get_args(ValueMetric)):
                kind = "values" if trains_values else "labels"
                raise ValueError(f"gate.metric {self.gate.metric} is none of a model of {kind}")
        return self

    def on(self, date: str) -> NightlyConfig:
        """The settings of one night: its date put in, and nothing left to default."""
        output = self.output or f"{self.classify.output.rstrip('/')}/nights/{DATE}"
        partition = self.classify.partition.replace(DATE, date)
        return self.model_copy(
            update={
                "date": date,
                "output": output.replace(DATE, date),
                "classify": self.classify.model_copy(update={"partition": partition}),
            }
        )
