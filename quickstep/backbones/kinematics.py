"""MotionNumbers: how one person moves, window by window, in numbers that have names; knows no estimator, no file and no label.

Twice as many numbers as have names: first the numbers themselves, then for each a flag that says whether it is known (1) or not (0).
Where it is not, the mean of the segment's other windows stands for it, and where none knows it what is usual, so that no head meets a NaN
or a zero that nobody measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from quickstep.backbones.joints import Joints
from quickstep.signals.poses.kinematics import MEASURES_VERSION, NAMES, QUANTITIES, KinematicsConfig, measure
from quickstep.signals.poses.kinematics.quantities import FAMILIES
from quickstep.types.errors import ConfigError, QuickstepError
from quickstep.types.signals import Features, Poses
from quickstep.types.skeleton import convert
from quickstep.types.view import View

WINDOW, HOP, FPS = 2.0, 1.0, 25.0
USUAL = np.array([number.default for number in QUANTITIES])


class Kinematics(Joints):
    """Numbers (T, 2 * N), one row a window of two seconds every second. `options` are those of the joints backbone."""

    capabilities = replace(Joints.capabilities, gives_joints=False, resamples_poses=False, names_features=True, restricts_views=True)
    view = View(frames=int(WINDOW * FPS), fps=FPS, windows=None, stride=HOP)
    # What each number is, which columns hold it with its flag, and which numbers say much the same.
    meanings: Mapping[str, str] = {number.name: f"{number.about} ({number.unit})" for number in QUANTITIES}
    columns: Mapping[str, tuple[int, ...]] = {name: (place, len(NAMES) + place) for place, name in enumerate(NAMES)}
    families: Mapping[str, tuple[str, ...]] = FAMILIES
    names: tuple[str, ...] = (*NAMES, *(f"{name} is known" for name in NAMES))

    @property
    def width(self) -> int:
        """D: how many numbers a window has, flags included."""
        return len(self.names)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides its values, under its name in version 0.1: features and models that were made then stay valid."""
        return {**super().identity, "name": "motion-numbers", "measures": MEASURES_VERSION, "window": [WINDOW, HOP]}

    def check_view(self, view: View) -> None:
        """Its windows are its own: other ones would be other numbers."""
        if view.frames != self.view.frames:
            raise ConfigError("frames", f"the backbone {self.name!r} measures windows of {WINDOW:g} seconds; leave it out")

    def _of(self, poses: Poses) -> Features:
        if poses.skeleton.dimensions != self.skeleton.dimensions:
            own, asked = poses.skeleton.dimensions, self.skeleton.dimensions
            raise QuickstepError(f"its poses have {own} dimensions, and the skeleton {self.skeleton.name!r} has {asked}")
        joints = convert(poses.joints, poses.skeleton, self.skeleton)
        measured = measure(Poses(joints, poses.times, self.skeleton, poses.people, poses.size), KinematicsConfig(window=WINDOW, stride=HOP))
        rows = np.stack([window.values for window in measured.windows])  # (T, N)
        known = np.isfinite(rows)
        count = known.sum(axis=0)
        mean = np.where(count > 0, np.where(known, rows, 0.0).sum(axis=0) / np.maximum(count, 1), USUAL)
        values = np.concatenate([np.where(known, rows, mean), known], axis=1)
        middles = np.array([(window.start + window.end) / 2 for window in measured.windows])
        return Features(values.astype(np.float32), middles)
