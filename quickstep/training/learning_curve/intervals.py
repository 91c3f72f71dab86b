"""Accuracies over several draws, with intervals that cover two sources of variation: the held-out groups and the drawn segments.

The bootstrap resamples groups and draws. Two sets of predictions are compared on the same resampled groups and draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.types.confidence_intervals import Interval, Units, add_up, bootstrap, units_of, widened

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
