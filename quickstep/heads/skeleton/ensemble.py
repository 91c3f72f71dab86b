"""The pose-ensemble head: graph networks and trees on the same joints, combined by the sum of their log-probabilities.

They err on different segments: networks see how joints move together, trees see statistics of the joints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quickstep.heads import Examples, FitConfig, HeadCapabilities, History, log_softmax
from quickstep.heads.skeleton.input_channels import STREAMS, skeleton_of
from quickstep.heads.skeleton.mirror_choice import use_mirrored_copies
from quickstep.heads.skeleton.pose_trees import PoseTreesConfig, PoseTreesHead
from quickstep.heads.skeleton.stgcn import StgcnConfig, StgcnHead
from quickstep.types.config_fields import between, setting
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features

NETWORKS, TREES = "networks.", "trees."


@dataclass(frozen=True)
class PoseEnsembleConfig:
    """The settings of both parts; the networks' other settings keep their defaults."""

    streams: str = setting(", ".join(STREAMS), "inputs, each read by a network of its own")
    width: int = setting(24, "channels of the networks' first block; the other blocks have twice as many")
    blocks: int = setting(3, "blocks of each network")
    steps: int = setting(64, "timestamps that each segment is resampled to")
    dropout: float = setting(0.3, "dropout before the networks' last layer while fitting")
    trees: int = setting(300, "number of trees")
    share: float = setting(0.5, "weight of the trees, from 0 to 1; the rest is the networks' weight")
    augment: float = setting(1.0, "strength of the augmentation while fitting: 0 for none, 2 for twice the usual changes")
    mirror: bool | None = setting(None, "train on mirrored copies too; by default where this does not hurt on held-out segments")

    def __post_init__(self) -> None:
        between("share", self.share, 0, 1)
        _ = self.of_networks, self.of_trees  # which check their own settings

    @property
    def of_networks(self) -> StgcnConfig:
        """The settings of the networks."""
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
        """The settings of the trees."""
        return PoseTreesConfig(trees=self.trees, steps=self.steps, augment=self.augment, mirror=self.mirror)


class PoseEnsembleHead:
    """Graph networks and trees together."""

    Config = PoseEnsembleConfig
    name = "pose-ensemble"
    capabilities: ClassVar[HeadCapabilities] = HeadCapabilities(reads_joints=True)

    def __init__(self, config: PoseEnsembleConfig | None = None) -> None:
        self.config = config or PoseEnsembleConfig()
        self._networks, self._trees = StgcnHead(self.config.of_networks), PoseTreesHead(self.config.of_trees)

    @property
    def classes(self) -> int:
        """The number of classes; 0 before the head is fitted or loaded."""
        return self._networks.classes

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Fit both parts to the same segments; the history is that of the networks, because trees have no epochs."""
        mirror = use_mirrored_copies(self.config.mirror, train, skeleton_of(train), classes=classes, seed=fitting.seed)
        self._networks = StgcnHead(replace(self.config.of_networks, mirror=mirror))
        self._trees = PoseTreesHead(replace(self.config.of_trees, mirror=mirror))
        self._trees.fit(train, None, classes=classes, fitting=fitting)
        return self._networks.fit(train, validation, classes=classes, fitting=fitting, progress=progress)

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Return logits (N, C), the weighted sum of both parts' log-probabilities."""
        networks, trees = (log_softmax(part.scores(features), axis=1) for part in (self._networks, self._trees))
        return np.asarray(2 * (1 - self.config.share) * networks + 2 * self.config.share * trees)

    def weights(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that the scores depend on."""
        return _merge(self._networks.weights(), self._trees.weights())

    def last_weights(self) -> dict[str, NDArray[Any]] | None:
        """Return the arrays after the last epoch."""
        last = self._networks.last_weights()
        return None if last is None else _merge(last, self._trees.weights())

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Set the weights; ValueError when they are not exactly this head's."""
        parts = {
            prefix: {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}
            for prefix in (NETWORKS, TREES)
        }
        unknown = sorted(name for name in weights if not name.startswith((NETWORKS, TREES)))
        if unknown:
            raise ValueError(f"the head's arrays begin with {NETWORKS!r} or {TREES!r}, not {unknown[0]!r}")
        networks, trees = StgcnHead(self.config.of_networks), PoseTreesHead(self.config.of_trees)
        networks.load(parts[NETWORKS])
        trees.load(parts[TREES])
        if networks.classes != trees.classes:
            raise ValueError(f"its networks have {networks.classes} classes, its trees {trees.classes}")
        self._networks, self._trees = networks, trees


def _merge(networks: Mapping[str, NDArray[Any]], trees: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {NETWORKS + name: array for name, array in networks.items()} | {TREES + name: array for name, array in trees.items()}
