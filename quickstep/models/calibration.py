"""Calibrate the scores of a model: the temperature that makes them probabilities, and the threshold from which they are reliable.

Both are fitted on validation segments, which no weight was fitted on.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from quickstep.heads.probabilities import log_softmax, softmax

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.02, 50.0
RELIABLE_ACCURACY = 0.95  # the accuracy that "sure" promises
PRIOR = 4.0  # weight of the prior on the logarithm of the temperature, of deviation 0.35: 12 correct predictions keep it above one half
MIN_PREDICTIONS = 10  # fewer correct predictions in a row may be luck

Array = NDArray[np.float64]


def probabilities(logits: Array, temperature: float = 1.0) -> Array:
    """Return probabilities (N, C), each row summing to 1."""
    return softmax(logits / temperature, axis=-1)


def fit_temperature(logits: Array, labels: NDArray[np.int64]) -> float:
    """Return the temperature under which the true labels are most likely.

    A prior at 1, which some dozens of segments outweigh, keeps a few correct predictions from claiming certainty.
    """
    if len(labels) == 0:
        return 1.0
    from scipy.optimize import minimize_scalar  # slow to import, and only fitting needs it

    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        log_likelihoods = log_softmax(logits / math.exp(log_temperature), axis=1)[rows, labels]
        return float(-log_likelihoods.sum() + PRIOR * log_temperature**2)

    bounds = (math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE))
    return float(math.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x))


def fit_threshold(scores: Array, labels: NDArray[np.int64]) -> float | None:
    """Return the lowest top score from which on at least 95 % of the predictions are correct; None with too few predictions."""
    top, correct = scores.max(axis=1, initial=0.0), scores.argmax(axis=1) == labels
    for threshold in np.unique(top):
        above = top >= threshold
        if above.sum() < MIN_PREDICTIONS:
            break
        if correct[above].mean() >= RELIABLE_ACCURACY:
            return float(threshold)
    return None
