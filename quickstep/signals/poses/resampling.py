"""Resample poses in time and fill their gaps; measure the length and the centre of a body.

A joint that is invisible for a while is interpolated relative to the body, so that it moves along with it; its score is halved.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from quickstep.types.signals import Poses

# A part of every cache key: raise it whenever the same poses at the same moments give other values than before.
SAMPLING_VERSION = 1
FILLED = 0.5  # factor of the score of an interpolated joint
MIN_JOINTS = 3  # visible joints of a visible person
MIN_HIPS = 0.2  # share of the moments with visible hips for them to be the centre
TRUNK = 0.3  # length of the trunk, from hips to shoulders, in body lengths


def resample_poses(poses: Poses, moments: NDArray[np.float64]) -> Poses:
    """Resample one person at ascending moments, in seconds; a joint that is never visible stays invisible."""
    joints = fill_gaps(poses)[:, 0]  # (T, K, C)
    return replace(poses, joints=interpolate(poses.times, joints, moments)[:, None], times=moments)


def interpolate(times: NDArray[np.float64], values: NDArray[np.float32], moments: NDArray[np.float64]) -> NDArray[np.float32]:
    """Interpolate values (T, ...) linearly; repeat the first one before it and the last one after it."""
    if len(times) == 1:
        return np.repeat(values, len(moments), axis=0)
    after = np.clip(np.searchsorted(times, moments, side="right"), 1, len(times) - 1)
    share = np.clip((moments - times[after - 1]) / (times[after] - times[after - 1]), 0.0, 1.0)
    share = share.reshape(-1, *[1] * (values.ndim - 1)).astype(np.float32)
    return np.asarray(values[after - 1] * (1 - share) + values[after] * share, dtype=np.float32)


def fill_gaps(poses: Poses) -> NDArray[np.float32]:
    """Return joints (T, P, K, C) without gaps in time; a joint that is never visible stays NaN with score 0."""
    joints = poses.joints.copy()
    for person in range(joints.shape[1]):
        centre = _centres(poses, person)  # (T, D)
        for joint in range(joints.shape[2]):
            detected = poses.seen[:, person, joint]
            if not detected.any() or detected.all():
                continue
            relative = joints[detected, person, joint].copy()
            relative[:, :-1] -= centre[detected]
            filled = interpolate(poses.times[detected], relative, poses.times[~detected])
            filled[:, :-1] += centre[~detected]
            filled[:, -1] *= FILLED
            joints[~detected, person, joint] = filled
    return joints


def _centres(poses: Poses, person: int) -> NDArray[np.float32]:
    """Return the centre of a body at each moment, (T, D), from the same joints at all moments; 0 if no joint is visible."""
    joints, detected = poses.joints[:, person], poses.seen[:, person]
    root = list(poses.skeleton.root)
    for choice in (root, [int(detected.mean(axis=0).argmax())]):
        visible = detected[:, choice].all(axis=1)
        if visible.any():
            return interpolate(poses.times[visible], joints[visible][:, choice, :-1].mean(axis=1), poses.times)
    return np.zeros((len(poses), joints.shape[-1] - 1), dtype=np.float32)


def present(poses: Poses) -> NDArray[np.bool_]:
    """Return at which moments each person is visible, (T, P): with at least MIN_JOINTS joints."""
    return np.asarray(poses.seen.sum(axis=2) >= min(MIN_JOINTS, len(poses.skeleton)))


def body_centre(poses: Poses) -> NDArray[np.float32]:
    """Return the centre of one person's body at each moment, (T, D): of the hips if visible, else of all joints; NaN if invisible."""
    joints = np.where(poses.seen[..., None], poses.joints[..., :-1], np.nan)[:, 0]  # (T, K, D)
    hips = joints[:, list(poses.skeleton.root)].mean(axis=1)
    if np.isfinite(hips).all(axis=1).mean() >= MIN_HIPS:
        return np.asarray(hips, dtype=np.float32)
    return np.asarray(_mean(joints), dtype=np.float32)


def body_length(poses: Poses) -> float:
    """Return the length of one person in the unit of the joints: from the trunk if visible, else from the extent of the joints.

    It is the median over time: a fall, a leap or a wrong joint does not change it. It is 0 if all joints lie on one spot.
    """
    joints = np.where(poses.seen[..., None], poses.joints[..., :-1], np.nan)[:, 0].astype(np.float64)  # (T, K, D)
    frames = joints[poses.seen[:, 0].sum(axis=1) >= min(2, len(poses.skeleton))]
    if not len(frames):
        return 0.0
    extent = float(np.median(np.linalg.norm(np.nanmax(frames, axis=1) - np.nanmin(frames, axis=1), axis=1)))
    if poses.skeleton.torso is None:
        return extent
    upper, lower = (joints[:, list(end)].mean(axis=1) for end in poses.skeleton.torso)
    trunk = np.linalg.norm(upper - lower, axis=1)
    visible = trunk[np.isfinite(trunk)]
    if len(visible) < max(1, 0.1 * len(joints)):
        return extent
    return max(float(np.median(visible)) / TRUNK, 0.5 * extent)  # a trunk that points at the camera looks too short


def _mean(joints: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of the visible joints at each moment, (T, D)."""
    detected = np.asarray(np.isfinite(joints).all(axis=2))
    count = detected.sum(axis=1)[:, None]
    total = np.where(detected[..., None], joints, 0).sum(axis=1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan), dtype=np.float32)
