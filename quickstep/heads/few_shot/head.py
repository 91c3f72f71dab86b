"""The few-shot head: begins with what words say of the classes, and lets examples move it, the further the more they know.

Words count twice: as the network's own score of a video, and as where a class's middle is to be expected before any example of it is
seen. How much each counts is found on held-back examples; words that know nothing end up counting nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.heads import Examples, FitConfig, HeadCapabilities, History
from quickstep.heads.feature_arrays import Fittable, check_weights, fitting_width, flat
from quickstep.heads.few_shot.optimization import Shown, favoured, solve
from quickstep.heads.few_shot.prototypes import pooled_with_deviation
from quickstep.heads.history import history_without_epochs
from quickstep.types.errors import ConfigError
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features, Texts

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FewShotConfig:
    """Everything is chosen by the examples: nothing to set."""


class FewShotHead(Fittable):
    """A linear layer that words begin and examples move; every class counts the same, also one without examples."""

    Config = FewShotConfig
    name = "few-shot"
    capabilities = HeadCapabilities(reads_texts=True)

    def __init__(self, config: FewShotConfig | None = None) -> None:
        super().__init__()
        self.config = config or FewShotConfig()

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Solved at once; the validation segments are only measured."""
        if train.texts is None or train.texts.classes != classes:
            raise ConfigError("head", "few-shot begins with words; it needs a backbone that reads them (prototypes needs none)")
        arrays, roundness = _solved(train, train.texts, classes, fitting.seed)
        self._weights = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}  # as files need them
        progress("fitting", 1, 1)
        return history_without_epochs(self, train, validation, stopped="solved in one step, without epochs", shrinkage=roundness)

    def scores(self, features: Sequence[Features]) -> Array:
        """Logits (N, C), in double precision, a segment at a time so that none depends on its neighbours."""
        weights = {name: value.astype(np.float64) for name, value in self._weights.items()}
        rows = [
            (direction(unit(flat(each))) - weights["mean"]) @ weights["weight"] + weights["bias"]
            for each in fitting_width(features, len(weights["mean"]))
        ]
        return np.stack(rows) if rows else np.zeros((0, len(weights["bias"])))

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Takes over what `weights` gave."""
        width, classes = np.shape(weights.get("weight", np.zeros(())))[:2] or (0, 0)
        check_weights(weights, {"mean": (width,), "weight": (width, classes), "bias": (classes,)})
        self._weights, self._last = dict(weights), None


def _solved(train: Examples, texts: Texts, classes: int, seed: int) -> tuple[dict[str, Array], float | None]:
    """The layer's arrays; without any example they are the network's own matching of words."""
    words = np.stack([direction(unit(texts.vectors[texts.owners == number].astype(np.float64))) for number in range(classes)])
    if not len(train):
        own = texts.matching.scale * words.T
        return {"mean": np.zeros(len(own)), "weight": own, "bias": np.full(classes, texts.matching.bias)}, None
    moments = [unit(flat(each)) for each in fitting_width(train.features, words.shape[1])]
    pooled, deviation = pooled_with_deviation(moments)
    inputs = unit(pooled)
    mean = inputs.mean(axis=0)
    told = inputs @ words.T
    favour = favoured(told, train.labels, classes)
    shown = Shown(inputs - mean, deviation, train.labels, train.groups, classes, words, told - favour)
    solution = solve(shown, seed=seed)
    weight = solution.weight + solution.own * words.T
    bias = solution.bias + solution.own * (words @ mean - favour)
    return {"mean": mean, "weight": weight, "bias": bias - bias.mean()}, solution.roundness


def unit(vectors: Array) -> Array:
    """(..., D) of length one; nothing stays nothing."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


def direction(vectors: Array) -> Array:
    """Where vectors (T, D) point together, (D,)."""
    return unit(vectors.mean(axis=0))
