"""The forest: extremely randomised trees on what numbers do over a segment, for backbones whose numbers each mean something.

Of each number its mean, spread, lowest and highest value over the windows. Nothing is scaled, so that a tree's question reads as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.heads import Examples, FitConfig, History
from quickstep.heads.feature_arrays import Fittable, fitting_width, flat
from quickstep.heads.history import history_without_epochs
from quickstep.heads.tree_arrays import KINDS, Forest
from quickstep.types.config_fields import between, setting
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features

SUMMARIES = 4  # mean, spread, lowest, highest


@dataclass(frozen=True)
class ExtraTreesConfig:
    """The forest's settings."""

    trees: int = setting(300, "how many trees there are")

    def __post_init__(self) -> None:
        between("trees", self.trees, 1, 100_000)


class ExtraTreesHead(Fittable):
    """A forest over what each number does in time."""

    Config = ExtraTreesConfig
    name = "extra-trees"

    def __init__(self, config: ExtraTreesConfig | None = None) -> None:
        super().__init__()
        self.config = config or ExtraTreesConfig()

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Grows the trees; there is nothing to stop early."""
        rows = summaries(train.features)
        progress("fitting", 0, 1)
        forest = Forest.grow(rows, train.labels, _weight(train.labels, fitting), trees=self.config.trees, seed=fitting.seed)
        progress("fitting", 1, 1)
        self._weights = forest.arrays | {"sizes": np.array([classes, rows.shape[1] // SUMMARIES], dtype=np.int32)}
        self._last = dict(self._weights)
        return history_without_epochs(self, train, validation, stopped="trees have no epochs")

    @property
    def classes(self) -> int:
        """How many classes it tells apart."""
        return int(self._weights["sizes"][0]) if self._weights else 0

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Logits (N, C): the logarithm of what the trees say, as if one more of them did not know."""
        classes, numbers = (int(each) for each in self._weights["sizes"])
        if not len(features):
            return np.zeros((0, classes))
        forest = Forest.from_arrays(self._weights, numbers=SUMMARIES * numbers, classes=classes)
        shares = forest.shares(summaries(fitting_width(features, numbers)), classes)
        trees = len(forest.roots)
        return np.asarray(np.log((shares * trees + 1 / classes) / (trees + 1)))

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        if set(weights) != {*KINDS, "sizes"}:
            raise ValueError(f"the head's arrays are {', '.join(sorted({*KINDS, 'sizes'}))}, not {', '.join(sorted(weights)) or 'none'}")
        sizes = weights["sizes"]
        if sizes.shape != (2,) or sizes.dtype != np.int32 or not (sizes > 0).all():
            raise ValueError(f"the head's sizes are not two numbers above 0: {sizes.dtype} {sizes}")
        Forest.from_arrays(weights, numbers=SUMMARIES * int(sizes[1]), classes=int(sizes[0]))
        self._weights, self._last = dict(weights), None


def summaries(features: Sequence[Features]) -> NDArray[np.float32]:
    """Mean, spread, lowest and highest of each number over a segment's windows, (N, 4 * D)."""
    each = [flat(one) for one in features]
    rows = [np.concatenate([one.mean(axis=0), one.std(axis=0), one.min(axis=0), one.max(axis=0)]) for one in each]
    return np.stack(rows).astype(np.float32)


def _weight(labels: NDArray[np.int64], fitting: FitConfig) -> NDArray[np.float64] | None:
    """Weights with which every class counts the same; None where each segment does."""
    if not fitting.class_weights:
        return None
    counts = np.bincount(labels)
    return np.asarray(len(labels) / (np.count_nonzero(counts) * counts[labels]))
