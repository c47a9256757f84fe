"""Whether a faster precision says the same: what int8 and fp8 have to show before they are used."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# Share of documents that must keep fp32's label before a precision of 8 bits may be used.
LEAST_AGREEMENT = 0.995


def agreement(
    logits: npt.NDArray[np.float32],
    reference: npt.NDArray[np.float32],
    problem_type: str = "single_label_classification",
) -> float:
    """Share of rows on which two models say the same.

    The same label where there is one; the same set of labels at a probability of a half where there
    may be several; for a regression, values that differ by less than a hundredth of the reference's
    standard deviation. A row with a NaN in `logits` alone never agrees.

    Args:
      logits: float32 [n, labels], of the model in question.
      reference: float32 [n, labels], of the same documents, usually at fp32.
      problem_type: of the model's config.

    Returns:
      0 to 1; 1 where n is 0.

    Raises:
      ValueError: the shapes differ.
    """
    if logits.shape != reference.shape:
        raise ValueError(f"logits of shape {logits.shape} and {reference.shape} do not compare")
    if len(logits) == 0:
        return 1.0
    if problem_type == "regression":
        same = (np.abs(logits - reference) <= 0.01 * reference.std()).all(axis=1)
    elif problem_type == "multi_label_classification":
        same = ((logits > 0) == (reference > 0)).all(axis=1)
    else:
        same = logits.argmax(axis=1) == reference.argmax(axis=1)
    broken = np.isnan(logits).any(axis=1) != np.isnan(reference).any(axis=1)
    return float((same & ~broken).mean())
