"""How sure a score may sound: the temperature that makes scores honest and the score from which on answers can be relied on.

Both are read off validation segments, which no weight was fitted to; knows no model.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

COOLEST, HOTTEST = 0.02, 50.0
RELIABLE = 0.95  # the share of right answers that "sure" promises
PULL = 4.0  # a prior on the temperature's logarithm, of spread 0.35: with 12 right answers in a row it stays above one half
FEWEST = 10  # answers: fewer right ones in a row are luck as easily as certainty

Array = NDArray[np.float64]


def probabilities(logits: Array, temperature: float = 1.0) -> Array:
    """(N, C), each row summing to 1."""
    return np.asarray(softmax(logits / temperature, axis=-1))


def fit_temperature(logits: Array, labels: NDArray[np.int64]) -> float:
    """What to divide the logits by, so that the true labels are least surprising.

    A pull to 1, outweighed by some dozens of segments, keeps a handful of right answers from claiming certainty.
    """
    if len(labels) == 0:
        return 1.0
    rows = np.arange(len(labels))

    def surprise(logarithm: float) -> float:
        told = log_softmax(logits / math.exp(logarithm), axis=1)[rows, labels]
        return float(-told.sum() + PULL * logarithm**2)

    found = minimize_scalar(surprise, bounds=(math.log(COOLEST), math.log(HOTTEST)), method="bounded", options={"xatol": 1e-6})
    return float(math.exp(found.x))


def sure_from(scores: Array, labels: NDArray[np.int64]) -> float | None:
    """The lowest top score at or above which at least RELIABLE of the answers were right; None when too few were to say."""
    top, right = scores.max(axis=1, initial=0.0), scores.argmax(axis=1) == labels
    for threshold in np.unique(top):
        answered = top >= threshold
        if answered.sum() < FEWEST:
            break
        if right[answered].mean() >= RELIABLE:
            return float(threshold)
    return None
