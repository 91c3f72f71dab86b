"""turned_up: places with up as their second coordinate, told or concluded; knows no number that is measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quickstep.types.signals import Poses

Floats = NDArray[np.float64]

ALONG = 0.5  # how much of the trunk's mean direction an axis has along which it stands
UPWARD, CLEARLY = 0.5, 0.15  # body lengths/s by which a trunk speaks for an axis, and by which one must lead to be called up


def turned_up(places: Floats, poses: Poses, up: str | None) -> tuple[Floats, bool]:
    """Places with up as the second coordinate, handedness kept, and whether up is known: in pictures it is where y is smaller."""
    flat = places.shape[2] == 2
    axis = _axis(up) if up is not None else (1, -1) if flat else _concluded(places, poses)
    if axis is None:
        return places, False
    number, sign = axis
    if flat:
        return (places * [1.0, sign] if number == 1 else places), number == 1
    others = [(number + 1) % 3, (number + 2) % 3]  # (number, then these two) is a right-handed order
    first, last = (others[1], others[0]) if sign > 0 else (others[0], others[1])
    return np.stack([places[..., first], sign * places[..., number], places[..., last]], axis=-1), True


def _axis(up: str) -> tuple[int, int]:
    return "xyz".index(up[-1]), -1 if up.startswith("-") else 1


def _concluded(places: Floats, poses: Poses) -> tuple[int, int] | None:
    """The axis that points upwards: the trunk stands along it, and what is lowest rests on the floor; None where that is not clear."""
    if poses.skeleton.torso is None:
        return None
    upper, lower = (places[:, list(end)].mean(axis=1) for end in poses.skeleton.torso)
    trunk = upper - lower
    trunk = trunk[np.isfinite(trunk).all(axis=1)]
    if not len(trunk):
        return None
    mean = (trunk / np.maximum(np.linalg.norm(trunk, axis=1, keepdims=True), 1e-9)).mean(axis=0)
    gone = np.linalg.norm(np.diff(places, axis=0), axis=2) / np.diff(poses.times)[:, None]  # (T - 1, K)
    costs = {}
    for number in [number for number in range(3) if abs(mean[number]) >= ALONG] or range(3):
        for sign in (1, -1):
            heights = np.where(np.isfinite(gone), sign * places[:-1, :, number], np.inf)
            bearing = np.take_along_axis(gone, heights.argmin(axis=1)[:, None], axis=1)
            slides = float(np.median(bearing[np.isfinite(bearing)])) if np.isfinite(bearing).any() else 0.0
            costs[number, sign] = slides - UPWARD * sign * float(mean[number])
    best, second = sorted(costs, key=lambda axis: costs[axis])[:2]
    return best if costs[second] - costs[best] >= CLEARLY else None
