"""Which rows are held out, and which leak. Pure functions over targets and content keys."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from beam_bert.encoder.plan import Int64Array


def split_holdout(
    keys: Sequence[bytes], targets: np.ndarray, share: float, seed: int
) -> tuple[Int64Array, Int64Array]:
    """Hold out about `share` of the rows, by class, rows of equal content always together.

    A class gives at least one row where it has two groups of equal content or more, and keeps
    one. Rows of several labels count for their rarest; values for the tenth of them that they
    are in.

    Args:
      keys: content of each row.
      targets: int64 [n] classes, float32 [n, labels] of 0 and 1, or float32 [n, 1] values.
      share: between 0 and 1.
      seed: of the draw.

    Returns:
      int64 rows to train on, int64 rows held out; both rising.
    """
    strata = _strata(targets)
    groups: dict[bytes, list[int]] = {}
    for row, key in enumerate(keys):
        groups.setdefault(key, []).append(row)
    members: dict[int, list[list[int]]] = {}
    for rows in groups.values():
        members.setdefault(int(strata[rows[0]]), []).append(rows)
    generator = np.random.default_rng(seed)
    held: list[int] = []
    for stratum in sorted(members):
        found = members[stratum]
        wanted = round(share * len(found))
        wanted = min(max(wanted, 1), len(found) - 1)
        for place in generator.permutation(len(found))[:wanted]:
            held += found[place]
    kept = np.ones(len(keys), bool)
    kept[held] = False
    return np.flatnonzero(kept), np.flatnonzero(~kept)


def leaking_rows(train: Sequence[bytes], dev: Sequence[bytes]) -> Int64Array:
    """Rows of train whose content stands in dev."""
    known = set(dev)
    return np.array([row for row, key in enumerate(train) if key in known], np.int64)


def contradicting_rows(keys: Sequence[bytes], targets: np.ndarray) -> Int64Array:
    """Rows whose content stands elsewhere with another target; arguments as `split_holdout`'s."""
    said: dict[bytes, set[bytes]] = {}
    for key, target in zip(keys, targets, strict=True):
        said.setdefault(key, set()).add(target.tobytes())
    return np.array([row for row, key in enumerate(keys) if len(said[key]) > 1], np.int64)


def _strata(targets: np.ndarray) -> np.ndarray:
    if targets.ndim == 1:
        return targets
    if targets.shape[1] == 1:
        edges = np.quantile(targets[:, 0], np.arange(1, 10) / 10)
        return np.searchsorted(edges, targets[:, 0])
    rarity = np.argsort(np.argsort(targets.sum(axis=0), kind="stable"), kind="stable")
    ranks = np.where(targets > 0, rarity, targets.shape[1])
    return ranks.min(axis=1)
