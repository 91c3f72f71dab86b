"""Folds inside the training part, by which heads choose their own settings: groups stay whole, classes are spread evenly.

The strength of L2 regularization is one of these settings: `choose_shrinkage` finds it by cross-validation.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from quickstep.heads import log_softmax, softmax

FOLDS, FEWER_FOLDS = 5, 3
FEW_SEGMENTS = 150  # up to this many segments FOLDS are worth their time, for more FEWER_FOLDS

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def grouped_folds(labels: Ints, groups: Sequence[Hashable], rng: np.random.Generator) -> Ints:
    """Return the fold of each segment (N,); all 0 where nothing can be held out.

    Where there are too few groups to hold some out and still train on every class, each segment is a group of its own.
    """
    count = FOLDS if len(labels) <= FEW_SEGMENTS else FEWER_FOLDS
    enough = len(set(groups)) >= 2 * len(set(labels.tolist()))
    folds = fold_numbers(labels, groups if enough else None, count, rng)
    return np.zeros(len(labels), dtype=np.int64) if folds is None else folds


def fold_numbers(labels: Ints, groups: Sequence[Hashable] | None, count: int, rng: np.random.Generator) -> Ints | None:
    """Return the fold of each segment (N,), at most `count` of them; None where fewer than two are possible."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    numbers = {group: index for index, group in enumerate(dict.fromkeys(groups))} if groups is not None else {}
    by_group = groups is not None and len(numbers) < len(labels)
    count = min(count, int(np.bincount(labels).max()), len(numbers) if by_group else len(labels))
    if count < 2:
        return None
    splitter = (StratifiedGroupKFold if by_group else StratifiedKFold)(count, shuffle=True, random_state=int(rng.integers(2**31)))
    members = np.array([numbers[group] for group in groups]) if by_group and groups is not None else None
    folds = np.zeros(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer segments than folds is held out in some of them
        for fold, (_, held_out) in enumerate(splitter.split(labels, labels, members)):
            folds[held_out] = fold
    return folds


def training_and_held_out(folds: Ints, labels: Ints) -> Iterator[tuple[Bools, Bools]]:
    """Yield for each fold the segments to train on (N,), and those of the fold whose class is among them (N,)."""
    for fold in np.unique(folds):
        rest = folds != fold
        held_out = ~rest & np.isin(labels, labels[rest])
        if rest.any() and held_out.any():
            yield rest, held_out


STRENGTHS = 10.0 ** np.arange(0.5, -4.1, -0.5)  # for inputs whose squared length is about 1
DEFAULT_STRENGTH = 10.0**-1.5  # where there are too few segments to choose by
MOST_SEGMENTS = 600  # to choose by
SOLVER_STEPS = 40  # for each strength
TEMPERATURES = np.geomspace(0.05, 5.0, 25)

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Choice:
    """A strength, and the loss of each held-out segment with it (empty where none could be held out)."""

    strength: float
    losses: Array  # (N,)

    def clearly_better_than(self, other: Choice) -> bool:
        """Return whether the mean loss is lower by more than the standard error of the difference."""
        if len(self.losses) == 0:
            return False
        gain = other.losses - self.losses
        return bool(gain.mean() > gain.std() / np.sqrt(len(gain)))


def choose_shrinkage(inputs: Array, labels: Ints, groups: Sequence[Hashable], *, classes: int, seed: int = 0) -> Choice:
    """Return the strength of STRENGTHS with the lowest loss on held-out groups; inputs are (N, D)."""
    rng, total = np.random.default_rng(seed), len(inputs)
    if total > MOST_SEGMENTS:
        chosen = np.sort(rng.permutation(total)[:MOST_SEGMENTS])
        inputs, labels, groups = inputs[chosen], labels[chosen], [groups[index] for index in chosen]
    folds = grouped_folds(labels, groups, rng)
    if folds.max() < 1:
        return Choice(DEFAULT_STRENGTH, np.zeros(0))
    inputs = _reduced(inputs)
    logits = np.zeros((len(STRENGTHS), len(inputs), classes))
    with threadpool_limits(1, "blas"):  # products this small only wait for each other
        for fold in range(folds.max() + 1):
            held_out = folds == fold
            logits[:, held_out] = _solve_path(inputs[~held_out], labels[~held_out], inputs[held_out], classes)
    losses = [_calibrated_losses(scores, labels) for scores in logits]
    best = int(np.argmin([fold_losses.mean() for fold_losses in losses]))
    # The regularization is added to a mean over segments, so it weighs less the more segments there are.
    return Choice(float(STRENGTHS[best]) * len(inputs) / total, losses[best])


def _reduced(inputs: Array) -> Array:
    """Return the same points in as many dimensions as they span: the regularized solution is the same, and is found faster."""
    if inputs.shape[1] <= inputs.shape[0]:
        return inputs
    values, vectors = np.linalg.eigh(inputs @ inputs.T)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))  # (N, N)


def _solve_path(inputs: Array, labels: Ints, held_out: Array, classes: int) -> Array:
    """Return logits (S, H, C) of the held-out inputs for every strength; each fit starts from the one with more regularization."""
    truth = np.eye(classes)[labels]
    weights = np.zeros((inputs.shape[1] + 1) * classes)
    logits = []
    for strength in STRENGTHS:
        weights = minimize(
            _loss,
            weights,
            args=(inputs, truth, strength),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": SOLVER_STEPS, "ftol": 1e-7, "gtol": 1e-5},
        ).x
        table = weights.reshape(-1, classes)  # (D + 1, C)
        logits.append(held_out @ table[:-1] + table[-1])
    return np.stack(logits)


def _loss(weights: Array, inputs: Array, truth: Array, strength: float) -> tuple[float, Array]:
    """Return the regularized cross-entropy and its gradient."""
    table = weights.reshape(-1, truth.shape[1])
    logits = inputs @ table[:-1] + table[-1]
    residual = (softmax(logits, axis=1) - truth) / len(inputs)  # (N, C)
    gradient = np.vstack([inputs.T @ residual + strength * table[:-1], residual.sum(axis=0)])
    loss = -float((truth * log_softmax(logits, axis=1)).sum()) / len(inputs) + strength / 2 * float((table[:-1] ** 2).sum())
    return loss, gradient.ravel()


def _calibrated_losses(logits: Array, labels: Ints) -> Array:
    """Return the log loss of each segment (N,) at the best temperature: scores are calibrated later, so only their direction counts."""
    rows = np.arange(len(labels))
    losses = [np.asarray(-log_softmax(logits / temperature, axis=1)[rows, labels]) for temperature in TEMPERATURES]
    return min(losses, key=lambda candidate: float(candidate.mean()))
