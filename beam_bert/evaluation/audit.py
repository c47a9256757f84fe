"""The bias audit: swap identity terms in the user's own rows, and see how the answers move.

Counterfactual token fairness (Garg et al. 2019, arXiv:1809.10610): were the text about another
group, the answer should be the same. Only what changed the answer's meaning for a reader should
change it for the model; some swaps do (a review of a church is none of a mosque), so a rate above 0
is a place to look, not a verdict.

Every statistic is over rows, one value a row, since the swaps of one row are no independent
samples. Memory holds the swaps of one slice, sums, and a few examples.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from beam_bert.errors import ModelError
from beam_bert.evaluation.identity_terms import IdentityTerms, swap
from beam_bert.evaluation.metrics import Array, FloatArray, given_labels, wilson_interval
from beam_bert.reports import evaluation as report
from beam_bert.tasks.classification import MULTI_LABEL, REGRESSION
from beam_bert.tasks.sentiment import valences

CHUNK_VARIANTS = 2_048
EXAMPLES_AN_AXIS = 5
_SHOWN_CHARACTERS = 400

# Texts and second segments (None: there are none) -> the texts' numbers that have scores, scores.
ScoreTexts = Callable[[Sequence[str], "Sequence[str] | None"], "tuple[Array, FloatArray]"]


@dataclass(frozen=True)
class Answers:
    """What scores mean to the audit.

    Attributes:
      labels: the model's.
      problem_type: as in a Hugging Face config.
      threshold: multi-label: probability from which a label is given.
      valences: float64 [labels], how good each label is; None where labels do not tell.
    """

    labels: tuple[str, ...]
    problem_type: str
    threshold: float = 0.5
    valences: FloatArray | None = None

    @classmethod
    def of(cls, labels: tuple[str, ...], problem_type: str, threshold: float) -> Answers:
        """Of a model: how good its labels are is told by their names, if at all."""
        try:
            sides = valences(labels, problem_type)
        except ModelError:  # the labels have no good or bad side
            sides = None
        return cls(labels, problem_type, threshold, sides)

    @property
    def change_of(self) -> str:
        """What `changes` measures, in words."""
        if self.problem_type == REGRESSION:
            return "the absolute change of the value"
        if self.problem_type == MULTI_LABEL:
            return "the largest absolute change of a label's probability"
        return "the probability that moved to other labels (total variation distance)"

    def changes(self, before: FloatArray, after: FloatArray) -> FloatArray:
        """How far the scores moved, float64 [n]; see `change_of`."""
        moved = np.abs(after - before)
        if self.problem_type == REGRESSION:
            return np.asarray(moved[:, 0])
        if self.problem_type == MULTI_LABEL:
            return np.asarray(moved.max(axis=1))
        return np.asarray(moved.sum(axis=1) / 2)

    def flips(self, before: FloatArray, after: FloatArray) -> Array:
        """Where the answer itself is another, bool [n]; values of a regression never flip."""
        if self.problem_type == REGRESSION:
            return np.zeros(len(before), bool)
        first, then = (
            given_labels(scores, self.problem_type, self.threshold) for scores in (before, after)
        )
        return np.asarray((first != then).any(axis=1))

    def shifts(self, before: FloatArray, after: FloatArray) -> FloatArray | None:
        """Signed change of polarity, float64 [n]; None where labels have no side."""
        return None if self.valences is None else (after - before) @ self.valences

    def in_words(self, scores: FloatArray) -> str:
        """One row's answer, float64 [labels]."""
        if self.problem_type == REGRESSION:
            return f"{scores[0]:.4g}"
        if self.problem_type == MULTI_LABEL:
            given = [
                f"{self.labels[i]} {scores[i]:.2f}"
                for i in np.flatnonzero(scores >= self.threshold)
            ]
            return ", ".join(given) or "no label"
        best = int(scores.argmax())
        return f"{self.labels[best]} {scores[best]:.2f}"


@dataclass
class Moments:
    """A running mean and its interval, over rows."""

    rows: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """One row's value."""
        self.rows += 1
        self.total += value
        self.squares += value * value

    def metric(self) -> report.Metric:
        """The mean, with a 95 % normal interval if there are enough rows for one."""
        mean = self.total / max(self.rows, 1)
        if self.rows < report.FEWEST_FOR_INTERVAL:
            return report.Metric(value=mean)
        variance = max(self.squares / self.rows - mean * mean, 0.0) * self.rows / (self.rows - 1)
        half = 1.96 * math.sqrt(variance / self.rows)
        return report.Metric(value=mean, low=mean - half, high=mean + half)


