"""Fit a linear layer to few labelled vectors (and texts, where there are any); every choice is made on held-out groups.

Chosen are the scaling of the features, the isotropy of the covariance, and the weight of the texts' own scores beside those of the
examples. Where nothing can be held out (one segment a class), the texts are still tried on all segments, which they have not seen.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from quickstep.heads import log_softmax, softmax
from quickstep.heads.few_shot.gaussian_classes import GaussianClasses, feature_scales, spanning_axes
from quickstep.heads.inner_folds import FOLDS, fold_numbers, training_and_held_out

MOST_SEGMENTS = 2000  # to choose by
MOST_CLASSES = 60
ISOTROPIES = np.array([1.0, 0.8, 0.6, 0.4, 0.25, 0.15, 0.08, 0.03, 0.01])  # shares of an isotropic covariance
DEFAULT_ISOTROPY = 0.25  # the one to start with, and where nothing can be held out
ISOTROPY_PRIOR = 1.0  # penalty of the squared logarithm of the isotropy over its default, in segments' log loss
UNTESTED_SPREAD = 0.35  # spread of the examples' scores where none can be held out to test them
HALF_TESTED = 10.0  # held-out segments with which the spread is halfway to 1
TEXT_SPREAD = 1.5  # spread of the texts' scores to start with
# A final fit has more examples than the folds. The scores grow by this power of the ratio; texts' scores by this power less.
GROWTH, TEXT_LAG = 0.5, 2.0
BIAS_EVIDENCE = 1.5  # a class that the texts favour is corrected where its bias exceeds noise by more than this
COMMON_PRIOR = 3.0  # penalty of the mean logarithm of all blend weights: few correct answers in a row prove little
DIFFERENCE_PRIOR = 0.3  # and of each weight's difference from that mean
WIDEST = 12.0  # largest logarithm of a blend weight over its start

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Problem:
    """Labelled vectors, and what class descriptions add: one vector a class, and their own scores of the segments."""

    inputs: Array  # (N, D)
    deviation: Array  # (D,) of the features over all timestamps
    labels: Ints  # (N,)
    groups: Sequence[Hashable]
    classes: int
    texts: Array | None = None  # (C, D) directions
    text_scores: Array | None = None  # (N, C)

    def sample(self, rng: np.random.Generator) -> Problem:
        """Return as many segments as are enough to choose by: some whole classes, and some segments of each."""
        if len(self.labels) <= MOST_SEGMENTS:
            return self
        chosen = np.sort(rng.permutation(np.unique(self.labels))[:MOST_CLASSES])
        count = MOST_SEGMENTS // len(chosen)
        indices = np.sort(np.concatenate([rng.permutation(np.flatnonzero(self.labels == number))[:count] for number in chosen]))
        return Problem(
            inputs=self.inputs[indices],
            deviation=self.deviation,
            labels=np.searchsorted(chosen, self.labels[indices]),
            groups=[self.groups[index] for index in indices],
            classes=len(chosen),
            texts=None if self.texts is None else self.texts[chosen],
            text_scores=None if self.text_scores is None else self.text_scores[np.ix_(indices, chosen)],
        )


@dataclass(frozen=True, eq=False)
class Choice:
    """A scaling, an isotropy, and the blend weights of the examples' scores and (where there are texts) the texts' own."""

    scale: Array  # (D,)
    isotropy: float
    weights: Array
    losses: Array  # (N,) of the held-out segments; empty where there were none

    def clearly_better_than(self, other: Choice) -> bool:
        """Return whether the mean loss is lower by more than the standard error of the difference."""
        gain = other.losses - self.losses
        return bool(gain.mean() > gain.std() / np.sqrt(len(gain)))


@dataclass(frozen=True, eq=False)
class Solution:
    """Scores are `inputs @ weight + bias`, plus `text_weight` times the texts' own scores."""

    weight: Array  # (D, C)
    bias: Array  # (C,)
    text_weight: float
    isotropy: float


