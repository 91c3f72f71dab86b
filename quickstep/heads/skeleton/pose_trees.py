"""The pose-trees head: extremely randomized trees on a description of the joints; fast, and hard to beat on few segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from quickstep.heads import Examples, FitConfig, HeadCapabilities, History, history_without_epochs
from quickstep.heads.feature_arrays import FittedArrays, check_names, sample_weights
from quickstep.heads.skeleton.augmentation import Changes, augment, mirrored
from quickstep.heads.skeleton.descriptors import describe
from quickstep.heads.skeleton.input_channels import Body, JointSequences, check_joints, resample, skeleton_of
from quickstep.heads.skeleton.mirror_choice import use_mirrored_copies
from quickstep.heads.tree_ensemble import DTYPES, TreeArrays
from quickstep.types.config_fields import between, setting
from quickstep.types.progress import Progress, silent
from quickstep.types.signals import Features
from quickstep.types.skeleton import Skeleton

ENOUGH_ROWS, MOST_VERSIONS = 3000, 6  # augmented copies are added up to so many rows, and so many versions of a segment
CHUNK = 256  # segments described at once


@dataclass(frozen=True)
class PoseTreesConfig:
    """The pose-trees head's settings."""

    trees: int = setting(300, "number of trees")
    steps: int = setting(64, "timestamps that each segment is resampled to")
    augment: float = setting(1.0, "strength of the augmentation of training copies: 0 for no copies, 2 for twice the usual changes")
    mirror: bool | None = setting(None, "train on mirrored copies too; by default where this does not hurt on held-out segments")

    def __post_init__(self) -> None:
        between("trees", self.trees, 1, 100_000)
        between("steps", self.steps, 2, 4096)
        between("augment", self.augment, 0, 3)


class PoseTreesHead(FittedArrays):
    """Trees on a description of the joints."""

    Config = PoseTreesConfig
    name = "pose-trees"
    capabilities: ClassVar[HeadCapabilities] = HeadCapabilities(reads_joints=True)

    def __init__(self, config: PoseTreesConfig | None = None) -> None:
        super().__init__()
        self.config = config or PoseTreesConfig()

    def fit(
        self, train: Examples, validation: Examples | None = None, *, classes: int, fitting: FitConfig, progress: Progress = silent
    ) -> History:
        """Fit the trees to the segments and to augmented copies of them; the validation part is only measured."""
        skeleton = skeleton_of(train)
        mirror = use_mirrored_copies(self.config.mirror, train, skeleton, classes=classes, seed=fitting.seed)
        rows, labels = self._training_rows(train, skeleton, mirror=mirror, seed=fitting.seed)
        progress("fitting", 0, 1)
        trees = TreeArrays.fit(rows, labels, sample_weights(labels, fitting), trees=self.config.trees, seed=fitting.seed)
        progress("fitting", 1, 1)
        sizes = np.array([classes, train.features[0].values.shape[2], rows.shape[1]], dtype=np.int32)
        self._weights = trees.arrays | Body.of(skeleton).arrays | {"sizes": sizes}
        self._last = dict(self._weights)
        return history_without_epochs(self, train, validation, stopped="trees have no epochs")

    def _training_rows(
        self, train: Examples, skeleton: Skeleton, *, mirror: bool, seed: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Describe the segments, and after them their copies: (N, F) and (N,)."""
        body, sequences = Body.of(skeleton), resample(train.features, self.config.steps)
        versions = [sequences, mirrored(sequences, skeleton)] if mirror else [sequences]
        changes, generator = Changes().times(self.config.augment), torch.Generator().manual_seed(seed)
        copies = min(MOST_VERSIONS, ENOUGH_ROWS // max(1, len(train))) - len(versions) if self.config.augment else 0
        mirrorable = skeleton if mirror else None
        versions += [augment(sequences, changes, steps=self.config.steps, mirror=mirrorable, generator=generator) for _ in range(copies)]
        parts = [part for version in versions for part in _chunks(version)]
        return np.concatenate([describe(part, body) for part in parts]), np.tile(train.labels, len(versions))

    @property
    def classes(self) -> int:
        """The number of classes; 0 before the head is fitted or loaded."""
        return int(self._weights["sizes"][0]) if self._weights else 0

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Return logits (N, C), the logarithms of the trees' mean probabilities; segments are scored one by one."""
        classes, channels, width = (int(size) for size in self._weights["sizes"])
        body = Body.from_arrays(self._weights["parents"], self._weights["root"])
        trees = TreeArrays.from_arrays(self._weights, numbers=width, classes=classes)
        checked = check_joints(features, len(body.parents), channels)
        rows = [describe(resample([segment], self.config.steps), body) for segment in checked]
        return trees.logits(np.concatenate(rows), classes) if rows else np.zeros((0, classes))

    def load(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Set the weights; ValueError when they are not exactly this head's."""
        check_names(weights, {*DTYPES, "parents", "root", "sizes"})
        for name in ("parents", "root", "sizes"):
            if weights[name].dtype != np.int32 or weights[name].ndim != 1:
                raise ValueError(f"the head's {name!r} is not an int32 array of one dimension: {weights[name].dtype} {weights[name].shape}")
        if weights["sizes"].shape != (3,) or not (weights["sizes"] > 0).all():
            raise ValueError(f"the head's sizes are not three numbers above 0: {weights['sizes']}")
        classes, channels, width = (int(size) for size in weights["sizes"])
        body = Body.from_arrays(weights["parents"], weights["root"])
        empty = JointSequences(torch.zeros(1, self.config.steps, len(body.parents), channels), torch.ones(1))
        if channels < 3 or describe(empty, body).shape[1] != width:
            raise ValueError(f"{width} features do not describe {len(body.parents)} joints of {channels} numbers each")
        TreeArrays.from_arrays(weights, numbers=width, classes=classes)
        self._weights, self._last = dict(weights), None


def _chunks(sequences: JointSequences) -> list[JointSequences]:
    return [sequences.take(chosen) for chosen in torch.split(torch.arange(len(sequences)), CHUNK)]
