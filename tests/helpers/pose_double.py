"""A pose estimator for tests: one body in the middle of every frame, whose last joint is never visible."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from quickstep.signals.poses import EstimatorCapabilities, EstimatorOptions
from quickstep.types.signals import Frames, Poses
from quickstep.types.skeleton import read_skeleton

COCO = read_skeleton("coco-17")


class Corner:
    name = "corner"
    batch = 4
    identity: ClassVar[dict[str, str]] = {"name": "corner"}
    skeleton = COCO
    capabilities = EstimatorCapabilities(model=False)

    def __init__(self, options: EstimatorOptions | None = None) -> None:
        """Accept the options that every estimator is opened with."""

    def start(self) -> None:
        """Start a new video."""

    def estimate(self, frames: Frames) -> Poses:
        height, width = frames.pixels.shape[1:3]
        body = np.c_[np.linspace(1, width - 2, 17), np.linspace(1, height - 2, 17), np.full(17, 0.9)].astype(np.float32)
        joints = np.repeat(body[None, None], len(frames), axis=0)
        joints[:, :, -1] = 0
        return Poses(joints, frames.times, COCO, (0,), (width, height))

    def close(self) -> None:
        """Free nothing."""
