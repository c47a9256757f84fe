"""`AnswerEvaluation`: the evaluation.json of `pipelines.evaluate --task answer`.

`python -m beam_bert.reports answer` prints its JSON schema, with a description of every field.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from beam_bert.reports.evaluation import EVALUATION_VERSION, Metric, Model, _Document


class GroupScore(_Document):
    """How right the answers to some of the questions are."""

    questions: int = Field(description="How many.")
    exact: Metric = Field(description="Share of answers that are right exactly.")
    f1: Metric = Field(description="Mean overlap with the right answer.")


class BestNullThreshold(_Document):
    """The null threshold at which a metric is best."""

    threshold: float = Field(
        description="What --null_threshold should be; -1e9: no question would be answered."
    )
    value: float = Field(description="The metric over all questions there.")


class AnswerScores(_Document):
    """All that is counted."""

    null_threshold: float = Field(description="At which all but `best` is counted.")
    overall: GroupScore = Field(description="All questions.")
    with_answer: GroupScore | None = Field(description="Those that have an answer.")
    without_answer: GroupScore | None = Field(
        description="Those that have none: right is to give none."
    )
    answered: int = Field(description="Questions that the model gives an answer to.")
    best: dict[str, BestNullThreshold] = Field(description="For exact and f1.")
    by_word: dict[str, GroupScore] = Field(description="By what is asked for: who, when, …")
    by_length: dict[str, GroupScore] = Field(
        description="By words of the question (Chinese: characters)."
    )


class LabelTotals(_Document):
    """What became of the labels in the files."""

    right: int = Field(description="Stand where they say.")
    mended: int = Field(description="Stood once nearby, and were moved.")
    left_out: int = Field(
        description="Stood neither here nor there; the answer's text counts all the same."
    )
    without_answer: int = Field(description="Questions that have none.")
    blank: int = Field(description="Questions left out: they, or their texts, are blank.")
    shown: list[str] = Field(description="The first faults.")
    units: list[str] = Field(
        default=[], description="Files whose answer_start counts other units than code points."
    )


class WrongAnswer(_Document):
    """A question that was answered wrong."""

    id: str = Field(description="The file's own name of it, or its place.")
    question: str = Field(description="What was asked.")
    right: list[str] = Field(description="What is right; nothing: there is no answer.")
    given: str = Field(description="What the model says; empty: no answer.")
    f1: float = Field(description="Of this answer.")
    gap: float = Field(description="Null score - score.")


class AnswerEvaluation(_Document):
    """How good a question-answering model is."""

    evaluation_version: int = Field(default=EVALUATION_VERSION, description="Layout.")
    created_at: str = Field(description="ISO 8601, UTC.")
    model: Model = Field(description="What was measured.")
    definition: str = Field(description="squad, cmrc, characters, or auto: by the answer's script.")
    labels: LabelTotals = Field(description="The totals of the labels.")
    texts: int = Field(description="Different texts that questions are on.")
    windows: int = Field(description="Windows that the model read.")
    scores: AnswerScores = Field(description="Intervals are 95 % bootstrap percentiles over texts.")
    replicates: int = Field(description="Bootstrap replicates behind the intervals.")
    wrong: list[WrongAnswer] = Field(description="The surest of the wrong answers.")
    inputs: list[str] = Field(description="Files that were read.")
    settings: dict[str, Any] = Field(description="The job's settings.")
    versions: dict[str, str] = Field(description="Software versions.")
