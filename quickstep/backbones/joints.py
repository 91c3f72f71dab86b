"""Joints: one person's joints in body lengths around the middle of the body, whatever the camera, its place and its frame rate.

Knows no estimator and no file: it is given poses at the moments of its view.
"""

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

MOMENTS = 64  # spread over a segment, where the view does not say otherwise
FARTHEST = 20.0  # body lengths; what lies beyond is a wrong sighting, and would outweigh everything


class Joints:
    """Joints (T, K, C): x, y[, z] in body lengths from the median middle of the body, and their score.

    `spec.poses` holds the fields of PoseConfig that were set; the skeleton is a name or JSON text.
    """

    capabilities = Capabilities(reads="poses", gives_joints=True, parallel=True, settings=("weights", "poses"))
    license = "none: it has no weights"
    revision = "1"
    batch = 1
    view = View(frames=MOMENTS)

    def __init__(self, spec: BackboneSpec, cache: Cache) -> None:
        self.spec, self.name, self._cache = spec, spec.name, cache
        self.config = PoseConfig.from_options(spec.poses)
        self.videos = bool(spec.poses.get(VIDEOS))
        if spec.weights is not None:
            self.config = replace(self.config, pose_model=spec.weights)

    @cached_property
    def skeleton(self) -> Skeleton:
        """Whose joints it gives."""
        if self.config.skeleton is None:
            raise ConfigError("skeleton", "is not known yet: name one, such as coco-17 or a JSON file")
        return read_skeleton(self.config.skeleton)

    @property
    def width(self) -> int:
        """K * C: how many numbers a moment has."""
        return len(self.skeleton) * (self.skeleton.dimensions + 1)

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides its values; of files of poses alone nothing finds them, so nothing is asked who it is."""
        skeleton = self.skeleton.to_json() if self.config.skeleton is not None else None
        told = {"name": "joints", "revision": self.revision, "skeleton": skeleton, "pose_fps": self.config.pose_fps}
        if not self.videos:
            return told
        config = self.config
        estimator = open_estimator(config.estimator, model=config.pose_model, people=config.people, cache=self._cache)
        return told | {"estimator": dict(estimator.identity)}

    def embed(self, batch: Sequence[Poses]) -> list[Features]:
        """The joints of each: one person's poses at the view's moments."""
        return [self._of(poses) for poses in batch]

    def _of(self, poses: Poses) -> Features:
        if len(poses.people) != 1 or not len(poses):
            raise ValueError(f"joints are of one person at some moments, not of {poses}")
        if poses.skeleton.dimensions != self.skeleton.dimensions:
            own, asked = poses.skeleton.dimensions, self.skeleton.dimensions
            raise QuickstepError(f"its poses have {own} dimensions, and the skeleton {self.skeleton.name!r} has {asked}")
        length = body_length(poses)
        if not length > 0 or not np.isfinite(length):
            raise QuickstepError("all joints of the person lie on one spot")
        middle = np.nanmedian(body_centre(poses), axis=0)  # (D,)
        joints = convert(poses.joints[:, 0], poses.skeleton, self.skeleton).astype(np.float64)
        places = np.clip((joints[..., :-1] - middle) / length, -FARTHEST, FARTHEST)
        values = np.concatenate([complete(places, self.skeleton), np.clip(joints[..., -1:], 0.0, 1.0)], axis=-1)
        return Features(values.astype(np.float32), poses.times)


def complete(places: NDArray[np.float64], skeleton: Skeleton) -> NDArray[np.float64]:
    """Places (T, K, D) with every joint somewhere: one that is never seen lies where the joints next to it along the bones are."""
    known = np.asarray(np.isfinite(places).all(axis=2))  # (T, K)
    places = np.where(known[..., None], places, 0.0)
    near = np.zeros((len(skeleton), len(skeleton)))
    for one, other in skeleton.edges:
        near[one, other] = near[other, one] = 1.0
    while not known.all():
        count = known.astype(np.float64) @ near  # (T, K): how many neighbours have a place
        reached = ~known & (count > 0)
        if not reached.any():
            break
        beside = np.einsum("tkd,kj->tjd", np.where(known[..., None], places, 0.0), near) / np.maximum(count, 1)[..., None]
        places = np.where(reached[..., None], beside, places)
        known = known | reached
    if not known.all():  # no bone leads there: the middle of the others
        count = np.maximum(known.sum(axis=1), 1)[:, None, None]
        middle = np.where(known[..., None], places, 0.0).sum(axis=1, keepdims=True) / count
        places = np.where(known[..., None], places, middle)
    return places
