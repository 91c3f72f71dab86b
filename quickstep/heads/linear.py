"""The linear head: the mean over time, standardised as the training segments are, and one linear layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quickstep.errors import ConfigError
from quickstep.heads import Examples, FitConfig, History
from quickstep.heads.fitting import Dropout, Samples, fit_network
from quickstep.heads.shrinkage import choose_shrinkage
from quickstep.progress import Progress, silent
from quickstep.settings import at_least, between, setting
from quickstep.signals import Features

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


class LinearHead:
    """Mean pooling and a linear layer."""

    Config = LinearConfig
    name = "linear"

    def __init__(self, config: LinearConfig | None = None) -> None:
        self.config = config or LinearConfig()
        self._weights: dict[str, NDArray[Any]] = {}
        self._last: dict[str, NDArray[Any]] | None = None

    @property
    def classes(self) -> int:
        """How many classes it tells apart."""
        return len(self._weights["bias"]) if self._weights else 0

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

    def weights(self) -> dict[str, NDArray[Any]]:
        return dict(self._weights)

    def last_weights(self) -> dict[str, NDArray[Any]] | None:
        return dict(self._last) if self._last is not None else None

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


@dataclass(frozen=True, eq=False)
class Standardiser:
    """Brings every number to mean 0 and the whole to a squared length of about 1, so that one learning rate suits any width.

    With `soft`, each is divided by its own spread and the usual (median) spread together: then numbers that hardly vary, and are often
    mostly noise, are not blown up until they weigh as much as the others.
    """

    mean: NDArray[np.float32]  # (D,)
    scale: NDArray[np.float32]  # (D,)

    @classmethod
    def of(cls, inputs: NDArray[np.float64], *, soft: bool = False) -> Standardiser:
        mean, deviation = inputs.mean(axis=0), inputs.std(axis=0)
        # A number that never changes in training says nothing: what is left of it is rounding.
        moving = deviation > 1e-6 * np.maximum(np.abs(mean), np.abs(inputs).max(initial=0.0) * 1e-3)
        usual = float(np.median(deviation[moving])) if soft and moving.any() else 0.0
        scale = np.where(moving, 1 / np.hypot(np.where(moving, deviation, 1.0), usual), 0.0)
        length = float(np.sqrt(((deviation * scale) ** 2).sum()))
        return cls(mean.astype(np.float32), (scale / (length or 1.0)).astype(np.float32))

    def __call__(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        return (inputs - self.mean.astype(np.float64)) * self.scale.astype(np.float64)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"mean": self.mean, "scale": self.scale}


def pooled(features: Sequence[Features]) -> NDArray[np.float64]:
    """The mean over time of each, (N, D), whatever shape a moment's numbers have."""
    return np.stack([flat(each).mean(axis=0) for each in features])


def flat(features: Features) -> NDArray[np.float64]:
    """(T, D) in double precision; refuses numbers that are none."""
    values = features.values.reshape(len(features), -1).astype(np.float64)
    if not np.isfinite(values).all():
        raise ConfigError("backbone", "gave features that are not finite numbers; its weights may be broken, or its precision too low")
    return values


def fitting_width(features: Sequence[Features], width: int) -> Sequence[Features]:
    """The features, if each moment has as many numbers as the head was fitted on."""
    for each in features:
        if each.values[0].size != width:
            raise ConfigError("backbone", f"gives {each.values[0].size} numbers a moment where this head was fitted on {width}")
    return features


def check_weights(weights: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """ValueError unless the arrays have exactly these names and shapes, and finite numbers of single precision."""
    if set(weights) != set(shapes):
        raise ValueError(f"the head's arrays are {', '.join(sorted(shapes))}, not {', '.join(sorted(weights)) or 'none'}")
    for name, shape in shapes.items():
        array = weights[name]
        if array.shape != shape or array.dtype != np.float32 or not array.size or not np.isfinite(array).all():
            raise ValueError(f"the head's {name!r} is not a finite float32 array of shape {shape}: {array.dtype} {array.shape}")


def as_arrays(state: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """The tensors of a module as plain arrays."""
    return {name: value.numpy() for name, value in state.items()}


def _samples(inputs: NDArray[np.float64], examples: Examples) -> Samples:
    table = torch.from_numpy(inputs.astype(np.float32))
    return Samples(lambda chosen: (table[chosen],), torch.from_numpy(examples.labels), examples.segments)
