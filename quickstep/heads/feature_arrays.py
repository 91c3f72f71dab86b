"""What the heads share: their arrays, standardization, pooling over time, and checks of features and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quickstep.heads import FitConfig, HeadCapabilities
from quickstep.types.errors import ConfigError
from quickstep.types.signals import Features


class FittedArrays:
    """Base of heads that keep their weights as arrays: those of the best epoch, and after a fit those of the last epoch."""

    capabilities: ClassVar[HeadCapabilities] = HeadCapabilities()

    def __init__(self) -> None:
        self._weights: dict[str, NDArray[Any]] = {}
        self._last: dict[str, NDArray[Any]] | None = None

    @property
    def classes(self) -> int:
        """The number of classes; 0 before the head is fitted or loaded."""
        return len(self._weights["bias"]) if self._weights else 0

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that the scores depend on."""
        return dict(self._weights)

    def last_weights(self) -> dict[str, NDArray[Any]] | None:
        """Return the arrays after the last epoch, where there are any."""
        return dict(self._last) if self._last is not None else None


class LinearArrays(FittedArrays):
    """Base of heads whose weights are one layer: `mean` (D,), `weight` (D, C) and `bias` (C,) in single precision."""

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Set the weights; ValueError when they are not exactly this head's."""
        width, classes = np.shape(weights.get("weight", np.zeros(())))[:2] or (0, 0)
        check_weights(weights, {"mean": (width,), "weight": (width, classes), "bias": (classes,)})
        self._weights, self._last = dict(weights), None

    def _layer(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return mean, weight and bias in double precision."""
        mean, weight, bias = (self._weights[name].astype(np.float64) for name in ("mean", "weight", "bias"))
        return mean, weight, bias


@dataclass(frozen=True, eq=False)
class Standardizer:
    """Brings every feature to mean 0 and each vector to a squared length of about 1, so that one learning rate suits any width.

    With `soft`, each feature is divided by its own and the median deviation together. Features that hardly vary are often mostly noise,
    and are then not scaled up until they weigh as much as the others.
    """

    mean: NDArray[np.float32]  # (D,)
    scale: NDArray[np.float32]  # (D,)

    @classmethod
    def of(cls, inputs: NDArray[np.float64], *, soft: bool = False) -> Standardizer:
        """Return the standardizer of some vectors (N, D)."""
        mean, deviation = inputs.mean(axis=0), inputs.std(axis=0)
        # A feature that is constant in training carries no information: what is left of it is rounding.
        varies = deviation > 1e-6 * np.maximum(np.abs(mean), np.abs(inputs).max(initial=0.0) * 1e-3)
        median = float(np.median(deviation[varies])) if soft and varies.any() else 0.0
        scale = np.where(varies, 1 / np.hypot(np.where(varies, deviation, 1.0), median), 0.0)
        length = float(np.sqrt(((deviation * scale) ** 2).sum()))
        return cls(mean.astype(np.float32), (scale / (length or 1.0)).astype(np.float32))

    def __call__(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standardize vectors (..., D)."""
        return (inputs - self.mean.astype(np.float64)) * self.scale.astype(np.float64)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Mean and scale by name."""
        return {"mean": self.mean, "scale": self.scale}


def pooled(features: Sequence[Features]) -> NDArray[np.float64]:
    """Return the means over time (N, D), whatever the shape at one timestamp is."""
    return np.stack([flat(segment).mean(axis=0) for segment in features])


def flat(features: Features) -> NDArray[np.float64]:
    """Return the values as (T, D) in double precision; raise ConfigError where they are not finite."""
    values = features.values.reshape(len(features), -1).astype(np.float64)
    if not np.isfinite(values).all():
        raise ConfigError("backbone", "gave features that are not finite numbers; its weights may be broken, or its precision too low")
    return values


def check_width(features: Sequence[Features], width: int) -> Sequence[Features]:
    """Return the features, if they are as wide as those that the head was fitted on."""
    for segment_features in features:
        size = segment_features.values[0].size
        if size != width:
            raise ConfigError("backbone", f"gives vectors of {size} numbers where this head was fitted on {width}")
    return features


def check_weights(
    weights: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, type[np.generic]] | None = None
) -> None:
    """Raise ValueError unless the arrays have exactly these names and shapes, and finite numbers: float32, or as in `dtypes`."""
    check_names(weights, shapes)
    for name, shape in shapes.items():
        array, dtype = weights[name], np.dtype((dtypes or {}).get(name, np.float32))
        if array.shape != shape or array.dtype != dtype or not array.size or not np.isfinite(array).all():
            raise ValueError(f"the head's {name!r} is not a finite {dtype} array of shape {shape}: {array.dtype} {array.shape}")


def check_names(weights: Mapping[str, NDArray[Any]], names: Mapping[str, Any] | set[str]) -> None:
    """Raise ValueError unless the arrays have exactly these names."""
    if set(weights) != set(names):
        raise ValueError(f"the head's arrays are {', '.join(sorted(names))}, not {', '.join(sorted(weights)) or 'none'}")


def sample_weights(labels: NDArray[np.int64], fitting: FitConfig) -> NDArray[np.float64] | None:
    """Return weights of the examples with which all classes count the same; None where examples do."""
    if not fitting.class_weights:
        return None
    counts = np.bincount(labels)
    return np.asarray(len(labels) / (np.count_nonzero(counts) * counts[labels]))
