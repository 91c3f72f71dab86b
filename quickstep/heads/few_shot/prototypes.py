"""The prototypes head: class means under one common covariance; needs no class descriptions and works from one segment a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.heads import Examples, FitConfig, History
from quickstep.heads.feature_arrays import LinearArrays, check_width, flat
from quickstep.heads.history import history_without_epochs
from quickstep.types.errors import ConfigError
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features


@dataclass(frozen=True)
class PrototypesConfig:
    """The prototypes head has no settings: everything is chosen on the examples."""


class PrototypesHead(LinearArrays):
    """Class means, shrunk towards the common mean, under a shrunk within-class covariance; all classes count the same."""

    Config = PrototypesConfig
    name = "prototypes"

    def __init__(self, config: PrototypesConfig | None = None) -> None:
        super().__init__()
        self.config = config or PrototypesConfig()

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Solve in closed form; the validation part is only measured."""
        from quickstep.heads.few_shot.selection import Problem, solve

        absent = sorted(set(range(classes)) - set(train.labels.tolist()))
        if absent:
            raise ConfigError("head", f"prototypes needs a segment of every class, and {len(absent)} of {classes} have none")
        inputs, deviation = pool_with_deviation([flat(segment) for segment in train.features])
        mean = inputs.mean(axis=0).astype(np.float32)
        solution = solve(Problem(inputs - mean, deviation, train.labels, train.groups, classes), seed=fitting.seed)
        arrays = {"mean": mean, "weight": solution.weight, "bias": solution.bias - solution.bias.mean()}
        self._weights = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}  # as files need them
        progress("fitting", 1, 1)
        return history_without_epochs(self, train, validation, stopped="solved in one step, without epochs", shrinkage=solution.isotropy)

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Return logits (N, C) in double precision; segments are scored one by one, so that none depends on the others."""
        mean, weight, bias = self._layer()
        rows = [(flat(segment).mean(axis=0) - mean) @ weight + bias for segment in check_width(features, len(mean))]
        return np.stack(rows) if rows else np.zeros((0, len(bias)))


def pool_with_deviation(sequences: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean over time of each sequence (N, D), and each feature's deviation over all timestamps (D,)."""
    inputs = np.stack([values.mean(axis=0) for values in sequences])
    inside = np.mean([values.var(axis=0) for values in sequences], axis=0)
    return inputs, np.sqrt(inputs.var(axis=0) + inside)
