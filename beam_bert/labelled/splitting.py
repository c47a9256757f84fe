"""Which rows are held out, and which leak. Pure functions over targets and content keys."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from beam_bert.encoder.plan import Int64Array

_FEW_GROUPS = 30


def split_holdout(
    keys: Sequence[bytes], targets: np.ndarray, share: float, seed: int
) -> tuple[Int64Array, Int64Array]:
    """Hold out about `share` of the rows, by class, rows of equal content always together.

    A class gives at least one row where it has two groups of equal content or more, and keeps
    one. Where small classes are so many that this would hold out more than twice the share (and
    more than `2 * _FEW_GROUPS` groups), it is drawn which of them give one. Rows of several labels
    count for their rarest; values for the tenth of them that they are in.

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
    wanted = {
        stratum: min(max(round(share * len(groups_of_it)), 1), len(groups_of_it) - 1)
        for stratum, groups_of_it in sorted(members.items())
    }
    target = max(round(share * len(groups)), _FEW_GROUPS)
    if sum(wanted.values()) > 2 * target:
        small = [stratum for stratum in wanted if share * len(members[stratum]) < 1]
        spare = max(target - sum(n for stratum, n in wanted.items() if stratum not in small), 0)
        for place in generator.permutation(len(small))[spare:]:
            wanted[small[place]] = 0
    held: list[int] = []
    for stratum, count in wanted.items():
        groups_of_it = members[stratum]
        for place in generator.permutation(len(groups_of_it))[:count]:
            held += groups_of_it[place]
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
