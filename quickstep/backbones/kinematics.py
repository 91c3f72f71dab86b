"""Kinematics: how one person moves, window by window, in measures that have names.

Twice as many numbers as names: first the measures, then for each a flag whether it could be measured (1) or not (0). A measure that is
missing is the mean of the segment's other windows, and where none has it a usual value, so that no head gets a NaN or a false zero.
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
