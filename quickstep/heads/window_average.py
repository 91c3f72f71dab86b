"""The window-average head: one linear layer scores each window, and the probabilities of the windows are averaged.

Fine-tuning fits it together with its network. Fitted alone, on given features, it is the linear head's layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.heads import Examples, FitConfig, History
from quickstep.heads.feature_arrays import FittedArrays, check_weights, check_width, flat
from quickstep.heads.linear import LinearHead
from quickstep.heads.probabilities import log_softmax, logsumexp
from quickstep.types.config_fields import at_least, setting
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features


@dataclass(frozen=True)
class WindowAverageConfig:
    """The window-average head's settings."""

    together: int = setting(1, "consecutive vectors that form one window; their mean is scored")

    def __post_init__(self) -> None:
        at_least("together", self.together, 1)


class WindowAverageHead(FittedArrays):
    """A linear layer on each window, and the mean of the windows' probabilities."""

    Config = WindowAverageConfig
    name = "window-average"

    def __init__(self, config: WindowAverageConfig | None = None) -> None:
        super().__init__()
        self.config = config or WindowAverageConfig()

    @classmethod
    def of(cls, best: Mapping[str, NDArray[Any]], last: Mapping[str, NDArray[Any]], *, together: int) -> WindowAverageHead:
        """Return a head with the layers of the best and of the last epoch."""
        head = cls(WindowAverageConfig(together))
        head.load(best)
        head._last = dict(last)
        return head

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Fit the linear head to each segment's mean, and fold its standardization into the layer."""
        linear = LinearHead()
        history = linear.fit(train, validation, classes=classes, fitting=fitting, progress=progress)
        self._weights, last = fold_standardization(linear.weights()), linear.last_weights()
        self._last = fold_standardization(last) if last is not None else None
        return history

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Return the logarithms of the mean probabilities (N, C); segments are scored one by one."""
        weight, bias = (self._weights[name].astype(np.float64) for name in ("weight", "bias"))
        rows = [self._score(flat(segment), weight, bias) for segment in check_width(features, len(weight))]
        return np.stack(rows) if rows else np.zeros((0, len(bias)))

    def _score(self, vectors: NDArray[np.float64], weight: NDArray[np.float64], bias: NDArray[np.float64]) -> NDArray[np.float64]:
        together = self.config.together if len(vectors) % self.config.together == 0 else 1
        windows = vectors.reshape(-1, together, vectors.shape[1]).mean(axis=1)  # (W, D)
        log_probabilities = log_softmax(windows @ weight + bias, axis=1)
        return np.asarray(logsumexp(log_probabilities, axis=0) - np.log(len(log_probabilities)))

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Set the weights; ValueError when they are not exactly this head's."""
        width, classes = np.shape(weights.get("weight", np.zeros(())))[:2] or (0, 0)
        check_weights(weights, {"weight": (width, classes), "bias": (classes,)})
        self._weights, self._last = dict(weights), None


def fold_standardization(linear: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the linear head's arrays as one layer: (x - mean) * scale @ weight + bias."""
    weight = linear["scale"].astype(np.float64)[:, None] * linear["weight"].astype(np.float64)
    bias = linear["bias"].astype(np.float64) - linear["mean"].astype(np.float64) @ weight
    return {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
