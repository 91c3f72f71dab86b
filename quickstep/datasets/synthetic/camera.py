"""Camera: a pinhole camera that drifts, and the projection of points and planes of the world to pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quickstep.datasets.synthetic.body import Array

DISTANCE = 4.6


@dataclass(frozen=True, eq=False)
class Camera:
    """Position and direction of the camera in T frames; `project` is exact, so that joints are known in pixels."""

    place: Array  # (T, 3) metres
    turn: Array  # (T, 3, 3) its axes: right, down, forwards
    focal: float  # pixels
    width: int
    height: int

    @classmethod
    def drawn(cls, rig: np.random.Generator, rng: np.random.Generator, times: Array, size: tuple[int, int]) -> Camera:
        """Draw a random camera: `rig` places it, the same for all videos of a dancer, and `rng` moves it in this video."""
        width, height = size
        orbit, up, far = rig.uniform(-0.3, 0.3), rig.uniform(0.9, 1.75), DISTANCE * rig.uniform(0.95, 1.15)
        drift = _wander(rng, times, 3)  # (T, 3)
        aim = np.array([0.0, 0.84, 0.0]) + drift * [0.16, 0.05, 0.0] + [rng.uniform(-0.15, 0.15), rng.uniform(-0.03, 0.05), 0.0]
        angle = orbit + 0.12 * rng.uniform(-1, 1) + 0.1 * _wander(rng, times, 1)[:, 0]
        apart = far * (1 + 0.04 * drift[:, 2])
        place = np.stack([apart * np.sin(angle), up + 0.06 * drift[:, 1], apart * np.cos(angle)], axis=1)
        shake = 0.004 * rig.uniform(0, 1) * _wander(rng, times * 9, 2)
        forward = _unit(aim - place)
        roll = 0.02 * rig.uniform(-1, 1) + 0.01 * _wander(rng, times, 1)[:, 0]
        right = _unit(np.cross(forward, np.stack([np.sin(roll), np.cos(roll), 0 * roll], axis=1)))
        forward = _unit(forward + shake[:, :1] * right + shake[:, 1:] * [0.0, 1.0, 0.0])
        right = _unit(right - forward * np.sum(forward * right, axis=1, keepdims=True))
        focal = DISTANCE * min(height / 2.35, width / 2.6)
        return cls(place, np.stack([right, np.cross(forward, right), forward], axis=1), focal, width, height)

    def project(self, points: Array) -> tuple[Array, Array]:
        """Return pixels (T, ..., 2) and depths (T, ...) of points (T, ..., 3)."""
        shape = points.shape
        relative = np.einsum("tij,tkj->tki", self.turn, points.reshape(shape[0], -1, 3) - self.place[:, None])
        depth = np.maximum(relative[..., 2], 0.2)
        pixels = relative[..., :2] / depth[..., None] * self.focal + [self.width / 2, self.height / 2]
        return pixels.reshape(*shape[:-1], 2), depth.reshape(shape[:-1])

    def plane(self, frame: int, across: Array, along: Array, origin: Array) -> Array:
        """Return the 3x3 matrix from coordinates (u, v) of origin + u * across + v * along to pixels."""
        lens = np.array([[self.focal, 0, self.width / 2], [0, self.focal, self.height / 2], [0, 0, 1]])
        columns = np.stack([across, along, origin - self.place[frame]], axis=1)
        result: Array = lens @ self.turn[frame] @ columns
        return result


def _wander(rng: np.random.Generator, times: Array, count: int) -> Array:
    """Return slow smooth paths in about -1..1, (T, count)."""
    rates, starts = rng.uniform(0.08, 0.35, (count, 2)), rng.uniform(0, 2 * np.pi, (count, 2))
    waves = np.sin(2 * np.pi * times[:, None, None] * rates + starts)  # (T, count, 2)
    result: Array = waves @ np.array([0.65, 0.35])
    return result


def _unit(vectors: Array) -> Array:
    result: Array = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return result
