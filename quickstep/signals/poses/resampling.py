"""Poses at other moments than those at which they were found, gaps filled in; and the size and the middle of a body.

One person's joints become curves over time. Where a joint was not seen, its curve goes on beside the body, so that it travels with it,
and what was filled in so has half the score of what it was made of.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from quickstep.types.signals import Poses

# A part of every cache key: raise it whenever the same poses at the same moments come out otherwise.
SAMPLING_VERSION = 1
FILLED = 0.5  # what is left of the score of a joint that was filled in
FEWEST_JOINTS = 3  # seen at a moment for a person to count as seen
ENOUGH = 0.2  # share of the moments at which the hips must be seen for their median to stand for all
TRUNK = 0.3  # how long the trunk is, from hips to shoulders, in body lengths


def sample(poses: Poses, moments: NDArray[np.float64]) -> Poses:
    """One person at these ascending moments, in seconds; a joint that was never seen stays unseen."""
    joints = filled(poses)[:, 0]  # (T, K, C)
    return replace(poses, joints=at(poses.times, joints, moments)[:, None], times=moments)


def at(times: NDArray[np.float64], values: NDArray[np.float32], moments: NDArray[np.float64]) -> NDArray[np.float32]:
    """Values (T, ...) on the straight lines between two of them; before the first and after the last they stand."""
    if len(times) == 1:
        return np.repeat(values, len(moments), axis=0)
    after = np.clip(np.searchsorted(times, moments, side="right"), 1, len(times) - 1)
    share = np.clip((moments - times[after - 1]) / (times[after] - times[after - 1]), 0.0, 1.0)
    share = share.reshape(-1, *[1] * (values.ndim - 1)).astype(np.float32)
    return np.asarray(values[after - 1] * (1 - share) + values[after] * share, dtype=np.float32)


def filled(poses: Poses) -> NDArray[np.float32]:
    """Joints (T, P, K, C) without gaps in time; what no frame shows stays NaN with score 0."""
    joints = poses.joints.copy()
    for person in range(joints.shape[1]):
        middle = _middles(poses, person)  # (T, D)
        for joint in range(joints.shape[2]):
            seen = poses.seen[:, person, joint]
            if not seen.any() or seen.all():
                continue
            known, unknown = poses.times[seen], poses.times[~seen]
            beside = joints[seen, person, joint].copy()
            beside[:, :-1] -= middle[seen]
            there = at(known, beside, unknown)
            there[:, :-1] += middle[~seen]
            there[:, -1] *= FILLED
            joints[~seen, person, joint] = there
    return joints


def _middles(poses: Poses, person: int) -> NDArray[np.float32]:
    """Where the body is at each moment, (T, D), by the same joints at all of them; 0 where no joint is seen often enough."""
    joints, seen = poses.joints[:, person], poses.seen[:, person]
    root = list(poses.skeleton.root)
    for choice in (root, [int(seen.mean(axis=0).argmax())]):
        whole = seen[:, choice].all(axis=1)
        if whole.any():
            return at(poses.times[whole], joints[whole][:, choice, :-1].mean(axis=1), poses.times)
    return np.zeros((len(poses), joints.shape[-1] - 1), dtype=np.float32)


def present(poses: Poses) -> NDArray[np.bool_]:
    """At which moments each person is seen well enough to be one, (T, P)."""
    return np.asarray(poses.seen.sum(axis=2) >= min(FEWEST_JOINTS, len(poses.skeleton)))


def body_middle(poses: Poses) -> NDArray[np.float32]:
    """The middle of one person's body at each moment, (T, D): of the hips where they are known, else of all joints; NaN where unseen."""
    joints = np.where(poses.seen[..., None], poses.joints[..., :-1], np.nan)[:, 0]  # (T, K, D)
    hips = joints[:, list(poses.skeleton.root)].mean(axis=1)
    if np.isfinite(hips).all(axis=1).mean() >= ENOUGH:
        return np.asarray(hips, dtype=np.float32)
    return np.asarray(_mean(joints), dtype=np.float32)


def body_length(poses: Poses) -> float:
    """How long one person is, in the unit of the joints: by the trunk, where it can be seen, else by how far the joints reach.

    The median over time: a fall, a leap or a wrong joint does not change it. 0 where all joints lie on one spot.
    """
    joints = np.where(poses.seen[..., None], poses.joints[..., :-1], np.nan)[:, 0].astype(np.float64)  # (T, K, D)
    whole = joints[poses.seen[:, 0].sum(axis=1) >= min(2, len(poses.skeleton))]
    if not len(whole):
        return 0.0
    reach = float(np.median(np.linalg.norm(np.nanmax(whole, axis=1) - np.nanmin(whole, axis=1), axis=1)))
    if poses.skeleton.torso is None:
        return reach
    upper, lower = (joints[:, list(end)].mean(axis=1) for end in poses.skeleton.torso)
    trunk = np.linalg.norm(upper - lower, axis=1)
    known = trunk[np.isfinite(trunk)]
    if len(known) < max(1, 0.1 * len(joints)):
        return reach
    return max(float(np.median(known)) / TRUNK, 0.5 * reach)  # a trunk that points at the camera says too little


def _mean(joints: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the joints that are seen at each moment, (T, D)."""
    seen = np.asarray(np.isfinite(joints).all(axis=2))
    count = seen.sum(axis=1)[:, None]
    total = np.where(seen[..., None], joints, 0).sum(axis=1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan), dtype=np.float32)
