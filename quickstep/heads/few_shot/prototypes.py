"""The prototypes head: what is typical of each class, held against how members of a class differ; good from one segment on, no words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.heads import Examples, FitConfig, History
from quickstep.heads.feature_arrays import Fittable, check_weights, fitting_width, flat
from quickstep.heads.few_shot.optimization import Shown, solve
from quickstep.heads.history import history_without_epochs
from quickstep.types.errors import ConfigError
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features


@dataclass(frozen=True)
class PrototypesConfig:
    """Everything is chosen by the examples: nothing to set."""


class PrototypesHead(Fittable):
    """Class means, drawn to the common mean, under a shrunk within-class covariance; every class counts the same."""

    Config = PrototypesConfig
    name = "prototypes"

    def __init__(self, config: PrototypesConfig | None = None) -> None:
        super().__init__()
        self.config = config or PrototypesConfig()

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Solved at once; the validation segments are only measured."""
        absent = sorted(set(range(classes)) - set(train.labels.tolist()))
        if absent:
            raise ConfigError("head", f"prototypes needs a segment of every class, and {len(absent)} of {classes} have none")
        inputs, deviation = pooled_with_deviation([flat(each) for each in train.features])
        mean = inputs.mean(axis=0).astype(np.float32)
        solution = solve(Shown(inputs - mean, deviation, train.labels, train.groups, classes), seed=fitting.seed)
        arrays = {"mean": mean, "weight": solution.weight, "bias": solution.bias - solution.bias.mean()}
        self._weights = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}  # as files need them
        progress("fitting", 1, 1)
        return history_without_epochs(self, train, validation, stopped="solved in one step, without epochs", shrinkage=solution.roundness)

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Logits (N, C), in double precision, a segment at a time so that none depends on its neighbours."""
        weights = {name: value.astype(np.float64) for name, value in self._weights.items()}
        rows = [
            (flat(each).mean(axis=0) - weights["mean"]) @ weights["weight"] + weights["bias"]
            for each in fitting_width(features, len(weights["mean"]))
        ]
        return np.stack(rows) if rows else np.zeros((0, len(weights["bias"])))

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Takes over what `weights` gave."""
        width, classes = np.shape(weights.get("weight", np.zeros(())))[:2] or (0, 0)
        check_weights(weights, {"mean": (width,), "weight": (width, classes), "bias": (classes,)})
        self._weights, self._last = dict(weights), None


def pooled_with_deviation(moments: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean over time of each (N, D), and how far each number strays over all moments (D,): more is seen of that than in means."""
    inputs = np.stack([each.mean(axis=0) for each in moments])
    inside = np.mean([each.var(axis=0) for each in moments], axis=0)
    return inputs, np.sqrt(inputs.var(axis=0) + inside)
