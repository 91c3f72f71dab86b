"""Which segments are learnt from: for each draw an order of every class's segments, whose first ones are taken; no video is opened.

The segments of few shots are among those of many, so that the points of a curve differ by what was added and by nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def orders(labels: Ints, groups: Sequence[str], *, repeats: int, seed: int) -> list[dict[int, Ints]]:
    """For each draw, the segments of every class in the order in which they are taken: group after group in turn."""
    drawn = []
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        turn = {name: place for place, name in enumerate(rng.permutation(sorted(set(groups))).tolist())}
        drawn.append({int(label): _spread(rng.permutation(np.flatnonzero(labels == label)), groups, turn) for label in np.unique(labels)})
    return drawn


def taken(order: dict[int, Ints], shots: int, more: dict[int, int] | None = None) -> Ints:
    """The segments that are learnt from: `shots` of each class, and `more` of some; fewer where there are no more."""
    return np.sort(np.concatenate([mine[: shots + (more or {}).get(label, 0)] for label, mine in order.items()]))


def _spread(shuffled: Ints, groups: Sequence[str], turn: dict[str, int]) -> Ints:
    """One of each group, then a second of each, and so on."""
    seen: Counter[str] = Counter()
    keyed = []
    for index in shuffled.tolist():
        keyed.append(((seen[groups[index]], turn[groups[index]]), index))
        seen[groups[index]] += 1
    return np.array([index for _, index in sorted(keyed)], dtype=np.int64)
