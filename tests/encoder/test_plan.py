"""The plan: every sequence rides exactly once, within the budget, beside its like."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_bert.encoder.plan import MicroBatch, distinct_sequences, plan_micro_batches

from .conftest import packed

many_lengths = st.lists(st.integers(1, 512), max_size=200).map(lambda x: np.array(x, np.int64))


def test_plan_by_hand():
    plan = plan_micro_batches(np.array([3, 9, 3, 1]), batch_tokens=10)
    assert [batch.rows.tolist() for batch in plan] == [[1], [0, 2, 3]]
    assert [batch.num_tokens for batch in plan] == [9, 7]
    assert [
        (run.start, run.count, run.length, run.tokens, run.sequences) for run in plan[1].runs()
    ] == [(0, 2, 3, slice(0, 6), slice(0, 2)), (2, 1, 1, slice(6, 7), slice(2, 3))]


@given(lengths=many_lengths, batch_tokens=st.integers(1, 3_000))
def test_every_sequence_rides_once_and_within_the_budget(lengths, batch_tokens):
    plan = plan_micro_batches(lengths, batch_tokens)
    rows = [row for batch in plan for row in batch.rows.tolist()]
    assert sorted(rows) == list(range(len(lengths)))
    for batch in plan:
        np.testing.assert_array_equal(batch.lengths, lengths[batch.rows])
        assert batch.num_tokens <= batch_tokens or len(batch.rows) == 1
    planned = [length for batch in plan for length in batch.lengths.tolist()]
    assert planned == sorted(planned, reverse=True)


@given(lengths=many_lengths, batch_tokens=st.integers(512, 3_000))
def test_no_two_neighbours_would_fit_together(lengths, batch_tokens):
    plan = plan_micro_batches(lengths, batch_tokens)
    for batch, following in itertools.pairwise(plan):
        assert batch.num_tokens + following.lengths[0] > batch_tokens


@given(
    lengths=st.lists(st.integers(1, 20), min_size=200, max_size=600),
    batch_tokens=st.integers(600, 3_000),
    threads=st.integers(2, 8),
)
def test_threads_get_the_same_number_of_batches_of_one_size(lengths, batch_tokens, threads):
    lengths = np.array(lengths, np.int64)
    plan = plan_micro_batches(lengths, batch_tokens, threads)
    assert sorted(np.concatenate([b.rows for b in plan]).tolist()) == list(range(len(lengths)))
    tokens = [batch.num_tokens for batch in plan]
    assert max(tokens) <= batch_tokens
    if lengths.sum() >= 256 * threads:
        assert len(plan) % threads == 0
        assert max(tokens) - min(tokens) <= 40, "a sequence at each end"


def test_too_little_text_for_all_threads_is_shared_by_few():
    lengths = np.full(60, 10)
    assert [b.num_tokens for b in plan_micro_batches(lengths, 1_000, threads=8)] == [300, 300]
    assert len(plan_micro_batches(lengths[:30], 1_000, threads=8)) == 1


@given(lengths=many_lengths.filter(len))
def test_runs_cover_the_batch_and_are_of_one_length(lengths):
    (batch,) = plan_micro_batches(lengths, int(lengths.sum()))
    runs = list(batch.runs())
    assert [run.length for run in runs] == sorted(set(lengths.tolist()), reverse=True)
    token = sequence = 0
    for run in runs:
        assert (run.tokens.start, run.sequences.start) == (token, sequence)
        assert (batch.lengths[run.sequences] == run.length).all()
        token, sequence = run.tokens.stop, run.sequences.stop
    assert (token, sequence) == (batch.num_tokens, len(batch.rows))


def test_no_more_sequences_ride_together_than_a_gpus_grid_takes():
    plan = plan_micro_batches(np.ones(150_000, np.int64), batch_tokens=10**6)
    assert [len(batch.rows) for batch in plan] == [65_535, 65_535, 18_930]
    np.testing.assert_array_equal(np.concatenate([b.rows for b in plan]), np.arange(150_000))


def test_budget_below_one_is_refused():
    with pytest.raises(ValueError, match="batch_tokens must be positive, got 0"):
        plan_micro_batches(np.array([1]), 0)


def test_empty_micro_batch_has_no_runs():
    assert list(MicroBatch(np.zeros(0, np.int64), np.zeros(0, np.int64)).runs()) == []


@given(st.lists(st.tuples(st.lists(st.integers(0, 2), min_size=1, max_size=3), st.integers(0, 2))))
def test_distinct_sequences_are_found_and_nothing_else_merged(pairs):
    input_ids, offsets = packed([sequence for sequence, _ in pairs])
    segments = np.array([segment for _, segment in pairs], dtype=np.int32)
    first, inverse = distinct_sequences(input_ids, offsets, segments)
    assert [pairs[first[place]] for place in inverse] == pairs
    assert len(first) == len({(tuple(sequence), segment) for sequence, segment in pairs})
    assert first.tolist() == sorted(first.tolist())


def test_sequences_that_differ_only_in_where_they_end_are_distinct():
    input_ids, offsets = packed([[1, 2], [3], [1], [2, 3]])
    first, _ = distinct_sequences(input_ids, offsets, None)
    assert first.tolist() == [0, 1, 2, 3]
