"""Joints and Kinematics: the backbones of poses.

`joints` gives one person's joints in body lengths around the body's centre, independent of the camera, its position and its frame rate.
`kinematics` gives measures of the movement that have names, window by window.
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
from quickstep.signals.poses.kinematics import MEASURES_VERSION, NAMES, QUANTITIES, KinematicsConfig, measure
from quickstep.signals.poses.kinematics.quantities import FAMILIES
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


WINDOW, STRIDE, FPS = 2.0, 1.0, 25.0
USUAL = np.array([number.default for number in QUANTITIES])


class Kinematics(Joints):
    """Measures and flags (T, 2 * N), one row a window of two seconds every second; takes the settings of the joints backbone."""

    capabilities = replace(Joints.capabilities, gives_joints=False, resamples_poses=False, names_features=True, restricts_views=True)
    view = View(frames=int(WINDOW * FPS), fps=FPS, windows=None, stride=STRIDE)
    meanings: Mapping[str, str] = {number.name: f"{number.about} ({number.unit})" for number in QUANTITIES}
    columns: Mapping[str, tuple[int, ...]] = {name: (column, len(NAMES) + column) for column, name in enumerate(NAMES)}
    families: Mapping[str, tuple[str, ...]] = FAMILIES
    names: tuple[str, ...] = (*NAMES, *(f"{name} is measured" for name in NAMES))

    @property
    def width(self) -> int:
        """D, measures and flags of a window."""
        return len(self.names)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides its values, under its name in version 0.1: features and models that were made then stay valid."""
        return {**super().identity, "name": "motion-numbers", "measures": MEASURES_VERSION, "window": [WINDOW, STRIDE]}

    def check_view(self, view: View) -> None:
        """Refuse other windows: they would give other measures."""
        if view.frames != self.view.frames:
            raise ConfigError("frames", f"the backbone {self.name!r} measures windows of {WINDOW:g} seconds; leave it out")

    def _features_of(self, poses: Poses) -> Features:
        if poses.skeleton.dimensions != self.skeleton.dimensions:
            own, needed = poses.skeleton.dimensions, self.skeleton.dimensions
            raise QuickstepError(f"its poses have {own} dimensions, and the skeleton {self.skeleton.name!r} has {needed}")
        joints = convert(poses.joints, poses.skeleton, self.skeleton)
        measured = measure(
            Poses(joints, poses.times, self.skeleton, poses.people, poses.size), KinematicsConfig(window=WINDOW, stride=STRIDE)
        )
        rows = np.stack([window.values for window in measured.windows])  # (T, N)
        present = np.isfinite(rows)
        count = present.sum(axis=0)
        mean = np.where(count > 0, np.where(present, rows, 0.0).sum(axis=0) / np.maximum(count, 1), USUAL)
        values = np.concatenate([np.where(present, rows, mean), present], axis=1)
        middles = np.array([(window.start + window.end) / 2 for window in measured.windows])
        return Features(values.astype(np.float32), middles)
