"""How strongly a head's weights should be pulled to zero, found by cross-validation within the training segments.

Few segments with many numbers each can be told apart by anything; how much of that to believe is the one choice that decides how well
a head does on new videos. Here it is made on held-back groups, with an exact and quick solver, before the real fit begins.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

STRENGTHS = 10.0 ** np.arange(0.5, -4.1, -0.5)  # for inputs whose squared length is about 1
USUAL = 10.0**-1.5  # where there is too little to choose by
FOLDS = 5
FEW = 150  # up to so many segments all FOLDS are worth their time, above it three are enough
MOST = 600  # segments to choose by
STEPS = 40  # of the solver, for each strength
TEMPERATURES = np.geomspace(0.05, 5.0, 25)

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Choice:
    """A strength, and how surprising each held-back segment's true label was under it (empty where none could be held back)."""

    strength: float
    surprise: Array  # (N,)

    def clearly_better_than(self, other: Choice) -> bool:
        """Whether the labels are less surprising by more than the standard error of the difference: else it is the luck of the folds."""
        if len(self.surprise) == 0:
            return False
        gain = other.surprise - self.surprise
        return bool(gain.mean() > gain.std() / np.sqrt(len(gain)))


def choose_shrinkage(inputs: Array, labels: NDArray[np.int64], groups: Sequence[Hashable], *, classes: int, seed: int = 0) -> Choice:
    """The strength of those in STRENGTHS whose scores for held-back groups are the most telling; inputs are (N, D)."""
    rng, total = np.random.default_rng(seed), len(inputs)
    if total > MOST:
        kept = np.sort(rng.permutation(total)[:MOST])
        inputs, labels, groups = inputs[kept], labels[kept], [groups[i] for i in kept]
    folds = deal(labels, groups, rng)
    if folds.max() < 1:
        return Choice(USUAL, np.zeros(0))
    inputs = _rotate(inputs)
    logits = np.zeros((len(STRENGTHS), len(inputs), classes))
    with threadpool_limits(1, "blas"):  # products this small only wait for each other
        for fold in range(folds.max() + 1):
            held = folds == fold
            logits[:, held] = _path(inputs[~held], labels[~held], inputs[held], classes)
    surprises = [_surprise(each, labels) for each in logits]
    best = int(np.argmin([each.mean() for each in surprises]))
    return Choice(
        float(STRENGTHS[best]) * len(inputs) / total, surprises[best]
    )  # the pull stands beside a mean over segments: it weighs less the more there are


def deal(labels: NDArray[np.int64], groups: Sequence[Hashable], rng: np.random.Generator) -> NDArray[np.int64]:
    """The fold of each segment (N,): groups stay whole, and each class is spread as evenly as they allow."""
    names = list(dict.fromkeys(groups))
    if len(names) < 2 * len(set(labels.tolist())):  # too few to hold some back and still know every class
        groups, names = list(range(len(labels))), list(range(len(labels)))
    number = {name: i for i, name in enumerate(names)}
    member = np.array([number[group] for group in groups])  # (N,)
    table = np.zeros((len(names), int(labels.max()) + 1))
    np.add.at(table, (member, labels), 1)  # (G, C)
    folds = min(FOLDS if len(labels) <= FEW else 3, len(names))
    held = np.zeros((folds, table.shape[1]))
    where = np.zeros(len(names), dtype=np.int64)
    order = rng.permutation(len(names))
    for group in order[np.argsort(-table[order].sum(axis=1), kind="stable")]:
        crowding = (held + table[group]) ** 2 / np.maximum(table.sum(axis=0), 1)  # (F, C)
        where[group] = int(np.argmin(crowding.sum(axis=1) - (held**2 / np.maximum(table.sum(axis=0), 1)).sum(axis=1)))
        held[where[group]] += table[group]
    spread: NDArray[np.int64] = where[member]
    return spread


def _rotate(inputs: Array) -> Array:
    """The same points in as few numbers as they span: a pull to zero does not notice, and the solver is quicker."""
    if inputs.shape[1] <= inputs.shape[0]:
        return inputs
    values, vectors = np.linalg.eigh(inputs @ inputs.T)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))  # (N, N)


def _path(inputs: Array, labels: NDArray[np.int64], held: Array, classes: int) -> Array:
    """Logits (S, H, C) of the held-back inputs for every strength, each fit starting from the stronger one before it."""
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
            options={"maxiter": STEPS, "ftol": 1e-7, "gtol": 1e-5},
        ).x
        table = weights.reshape(-1, classes)  # (D + 1, C)
        logits.append(held @ table[:-1] + table[-1])
    return np.stack(logits)


def _loss(flat: Array, inputs: Array, truth: Array, strength: float) -> tuple[float, Array]:
    table = flat.reshape(-1, truth.shape[1])
    logits = inputs @ table[:-1] + table[-1]
    off = (softmax(logits, axis=1) - truth) / len(inputs)  # (N, C)
    gradient = np.vstack([inputs.T @ off + strength * table[:-1], off.sum(axis=0)])
    loss = -float((truth * log_softmax(logits, axis=1)).sum()) / len(inputs) + strength / 2 * float((table[:-1] ** 2).sum())
    return loss, gradient.ravel()


def _surprise(logits: Array, labels: NDArray[np.int64]) -> Array:
    """The log-loss of each (N,) at the temperature that suits best: scores are calibrated later anyway, only their direction counts."""
    rows = np.arange(len(labels))
    losses = [np.asarray(-log_softmax(logits / temperature, axis=1)[rows, labels]) for temperature in TEMPERATURES]
    return min(losses, key=lambda each: float(each.mean()))
