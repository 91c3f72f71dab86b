"""Classes as clouds of one shape: what a few examples (and words, where there are any) say of each class's middle and of the noise.

Everything is solved at once, in closed form. How far the shape is believed is found on held-back groups where there is enough to hold
back. Knows no video and no head.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDNESS = np.array([1.0, 0.8, 0.6, 0.4, 0.25, 0.15, 0.08, 0.03, 0.01])  # shares of a plain ball in the shape
USUAL = 0.25  # the one to begin with, and where there is nothing to hold back
TOTAL = 2.0  # the spread of everything counts as so many segments' worth of knowledge about the spread within a class
LEAST = 0.05  # of what is seen of the classes' differences, this much at least is believed
ALONE = 0.5  # with one segment a class, the share of all spread that is taken to lie within classes
FOLDS = 5

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


def by_class(values: Array, labels: Ints, classes: int) -> tuple[Array, Array]:
    """The mean of each class's rows (C, D), zero where there are none, and their numbers (C,)."""
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    sums = np.zeros((classes, values.shape[1]))
    np.add.at(sums, labels, values)
    return sums / np.maximum(counts, 1)[:, None], counts


@dataclass(frozen=True, eq=False)
class Clouds:
    """Where the classes' middles were seen, and the common shape of what lies around them."""

    centre: Array  # (D,)
    seen: Array  # (C, D) middles as seen, from the centre on; zero where a class has no example
    counts: Array  # (C,)
    axes: Array  # (R, D) of the shape
    spread: Array  # (R,) variance along each
    ball: float  # the variance of the plain ball that the shape is mixed with
    within: float  # the part of the spread that is not the classes' own difference, from 0 to 1

    @classmethod
    def of(cls, inputs: Array, labels: Ints, classes: int) -> Clouds:
        """Of some points (N, D)."""
        middles, counts = by_class(inputs, labels, classes)
        present = counts > 0
        centre = middles[present].mean(axis=0)
        freedom = len(inputs) - int(present.sum())
        around, across = inputs - middles[labels], inputs - centre
        parts = [around / np.sqrt(freedom + TOTAL), across * np.sqrt(TOTAL / ((freedom + TOTAL) * max(len(inputs) - 1, 1)))]
        spread, axes = _principal(np.concatenate(parts))
        ball = float(spread.mean()) if len(spread) else 1.0
        return cls(centre, np.where(present[:, None], middles - centre, 0.0), counts, axes, spread, ball, 1.0 if freedom else ALONE)

    def weighed(self, vectors: Array, roundness: float) -> Array:
        """(..., D) vectors, each direction divided by how much there is of it in the shape."""
        plain, along = self._scales(roundness)
        weighed: Array = plain * vectors + ((vectors @ self.axes.T) * (along - plain)) @ self.axes
        return weighed

    def middles(self, roundness: float, words: Array | None = None) -> Array:
        """Where the classes' middles are likeliest, (C, D): what was seen, drawn to the centre or to what words say.

        The fewer examples a class has, and the less the middles differ beyond what noise would do, the stronger it is drawn.
        """
        told = self._told(roundness, words) if words is not None else np.zeros_like(self.seen)
        present = self.counts > 0
        off = np.where(present[:, None], self.seen - told, 0.0)
        noise = float((self._scales(roundness)[1] * self.spread).sum()) * self.within  # of one segment
        size = (self.weighed(off, roundness) * off).sum(axis=1)[present]
        count = int(present.sum())
        expected = noise / self.counts[present] * (1 - 1 / count)
        own = max(float((size - expected).sum()), LEAST * float(size.sum())) / max(count - 1, 1)
        trust = self.counts * own / np.maximum(self.counts * own + noise, 1e-300)
        return told + trust[:, None] * off

    def linear(self, middles: Array, roundness: float) -> tuple[Array, Array]:
        """The weights (D, C) and biases (C,) that tell these middles apart; every class counts the same."""
        weights = self.weighed(middles, roundness)
        return weights.T, -0.5 * (weights * middles).sum(axis=1) - weights @ self.centre

    def _scales(self, roundness: float) -> tuple[float, Array]:
        """What the directions outside the axes, and those along each, are multiplied by."""
        plain = 1 / (roundness * self.ball)
        return plain, 1 / ((1 - roundness) * self.spread + roundness * self.ball)

    def _told(self, roundness: float, words: Array) -> Array:
        """The words' differences (C, D), as long as what was seen bears them out."""
        told: Array = words - words.mean(axis=0)
        trust = self.counts / (self.counts + self.counts.mean())
        weighed = self.weighed(told, roundness)
        agreeing = float(((weighed * self.seen).sum(axis=1) * trust).sum())
        length = float(((weighed * told).sum(axis=1) * trust).sum())
        return told * (max(agreeing, 0.0) / length if length > 0 else 0.0)


