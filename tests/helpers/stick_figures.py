"""Stick figures moved by formulas, so that the true values are known independently of the code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quickstep.types.signals import Poses
from quickstep.types.skeleton import SKELETONS, read_skeleton

Array = NDArray[np.float64]

# Metres, facing the camera: x to the dancer's left, y up, z towards the camera. The trunk is 0.48 long: a body length is 1.6.
STANDING_JOINTS = {
    "nose": (0.0, 1.55, 0.1),
    "left_eye": (0.03, 1.6, 0.08),
    "left_ear": (0.07, 1.58, 0.0),
    "left_shoulder": (0.19, 1.4, 0.0),
    "left_elbow": (0.25, 1.12, 0.0),
    "left_wrist": (0.27, 0.86, 0.02),
    "left_hip": (0.12, 0.92, 0.0),
    "left_knee": (0.12, 0.49, 0.02),
    "left_ankle": (0.12, 0.08, 0.0),
}
BODY = 0.48 / 0.3
JOINTS = SKELETONS["coco-17"].joints
PLACE = {name: number for number, name in enumerate(JOINTS)}
GRAVITY = 9.81


def at_rest(count: int) -> Array:
    """Return a figure that stands still, (T, 17, 3)."""
    sides = {name.replace("left", "right"): (-x, y, z) for name, (x, y, z) in STANDING_JOINTS.items() if name != "nose"}
    return np.tile(np.array([(STANDING_JOINTS | sides)[name] for name in JOINTS]), (count, 1, 1))


def moments(seconds: float, fps: float) -> Array:
    return np.arange(round(seconds * fps) + 1) / fps


def turned(figure: Array, axis: str, angle: Array, about: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Array:
    """Rotate the figure by angles (T,) in radians, right-handed."""
    cos, sin, zero, one = np.cos(angle), np.sin(angle), 0 * angle, 1 + 0 * angle
    rows = {"y": [[cos, zero, sin], [zero, one, zero], [-sin, zero, cos]], "z": [[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]]}
    return np.einsum("ijt,tkj->tki", np.array(rows[axis]), figure - np.array(about)) + np.array(about)


def filmed(figure: Array, times: Array, *, scale: float = 200.0, place: tuple[float, float] = (320.0, 440.0), shake: float = 0.0) -> Poses:
    """Project the figure with a level camera far away; `shake` is noise in body lengths on every joint."""
    pixels = np.stack([place[0] + scale * figure[..., 0], place[1] - scale * figure[..., 1]], axis=-1)
    pixels += np.random.default_rng(0).normal(0, shake * scale * BODY, pixels.shape) if shake else 0.0
    return Poses(_scored(pixels), times, SKELETONS["coco-17"], (1,), (640, 480))


def in_space(figure: Array, times: Array) -> Poses:
    """Return the poses of the figure in metres."""
    return Poses(_scored(figure), times, read_skeleton("coco-17-3d"), (1,))


def _scored(places: Array) -> NDArray[np.float32]:
    return np.concatenate([places, np.ones((*places.shape[:2], 1))], axis=-1).astype(np.float32)[:, None]


def smoothly(share: Array) -> Array:
    """Return the minimum-jerk path from 0 to 1."""
    inside = np.clip(share, 0, 1)
    return 10 * inside**3 - 15 * inside**4 + 6 * inside**5


def jumping(times: Array, height: float, starts: tuple[float, ...]) -> Array:
    """Return the height over time of jumps of a height that start at these times, (T,)."""
    speed = np.sqrt(2 * GRAVITY * height)
    airborne = [np.clip(times - start, 0, 2 * speed / GRAVITY) for start in starts]
    return np.asarray(sum(speed * time - GRAVITY * time**2 / 2 for time in airborne))
