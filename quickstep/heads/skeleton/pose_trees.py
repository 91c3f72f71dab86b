"""The trees' head: extremely randomised trees on what can be counted of joints; quick, and hard to beat on few segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quickstep.heads import Examples, FitConfig, HeadCapabilities, History
from quickstep.heads.feature_arrays import Fittable
from quickstep.heads.history import history_without_epochs
from quickstep.heads.skeleton.augmentation import Changes, changed, mirrored
from quickstep.heads.skeleton.descriptors import described
from quickstep.heads.skeleton.input_channels import Body, Moves, body_of, evenly, fitting_body
from quickstep.heads.skeleton.mirror_choice import with_mirror
from quickstep.heads.tree_arrays import KINDS, Forest
from quickstep.types.config_fields import between, setting
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features
from quickstep.types.skeleton import Skeleton

ENOUGH, MOST_COPIES = 3000, 6  # rows that trees learn from, where changed copies of the segments can make them up
CHUNK = 256  # segments described at once


@dataclass(frozen=True)
class PoseTreesConfig:
    """The trees' settings."""

    trees: int = setting(300, "how many trees there are")
    steps: int = setting(64, "moments that a segment is brought to")
    augment: float = setting(1.0, "how much copies of the segments are changed: 0 for no copies, 2 twice as much as usual")
    mirror: bool | None = setting(None, "learn from mirrored copies too; by default where held-back segments are not told worse by it")

    def __post_init__(self) -> None:
        between("trees", self.trees, 1, 100_000)
        between("steps", self.steps, 2, 4096)
        between("augment", self.augment, 0, 3)


class PoseTreesHead(Fittable):
    """A forest over numbers that describe the joints."""

    Config = PoseTreesConfig
    name = "pose-trees"
    capabilities = HeadCapabilities(reads_joints=True)

    def __init__(self, config: PoseTreesConfig | None = None) -> None:
        super().__init__()
        self.config = config or PoseTreesConfig()

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Grows the trees on the segments and on changed copies of them; there is nothing to stop early."""
        skeleton = body_of(train)
        mirror = with_mirror(self.config.mirror, train, skeleton, classes=classes, seed=fitting.seed)
        rows, labels = self._rows(train, skeleton, mirror=mirror, seed=fitting.seed)
        progress("fitting", 0, 1)
        forest = Forest.grow(rows, labels, _weight(labels, fitting), trees=self.config.trees, seed=fitting.seed)
        progress("fitting", 1, 1)
        sizes = np.array([classes, train.features[0].values.shape[2], rows.shape[1]], dtype=np.int32)
        self._weights = forest.arrays | Body.of(skeleton).arrays | {"sizes": sizes}
        self._last = dict(self._weights)
        return history_without_epochs(self, train, validation, stopped="trees have no epochs")

    def _rows(self, train: Examples, skeleton: Skeleton, *, mirror: bool, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The segments described, and after them their copies: (N, F) and (N,)."""
        body, moves = Body.of(skeleton), evenly(train.features, self.config.steps)
        versions = [moves, mirrored(moves, skeleton)] if mirror else [moves]
        changes, chance = Changes().times(self.config.augment), torch.Generator().manual_seed(seed)
        copies = min(MOST_COPIES, ENOUGH // max(1, len(train))) - len(versions) if self.config.augment else 0
        seen = skeleton if mirror else None
        versions += [changed(moves, changes, steps=self.config.steps, mirror=seen, generator=chance) for _ in range(copies)]
        parts = [part for version in versions for part in _chunks(version)]
        return np.concatenate([described(part, body) for part in parts]), np.tile(train.labels, len(versions))

    @property
    def classes(self) -> int:
        """How many classes it tells apart."""
        return int(self._weights["sizes"][0]) if self._weights else 0

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Logits (N, C): the logarithm of what the trees say, as if one more of them did not know."""
        shares = self.probabilities(features)
        trees = len(self._weights["roots"])
        return np.asarray(np.log((shares * trees + 1 / self.classes) / (trees + 1)))

    def probabilities(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """What the trees say, (N, C), a segment at a time so that none depends on its neighbours."""
        classes, channels, numbers = (int(each) for each in self._weights["sizes"])
        body = Body.from_arrays(self._weights["parents"], self._weights["root"])
        forest = Forest.from_arrays(self._weights, numbers=numbers, classes=classes)
        shown = fitting_body(features, len(body.parents), channels)
        rows = [described(evenly([each], self.config.steps), body) for each in shown]
        return forest.shares(np.concatenate(rows), classes) if rows else np.zeros((0, classes))

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        wanted = {*KINDS, "parents", "root", "sizes"}
        if set(weights) != wanted:
            raise ValueError(f"the head's arrays are {', '.join(sorted(wanted))}, not {', '.join(sorted(weights)) or 'none'}")
        for name in ("parents", "root", "sizes"):
            if weights[name].dtype != np.int32 or weights[name].ndim != 1:
                raise ValueError(f"the head's {name!r} is not an int32 array of one dimension: {weights[name].dtype} {weights[name].shape}")
        if weights["sizes"].shape != (3,) or not (weights["sizes"] > 0).all():
            raise ValueError(f"the head's sizes are not three numbers above 0: {weights['sizes']}")
        classes, channels, numbers = (int(each) for each in weights["sizes"])
        body = Body.from_arrays(weights["parents"], weights["root"])
        empty = Moves(torch.zeros(1, self.config.steps, len(body.parents), channels), torch.ones(1))
        if channels < 3 or described(empty, body).shape[1] != numbers:
            raise ValueError(f"{numbers} numbers do not describe {len(body.parents)} joints of {channels} numbers each")
        Forest.from_arrays(weights, numbers=numbers, classes=classes)
        self._weights, self._last = dict(weights), None


def _chunks(moves: Moves) -> list[Moves]:
    return [moves.take(chosen) for chosen in torch.split(torch.arange(len(moves)), CHUNK)]


def _weight(labels: NDArray[np.int64], fitting: FitConfig) -> NDArray[np.float64] | None:
    """Weights with which every class counts the same; None where each segment does."""
    if not fitting.class_weights:
        return None
    counts = np.bincount(labels)
    return np.asarray(len(labels) / (np.count_nonzero(counts) * counts[labels]))
