"""Permutation importance: the accuracy that a model loses without each feature, for backbones whose features have names.

The tested segments exchange the values of one feature; the drop in accuracy is the feature's importance. Correlated features are also
exchanged together, because one of them can replace another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones import names_features
from quickstep.datasets.manifest import group_of
from quickstep.evaluation.report import FeatureImportance
from quickstep.models.classifier import Prediction
from quickstep.models.feature_extraction import extract
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.types.confidence_intervals import Interval, add_up, bootstrap, units_of
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features

FEWEST = 4  # tested segments; with fewer a permutation shows nothing
ROUNDS, MOST_SCORES = (3, 20), 20_000  # permutations of each feature, fewer with more segments; scored segments in all
MOST = 500  # segments that exchange values; of more a sample is drawn


def permutation_importance(
    model: Model, predictions: Sequence[Prediction], *, cache: Cache, progress: Progress = silent, seed: int = 0
) -> tuple[FeatureImportance, ...]:
    """Return the importance of each family of features and of each feature; nothing where the backbone's features have no names."""
    backbone = model.backbone
    if not names_features(backbone) or len(predictions) < FEWEST:
        return ()
    rng = np.random.default_rng(seed)
    chosen = sorted(rng.choice(len(predictions), min(MOST, len(predictions)), replace=False).tolist())
    segments = [predictions[index].segment for index in chosen]
    extracted = extract(segments, model.backbone, view=model.view, cache=cache).features
    truth = np.array([model.labels.index(str(segment.label)) for segment in segments])
    test = _PermutationTest(model, [extracted[segment] for segment in segments], truth)
    candidates = [*backbone.families.items(), *((name, ()) for name in backbone.columns)]
    rounds = int(np.clip(MOST_SCORES // (len(candidates) * len(segments)), *ROUNDS))
    groups = [group_of(segment) for segment in segments]
    importances = []
    for number, (name, members) in enumerate(candidates):
        progress("numbers", number, len(candidates))
        columns = [column for member in members or (name,) for column in backbone.columns[member]]
        loss = _interval(test.loss(columns, rounds=rounds, rng=rng), groups, seed=seed)
        importances.append(FeatureImportance(name, backbone.meanings.get(name, ""), loss, tuple(members)))
    progress("numbers", len(candidates), len(candidates))
    return tuple(importances)


class _PermutationTest:
    """The tested features, and which segments the model classifies correctly with them."""

    def __init__(self, model: Model, features: Sequence[Features], truth: NDArray[np.int64]) -> None:
        self.model, self.features, self.truth = model, features, truth
        self.correct = self._correct(features)

    def loss(self, columns: Sequence[int], *, rounds: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return how much less often each segment (N,) is correct when it has these columns from another segment."""
        correct = np.zeros(len(self.features))
        for _ in range(rounds):
            others = rng.permutation(len(self.features))
            exchanged = [_with_columns_of(one, self.features[other], columns) for one, other in zip(self.features, others, strict=True)]
            correct += self._correct(exchanged)
        return np.asarray(self.correct - correct / rounds)

    def _correct(self, features: Sequence[Features]) -> NDArray[np.float64]:
        return np.asarray(self.model.head.scores(features).argmax(axis=1) == self.truth, dtype=np.float64)


def _with_columns_of(one: Features, other: Features, columns: Sequence[int]) -> Features:
    """Return the first with some columns of the second, whose windows are stretched to the same number."""
    values = one.values.copy()
    windows = ((np.arange(len(one)) + 0.5) / len(one) * len(other)).astype(int)
    values[:, columns] = other.values[windows][:, columns]
    return Features(values, one.times)


def _interval(loss: NDArray[np.float64], groups: Sequence[object], *, seed: int) -> Interval:
    units = units_of([str(group) for group in groups])
    sums = add_up(np.column_stack([loss, np.ones(len(loss))]), units)
    low, high = bootstrap(sums, lambda total: total[:, :1] / total[:, 1:], seed=seed)
    return Interval(float(loss.mean()), float(low[0]), float(high[0]), units.over, units.count, units.note)