def _principal(rows: Array) -> tuple[Array, Array]:
    """The variances (R,) and axes (R, D) of rows (N, D) about zero, by way of the smaller of the two products."""
    if len(rows) >= rows.shape[1]:
        values, vectors = np.linalg.eigh(rows.T @ rows)
        kept = values > 1e-10 * max(values[-1], 0.0)
        return values[kept], vectors[:, kept].T
    values, vectors = np.linalg.eigh(rows @ rows.T)
    kept = values > 1e-10 * max(values[-1], 0.0)
    return values[kept], (vectors[:, kept] / np.sqrt(values[kept])).T @ rows


def span(rows: Array) -> Array | None:
    """Axes (R, D) of all that these rows (N, D) reach, where that is less than D: there, every sum is quicker."""
    return None if len(rows) >= rows.shape[1] else np.linalg.qr(rows.T)[0].T


def scales(deviation: Array, segments: int) -> tuple[Array, ...]:
    """Ways to make numbers comparable, (D,) each: softly by their spread, not at all, fully.

    Softly: by its own and the usual spread together, the more by the usual one the fewer segments the spread was read off.
    """
    top = deviation.max(initial=0.0)
    moving = deviation > 1e-6 * top if top > 0 else np.zeros(len(deviation), dtype=bool)
    safe, usual = np.where(moving, deviation, 1.0), float(np.median(deviation[moving])) if moving.any() else 1.0
    softly = np.hypot(safe, usual * np.sqrt(0.5 + 2 / max(segments - 1, 1)))
    return tuple(np.where(moving, 1 / each, 0.0) for each in (softly, np.full(len(safe), usual), safe))


def hold_back(labels: Ints, groups: Sequence[Hashable], rng: np.random.Generator) -> Ints | None:
    """The fold of each segment (N,): whole groups, as long as most classes are still known without a fold's own; None if nothing can be.

    Where groups cannot be held back, single segments are.
    """
    names = list(dict.fromkeys(groups))
    number = {name: index for index, name in enumerate(names)}
    member = np.array([number[group] for group in groups])
    if len(names) > 1:
        folds = _dealt(labels, member, rng)
        if sum(int(known.sum()) for _, known in parts(folds, labels)) >= len(labels) / 2:
            return folds
    if np.bincount(labels).max() < 2:
        return None
    folds, first = np.zeros(len(labels), dtype=np.int64), 0
    for label in np.unique(labels):
        mine = rng.permutation(np.flatnonzero(labels == label))
        folds[mine] = (first + np.arange(len(mine))) % FOLDS
        first += len(mine) % FOLDS
    return folds


def parts(folds: Ints, labels: Ints) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """For each fold that leaves something over: the segments to learn from, and those of it whose class is known then."""
    found = []
    for fold in np.unique(folds):
        rest = folds != fold
        known = ~rest & np.isin(labels, labels[rest])
        if rest.any() and known.any():
            found.append((rest, known))
    return found


def _dealt(labels: Ints, member: Ints, rng: np.random.Generator) -> Ints:
    """Groups dealt to folds, the largest first, each where its classes are rarest."""
    table = np.zeros((int(member.max()) + 1, int(labels.max()) + 1))
    np.add.at(table, (member, labels), 1)  # (G, C)
    held = np.zeros((min(FOLDS, len(table)), table.shape[1]))
    usual = np.maximum(table.sum(axis=0), 1)
    where = np.zeros(len(table), dtype=np.int64)
    order = rng.permutation(len(table))
    for group in order[np.argsort(-table[order].sum(axis=1), kind="stable")]:
        crowding = (((held + table[group]) ** 2 - held**2) / usual).sum(axis=1)
        where[group] = int(np.argmin(crowding))
        held[where[group]] += table[group]
    dealt: Ints = where[member]
    return dealt
