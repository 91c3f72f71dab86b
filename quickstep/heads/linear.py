"""The linear head: the mean over time, standardised as the training segments are, and one linear layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quickstep.heads import Examples, FitConfig, History
from quickstep.heads.feature_arrays import Fittable, Standardiser, as_arrays, check_weights, fitting_width, pooled
from quickstep.heads.regularization import choose_shrinkage
from quickstep.heads.training_loop import Dropout, Samples, fit_network
from quickstep.types.config_fields import at_least, between, setting
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features

RATES = {"adamw": 0.05, "adam": 0.05, "sgd": 0.5}  # for inputs whose squared length is about 1


@dataclass(frozen=True)
class LinearConfig:
    """The linear head's settings."""

    dropout: float = setting(0.0, "share of the numbers hidden at random while fitting")
    shrinkage: float | None = setting(None, "pull of the weights to zero; by default chosen on held-back training segments")

    def __post_init__(self) -> None:
        between("dropout", self.dropout, 0, 0.95)
        if self.shrinkage is not None:
            at_least("shrinkage", self.shrinkage, 0)


class LinearHead(Fittable):
    """Mean pooling and a linear layer."""

    Config = LinearConfig
    name = "linear"

    def __init__(self, config: LinearConfig | None = None) -> None:
        super().__init__()
        self.config = config or LinearConfig()

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Pools once, standardises by the training segments alone, and fits the layer."""
        inputs = pooled(train.features)  # (N, D)
        scale, shrinkage = self._scaled(inputs, train, classes, fitting.seed)
        network = _Linear(inputs.shape[1], classes, shrinkage)
        fitted = fit_network(
            network,
            _samples(scale(inputs), train),
            _samples(scale(pooled(validation.features)), validation) if validation else None,
            fitting=fitting,
            rates=(self.config.dropout, RATES[fitting.optimizer]),
            progress=progress,
        )
        self._weights, self._last = (scale.arrays | as_arrays(state) for state in (fitted.best, fitted.last))
        return replace(fitted.history, shrinkage=shrinkage)

    def _scaled(self, inputs: NDArray[np.float64], train: Examples, classes: int, seed: int) -> tuple[Standardiser, float]:
        """How the numbers are standardised and how strongly weights are pulled to zero: what tells most of held-back groups."""
        plain = Standardiser.of(inputs)
        if self.config.shrinkage is not None:
            return plain, self.config.shrinkage
        scales = (plain, Standardiser.of(inputs, soft=True))
        choices = [choose_shrinkage(scale(inputs), train.labels, train.groups, classes=classes, seed=seed) for scale in scales]
        better = int(choices[1].clearly_better_than(choices[0]))
        return scales[better], choices[better].strength

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Logits (N, C), in double precision, a segment at a time so that none depends on its neighbours."""
        weights = {name: value.astype(np.float64) for name, value in self._weights.items()}
        rows = [
            ((pooled([each])[0] - weights["mean"]) * weights["scale"]) @ weights["weight"] + weights["bias"]
            for each in fitting_width(features, len(weights["mean"]))
        ]
        return np.stack(rows) if rows else np.zeros((0, len(weights["bias"])))

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        width, classes = np.shape(weights.get("weight", np.zeros(())))[:2] or (0, 0)
        check_weights(weights, {"mean": (width,), "scale": (width,), "weight": (width, classes), "bias": (classes,)})
        self._weights, self._last = dict(weights), None


class _Linear(nn.Module):
    def __init__(self, width: int, classes: int, shrinkage: float) -> None:
        super().__init__()
        self.classes = classes
        self.shrinkage = shrinkage
        self.weight = nn.Parameter(torch.zeros(width, classes))  # from zero: no chance is needed to begin
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, inputs: Tensor, dropout: Dropout | None = None) -> Tensor:
        return (dropout(inputs) if dropout else inputs) @ self.weight + self.bias

    def penalty(self) -> Tensor:
        return self.shrinkage / 2 * self.weight.square().sum()


def _samples(inputs: NDArray[np.float64], examples: Examples) -> Samples:
    table = torch.from_numpy(inputs.astype(np.float32))
    return Samples(lambda chosen: (table[chosen],), torch.from_numpy(examples.labels), examples.segments)
