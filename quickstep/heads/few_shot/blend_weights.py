"""How much each of several opinions counts: opinions about held-back segments -> one weight each. Knows not what an opinion rests on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

STEADY = 3.0  # the pull of all weights together to the usual ones (in their logarithms): a few right answers in a row prove little
FREE = 0.3  # and of each to the others: who knows more is soon seen
WIDEST = 12.0  # e to this, at most, is what a weight may be away from the usual one

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


def from_mean(logits: Array) -> Array:
    """The logits with the mean of each row taken away, which says nothing."""
    return np.asarray(logits - logits.mean(axis=-1, keepdims=True))


def strength(logits: Array) -> float:
    """How far a row's logits usually stand apart."""
    return float(np.sqrt(np.mean(from_mean(logits) ** 2))) if logits.size else 0.0


def blend(opinions: Sequence[Array], labels: Ints, usual: Sequence[float]) -> tuple[Array, Array]:
    """The weights (E,) of opinions, (N, C) logits each, that make the labels least surprising, and each segment's surprise (N,).

    `usual` are the weights to begin with; one of zero stays so.
    """
    stack, start = np.stack([from_mean(each) for each in opinions]), np.asarray(usual, dtype=np.float64)
    rows, truth = np.arange(len(labels)), np.eye(stack.shape[2])[labels]

    def surprise(logarithms: Array) -> tuple[float, Array]:
        weights = start * np.exp(logarithms)
        logits = np.tensordot(weights, stack, axes=1)
        off = softmax(logits, axis=1) - truth
        common = float(logarithms.mean())
        apart = logarithms - common
        pull = STEADY / 2 * common**2 + FREE / 2 * float((apart**2).sum())
        loss = -float(log_softmax(logits, axis=1)[rows, labels].sum()) + pull
        return loss, weights * np.einsum("nc,enc->e", off, stack) + STEADY * common / len(logarithms) + FREE * apart

    bounds = [(-WIDEST, WIDEST)] * len(start)
    found = minimize(surprise, np.zeros(len(start)), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}).x
    weights = start * np.exp(found)
    return weights, np.asarray(-log_softmax(np.tensordot(weights, stack, axes=1), axis=1)[rows, labels])
