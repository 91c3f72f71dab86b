"""What heads share: their arrays, how features are standardised, pooled and checked; knows no loop and no loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from quickstep.heads import HeadCapabilities
from quickstep.types.errors import ConfigError
from quickstep.types.signals import Features


class Fittable:
    """The arrays of a head: those of its best epoch, and of its last where it was fitted here."""

    capabilities: ClassVar[HeadCapabilities] = HeadCapabilities()

    def __init__(self) -> None:
        self._weights: dict[str, NDArray[Any]] = {}
        self._last: dict[str, NDArray[Any]] | None = None

    @property
    def classes(self) -> int:
        """How many classes it tells apart."""
        return len(self._weights["bias"]) if self._weights else 0

    def weights(self) -> dict[str, NDArray[Any]]:
        """What its scores are made with."""
        return dict(self._weights)

    def last_weights(self) -> dict[str, NDArray[Any]] | None:
        """What they were after the last epoch."""
        return dict(self._last) if self._last is not None else None


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


def check_weights(
    weights: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]], kinds: Mapping[str, type[np.generic]] | None = None
) -> None:
    """ValueError unless the arrays have exactly these names and shapes, and finite numbers: single precision, or as in `kinds`."""
    if set(weights) != set(shapes):
        raise ValueError(f"the head's arrays are {', '.join(sorted(shapes))}, not {', '.join(sorted(weights)) or 'none'}")
    for name, shape in shapes.items():
        array, kind = weights[name], np.dtype((kinds or {}).get(name, np.float32))
        if array.shape != shape or array.dtype != kind or not array.size or not np.isfinite(array).all():
            raise ValueError(f"the head's {name!r} is not a finite {kind} array of shape {shape}: {array.dtype} {array.shape}")


def as_arrays(state: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    """The tensors of a module as plain arrays."""
    return {name: value.numpy() for name, value in state.items()}
