"""The linear head: the mean over time, standardized on the training segments, and one linear layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.heads import Examples, FitConfig, History
from quickstep.heads.feature_arrays import FittedArrays, Standardizer, check_weights, check_width, pooled
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
        from quickstep.heads.regularization import choose_shrinkage

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
