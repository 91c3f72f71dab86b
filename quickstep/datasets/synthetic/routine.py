"""Routine: one person performs several moves one after the other, as in a class; the spans of the moves are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from quickstep.datasets.synthetic.body import Array, Body, Figure, Pose, figure_of
from quickstep.datasets.synthetic.moves import MOVES, Beat

CHANGE = 0.4  # seconds from the last pose of a move to the first of the next
TURNS = ("turn", "chest", "head")  # the parts of a pose that are rotations

Routine = Sequence[tuple[str, float]]  # moves and their durations in seconds


def perform(routine: Routine, body: Body, fps: float, rng: np.random.Generator, tempo: float) -> tuple[Figure, Array]:
    """Return the figure of a body that performs a routine, and the times of its frames."""
    poses: list[Pose] = []
    ends = np.rint(np.cumsum([seconds for _, seconds in routine]) * fps).astype(int).tolist()
    for (move, _), start, end in zip(routine, [0, *ends], ends):
        count = end - start - (round(CHANGE * fps) if poses else 0)
        pose = _perform_move(move, body, np.arange(count) / fps, rng, tempo)
        if poses:
            poses.append(_between(poses[-1], pose, round(CHANGE * fps)))
        poses.append(pose)
    whole = Pose(**{field.name: np.concatenate([getattr(pose, field.name) for pose in poses]) for field in fields(Pose)})
    return figure_of(whole, body), np.arange(len(whole.root)) / fps


def _perform_move(move: str, body: Body, times: Array, rng: np.random.Generator, tempo: float) -> Pose:
    made = MOVES[move]
    phase = rng.uniform() + tempo * rng.uniform(0.85, 1.18) * made.pace * times
    return made.pose(Beat(times, phase, made.way, rng.uniform(size=6)), body)


def _between(before: Pose, after: Pose, count: int) -> Pose:
    """Return `count` poses from the last one before to the first one after; limbs move evenly and turns take the short way."""
    share = (np.arange(count) + 1) / (count + 1)
    smooth = share**2 * (3 - 2 * share)
    parts: dict[str, Array] = {}
    for field in fields(Pose):
        first, last = getattr(before, field.name)[-1], getattr(after, field.name)[0]
        if field.name in TURNS:
            parts[field.name] = Slerp([0, 1], Rotation.from_matrix([first, last]))(smooth).as_matrix()
        else:
            parts[field.name] = first + smooth.reshape(-1, *[1] * np.ndim(first)) * (last - first)
    return Pose(**parts)
