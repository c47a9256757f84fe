"""Agreement: the share of documents on which two precisions say the same."""

from __future__ import annotations

import numpy as np
import pytest

from beam_bert.encoder import agreement

NAN = float("nan")


@pytest.mark.parametrize(
    ("logits", "reference", "problem_type", "expected"),
    [
        ([[1, 2], [2, 1]], [[0, 9], [0, 1]], "single_label_classification", 0.5),
        ([[1, 2], [NAN, 1]], [[0, 9], [2, 1]], "single_label_classification", 0.5),
        ([[-1, 2], [2, 1]], [[-9, 9], [2, -1]], "multi_label_classification", 0.5),
        ([[1.0], [2.0]], [[1.0], [9.0]], "regression", 0.5),
        (np.zeros((0, 3)), np.zeros((0, 3)), "single_label_classification", 1.0),
    ],
)
def test_agreement_is_a_share_of_rows(logits, reference, problem_type, expected):
    assert agreement(np.array(logits), np.array(reference), problem_type) == expected


def test_other_shapes_do_not_compare():
    with pytest.raises(ValueError, match=r"\(2, 1\) and \(2, 2\) do not compare"):
        agreement(np.zeros((2, 1)), np.zeros((2, 2)))
