"""Joints: one person's joints in body lengths around the body's centre, independent of the camera, its position and its frame rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones.interface import Capabilities
from quickstep.backbones.spec import BackboneSpec
from quickstep.signals.poses import open_estimator
from quickstep.signals.poses.config import VIDEOS, PoseConfig
from quickstep.signals.poses.resampling import body_centre, body_length
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, QuickstepError
from quickstep.types.signals import Features, Poses
from quickstep.types.skeleton import Skeleton, convert, read_skeleton
from quickstep.types.view import View

FRAMES = 64  # spread over a segment, by default
MAX_DISTANCE = 20.0  # body lengths; farther joints are wrong detections, and would outweigh all others


class Joints:
    """Joints (T, K, C): x, y[, z] in body lengths from the median centre of the body, and their confidence.

    `spec.poses` holds the fields of PoseConfig that were set; the skeleton is a name or JSON text.
    """

    capabilities = Capabilities(reads="poses", gives_joints=True, parallel=True, settings=("weights", "poses"))
    license = "none: it has no weights"
    revision = "1"
    batch = 1
    view = View(frames=FRAMES)

    def __init__(self, spec: BackboneSpec, cache: Cache) -> None:
        self.spec, self.name, self._cache = spec, spec.name, cache
        self.config = PoseConfig.from_options(spec.poses)
        self.videos = bool(spec.poses.get(VIDEOS))
        if spec.weights is not None:
            self.config = replace(self.config, pose_model=spec.weights)

    @cached_property
    def skeleton(self) -> Skeleton:
        """The skeleton whose joints it gives."""
        if self.config.skeleton is None:
            raise ConfigError("skeleton", "is not known yet: name one, such as coco-17 or a JSON file")
        return read_skeleton(self.config.skeleton)

    @property
    def width(self) -> int:
        """K * C, the numbers of one timestamp."""
        return len(self.skeleton) * (self.skeleton.dimensions + 1)

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides its values; the estimator counts only where videos are read."""
        skeleton = self.skeleton.to_json() if self.config.skeleton is not None else None
        identity = {"name": "joints", "revision": self.revision, "skeleton": skeleton, "pose_fps": self.config.pose_fps}
        if not self.videos:
            return identity
        config = self.config
        estimator = open_estimator(config.estimator, model=config.pose_model, people=config.people, cache=self._cache)
        return identity | {"estimator": dict(estimator.identity)}

    def embed(self, batch: Sequence[Poses]) -> list[Features]:
        """Compute the joints of each: one person's poses at the view's timestamps."""
        return [self._features_of(poses) for poses in batch]

    def _features_of(self, poses: Poses) -> Features:
        if len(poses.people) != 1 or not len(poses):
            raise ValueError(f"joints need one person at one timestamp at least, not {poses}")
        if poses.skeleton.dimensions != self.skeleton.dimensions:
            own, needed = poses.skeleton.dimensions, self.skeleton.dimensions
            raise QuickstepError(f"its poses have {own} dimensions, and the skeleton {self.skeleton.name!r} has {needed}")
        length = body_length(poses)
        if not length > 0 or not np.isfinite(length):
            raise QuickstepError("all joints of the person are at one point")
        centre = np.nanmedian(body_centre(poses), axis=0)  # (D,)
        joints = convert(poses.joints[:, 0], poses.skeleton, self.skeleton).astype(np.float64)
        positions = np.clip((joints[..., :-1] - centre) / length, -MAX_DISTANCE, MAX_DISTANCE)
        values = np.concatenate([fill_missing(positions, self.skeleton), np.clip(joints[..., -1:], 0.0, 1.0)], axis=-1)
        return Features(values.astype(np.float32), poses.times)


def fill_missing(positions: NDArray[np.float64], skeleton: Skeleton) -> NDArray[np.float64]:
    """Fill joints of (T, K, D) that are missing: each gets the mean of its neighbours along the bones, step by step."""
    filled = np.asarray(np.isfinite(positions).all(axis=2))  # (T, K)
    positions = np.where(filled[..., None], positions, 0.0)
    neighbours = np.zeros((len(skeleton), len(skeleton)))
    for start, end in skeleton.edges:
        neighbours[start, end] = neighbours[end, start] = 1.0
    while not filled.all():
        count = filled.astype(np.float64) @ neighbours  # (T, K): how many neighbours are known
        reached = ~filled & (count > 0)
        if not reached.any():
            break
        sums = np.einsum("tkd,kj->tjd", np.where(filled[..., None], positions, 0.0), neighbours)
        positions = np.where(reached[..., None], sums / np.maximum(count, 1)[..., None], positions)
        filled = filled | reached
    if not filled.all():  # no bone leads there: the centre of the others
        count = np.maximum(filled.sum(axis=1), 1)[:, None, None]
        centre = np.where(filled[..., None], positions, 0.0).sum(axis=1, keepdims=True) / count
        positions = np.where(filled[..., None], positions, centre)
    return positions
