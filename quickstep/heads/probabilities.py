"""Softmax and its logarithm with numpy alone, equal to scipy's to the bit: importing scipy would take longer than a prediction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def softmax(logits: Array, axis: int = -1) -> Array:
    """Return probabilities that sum to 1 along an axis; the logits are finite."""
    powers = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def log_softmax(logits: Array, axis: int = -1) -> Array:
    """Return the logarithms of the probabilities."""
    shifted = logits - logits.max(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)))


def logsumexp(values: Array, axis: int = -1) -> Array:
    """Return the logarithm of the sum of exponentials along an axis, without overflow."""
    highest = values.max(axis=axis, keepdims=True)
    is_highest = values == highest  # summed apart from the smaller ones, which is more exact
    count = is_highest.sum(axis=axis, keepdims=True).astype(np.float64)
    others = np.exp(np.where(is_highest, -np.inf, values) - highest).sum(axis=axis, keepdims=True) / count
    return np.asarray((np.log1p(others) + np.log(count) + highest).squeeze(axis))
