"""solve: a few labelled points (and words, where there are any) -> weights and biases; every choice is made on held-back groups.

What is chosen: how numbers are made comparable, how far the clouds' shape is believed, and how much the words' own scores count beside
the examples. Where nothing can be held back (one segment a class), words are still tried on all of them, for they have seen none.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from quickstep.heads.few_shot.blend_weights import blend, from_mean, strength
from quickstep.heads.few_shot.gaussian_classes import ROUNDNESS, USUAL, Clouds, hold_back, parts, scales, span

MOST = 2000  # segments to choose by
MOST_CLASSES = 60
PULL = 1.0  # of the logarithm of the roundness to the usual one, in segments' surprise
GUESSED = 0.35  # how far scores of examples stand apart where none can be held back to see how good they are
KNOWN = 10.0  # segments held back, with which that is half known: with many, scores begin with 1 apart
TOLD = 1.5  # and those of words
SHARPER, WISER = 0.5, 2.0  # powers of how many more examples there are than where weights were found: of all scores, of theirs to words'
FAVOUR = 1.5  # a class that words favour is held back where it stands out from chance by more than this

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Shown:
    """What there is to learn from: points with their classes, and what words say of the classes and of the points."""

    inputs: Array  # (N, D)
    deviation: Array  # (D,) of the numbers, over all moments
    labels: Ints  # (N,)
    groups: Sequence[Hashable]
    classes: int
    words: Array | None = None  # (C, D) directions
    told: Array | None = None  # (N, C) the words' own scores of the points

    def some(self, rng: np.random.Generator) -> Shown:
        """As many as are enough to choose by: whole classes first, then some of each."""
        if len(self.labels) <= MOST:
            return self
        numbers = np.unique(self.labels)
        chosen = np.sort(rng.permutation(numbers)[:MOST_CLASSES])
        each = MOST // len(chosen)
        kept = np.sort(np.concatenate([rng.permutation(np.flatnonzero(self.labels == number))[:each] for number in chosen]))
        return Shown(
            inputs=self.inputs[kept],
            deviation=self.deviation,
            labels=np.searchsorted(chosen, self.labels[kept]),
            groups=[self.groups[index] for index in kept],
            classes=len(chosen),
            words=None if self.words is None else self.words[chosen],
            told=None if self.told is None else self.told[np.ix_(kept, chosen)],
        )


@dataclass(frozen=True, eq=False)
class Choice:
    """How numbers are made comparable, how round the clouds are taken to be, and what each opinion counts."""

    scale: Array  # (D,)
    roundness: float
    weights: Array  # of the examples' opinion and, where there are words, of their own
    surprise: Array  # (N,) of what was held back; empty where nothing was

    def clearly_better_than(self, other: Choice) -> bool:
        """Whether the labels are less surprising by more than the standard error of the difference."""
        gain = other.surprise - self.surprise
        return bool(gain.mean() > gain.std() / np.sqrt(len(gain)))


@dataclass(frozen=True, eq=False)
class Solution:
    """What makes scores: `inputs @ weight + bias`, and how much the words' own scores count beside it."""

    weight: Array  # (D, C)
    bias: Array  # (C,)
    own: float
    roundness: float


def solve(shown: Shown, *, seed: int = 0) -> Solution:
    """Choose on held-back groups, then solve with all there is."""
    with threadpool_limits(1, "blas"):  # the same sums in the same order, and no waiting for each other
        choice = _choose(shown.some(np.random.default_rng(seed)), seed)
        clouds = Clouds.of(shown.inputs * choice.scale, shown.labels, shown.classes)
        words = None if shown.words is None else shown.words * choice.scale
        weight, bias = clouds.linear(clouds.middles(choice.roundness, words), choice.roundness)
        factor = float(choice.weights[0]) * _even((shown.inputs * choice.scale) @ weight + bias, shown.labels)
        own = float(choice.weights[1]) if len(choice.weights) > 1 else 0.0
        return Solution(factor * choice.scale[:, None] * weight, factor * bias, own, choice.roundness)


