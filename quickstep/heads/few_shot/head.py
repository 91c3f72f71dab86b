"""The few-shot head: starts from class descriptions, which labelled examples then correct.

Class descriptions count twice: as the backbone's own text-video scores, and as the expected mean of a class before it has examples.
How much each counts is chosen on held-out examples, so useless descriptions end up counting nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from quickstep.heads import Examples, FitConfig, HeadCapabilities, History, history_without_epochs
from quickstep.heads.feature_arrays import LinearArrays, check_width, flat
from quickstep.types.errors import ConfigError
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features, Texts


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


Array = NDArray[np.float64]


@dataclass(frozen=True)
class FewShotConfig:
    """The few-shot head has no settings: everything is chosen on the examples."""


class FewShotHead(LinearArrays):
    """A linear layer from class descriptions and examples; all classes count the same, also one without examples."""

    Config = FewShotConfig
    name = "few-shot"
    capabilities: ClassVar[HeadCapabilities] = HeadCapabilities(reads_texts=True)

    def __init__(self, config: FewShotConfig | None = None) -> None:
        super().__init__()
        self.config = config or FewShotConfig()

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Solve in closed form; the validation part is only measured."""
        if train.texts is None or train.texts.classes != classes:
            raise ConfigError("head", "few-shot needs class descriptions, and a backbone that embeds text (prototypes needs neither)")
        arrays, isotropy = _solve(train, train.texts, classes, fitting.seed)
        self._weights = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}  # as files need them
        progress("fitting", 1, 1)
        return history_without_epochs(self, train, validation, stopped="solved in one step, without epochs", shrinkage=isotropy)

    def scores(self, features: Sequence[Features]) -> Array:
        """Return logits (N, C) in double precision; segments are scored one by one, so that none depends on the others."""
        mean, weight, bias = self._layer()
        rows = [(direction(unit(flat(segment))) - mean) @ weight + bias for segment in check_width(features, len(mean))]
        return np.stack(rows) if rows else np.zeros((0, len(bias)))


def _solve(train: Examples, texts: Texts, classes: int, seed: int) -> tuple[dict[str, Array], float | None]:
    """Return the layer's arrays; without examples they are the backbone's own text-video scores."""
    from quickstep.heads.few_shot.selection import Problem, solve, text_bias

    directions = np.stack([direction(unit(texts.vectors[texts.owners == number].astype(np.float64))) for number in range(classes)])
    if not len(train):
        weight = texts.matching.scale * directions.T
        return {"mean": np.zeros(len(weight)), "weight": weight, "bias": np.full(classes, texts.matching.bias)}, None
    sequences = [unit(flat(segment)) for segment in check_width(train.features, directions.shape[1])]
    pooled, deviation = pool_with_deviation(sequences)
    inputs = unit(pooled)
    mean = inputs.mean(axis=0)
    text_scores = inputs @ directions.T
    favour = text_bias(text_scores, train.labels, classes)
    problem = Problem(inputs - mean, deviation, train.labels, train.groups, classes, directions, text_scores - favour)
    solution = solve(problem, seed=seed)
    weight = solution.weight + solution.text_weight * directions.T
    bias = solution.bias + solution.text_weight * (directions @ mean - favour)
    return {"mean": mean, "weight": weight, "bias": bias - bias.mean()}, solution.isotropy


def unit(vectors: Array) -> Array:
    """Scale vectors (..., D) to length one; a zero vector stays zero."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


def direction(vectors: Array) -> Array:
    """Return the direction (D,) of the mean of vectors (T, D)."""
    return unit(vectors.mean(axis=0))
