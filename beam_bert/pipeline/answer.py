"""Question answering as a PTransform: `Answer`, beside
`beam_bert.pipeline.classify.Classify`.

    document rows -> windows of question and text -> best spans -> answers

What is new beside classification stands in three places: `beam_bert.tokenization.questions`
(windows), `beam_bert.encoder.spans` (the search) and `beam_bert.tasks.answering` (which spans are
answers). Here they meet.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_bert.encoder import load_span_finder
from beam_bert.inference.compute_options import DEFAULTS, ComputeOptions
from beam_bert.models import ResolvedModel
from beam_bert.pipeline.predict import Predict, output_rows
from beam_bert.slices.batch import SliceBatch
from beam_bert.slices.token_arrays import logits_array
from beam_bert.tasks.answering import (
    AnswerTask,
    answer_arrays,
    candidates_of,
    rank_within,
)
from beam_bert.tokenization import QuestionTokenizer, WindowSettings

_SHOWN = ["doc_id", "carried", "num_tokens", "truncated", "source_file", "source_row"]


class Answer(Predict):
    """Document rows -> answer rows, through Beam's RunInference.

    Args:
      model: which model, as `beam_bert.models.resolve_model` found it.
      task: what is asked, and which answers are kept.
      windows: how documents are cut.
      max_answer_tokens: longest answer.
      options: how and where the model runs.
    """

    def __init__(
        self,
        model: ResolvedModel,
        task: AnswerTask,
        windows: WindowSettings,
        *,
        max_answer_tokens: int = 30,
        options: ComputeOptions = DEFAULTS,
    ) -> None:
        super().__init__(
            model,
            tokenizer_of=partial(QuestionTokenizer, settings=windows, questions=task.questions),
            load=partial(
                load_span_finder,
                max_answer_tokens=max_answer_tokens,
                top_spans=task.top_spans,
            ),
            decode=partial(decode, task=task, model=model),
            task=task,
            options=options,
        )


def decode(batch: SliceBatch, task: AnswerTask, model: ResolvedModel) -> SliceBatch:
    """A ScoreBatch as the rows that the user reads.

    A question for which no span is left (its text's tokens stand for no characters) has no answer.
    """
    per_document = task.questions_a_document
    candidates, windows = candidates_of(batch.rows, logits_array(batch.rows), per_document)
    texts = batch.rows["text"].to_pylist()
    shown, is_answer = task.shown(candidates)
    char_spans = np.full((len(is_answer), 2), -1, np.int64)
    for side, name, tokens in ((0, "token_starts", shown.start), (1, "token_ends", shown.end)):
        column = batch.rows[name]
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
        firsts = (np.cumsum(lengths) - lengths)[shown.pair // per_document]
        flat = column.flatten().to_numpy(zero_copy_only=False)
        char_spans[is_answer, side] = flat[(firsts + tokens)[is_answer]]
    answers = [
        texts[pair // per_document][start:end] if start >= 0 else None
        for pair, (start, end) in zip(shown.pair.tolist(), char_spans.tolist(), strict=True)
    ]
    columns = answer_arrays(shown, char_spans, answers)
    if task.layout == "wide":
        owners = np.arange(len(batch))
        structs = pa.StructArray.from_arrays(columns, fields=list(task.fields()[0].type))
        columns = [
            structs.take(pa.array(owners * per_document + place)) for place in range(per_document)
        ]
        windows = windows.reshape(-1, per_document).max(axis=1)
    else:
        owners, windows = shown.pair // per_document, windows[shown.pair]
        columns = [
            *_asked(batch.rows, task, shown.pair),
            *columns,
            pa.array(rank_within(shown.pair) + 1, pa.int32()),
        ]
    if task.shows_text:
        columns.append(batch.rows["text"].take(pa.array(owners)))
    # Not with the logits, which would be copied for each answer of a document.
    rows = batch.rows.select(_SHOWN).take(pa.array(owners))
    return batch.with_rows_of(
        output_rows(rows, columns, pa.array(windows, pa.int32()), task, model),
        owners,
        questions_answered=float(len(np.unique(shown.pair[char_spans[:, 0] >= 0]))),
    )


def _asked(rows: pa.RecordBatch, task: AnswerTask, pairs: np.ndarray) -> list[pa.Array]:
    """The columns question_name and question, a row an answer."""
    if task.questions is None:
        names = pa.nulls(len(pairs), pa.string())
        return [names, rows["text_pair"].take(pa.array(pairs))]
    number = pa.array(pairs % len(task.questions))
    named = task.names or (None,) * len(task.questions)
    return [
        pa.array(named, pa.string()).take(number),
        pa.array(task.questions, pa.string()).take(number),
    ]
