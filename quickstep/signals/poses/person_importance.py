"""importance: how much each person of some poses counts: seen longest, largest, moving most. Knows no tracking."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quickstep.types.signals import Poses

FEWEST = 3  # joints by which a body is one

_STRIDE = 0.4  # seconds over which movement is measured: shaking joints hardly count


def importance(poses: Poses) -> NDArray[np.float64]:
    """How much each person counts, (P,): by the share of time seen, the size in the picture, the movement, the joints' scores."""
    if not len(poses) or not poses.people:
        return np.zeros(len(poses.people))
    seen = poses.seen  # (T, P, K)
    there = seen.sum(axis=2) >= min(FEWEST, seen.shape[2])
    here, flat = seen[..., None], poses.joints[..., :-1]
    high = np.where(here, flat, -np.inf).max(axis=2, initial=-np.inf)
    low = np.where(here, flat, np.inf).min(axis=2, initial=np.inf)
    longest = np.where(there, (high - low).max(axis=-1), 0)  # (T, P)
    sizes = np.array([np.median(one[now]) if now.any() else 0.0 for one, now in zip(longest.T, there.T, strict=True)])
    scores = np.where(seen, poses.joints[..., -1], 0).sum(axis=(0, 2)) / np.maximum(seen.sum(axis=(0, 2)), 1)
    movement = _movement(poses, np.maximum(sizes, 1e-9))
    relative = [values / max(values.max(), 1e-9) for values in (there.mean(axis=0), sizes, movement, scores)]
    presence, size, moving, sure = relative
    return np.asarray(presence * np.sqrt(size) * np.sqrt(0.1 + moving) * sure, dtype=np.float64)


def _movement(poses: Poses, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Body lengths that each person's joints move in a second, (P,), as a mean."""
    later = np.searchsorted(poses.times, poses.times + _STRIDE - 1e-6)
    inside = later < len(poses)
    if not inside.any():
        later, inside = np.full(len(poses), len(poses) - 1), np.arange(len(poses)) == 0
    earlier, later = np.flatnonzero(inside), later[inside]
    both = poses.seen[earlier] & poses.seen[later]  # (N, P, K)
    moved = np.linalg.norm(poses.joints[later][..., :-1] - poses.joints[earlier][..., :-1], axis=-1)
    seconds = np.maximum(poses.times[later] - poses.times[earlier], 1e-9)[:, None, None]
    total = np.where(both, np.nan_to_num(moved) / seconds, 0).sum(axis=(0, 2)) / np.maximum(both.sum(axis=(0, 2)), 1)
    return np.asarray(np.minimum(total / sizes, 3.0), dtype=np.float64)
