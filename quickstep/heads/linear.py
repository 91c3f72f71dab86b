"""The heads of one linear layer on standardized features: `linear` scores the mean over time, `window-average` each window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.heads import Examples, FitConfig, History, log_softmax, logsumexp
from quickstep.heads.feature_arrays import FittedArrays, Standardizer, check_weights, check_width, flat, pooled
from quickstep.types.config_fields import at_least, between, setting
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features

LEARNING_RATES = {"adamw": 0.05, "adam": 0.05, "sgd": 0.5}  # for inputs whose squared length is about 1


@dataclass(frozen=True)
class LinearConfig:
    """The linear head's settings."""

    dropout: float = setting(0.0, "share of the features that dropout zeroes while fitting")
    shrinkage: float | None = setting(None, "strength of the L2 regularization; by default chosen by cross-validation on the training part")

    def __post_init__(self) -> None:
        between("dropout", self.dropout, 0, 0.95)
        if self.shrinkage is not None:
            at_least("shrinkage", self.shrinkage, 0)


class LinearHead(FittedArrays):
    """Mean pooling and a linear layer."""

    Config = LinearConfig
    name = "linear"

    def __init__(self, config: LinearConfig | None = None) -> None:
        super().__init__()
        self.config = config or LinearConfig()

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Pool over time, standardize on the training segments alone, and fit the layer."""
        from quickstep.heads.training_loop import LinearNetwork, Rates, as_arrays, fit_network, samples_of_table

        inputs = pooled(train.features)  # (N, D)
        standardize, shrinkage = self._choose_scaling(inputs, train, classes, fitting.seed)
        fitted = fit_network(
            LinearNetwork(inputs.shape[1], classes, shrinkage),
            samples_of_table(standardize(inputs), train),
            samples_of_table(standardize(pooled(validation.features)), validation) if validation else None,
            fitting=fitting,
            rates=Rates(self.config.dropout, LEARNING_RATES[fitting.optimizer]),
            progress=progress,
        )
        self._weights, self._last = (standardize.arrays | as_arrays(state) for state in (fitted.best, fitted.last))
        return replace(fitted.history, shrinkage=shrinkage)

    def _choose_scaling(self, inputs: NDArray[np.float64], train: Examples, classes: int, seed: int) -> tuple[Standardizer, float]:
        """Choose the standardization and the regularization that score held-out groups of the training part best."""
        from quickstep.heads.inner_folds import choose_shrinkage

        plain = Standardizer.of(inputs)
        if self.config.shrinkage is not None:
            return plain, self.config.shrinkage
        scalings = (plain, Standardizer.of(inputs, soft=True))
        choices = [choose_shrinkage(scale(inputs), train.labels, train.groups, classes=classes, seed=seed) for scale in scalings]
        better = int(choices[1].clearly_better_than(choices[0]))
        return scalings[better], choices[better].strength

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Return logits (N, C) in double precision; segments are scored one by one, so that none depends on the others."""
        weights = {name: value.astype(np.float64) for name, value in self._weights.items()}
        rows = [
            ((flat_mean - weights["mean"]) * weights["scale"]) @ weights["weight"] + weights["bias"]
            for flat_mean in (pooled([segment])[0] for segment in check_width(features, len(weights["mean"])))
        ]
        return np.stack(rows) if rows else np.zeros((0, len(weights["bias"])))

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Set the weights; ValueError when they are not exactly this head's."""
        width, classes = np.shape(weights.get("weight", np.zeros(())))[:2] or (0, 0)
        check_weights(weights, {"mean": (width,), "scale": (width,), "weight": (width, classes), "bias": (classes,)})
        self._weights, self._last = dict(weights), None


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