def solve(problem: Problem, *, seed: int = 0) -> Solution:
    """Choose on held-out groups, then fit to all segments."""
    with threadpool_limits(1, "blas"):  # the same sums in the same order, and no waiting for threads
        choice = _choose(problem.sample(np.random.default_rng(seed)), seed)
        model = GaussianClasses.of(problem.inputs * choice.scale, problem.labels, problem.classes)
        texts = None if problem.texts is None else problem.texts * choice.scale
        weight, bias = model.linear(model.means(choice.isotropy, texts), choice.isotropy)
        factor = float(choice.weights[0]) * _normalization((problem.inputs * choice.scale) @ weight + bias, problem.labels)
        text_weight = float(choice.weights[1]) if len(choice.weights) > 1 else 0.0
        return Solution(factor * choice.scale[:, None] * weight, factor * bias, text_weight, choice.isotropy)


def text_bias(scores: Array, labels: Ints, classes: int) -> Array:
    """Return by how much the texts' scores (N, C) favour each class (C,) whatever the video, beyond noise.

    It is estimated on the segments of the other classes.
    """
    centred = _centred(scores)
    bias, noise = np.zeros(classes), np.full(classes, np.inf)
    for number in range(classes):
        others = centred[labels != number, number]
        if len(others) > 2:
            bias[number], noise[number] = others.mean(), others.var(ddof=1) / len(others)
    bias -= bias.mean()
    size = float(bias.var())
    share = max(0.0, 1.0 - BIAS_EVIDENCE * float(noise.mean()) / size) if size > 0 else 0.0
    return share * bias


def blend(scores: Sequence[Array], labels: Ints, initial: Sequence[float]) -> tuple[Array, Array]:
    """Return the weights (E,) of several logits (N, C) that give the lowest log loss together, and that loss for each segment (N,).

    The weights are drawn to `initial`; one of zero stays zero.
    """
    from scipy.optimize import minimize

    stack, start = np.stack([_centred(logits) for logits in scores]), np.asarray(initial, dtype=np.float64)
    rows, truth = np.arange(len(labels)), np.eye(stack.shape[2])[labels]

    def loss(logarithms: Array) -> tuple[float, Array]:
        weights = start * np.exp(logarithms)
        logits = np.tensordot(weights, stack, axes=1)
        residual = softmax(logits, axis=1) - truth
        common = float(logarithms.mean())
        difference = logarithms - common
        penalty = COMMON_PRIOR / 2 * common**2 + DIFFERENCE_PRIOR / 2 * float((difference**2).sum())
        value = -float(log_softmax(logits, axis=1)[rows, labels].sum()) + penalty
        slope = weights * np.einsum("nc,enc->e", residual, stack)
        return value, slope + COMMON_PRIOR * common / len(logarithms) + DIFFERENCE_PRIOR * difference

    bounds = [(-WIDEST, WIDEST)] * len(start)
    solved = minimize(loss, np.zeros(len(start)), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}).x
    weights = start * np.exp(solved)
    return weights, np.asarray(-log_softmax(np.tensordot(weights, stack, axes=1), axis=1)[rows, labels])


def held_out_folds(labels: Ints, groups: Sequence[Hashable], rng: np.random.Generator) -> Ints | None:
    """Return the fold of each segment (N,): by group, as long as most segments' classes stay known; None where nothing can be held out.

    Where groups cannot be held out, single segments are.
    """
    if len(set(groups)) > 1:
        folds = fold_numbers(labels, groups, FOLDS, rng)
        if folds is not None and sum(int(tested.sum()) for _, tested in training_and_held_out(folds, labels)) >= len(labels) / 2:
            return folds
    return fold_numbers(labels, None, FOLDS, rng)


def _choose(problem: Problem, seed: int) -> Choice:
    folds = held_out_folds(problem.labels, problem.groups, np.random.default_rng(seed))
    scalings = feature_scales(problem.deviation, len(problem.labels))
    if folds is None:
        return _untested(problem, scalings[0])
    best = _best_isotropy(problem, folds, scalings[0])
    for scale in scalings[1:]:
        other = _best_isotropy(problem, folds, scale)
        best = other if other.clearly_better_than(best) else best
    return best


