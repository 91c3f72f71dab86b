"""Heads fitted on drawn segments, and what each said of the held-out part; features are at hand, nothing is looked at again."""

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


Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Part:
    """Segments with their features and the numbers of their classes."""

    segments: tuple[Segment, ...]
    features: Sequence[Features]
    labels: Ints  # (N,)

    @property
    def groups(self) -> list[str]:
        return [group_of(segment) for segment in self.segments]

    @property
    def counts(self) -> Ints:
        """How many there are of each class, up to the last that occurs."""
        return np.bincount(self.labels)

    def examples(self, chosen: Ints, texts: Texts | None) -> Examples:
        """Some of them, as heads are shown them."""
        segments = tuple(self.segments[index] for index in chosen)
        return Examples([self.features[index] for index in chosen], self.labels[chosen], segments, texts)


@dataclass(frozen=True, eq=False)
class Trials:
    """Fits heads of one kind on draws from the pool and asks them about the held-out part."""

    pool: Part
    held_out: Part
    classes: int
    head: str
    texts: Texts | None
    repeats: int
    seed: int
    progress: Progress

    def run(self, plans: Sequence[tuple[int, dict[int, int]]]) -> NDArray[np.int64]:
        """What was said of each held-out segment under each plan (shots, more of some classes) in each draw: (P, R, N)."""
        drawn = orders(self.pool.labels, self.pool.groups, repeats=self.repeats, seed=self.seed)
        said = np.zeros((len(plans), self.repeats, len(self.held_out.labels)), dtype=np.int64)
        done, total = 0, len(plans) * self.repeats
        self.progress("fitting", 0, total)
        for place, (shots, more) in enumerate(plans):
            for repeat, order in enumerate(drawn):
                said[place, repeat] = self._said(taken(order, shots, more))
                done += 1
                self.progress("fitting", done, total)
        return said

    def _said(self, chosen: Ints) -> Ints:
        head = open_head(self.head)
        texts = self.texts if head.capabilities.reads_texts else None
        head.fit(self.pool.examples(chosen, texts), None, classes=self.classes, fitting=FitConfig(seed=self.seed))
        said: Ints = head.scores(self.held_out.features).argmax(axis=1)
        return said
