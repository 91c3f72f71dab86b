"""The head that takes the word of both: graph networks and trees read the same joints, and the logarithms of what they say are added.

They err on different segments: networks see how joints move together, trees what can be counted of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from quickstep.heads import Examples, FitConfig, HeadCapabilities, History
from quickstep.heads.skeleton.input_channels import STREAMS, body_of
from quickstep.heads.skeleton.mirror_choice import with_mirror
from quickstep.heads.skeleton.pose_trees import PoseTreesConfig, PoseTreesHead
from quickstep.heads.skeleton.stgcn import StgcnConfig, StgcnHead
from quickstep.types.config_fields import between, setting
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features

NETWORKS, TREES = "networks.", "trees."


@dataclass(frozen=True)
class PoseEnsembleConfig:
    """The settings of both; what else the networks let one choose stays as it usually is."""

    streams: str = setting(", ".join(STREAMS), "what is looked at, each by a network of its own")
    width: int = setting(24, "channels of the networks' first block; the others have twice as many")
    blocks: int = setting(3, "blocks of each network")
    steps: int = setting(64, "moments that a segment is brought to")
    dropout: float = setting(0.3, "share of the numbers before the networks' last layer that is hidden at random while fitting")
    trees: int = setting(300, "how many trees there are")
    share: float = setting(0.5, "how much the trees' word counts, from 0 to 1; the rest is the networks'")
    augment: float = setting(1.0, "how much segments are changed while fitting: 0 not at all, 2 twice as much as usual")
    mirror: bool | None = setting(None, "learn from mirrored copies too; by default where held-back segments are not told worse by it")

    def __post_init__(self) -> None:
        between("share", self.share, 0, 1)
        _ = self.of_networks, self.of_trees  # which look at their own settings

    @property
    def of_networks(self) -> StgcnConfig:
        """What concerns the networks."""
        return StgcnConfig(
            streams=self.streams,
            width=self.width,
            blocks=self.blocks,
            steps=self.steps,
            dropout=self.dropout,
            augment=self.augment,
            mirror=self.mirror,
        )

    @property
    def of_trees(self) -> PoseTreesConfig:
        """What concerns the trees."""
        return PoseTreesConfig(trees=self.trees, steps=self.steps, augment=self.augment, mirror=self.mirror)


class PoseEnsembleHead:
    """Graph networks and trees."""

    Config = PoseEnsembleConfig
    name = "pose-ensemble"
    capabilities: ClassVar = HeadCapabilities(reads_joints=True)

    def __init__(self, config: PoseEnsembleConfig | None = None) -> None:
        self.config = config or PoseEnsembleConfig()
        self._networks, self._trees = StgcnHead(self.config.of_networks), PoseTreesHead(self.config.of_trees)

    @property
    def classes(self) -> int:
        """How many classes it tells apart."""
        return self._networks.classes

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Fits both on the same segments; the story is that of the networks, for trees have none."""
        mirror = with_mirror(self.config.mirror, train, body_of(train), classes=classes, seed=fitting.seed)
        self._networks = StgcnHead(replace(self.config.of_networks, mirror=mirror))
        self._trees = PoseTreesHead(replace(self.config.of_trees, mirror=mirror))
        self._trees.fit(train, None, classes=classes, fitting=fitting)
        return self._networks.fit(train, validation, classes=classes, fitting=fitting, progress=progress)

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Logits (N, C): the logarithms of both, weighed."""
        networks, trees = (log_softmax(part.scores(features), axis=1) for part in (self._networks, self._trees))
        return np.asarray(2 * (1 - self.config.share) * networks + 2 * self.config.share * trees)

    def weights(self) -> dict[str, NDArray[Any]]:
        """What its scores are made with."""
        return _together(self._networks.weights(), self._trees.weights())

    def last_weights(self) -> dict[str, NDArray[Any]] | None:
        """What they were after the last epoch."""
        last = self._networks.last_weights()
        return None if last is None else _together(last, self._trees.weights())

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Takes over weights; ValueError when they are not exactly this head's."""
        parts = {
            prefix: {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}
            for prefix in (NETWORKS, TREES)
        }
        strange = sorted(name for name in weights if not name.startswith((NETWORKS, TREES)))
        if strange:
            raise ValueError(f"the head's arrays begin with {NETWORKS!r} or {TREES!r}, not {strange[0]!r}")
        networks, trees = StgcnHead(self.config.of_networks), PoseTreesHead(self.config.of_trees)
        networks.load(parts[NETWORKS])
        trees.load(parts[TREES])
        if networks.classes != trees.classes:
            raise ValueError(f"its networks tell {networks.classes} classes apart, its trees {trees.classes}")
        self._networks, self._trees = networks, trees


def _together(networks: Mapping[str, NDArray[Any]], trees: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {NETWORKS + name: array for name, array in networks.items()} | {TREES + name: array for name, array in trees.items()}
