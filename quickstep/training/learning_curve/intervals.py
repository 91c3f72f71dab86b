"""Shares over several draws with intervals that know both kinds of luck: which groups were held out, and which segments were drawn.

Groups and draws are both drawn with replacement. Whatever is compared is compared on the same groups and the same draws.
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
class Held:
    """The held-out part as it is counted: each segment's class and group."""

    labels: Ints  # (N,)
    units: Units
    classes: int
    seed: int

    @classmethod
    def of(cls, labels: Ints, groups: Sequence[str], classes: int, *, seed: int) -> Held:
        return cls(labels, units_of(groups), classes, seed)

    def accuracy(self, said: Ints) -> Interval:
        """Of what was said in several draws, (R, N)."""
        return self._share(said, lambda recalls: recalls.plain)

    def balanced(self, said: Ints) -> Interval:
        """The same with every class counting alike."""
        return self._share(said, lambda recalls: recalls.balanced)

    def recalls(self, said: Ints) -> list[float | None]:
        """How often each class was right, over all draws; None where none of it was held out."""
        right = (said == self.labels).mean(axis=0)
        return [float(right[self.labels == number].mean()) if (self.labels == number).any() else None for number in range(self.classes)]

    def gain(self, after: Ints, before: Ints, *, balanced: bool = False) -> Interval:
        """By how much the share rises from one set of draws to another, the same draws and groups side by side."""

        def rise(recalls: Sequence[Recalls]) -> Floats:
            difference = Recalls(recalls[0].values - recalls[1].values, recalls[0].weights)
            return (difference.balanced if balanced else difference.plain)[:, None]

        value, low, high = self.draws(rise, (after, before))[:, 0]
        return Interval(float(value), float(low), float(high), self.units.over, self.units.count, self.units.note)

    def _share(self, said: Ints, mean: Callable[[Recalls], Floats]) -> Interval:
        value, low, high = self.draws(lambda recalls: mean(recalls[0])[:, None], (said,))[:, 0]
        return widened(float(value), float(low), float(high), units=self.units, segments=len(self.labels))

    def draws(self, statistic: Callable[[Sequence[Recalls]], Floats], sets: Sequence[Ints]) -> Floats:
        """(3, K): a statistic of the recalls under each set of draws (R, N), and the two ends of its interval."""
        true = np.eye(self.classes)[self.labels]  # (N, C)
        repeats = len(sets[0])
        columns = [true, *(np.concatenate([true * (one == self.labels)[:, None] for one in said], axis=1) for said in sets)]
        sums = add_up(np.concatenate(columns, axis=1), self.units)  # (U, C + S R C)
        rng = np.random.default_rng(self.seed)

        def split(values: Floats, chosen: Floats) -> list[Recalls]:
            counts = values[:, : self.classes]
            rest = values[:, self.classes :].reshape(len(values), len(sets), repeats, self.classes)
            right = np.einsum("bsrc,br->bsc", rest, chosen)
            recalls = np.divide(right, counts[:, None], out=np.zeros_like(right), where=counts[:, None] > 0)
            weights = counts / counts.sum(axis=1, keepdims=True)
            return [Recalls(recalls[:, place], weights) for place in range(len(sets))]

        def drawn(values: Floats) -> Floats:
            return statistic(split(values, rng.multinomial(repeats, np.full(repeats, 1 / repeats), size=len(values)) / repeats))

        seen = statistic(split(sums.sum(axis=0, keepdims=True), np.full((1, repeats), 1 / repeats)))
        return np.concatenate([seen, bootstrap(sums, drawn, seed=self.seed)])


@dataclass(frozen=True, eq=False)
class Recalls:
    """How often each class was right in each of B drawings, and the class's share there (0 where it was not drawn)."""

    values: Floats  # (B, C)
    weights: Floats  # (B, C)

    @property
    def balanced(self) -> Floats:
        """(B,) the mean over the classes that were drawn."""
        there = self.weights > 0
        return np.asarray((self.values * there).sum(axis=1) / np.maximum(there.sum(axis=1), 1))

    @property
    def plain(self) -> Floats:
        """(B,) the share over all segments."""
        return np.asarray((self.values * self.weights).sum(axis=1))