@dataclass
class Moved:
    """How often and how far the answers of some rows moved."""

    flipped: int = 0
    change: Moments = field(default_factory=Moments)
    polarity: Moments = field(default_factory=Moments)

    def add(
        self, swaps: list[int], flips: Array, changes: FloatArray, polarity: FloatArray | None
    ) -> None:
        """One row, of which these elements of the arrays are."""
        self.flipped += bool(flips[swaps].any())
        self.change.add(float(changes[swaps].mean()))
        if polarity is not None:
            self.polarity.add(float(polarity[swaps].mean()))

    def measured(self) -> dict[str, Any]:
        """The share of rows that flipped, with its Wilson interval, and the mean change."""
        low, high = wilson_interval(np.array(self.flipped), np.array(self.change.rows))
        share = self.flipped / max(self.change.rows, 1)
        flip_rate = report.Metric(value=share, low=float(low), high=float(high))
        return {"flip_rate": flip_rate, "change": self.change.metric()}

    def measured_polarity(self) -> report.Metric | None:
        """The mean of the polarities that were added, if any were."""
        return self.polarity.metric() if self.polarity.rows else None


class _Rows(NamedTuple):
    """Rows of one batch, with their own scores, float64 [n, labels]."""

    doc_ids: Sequence[str]
    texts: Sequence[str]
    pairs: Sequence[str] | None
    scores: FloatArray

    def pair(self, row: int) -> str | None:
        return None if self.pairs is None else self.pairs[row]


@dataclass(frozen=True)
class _Variant:
    """One swapped text, and where it comes from."""

    row: int
    axis: str
    source: str
    target: str
    text: str
    pair: str | None
    terms: tuple[str, ...]


