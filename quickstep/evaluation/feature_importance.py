"""decided: which numbers made the difference, for backbones whose numbers have names; what the model loses without each.

Permutation importance: the tested segments exchange one number among each other, the model answers again, and what its accuracy loses is
what the number is worth to it. Numbers that say much the same are exchanged together too, because one stands in for another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones import names_features
from quickstep.datasets.manifest import group_of
from quickstep.evaluation.report import Deciding
from quickstep.models.feature_extraction import extract
from quickstep.models.model import Model
from quickstep.models.predictions import Prediction
from quickstep.storage.cache import Cache
from quickstep.types.confidence_intervals import Interval, add_up, bootstrap, units_of
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features

FEWEST = 4  # tested segments, below which exchanging says nothing
ROUNDS, ANSWERS = (3, 20), 20_000  # how often each number is exchanged, the fewer the more segments there are; answers in all
MOST = 500  # segments that exchange; of more some are drawn


def decided(
    model: Model, predictions: Sequence[Prediction], *, cache: Cache, progress: Progress = silent, seed: int = 0
) -> tuple[Deciding, ...]:
    """What the model loses without each number and each family of them; nothing where the backbone's numbers have no names."""
    backbone = model.backbone
    if not names_features(backbone) or len(predictions) < FEWEST:
        return ()
    rng = np.random.default_rng(seed)
    chosen = sorted(rng.choice(len(predictions), min(MOST, len(predictions)), replace=False).tolist())
    segments = [predictions[place].segment for place in chosen]
    found = extract(segments, model.backbone, view=model.view, cache=cache).features
    trial = _Trial(model, [found[segment] for segment in segments], np.array([model.labels.index(str(s.label)) for s in segments]))
    questions = [*backbone.families.items(), *((name, ()) for name in backbone.columns)]
    rounds = int(np.clip(ANSWERS // (len(questions) * len(segments)), *ROUNDS))
    groups = [group_of(segment) for segment in segments]
    made = []
    for number, (name, members) in enumerate(questions):
        progress("numbers", number, len(questions))
        exchanged = [column for member in members or (name,) for column in backbone.columns[member]]
        lost = trial.lost(exchanged, rounds=rounds, rng=rng)
        made.append(Deciding(name, backbone.meanings.get(name, ""), _interval(lost, groups, seed=seed), tuple(members)))
    progress("numbers", len(questions), len(questions))
    return tuple(made)


class _Trial:
    """The tested features, and how often the model is right on them as they are."""

    def __init__(self, model: Model, features: Sequence[Features], truth: NDArray[np.int64]) -> None:
        self.model, self.features, self.truth = model, features, truth
        self.right = self._right(features)

    def lost(self, columns: Sequence[int], *, rounds: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """How much less often each segment (N,) is right where it has these columns from another."""
        right = np.zeros(len(self.features))
        for _ in range(rounds):
            others = rng.permutation(len(self.features))
            right += self._right([_with(one, self.features[other], columns) for one, other in zip(self.features, others, strict=True)])
        return np.asarray(self.right - right / rounds)

    def _right(self, features: Sequence[Features]) -> NDArray[np.float64]:
        return np.asarray(self.model.head.scores(features).argmax(axis=1) == self.truth, dtype=np.float64)


def _with(one: Features, other: Features, columns: Sequence[int]) -> Features:
    """The first with some columns of the second, whose windows are stretched over as many."""
    values = one.values.copy()
    places = ((np.arange(len(one)) + 0.5) / len(one) * len(other)).astype(int)
    values[:, columns] = other.values[places][:, columns]
    return Features(values, one.times)


def _interval(lost: NDArray[np.float64], groups: Sequence[object], *, seed: int) -> Interval:
    units = units_of([str(group) for group in groups])
    sums = add_up(np.column_stack([lost, np.ones(len(lost))]), units)
    low, high = bootstrap(sums, lambda s: s[:, :1] / s[:, 1:], seed=seed)
    return Interval(float(lost.mean()), float(low[0]), float(high[0]), units.over, units.count, units.note)
