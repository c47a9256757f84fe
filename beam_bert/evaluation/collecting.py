"""One pass over labelled rows: what every later number is made of, and nothing of the texts."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from beam_bert.errors import InputError
from beam_bert.evaluation.audit import BiasAudit, shown_text
from beam_bert.evaluation.data import POSITION, LabelledSource
from beam_bert.evaluation.metrics import (
    Array,
    BoolArray,
    FloatArray,
    given_labels,
    row_losses,
    true_labels,
)
from beam_bert.evaluation.scoring import Scorer
from beam_bert.labelled.cells import CellReader, LabelColumn
from beam_bert.labelled.labels import NO_LABEL, Meaning, Vocabulary, no_label_message
from beam_bert.labelled.rows import check_rejects, content_key, first_reject, places_of
from beam_bert.labelled.trained_rows import DIGEST_BYTES
from beam_bert.reports import evaluation as report
from beam_bert.settings.evaluation import EvaluateConfig
from beam_bert.slices.batch import SliceBatch
from beam_bert.tasks.classification import REGRESSION


@dataclass
class Collected:
    """Numbers of the rows that were evaluated; arrays come in pieces, one a slice.

    Attributes:
      scores, other_scores: float32 [n, labels], both in the first model's order of labels.
      targets: see `beam_bert.evaluation.metrics`.
      num_tokens: int32 [n].
      slices: for each slice column, the code of each row's value, int64 [n].
      slice_values: for each slice column, code of each value (None: null).
      sources, languages: rows of each.
      rejects: rows of each reason, and where the first one stands, with its message.
      trained_on: rows whose text a model was trained on.
    """

    scores: list[Array] = field(default_factory=list)
    other_scores: list[Array] = field(default_factory=list)
    targets: list[Array] = field(default_factory=list)
    num_tokens: list[Array] = field(default_factory=list)
    slices: dict[str, list[Array]] = field(default_factory=dict)
    slice_values: dict[str, dict[str | None, int]] = field(default_factory=dict)
    sources: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    rejects: Counter[str] = field(default_factory=Counter)
    first_reject: str = ""
    rows_read: int = 0
    rows: int = 0
    trained_on: int = 0
    truncated: int = 0
    hardest: list[tuple[float, int, report.Example]] = field(default_factory=list)

    def reject(self, rejects: pa.RecordBatch) -> None:
        """Note rows that cannot be used."""
        self.rejects.update(rejects["reason"].to_pylist())
        self.first_reject = self.first_reject or first_reject(rejects)


@dataclass(frozen=True)
class TrainedRows:
    """Texts that a model was trained on, see `beam_bert.labelled.trained_rows`.

    Attributes:
      digests: of them.
      left_out: whether rows of these texts are not measured.
    """

    digests: frozenset[bytes] = frozenset()
    left_out: bool = False

    def among(self, rows: pa.RecordBatch) -> list[int]:
        """The rows of a batch that have such a text."""
        if not self.digests:
            return []
        texts = rows["text"].to_pylist()
        has_pairs = "text_pair" in rows.schema.names
        pairs = rows["text_pair"].to_pylist() if has_pairs else [""] * len(texts)
        keys = (
            content_key(text, pair)[:DIGEST_BYTES] for text, pair in zip(texts, pairs, strict=True)
        )
        return [row for row, key in enumerate(keys) if key in self.digests]


class Collector:
    """Scores the rows of a source, slice by slice, and keeps their numbers.

    Args:
      config: the settings.
      source: the rows.
      vocabulary: the labels that they may have.
      scorer: the model.
      other: the model to compare with, and where each of our labels stands in its scores.
      audit: is shown every row, if there is one.
      trained: texts that a model was trained on.
    """

    def __init__(
        self,
        config: EvaluateConfig,
        source: LabelledSource,
        vocabulary: Vocabulary,
        scorer: Scorer,
        other: tuple[Scorer, Array] | None = None,
        audit: BiasAudit | None = None,
        trained: TrainedRows = TrainedRows(),
    ) -> None:
        self._config, self._source, self._vocabulary = config, source, vocabulary
        self._cells = CellReader(
            source.files,
            source.spec,
            source.label_columns,
            class_names=not vocabulary.settings.names,
        )
        self._meaning: Meaning | None = None
        self._trained, self._notes = trained, list[str]()
        self._scorer, self._other, self._audit = scorer, other, audit
        self.collected = Collected(
            slices={name: [] for name in source.slice_columns},
            slice_values={name: {} for name in source.slice_columns},
        )

    def check(self) -> int:
        """Read all rows and their labels, which is cheap, before any is scored; how many there are.

        Raises:
          InputError: a label is none of the model's, more rows than may be cannot be used, or
            none can.
        """
        numbers, column = Collected(), LabelColumn()
        for batch in self._source.batches():
            numbers.rows_read += batch.rows_read
            numbers.reject(batch.rejects)
            batch = self._not_trained_on(batch, numbers)
            column.add(self._cells.read(batch.rows), places_of(batch.rows))
        self._meaning = self._vocabulary.read(column, "input")
        missing = [cell for cell, said in self._meaning.said.items() if said is None]
        if missing:
            numbers.rejects[NO_LABEL] += sum(column.counts[cell] for cell in missing)
            message = no_label_message(self._vocabulary.settings.column)
            numbers.first_reject = numbers.first_reject or f"{column.first[missing[0]]}: {message}"
        numbers.rows = column.counts.total() - numbers.rejects[NO_LABEL]
        if numbers.trained_on:
            what = "left out" if self._trained.left_out else "which flatters it"
            self._notes.append(
                f"warning: {numbers.trained_on:,} rows have a text of a model's training: {what}"
            )
        self._require_rows(numbers)
        return numbers.rows_read

    def said(self) -> list[str]:
        """How the labels were read, once `check` has read them."""
        return self._notes if self._meaning is None else [*self._meaning.lines(), *self._notes]

    def run(self) -> Collected:
        """Score all rows.

        Raises:
          InputError: as `check`, where the model cannot use rows that could be read.
        """
        for batch in self._source.batches():
            self._add(batch)
        self._require_rows(self.collected)
        return self.collected

    def _not_trained_on(self, batch: SliceBatch, numbers: Collected) -> SliceBatch:
        """The batch, without rows that a model was trained on where these are left out."""
        rows = self._trained.among(batch.rows)
        numbers.trained_on += len(rows)
        if not rows or not self._trained.left_out:
            return batch
        return batch.take(np.setdiff1d(np.arange(len(batch)), rows))

    def _require_rows(self, numbers: Collected) -> None:
        if numbers.rows == 0 and numbers.trained_on and self._trained.left_out:
            raise InputError(
                f"of {numbers.rows_read:,} rows none is left that the models were not trained on; "
                "give rows that they have not seen"
            )
        if numbers.rows_read and numbers.rows == 0:
            raise InputError(
                f"there is not one usable row in {numbers.rows_read:,}; the first of them: "
                f"{numbers.first_reject}"
            )
        if numbers.rows == 0:
            raise InputError(f"{' '.join(self._config.input)}: there is not one row")
        check_rejects(
            numbers.rejects.total(),
            numbers.rows_read,
            self._config.max_reject_rate,
            numbers.first_reject,
            "input",
        )

    def _labelled(self, batch: SliceBatch) -> tuple[SliceBatch, Array]:
        """The batch without rows that have no label, and the targets of the others."""
        assert self._meaning is not None  # `check` comes first
        targets, labelled = self._meaning.targets(self._cells.read(batch.rows))
        lacking = np.setdiff1d(np.arange(len(batch)), labelled)
        message = no_label_message(self._vocabulary.settings.column)
        return batch.reject(lacking.tolist(), NO_LABEL, [message] * len(lacking)), targets

    def _add(self, batch: SliceBatch) -> None:
        numbers = self.collected
        numbers.rows_read += batch.rows_read
        batch, targets = self._labelled(self._not_trained_on(batch, numbers))
        numbers.reject(batch.rejects)
        if len(batch) == 0:
            return
        clean = SliceBatch(batch.slice, "", batch.rows, batch.rejects.slice(0, 0))
        scored = self._scorer.score(clean)
        numbers.reject(scored.rejects)
        kept, other_scores = scored.positions, None
        if self._other is not None:
            scorer, order = self._other
            other = scorer.score(clean)
            first_rejects = set(places_of(scored.rejects))
            news = [place not in first_rejects for place in places_of(other.rejects)]
            numbers.reject(other.rejects.filter(pa.array(news, pa.bool_())))
            kept = np.intersect1d(kept, other.positions)
            other_scores = other.scores[other.at(kept)][:, order]
        if len(kept) == 0:
            return
        place_in_batch = np.searchsorted(batch.rows[POSITION].to_numpy(), kept)
        rows, targets = batch.rows.take(pa.array(place_in_batch)), targets[place_in_batch]
        at = scored.at(kept)
        scores = scored.scores[at]
        numbers.scores.append(scores.astype(np.float32))
        if other_scores is not None:
            numbers.other_scores.append(other_scores.astype(np.float32))
        numbers.targets.append(targets)
        numbers.num_tokens.append(scored.num_tokens[at])
        numbers.truncated += int(scored.truncated[at].sum())
        numbers.sources.update(rows["source_file"].to_pylist())
        if self._source.language_column is not None:
            values = self._source.column(rows, self._source.language_column).to_pylist()
            numbers.languages.update(_as_text(value) or "(none)" for value in values)
        for name in self._source.slice_columns:
            code_of = numbers.slice_values[name]
            column = self._source.column(rows, name).to_pylist()
            codes = [code_of.setdefault(_as_text(value), len(code_of)) for value in column]
            numbers.slices[name].append(np.array(codes, np.int64))
        self._keep_hardest(rows, targets, scores)
        numbers.rows += len(rows)
        if self._audit is not None:
            texts = rows["text"].to_pylist()
            pairs = rows["text_pair"].to_pylist() if "text_pair" in rows.schema.names else None
            self._audit.add(rows["doc_id"].to_pylist(), texts, pairs, scores)

    def _keep_hardest(self, rows: pa.RecordBatch, targets: Array, scores: FloatArray) -> None:
        kept, wanted = self.collected.hardest, self._config.examples
        if wanted == 0:
            return
        task, pair = self._scorer.task, "text_pair" in rows.schema.names
        losses = row_losses(scores, targets, task.problem_type)
        for row in np.argsort(-losses, kind="stable")[:wanted]:
            loss = float(losses[row])
            if len(kept) == wanted and loss <= kept[0][0]:
                break
            one = slice(row, row + 1)
            true = true_labels(targets[one], task.problem_type, len(task.labels))
            given = given_labels(scores[one], task.problem_type, task.threshold)
            example = report.Example(
                doc_id=rows["doc_id"][row].as_py(),
                source_file=rows["source_file"][row].as_py(),
                source_row=rows["source_row"][row].as_py(),
                text=shown_text(
                    rows["text"][row].as_py(),
                    rows["text_pair"][row].as_py() if pair else None,
                ),
                truth=self._names(true[0], float(np.ravel(targets[row])[0])),
                given=self._names(given[0], scores[row, 0]),
                score=float(
                    scores[row, 0] if task.problem_type == REGRESSION else scores[row].max()
                ),
                loss=loss,
            )
            # Of equally hard rows the first stays: later ones have a lower order.
            heapq.heappush(kept, (loss, -self.collected.rows - int(row), example))
            if len(kept) > wanted:
                heapq.heappop(kept)

    def _names(self, labels: BoolArray, value: float) -> list[str]:
        """The labels of one row, from bool [labels]; or the value of a regression."""
        task = self._scorer.task
        if task.problem_type == REGRESSION:
            return [f"{value:.4g}"]
        return [task.labels[label] for label in np.flatnonzero(labels)]


def _as_text(value: object) -> str | None:
    return None if value is None else str(value)