def _untested(problem: Problem, scale: Array) -> Choice:
    """Return the choice for one segment a class: default weights for the examples, texts weighted by how well they score the segments."""
    weights = [UNTESTED_SPREAD]
    if problem.text_scores is not None:
        initial = [_weight_for_spread(problem.text_scores, TEXT_SPREAD)]
        weights.append(float(blend([problem.text_scores], problem.labels, initial)[0][0]))
    return Choice(scale, DEFAULT_ISOTROPY, np.array(weights), np.zeros(0))


def _best_isotropy(problem: Problem, folds: Ints, scale: Array) -> Choice:
    """Return the isotropy with the lowest loss on held-out segments."""
    held_out, scored = _held_out_logits(problem, folds, scale)
    labels = problem.labels[scored]
    ratio = float(len(folds) / np.mean([rest.sum() for rest, _ in training_and_held_out(folds, problem.labels)]))
    tested = len(labels) / (len(labels) + HALF_TESTED)
    growth = np.array([ratio**GROWTH, ratio ** (GROWTH - TEXT_LAG * tested)])
    choices, costs = [], []
    for isotropy, logits in zip(ISOTROPIES, held_out):
        scores = [logits[scored]] + ([problem.text_scores[scored]] if problem.text_scores is not None else [])
        spreads = (UNTESTED_SPREAD ** (1 - tested), TEXT_SPREAD)
        weights, losses = blend(scores, labels, [_weight_for_spread(one, spread) for one, spread in zip(scores, spreads)])
        choices.append(Choice(scale, float(isotropy), weights * growth[: len(weights)], losses))
        costs.append(float(losses.sum()) + ISOTROPY_PRIOR * float(np.log(isotropy / DEFAULT_ISOTROPY)) ** 2)
    return choices[int(np.argmin(costs))]


def _held_out_logits(problem: Problem, folds: Ints, scale: Array) -> tuple[Array, Bools]:
    """Return logits (R, N, C) of the held-out segments for every isotropy, and which segments have any (N,)."""
    inputs, texts = problem.inputs * scale, None if problem.texts is None else problem.texts * scale
    axes = spanning_axes(inputs if texts is None else np.concatenate([inputs, texts]))
    if axes is not None:
        inputs, texts = inputs @ axes.T, None if texts is None else texts @ axes.T
    logits, tested = np.zeros((len(ISOTROPIES), len(inputs), problem.classes)), np.zeros(len(inputs), dtype=bool)
    for rest, held_out in training_and_held_out(folds, problem.labels):
        model = GaussianClasses.of(inputs[rest], problem.labels[rest], problem.classes)
        for index, isotropy in enumerate(ISOTROPIES):
            weight, bias = model.linear(model.means(float(isotropy), texts), float(isotropy))
            factor = _normalization(inputs[rest] @ weight + bias, problem.labels[rest])
            logits[index, held_out] = (inputs[held_out] @ weight + bias) * factor
        tested |= held_out
    return logits, tested


def _normalization(logits: Array, labels: Ints) -> float:
    """Return the factor that gives the scores of wrong classes a spread of 1, however many examples they come from."""
    wrong = np.ones(logits.shape, dtype=bool)
    wrong[np.arange(len(labels)), labels] = False
    others = logits[wrong].reshape(len(labels), -1)
    spread = _spread(others) if others.shape[1] > 1 else _spread(logits)
    return 1 / spread if spread > 0 else 0.0


def _weight_for_spread(scores: Array, spread: float) -> float:
    """Return the weight with which the scores have this spread; 0 where all classes are scored alike."""
    own = _spread(scores)
    return spread / own if own > 0 else 0.0


def _centred(logits: Array) -> Array:
    """Return the logits minus the mean of each row, which carries no information."""
    return np.asarray(logits - logits.mean(axis=-1, keepdims=True))


def _spread(logits: Array) -> float:
    """Return the root mean square of the centred logits."""
    return float(np.sqrt(np.mean(_centred(logits) ** 2))) if logits.size else 0.0
