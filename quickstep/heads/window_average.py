"""The averaged head: one linear layer looks at each window by itself, and the classes' probabilities are averaged over windows.

What fine-tuning fits together with its network; fitted alone, to features as they are, it is the linear head's layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from quickstep.heads import Examples, FitConfig, History
from quickstep.heads.feature_arrays import Fittable, check_weights, fitting_width, flat
from quickstep.heads.linear import LinearHead
from quickstep.types.config_fields import at_least, setting
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features


@dataclass(frozen=True)
class WindowAverageConfig:
    """The averaged head's settings."""

    together: int = setting(1, "how many vectors in a row are one window, and are averaged before they are looked at")

    def __post_init__(self) -> None:
        at_least("together", self.together, 1)


class WindowAverageHead(Fittable):
    """A linear layer for each window, and the mean of what it says."""

    Config = WindowAverageConfig
    name = "window-average"

    def __init__(self, config: WindowAverageConfig | None = None) -> None:
        super().__init__()
        self.config = config or WindowAverageConfig()

    @classmethod
    def of(cls, best: Mapping[str, NDArray[Any]], last: Mapping[str, NDArray[Any]], *, together: int) -> WindowAverageHead:
        """A head with the layers of a best and of a last epoch."""
        head = cls(WindowAverageConfig(together))
        head.load(best)
        head._last = dict(last)
        return head

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """The linear head's layer on the mean over each segment, its standardisation folded into the weights."""
        linear = LinearHead()
        history = linear.fit(train, validation, classes=classes, fitting=fitting, progress=progress)
        self._weights, last = folded(linear.weights()), linear.last_weights()
        self._last = folded(last) if last is not None else None
        return history

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """The logarithm of the averaged probabilities (N, C), a segment at a time so that none depends on its neighbours."""
        weight, bias = (self._weights[name].astype(np.float64) for name in ("weight", "bias"))
        rows = [self._row(flat(each), weight, bias) for each in fitting_width(features, len(weight))]
        return np.stack(rows) if rows else np.zeros((0, len(bias)))

    def _row(self, vectors: NDArray[np.float64], weight: NDArray[np.float64], bias: NDArray[np.float64]) -> NDArray[np.float64]:
        together = self.config.together if len(vectors) % self.config.together == 0 else 1
        windows = vectors.reshape(-1, together, vectors.shape[1]).mean(axis=1)  # (W, D)
        told = log_softmax(windows @ weight + bias, axis=1)
        return np.asarray(logsumexp(told, axis=0) - np.log(len(told)))

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Takes over the layer."""
        width, classes = np.shape(weights.get("weight", np.zeros(())))[:2] or (0, 0)
        check_weights(weights, {"weight": (width, classes), "bias": (classes,)})
        self._weights, self._last = dict(weights), None


def folded(linear: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The linear head's arrays with its standardisation inside the layer: (x - mean) * scale @ weight + bias."""
    weight = linear["scale"].astype(np.float64)[:, None] * linear["weight"].astype(np.float64)
    bias = linear["bias"].astype(np.float64) - linear["mean"].astype(np.float64) @ weight
    return {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