class BiasAudit:
    """Audits rows batch by batch; `result` tells what was found.

    Args:
      terms: the list.
      terms_name: what the report calls it.
      answers: what scores mean.
      score: scores texts as the rows themselves were scored.
      max_variants: swapped texts to score at most.
    """

    def __init__(
        self,
        terms: IdentityTerms,
        terms_name: str,
        answers: Answers,
        score: ScoreTexts,
        max_variants: int,
    ) -> None:
        self._terms, self._terms_name = terms, terms_name
        self._answers, self._score, self._left = answers, score, max_variants
        self._rows = self._rows_without = self._not_audited = self._variants = 0
        self._axes: dict[str, Moved] = defaultdict(Moved)
        self._pairs: dict[tuple[str, str, str], Moved] = defaultdict(Moved)
        self._by_term: dict[tuple[str, str, str], Moved] = defaultdict(Moved)
        self._examples: dict[str, list[tuple[float, int, report.AuditExample]]] = defaultdict(list)
        self._order = 0

    def add(
        self,
        doc_ids: Sequence[str],
        texts: Sequence[str],
        pairs: Sequence[str] | None,
        scores: FloatArray,
    ) -> None:
        """Audit rows whose own scores are known, float64 [n, labels]."""
        rows = _Rows(doc_ids, texts, pairs, scores)
        pending: list[_Variant] = []
        for row in range(len(texts)):
            if self._left <= 0:
                self._not_audited += len(texts) - row
                break
            variants = self._swaps(rows, row)
            self._rows += 1
            self._rows_without += not variants
            self._left -= len(variants)
            pending += variants
            if len(pending) >= CHUNK_VARIANTS:
                self._judge(pending, rows)
                pending = []
        if pending:
            self._judge(pending, rows)

    def result(self) -> report.Audit:
        """All that was found so far."""
        axes = [axis.name for axis in self._terms.compiled]
        return report.Audit(
            terms=self._terms_name,
            change_of=self._answers.change_of,
            rows=self._rows,
            rows_without_terms=self._rows_without,
            rows_not_audited=self._not_audited,
            variants=self._variants,
            axes=[
                report.AuditAxis(axis=axis, rows_with_terms=moved.change.rows, **moved.measured())
                for axis in axes
                for moved in [self._axes[axis]]
            ],
            pairs=[
                report.AuditPair(
                    axis=axis,
                    source=source,
                    target=target,
                    rows=moved.change.rows,
                    polarity_shift=moved.measured_polarity(),
                    **moved.measured(),
                )
                for (axis, source, target), moved in sorted(self._pairs.items(), key=_most_moved)
            ],
            by_term=[
                report.AuditTerm(
                    axis=axis,
                    group=group,
                    term=term,
                    rows=moved.change.rows,
                    polarity_change=moved.measured_polarity(),
                    **moved.measured(),
                )
                for (axis, group, term), moved in sorted(self._by_term.items(), key=_most_moved)
            ],
            examples=[
                example
                for axis in axes
                for _, _, example in sorted(self._examples[axis], key=lambda e: -e[0])
            ],
        )

    def _swaps(self, rows: _Rows, row: int) -> list[_Variant]:
        variants = []
        text, pair = rows.texts[row], rows.pair(row)
        for axis in self._terms.compiled:
            terms, pair_terms = axis.find(text), axis.find(pair) if pair else []
            both = [*terms, *pair_terms]
            for source, target in axis.swaps(both):
                swapped = swap(text, terms, source, target)
                swapped_pair = None if pair is None else swap(pair, pair_terms, source, target)
                if (swapped, swapped_pair) == (text, pair):
                    continue
                names = dict.fromkeys(t.term.lower() for t in both if t.group == source)
                variants.append(
                    _Variant(row, axis.name, source, target, swapped, swapped_pair, tuple(names))
                )
        return variants

    def _judge(self, variants: list[_Variant], rows: _Rows) -> None:
        """Score the variants and add them up, row by row (all of a row's are in one call)."""
        before_rows: list[FloatArray] = []
        after_rows: list[FloatArray] = []
        judged: list[_Variant] = []
        for start in range(0, len(variants), CHUNK_VARIANTS):
            chunk = variants[start : start + CHUNK_VARIANTS]
            swapped_pairs = None if rows.pairs is None else [v.pair or "" for v in chunk]
            scored, after = self._score([v.text for v in chunk], swapped_pairs)
            judged += [chunk[number] for number in scored]
            before_rows.append(rows.scores[[chunk[number].row for number in scored]])
            after_rows.append(after)
        before, after = np.concatenate(before_rows), np.concatenate(after_rows)
        self._variants += len(judged)
        flips = self._answers.flips(before, after)
        changes = self._answers.changes(before, after)
        shifts = self._answers.shifts(before, after)
        by_row: dict[tuple[str, int], list[int]] = defaultdict(list)
        by_term: dict[tuple[str, str, str, int], list[int]] = defaultdict(list)
        for i, variant in enumerate(judged):
            pair = self._pairs[variant.axis, variant.source, variant.target]
            pair.add([i], flips, changes, shifts)
            by_row[variant.axis, variant.row].append(i)
            for term in variant.terms:
                by_term[variant.axis, variant.source, term, variant.row].append(i)
            self._keep_example(variant, rows, before[i], after[i], float(changes[i]))
        size = None if shifts is None else np.abs(shifts)
        for (axis, _), swaps in by_row.items():
            self._axes[axis].add(swaps, flips, changes, size)
        for (axis, group, term, _), swaps in by_term.items():
            self._by_term[axis, group, term].add(swaps, flips, changes, size)

    def _keep_example(
        self, variant: _Variant, rows: _Rows, before: FloatArray, after: FloatArray, change: float
    ) -> None:
        kept = self._examples[variant.axis]
        if change <= 0 or (len(kept) == EXAMPLES_AN_AXIS and change <= kept[0][0]):
            return
        # Of a text's many swaps the one that moved most, or examples would be one text in colours.
        text = shown_text(rows.texts[variant.row], rows.pair(variant.row))
        same = [item for item in kept if item[2].text == text]
        if same and same[0][0] >= change:
            return
        if same:
            kept.remove(same[0])
            heapq.heapify(kept)
        self._order -= 1  # ties: the earlier one stays
        example = report.AuditExample(
            axis=variant.axis,
            source=variant.source,
            target=variant.target,
            doc_id=rows.doc_ids[variant.row],
            text=text,
            swapped=shown_text(variant.text, variant.pair),
            before=self._answers.in_words(before),
            after=self._answers.in_words(after),
            change=change,
        )
        heapq.heappush(kept, (change, self._order, example))
        if len(kept) > EXAMPLES_AN_AXIS:
            heapq.heappop(kept)


def shown_text(text: str, pair: str | None = None) -> str:
    """The start of a text, with a mark where it is cut, and of its second segment below it."""
    if pair is not None:
        return f"{shown_text(text)}\n{shown_text(pair)}"
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _most_moved(
    item: tuple[tuple[str, str, str], Moved],
) -> tuple[bool, float, tuple[str, str, str]]:
    """Sorts by the change that is sure; few rows, of which nothing is, come last."""
    key, moved = item
    change = moved.change.metric()
    return change.low is None, -change.value if change.low is None else -change.low, key
