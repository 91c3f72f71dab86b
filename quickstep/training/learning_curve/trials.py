"""Fit heads on drawn training segments and collect their predictions for the held-out part.

The segments of few shots are among those of many, so the points of a curve differ only by the segments that were added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.datasets.manifest import group_of
from quickstep.heads import Examples, FitConfig, open_head
from quickstep.types.confidence_intervals import Interval, Units, add_up, bootstrap, units_of, widened
from quickstep.types.progress import Progress
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Texts

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The class and group of each held-out segment; measures predictions (R draws, N segments)."""

    labels: Ints  # (N,)
    units: Units
    classes: int
    seed: int

    @classmethod
    def of(cls, labels: Ints, groups: Sequence[str], classes: int, *, seed: int) -> HeldOut:
        """Group the held-out segments."""
        return cls(labels, units_of(groups), classes, seed)

    def accuracy(self, predicted: Ints) -> Interval:
        """Return the share of correct predictions."""
        return self._share(predicted, lambda recalls: recalls.plain)

    def balanced_accuracy(self, predicted: Ints) -> Interval:
        """Return the mean recall of the classes."""
        return self._share(predicted, lambda recalls: recalls.balanced)

    def recalls(self, predicted: Ints) -> list[float | None]:
        """Return the recall of each class over all draws; None where no segment of it was held out."""
        right = (predicted == self.labels).mean(axis=0)
        return [float(right[self.labels == number].mean()) if (self.labels == number).any() else None for number in range(self.classes)]

    def gain(self, after: Ints, before: Ints, *, balanced: bool = False) -> Interval:
        """Return how much the accuracy rises from `before` to `after`, on the same draws and groups."""

        def rise(recalls: Sequence[Recalls]) -> Floats:
            difference = Recalls(recalls[0].values - recalls[1].values, recalls[0].weights)
            return (difference.balanced if balanced else difference.plain)[:, None]

        value, low, high = self.bootstrap(rise, (after, before))[:, 0]
        return Interval(float(value), float(low), float(high), self.units.over, self.units.count, self.units.note)

    def _share(self, predicted: Ints, mean: Callable[[Recalls], Floats]) -> Interval:
        value, low, high = self.bootstrap(lambda recalls: mean(recalls[0])[:, None], (predicted,))[:, 0]
        return widened(float(value), float(low), float(high), units=self.units, segments=len(self.labels))

    def bootstrap(self, statistic: Callable[[Sequence[Recalls]], Floats], sets: Sequence[Ints]) -> Floats:
        """Return a statistic of the recalls under each set of predictions (R, N), and both ends of its interval: (3, K)."""
        true = np.eye(self.classes)[self.labels]  # (N, C)
        repeats = len(sets[0])
        columns = [true, *(np.concatenate([true * (row == self.labels)[:, None] for row in predicted], axis=1) for predicted in sets)]
        sums = add_up(np.concatenate(columns, axis=1), self.units)  # (U, C + S R C)
        rng = np.random.default_rng(self.seed)

        def recalls_of(values: Floats, weights_of_draws: Floats) -> list[Recalls]:
            counts = values[:, : self.classes]
            rest = values[:, self.classes :].reshape(len(values), len(sets), repeats, self.classes)
            right = np.einsum("bsrc,br->bsc", rest, weights_of_draws)
            recalls = np.divide(right, counts[:, None], out=np.zeros_like(right), where=counts[:, None] > 0)
            weights = counts / counts.sum(axis=1, keepdims=True)
            return [Recalls(recalls[:, place], weights) for place in range(len(sets))]

        def resampled(values: Floats) -> Floats:
            return statistic(recalls_of(values, rng.multinomial(repeats, np.full(repeats, 1 / repeats), size=len(values)) / repeats))

        measured = statistic(recalls_of(sums.sum(axis=0, keepdims=True), np.full((1, repeats), 1 / repeats)))
        return np.concatenate([measured, bootstrap(sums, resampled, seed=self.seed)])


@dataclass(frozen=True, eq=False)
class Recalls:
    """The recall of each class in each of B bootstrap samples, and the class's share of the sample (0 where it is absent)."""

    values: Floats  # (B, C)
    weights: Floats  # (B, C)

    @property
    def balanced(self) -> Floats:
        """(B,) the mean over the classes in the sample."""
        present = self.weights > 0
        return np.asarray((self.values * present).sum(axis=1) / np.maximum(present.sum(axis=1), 1))

    @property
    def plain(self) -> Floats:
        """(B,) the share over all segments."""
        return np.asarray((self.values * self.weights).sum(axis=1))


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
