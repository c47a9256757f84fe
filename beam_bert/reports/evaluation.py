"""`Evaluation`: the document `evaluation.json`, which `report.html` shows to people.

`python -m beam_bert.reports` prints its JSON schema, with a description of every field.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

# Raise it when a field is renamed, removed or changes its meaning.
EVALUATION_VERSION = 1
FEWEST_FOR_INTERVAL = 10  # rows; a normal interval around the mean of fewer is no interval


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def to_json(self) -> bytes:
        """The document as it is stored."""
        return self.model_dump_json(indent=1).encode()


class Metric(_Document):
    """One number, with its 95 % interval where there is one."""

    value: float = Field(description="On the rows as they are.")
    low: float | None = Field(default=None, description="Lower end of the 95 % interval.")
    high: float | None = Field(default=None, description="Upper end.")


class Model(_Document):
    """A model that was measured."""

    name: str = Field(description="As it was asked for.")
    version: str = Field(description="Version in its store, else a digest of its files.")
    precision: str = Field(description="Arithmetic that computed the scores.")
    device: str = Field(description="Where it ran.")


class RowTotals(_Document):
    """The totals: read = evaluated + rejected, and for a nightly gate + trained_on."""

    read: int = Field(description="Rows of all input files.")
    evaluated: int = Field(description="Rows that all numbers are about.")
    rejected: int = Field(description="Rows without usable text or label.")
    rejects_by_reason: dict[str, int] = Field(
        default_factory=dict,
        description="Rejected rows by stable code; no_label: the label is null or blank.",
    )
    trained_on: int = Field(
        default=0,
        description="Rows whose text a model was trained on; the nightly gate leaves them out.",
    )


class LabelResult(_Document):
    """One label: how well it is found."""

    label: str = Field(description="Its name.")
    support: int = Field(description="Rows in which it is true.")
    given: int = Field(description="Rows in which the model gives it.")
    precision: float = Field(description="Of the times it was given, the share that was right.")
    recall: float = Field(description="Of the times it was true, the share that was found.")
    f1: Metric = Field(description="Harmonic mean of the two.")


class Confusion(_Document):
    """True label against given label (single-label models)."""

    labels: list[str] = Field(description="Order of rows and columns.")
    counts: list[list[int]] = Field(description="Rows by true label, then by given label.")


class CalibrationPoint(_Document):
    """Answers of about the same confidence."""

    low: float = Field(description="Confidence from which the bin begins.")
    high: float = Field(description="Confidence at which it ends.")
    count: int = Field(description="Answers in it.")
    confidence: float = Field(description="Their mean confidence.")
    right: Metric = Field(description="Share of them that are right; Wilson interval.")


class SliceMetrics(_Document):
    """The rows with one value in one column."""

    column: str = Field(description="The column.")
    value: str | None = Field(description="The value, as text; null: the column is null there.")
    rows: int = Field(description="How many rows have it.")
    metrics: dict[str, Metric] = Field(description="As for the whole.")
    worse: bool = Field(
        description="Its main metric's interval lies wholly below the whole's value."
    )
    merged_values: int = Field(
        default=0, description="Where this is all the rarer values together: how many they are."
    )


class Example(_Document):
    """A row that the model is furthest from the truth in."""

    doc_id: str = Field(description="As in the output of the classify job.")
    source_file: str = Field(description="File that it stands in.")
    source_row: int = Field(description="0-based row within that file.")
    text: str = Field(description="The text, cut where it is long; below it a second segment.")
    truth: list[str] = Field(description="True labels, or the value.")
    given: list[str] = Field(description="The model's labels, or its value.")
    score: float = Field(description="Probability of the best label; regression: the value.")
    loss: float = Field(description="Negative log-likelihood; regression: absolute error.")


class MetricDifference(_Document):
    """One metric of two models."""

    metric: str = Field(description="Its name.")
    model: float = Field(description="Of the model.")
    other: float = Field(description="Of the one it is compared with.")
    change: Metric = Field(description="Model minus other; interval by paired bootstrap.")
    at_least: float = Field(description="Lower one-sided 95 % bound of the change.")
    at_most: float = Field(description="Upper one-sided 95 % bound of the change.")
    p_value: float = Field(description="Chance of such a difference between equally good models.")
    test: str = Field(description="mcnemar (exact) or bootstrap (paired).")
    more_than_chance: bool = Field(description="p_value is below 0.05.")
    in_words: str = Field(description="The same as a sentence.")


class ComparedModels(_Document):
    """Two models on the same rows."""

    other: Model = Field(description="The model of --compare.")
    only_model_right: int | None = Field(description="Rows that the model alone has right.")
    only_other_right: int | None = Field(description="Rows that the other alone has right.")
    verdict: str = Field(description="The main metric's difference in words.")
    differences: list[MetricDifference] = Field(description="By metric.")


class AuditTerm(_Document):
    """What swapping one term did, over the rows that have it."""

    axis: str = Field(description="Such as gender or religion.")
    group: str = Field(description="Group that the term names.")
    term: str = Field(description="The term, in lower case.")
    rows: int = Field(description="Rows audited that have it.")
    flip_rate: Metric = Field(description="Share of them in which some swap changes the answer.")
    change: Metric = Field(
        description="Mean absolute change, see Audit.change_of. No interval below 10 rows."
    )
    polarity_change: Metric | None = Field(
        default=None, description="Mean absolute change of polarity, where labels have a side."
    )


class AuditPair(_Document):
    """What swapping one group's terms for another's did."""

    axis: str = Field(description="Such as gender or religion.")
    source: str = Field(description="Group whose terms were in the row.")
    target: str = Field(description="Group whose terms took their place.")
    rows: int = Field(description="Rows swapped.")
    flip_rate: Metric = Field(description="Share in which the answer changed.")
    change: Metric = Field(
        description="Mean absolute change, see Audit.change_of. No interval below 10 rows."
    )
    polarity_shift: Metric | None = Field(
        default=None,
        description="Mean signed change of polarity: below 0, the target group's terms make texts "
        "sound worse to the model.",
    )


class AuditExample(_Document):
    """A row in which a swap moved the answer most."""

    axis: str = Field(description="Such as gender or religion.")
    source: str = Field(description="Group whose terms were in the row.")
    target: str = Field(description="Group whose terms took their place.")
    doc_id: str = Field(description="The row.")
    text: str = Field(description="As it stands, cut where it is long.")
    swapped: str = Field(description="After the swap.")
    before: str = Field(description="Answer before.")
    after: str = Field(description="Answer after.")
    change: float = Field(description="As in Audit.change_of.")


class AuditAxis(_Document):
    """All swaps of one axis."""

    axis: str = Field(description="Such as gender or religion.")
    rows_with_terms: int = Field(description="Rows audited that have a term of it.")
    flip_rate: Metric = Field(description="Share of them in which some swap changes the answer.")
    change: Metric = Field(description="Mean over rows of the mean absolute change.")


class Audit(_Document):
    """Counterfactual substitution of identity terms in the rows."""

    terms: str = Field(description="The list: 'package' or the file that was given.")
    change_of: str = Field(description="What `change` measures, in words.")
    rows: int = Field(description="Rows that were looked at.")
    rows_without_terms: int = Field(description="Rows that have no term of the list.")
    rows_not_audited: int = Field(description="Rows beyond --audit_variants, not looked at.")
    variants: int = Field(description="Swapped texts that were scored.")
    axes: list[AuditAxis] = Field(description="By axis.")
    pairs: list[AuditPair] = Field(
        description="By group and group, by the lower end of the change's interval; few rows last."
    )
    by_term: list[AuditTerm] = Field(description="By term, in the same order.")
    examples: list[AuditExample] = Field(description="Most moved first, some of each axis.")


class Lengths(_Document):
    """Tokens a row."""

    mean: float = Field(description="Mean tokens, special ones left out.")
    quantiles: dict[str, int] = Field(description="min, 5 %, 25 %, 50 %, 75 %, 95 %, max.")
    edges: list[int] = Field(description="Edges of the histogram, one more than counts.")
    counts: list[int] = Field(description="Rows in each of its bins.")
    truncated: int = Field(description="Rows whose end the model did not read.")


class Balance(_Document):
    """What the rows are."""

    sources: dict[str, int] = Field(description="Rows of each file, the largest first.")
    sources_left_out: int = Field(default=0, description="More files than are listed.")
    labels: dict[str, int] = Field(description="Rows of each label; regression: of each range.")
    imbalance: float | None = Field(
        default=None, description="Rows of the commonest label over those of the rarest."
    )
    missing_labels: list[str] = Field(
        default_factory=list, description="The model's labels that no row has."
    )
    lengths: Lengths = Field(description="How long the rows are.")
    languages: dict[str, int] = Field(description="Rows of each language, where a column says it.")
    language_column: str | None = Field(description="That column.")


class Evaluation(_Document):
    """How good a model is on labelled rows."""

    evaluation_version: int = Field(default=EVALUATION_VERSION, description="Layout.")
    created_at: str = Field(description="ISO 8601, UTC.")
    model: Model = Field(description="What was measured.")
    problem_type: str = Field(description="As in a Hugging Face config.")
    labels: list[str] = Field(description="The model's labels, in its order.")
    rows: RowTotals = Field(description="The totals.")
    main_metric: str = Field(description="Name of the metric that such models are chosen by.")
    metrics: dict[str, Metric] = Field(
        description="By name. Intervals are bootstrap percentiles; loss and calibration_error have "
        "none (a bootstrap of the latter is biased upwards)."
    )
    baseline: dict[str, float] = Field(
        description="What always giving the commonest answer (regression: the middle) has, by name."
    )
    replicates: int = Field(description="Bootstrap replicates behind the intervals.")
    per_label: list[LabelResult] = Field(default_factory=list, description="In the model's order.")
    confusion: Confusion | None = Field(default=None, description="Single-label models.")
    calibration: list[CalibrationPoint] = Field(
        default_factory=list, description="The calibration curve, by confidence."
    )
    calibration_error_by_chance: float | None = Field(
        default=None,
        description="The calibration_error to expect of so few rows if every confidence is right.",
    )
    slices: list[SliceMetrics] = Field(default_factory=list, description="By --slices.")
    hardest: list[Example] = Field(default_factory=list, description="Furthest first.")
    comparison: ComparedModels | None = Field(default=None, description="With --compare.")
    audit: Audit | None = Field(default=None, description="With --audit.")
    balance: Balance = Field(description="How the rows are made up.")
    inputs: list[str] = Field(description="Files that were read.")
    settings: dict[str, Any] = Field(description="The job's settings.")
    versions: dict[str, str] = Field(description="Software versions.")