def favoured(told: Array, labels: Ints, classes: int) -> Array:
    """By how much words favour each class (C,) whatever is seen, as far as it is more than chance: read off the other classes' points."""
    lifted = from_mean(told)
    favour, noise = np.zeros(classes), np.full(classes, np.inf)
    for number in range(classes):
        others = lifted[labels != number, number]
        if len(others) > 2:
            favour[number], noise[number] = others.mean(), others.var(ddof=1) / len(others)
    favour -= favour.mean()
    size = float(favour.var())
    believed = max(0.0, 1.0 - FAVOUR * float(noise.mean()) / size) if size > 0 else 0.0
    return believed * favour


def _choose(shown: Shown, seed: int) -> Choice:
    folds = hold_back(shown.labels, shown.groups, np.random.default_rng(seed))
    ways = scales(shown.deviation, len(shown.labels))
    if folds is None:
        return _unchecked(shown, ways[0])
    best = _best(shown, folds, ways[0])
    for way in ways[1:]:
        other = _best(shown, folds, way)
        best = other if other.clearly_better_than(best) else best
    return best


def _unchecked(shown: Shown, scale: Array) -> Choice:
    """With one segment a class: examples count as much as is usual, words as far as they know these segments."""
    weights = [GUESSED]
    if shown.told is not None:
        weights.append(float(blend([shown.told], shown.labels, [_usual(shown.told, TOLD)])[0][0]))
    return Choice(scale, USUAL, np.array(weights), np.zeros(0))


def _best(shown: Shown, folds: Ints, scale: Array) -> Choice:
    """The roundness that leaves held-back labels least surprising."""
    held, known = _held_back(shown, folds, scale)
    labels = shown.labels[known]
    more = float(len(folds) / np.mean([rest.sum() for rest, _ in parts(folds, shown.labels)]))
    seen = len(labels) / (len(labels) + KNOWN)  # how far what is held back can be trusted to tell
    growth = np.array([more**SHARPER, more ** (SHARPER - WISER * seen)])
    choices, costs = [], []
    for roundness, logits in zip(ROUNDNESS, held):
        opinions = [logits[known]] + ([shown.told[known]] if shown.told is not None else [])
        usual = [_usual(opinion, size) for opinion, size in zip(opinions, (GUESSED ** (1 - seen), TOLD))]
        weights, surprise = blend(opinions, labels, usual)
        choices.append(Choice(scale, float(roundness), weights * growth[: len(weights)], surprise))
        costs.append(float(surprise.sum()) + PULL * float(np.log(roundness / USUAL)) ** 2)
    return choices[int(np.argmin(costs))]


def _held_back(shown: Shown, folds: Ints, scale: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Logits (R, N, C) of what each fold holds back, for every roundness, and for which segments there are any (N,)."""
    inputs, words = shown.inputs * scale, None if shown.words is None else shown.words * scale
    axes = span(inputs if words is None else np.concatenate([inputs, words]))
    if axes is not None:
        inputs, words = inputs @ axes.T, None if words is None else words @ axes.T
    logits, known = np.zeros((len(ROUNDNESS), len(inputs), shown.classes)), np.zeros(len(inputs), dtype=bool)
    for rest, held in parts(folds, shown.labels):
        clouds = Clouds.of(inputs[rest], shown.labels[rest], shown.classes)
        for place, roundness in enumerate(ROUNDNESS):
            weight, bias = clouds.linear(clouds.middles(float(roundness), words), float(roundness))
            logits[place, held] = (inputs[held] @ weight + bias) * _even(inputs[rest] @ weight + bias, shown.labels[rest])
        known |= held
    return logits, known


def _even(logits: Array, labels: Ints) -> float:
    """What brings scores to an even strength, however many examples made them: that of the classes which a segment is not of."""
    wrong = np.ones(logits.shape, dtype=bool)
    wrong[np.arange(len(labels)), labels] = False
    others = logits[wrong].reshape(len(labels), -1)
    apart = strength(others) if others.shape[1] > 1 else strength(logits)
    return 1 / apart if apart > 0 else 0.0


def _usual(opinion: Array, size: float) -> float:
    """What brings an opinion's scores as far apart as is usual; nothing where they say nothing."""
    apart = strength(opinion)
    return size / apart if apart > 0 else 0.0
