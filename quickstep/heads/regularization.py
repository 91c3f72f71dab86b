"""Choose the strength of L2 regularization by cross-validation over groups of the training part.

Few segments with many features can always be separated; the regularization decides how well a head does on new videos. It is chosen
with an exact, fast solver before the head itself is fitted.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from quickstep.heads.inner_folds import grouped_folds
from quickstep.heads.probabilities import log_softmax, softmax

STRENGTHS = 10.0 ** np.arange(0.5, -4.1, -0.5)  # for inputs whose squared length is about 1
DEFAULT_STRENGTH = 10.0**-1.5  # where there are too few segments to choose by
MOST_SEGMENTS = 600  # to choose by
SOLVER_STEPS = 40  # for each strength
TEMPERATURES = np.geomspace(0.05, 5.0, 25)

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


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
