"""Fit heads on drawn training segments and collect their predictions for the held-out part.

The segments of few shots are among those of many, so the points of a curve differ only by the segments that were added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.datasets.manifest import group_of
from quickstep.heads import Examples, FitConfig, open_head
from quickstep.types.progress import Progress
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Texts

Ints = NDArray[np.int64]


def draw_orders(labels: Ints, groups: Sequence[str], *, repeats: int, seed: int) -> list[dict[int, Ints]]:
    """Draw, for each repeat, the order in which the segments of every class are used: one of each group in turn."""
    orders = []
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        turn = {name: place for place, name in enumerate(rng.permutation(sorted(set(groups))).tolist())}
        orders.append(
            {int(label): _alternate(rng.permutation(np.flatnonzero(labels == label)), groups, turn) for label in np.unique(labels)}
        )
    return orders


def first_of_each(order: dict[int, Ints], shots: int, more: dict[int, int] | None = None) -> Ints:
    """Return the first `shots` segments of each class, and `more` of some; fewer where a class has fewer."""
    return np.sort(np.concatenate([members[: shots + (more or {}).get(label, 0)] for label, members in order.items()]))


def _alternate(shuffled: Ints, groups: Sequence[str], turn: dict[str, int]) -> Ints:
    """Order segments by groups: one of each group, then a second of each, and so on."""
    used: Counter[str] = Counter()
    keyed = []
    for index in shuffled.tolist():
        keyed.append(((used[groups[index]], turn[groups[index]]), index))
        used[groups[index]] += 1
    return np.array([index for _, index in sorted(keyed)], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Part:
    """Segments with their features and the numbers of their classes."""

    segments: tuple[Segment, ...]
    features: Sequence[Features]
    labels: Ints  # (N,)

    @property
    def groups(self) -> list[str]:
        """The group of each segment."""
        return [group_of(segment) for segment in self.segments]

    def examples(self, chosen: Ints, texts: Texts | None) -> Examples:
        """Return some of the segments in the form that heads fit."""
        segments = tuple(self.segments[index] for index in chosen)
        return Examples([self.features[index] for index in chosen], self.labels[chosen], segments, texts)


@dataclass(frozen=True, eq=False)
class Trials:
    """Fits heads of one kind on draws from the pool and predicts the held-out part with them."""

    pool: Part
    held_out: Part
    classes: int
    head: str
    texts: Texts | None
    repeats: int
    seed: int
    progress: Progress

    def run(self, plans: Sequence[tuple[int, dict[int, int]]]) -> Ints:
        """Predict each held-out segment under each plan (shots, more of some classes) in each draw: (P, R, N) class numbers."""
        orders = draw_orders(self.pool.labels, self.pool.groups, repeats=self.repeats, seed=self.seed)
        predicted = np.zeros((len(plans), self.repeats, len(self.held_out.labels)), dtype=np.int64)
        done, total = 0, len(plans) * self.repeats
        self.progress("fitting", 0, total)
        for place, (shots, more) in enumerate(plans):
            for repeat, order in enumerate(orders):
                predicted[place, repeat] = self._predict(first_of_each(order, shots, more))
                done += 1
                self.progress("fitting", done, total)
        return predicted

    def _predict(self, chosen: Ints) -> Ints:
        head = open_head(self.head)
        texts = self.texts if head.capabilities.reads_texts else None
        head.fit(self.pool.examples(chosen, texts), None, classes=self.classes, fitting=FitConfig(seed=self.seed))
        predicted: Ints = head.scores(self.held_out.features).argmax(axis=1)
        return predicted
