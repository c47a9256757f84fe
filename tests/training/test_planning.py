"""Batches, hold-outs and leaks: pure functions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_bert.labelled.splitting import contradicting_rows, leaking_rows, split_holdout
from beam_bert.training.batches import plan_epochs

lengths = st.lists(st.integers(1, 60), min_size=1, max_size=80)


@given(lengths, st.integers(1, 200), st.integers(0, 5))
def test_each_epoch_has_every_row_once_in_batches_within_the_budget(
    lengths: list[int], batch_tokens: int, seed: int
) -> None:
    array = np.array(lengths, np.int64)
    for batches in plan_epochs(array, batch_tokens, 2, seed):
        assert sorted(np.concatenate(batches)) == list(range(len(array)))
        assert all(array[b].sum() <= batch_tokens or len(b) == 1 for b in batches)


def test_epochs_differ_and_the_same_seed_plans_the_same() -> None:
    array = np.full(50, 3, np.int64)
    first, second = plan_epochs(array, 30, 2, 7)
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    again = plan_epochs(array, 30, 2, 7)[0]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=2, max_size=100))
def test_equal_texts_are_never_on_both_sides(rows: list[tuple[int, int]]) -> None:
    keys = [str(text).encode() for text, _ in rows]
    targets = np.array([label for _, label in rows], np.int64)
    kept, held = split_holdout(keys, targets, 0.3, 0)
    assert sorted([*kept, *held]) == list(range(len(rows)))
    assert not {keys[i] for i in kept} & {keys[i] for i in held}


def test_every_class_is_held_out_in_its_share_and_keeps_a_row() -> None:
    targets = np.repeat([0, 1, 2], [100, 50, 2])
    kept, held = split_holdout([str(i).encode() for i in range(152)], targets, 0.1, 0)
    assert np.bincount(targets[held]).tolist() == [10, 5, 1]
    assert np.bincount(targets[kept]).tolist() == [90, 45, 1]


@pytest.mark.parametrize(("labels", "rows"), [(10_000, 2), (500, 3), (200, 2)])
def test_of_many_small_classes_no_more_than_the_share_is_held_out(labels: int, rows: int) -> None:
    targets = np.repeat(np.arange(labels), rows)
    keys = [str(i).encode() for i in range(len(targets))]
    kept, held = split_holdout(keys, targets, 0.1, 0)
    assert len(held) == pytest.approx(0.1 * len(targets), rel=0.01)
    assert len(set(targets[held])) == len(held)
    assert set(targets[kept]) == set(range(labels))
    assert np.array_equal(split_holdout(keys, targets, 0.1, 0)[1], held)


def test_a_few_small_classes_all_give_a_row() -> None:
    targets = np.repeat(np.arange(12), 4)
    _, held = split_holdout([str(i).encode() for i in range(48)], targets, 0.1, 0)
    assert sorted(targets[held]) == list(range(12))


def test_rows_of_several_labels_are_held_out_by_their_rarest() -> None:
    targets = np.zeros((100, 2), np.float32)
    targets[:, 0] = 1
    targets[:10, 1] = 1
    _, held = split_holdout([str(i).encode() for i in range(100)], targets, 0.2, 0)
    assert targets[held, 1].sum() == 2


def test_leaking_rows_are_those_of_train_that_dev_has() -> None:
    assert leaking_rows([b"a", b"b", b"a"], [b"a", b"c"]).tolist() == [0, 2]


def test_rows_contradict_each_other_where_one_text_has_two_labels() -> None:
    keys = [b"a", b"b", b"a", b"c", b"c"]
    assert contradicting_rows(keys, np.array([0, 0, 1, 2, 2])).tolist() == [0, 2]
    several = np.array([[1, 0], [0, 1], [1, 0], [1, 0], [1, 1]], np.float32)
    assert contradicting_rows(keys, several).tolist() == [3, 4]
