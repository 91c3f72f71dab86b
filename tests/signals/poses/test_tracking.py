"""People over time, held against walkers whose truth is known: crossings, occlusions, gaps, comings and goings, crowds."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from quickstep.signals.poses.tracking import find_dancer, track
from quickstep.types.signals import Poses
from quickstep.types.skeleton import read_skeleton

COCO = read_skeleton("coco-17")

# A standing body, one long, its feet at 0: coco's joints as (sideways, up).
BODY = np.array(
    [
        (0.0, 0.93), (0.02, 0.95), (-0.02, 0.95), (0.04, 0.94), (-0.04, 0.94), (0.1, 0.82), (-0.1, 0.82), (0.14, 0.65), (-0.14, 0.65),
        (0.15, 0.5), (-0.15, 0.5), (0.07, 0.52), (-0.07, 0.52), (0.08, 0.28), (-0.08, 0.28), (0.08, 0.04), (-0.08, 0.04),
    ]
)  # fmt: skip
SWINGING = np.zeros(17)
SWINGING[[7, 9, 13, 15]], SWINGING[[8, 10, 14, 16]] = (0.06, 0.14, 0.1, 0.18), (-0.06, -0.14, -0.1, -0.18)


@dataclass(frozen=True)
class Walker:
    """Somebody who goes from one place to another, swinging arms and legs; in pixels and seconds."""

    start: tuple[float, float]
    speed: tuple[float, float] = (0.0, 0.0)
    height: float = 200.0
    phase: float = 0.0
    pace: float = 1.5
    from_second: float = 0.0
    until_second: float = np.inf

    def joints(self, at: float) -> NDArray[np.float64]:
        swing = np.sin(2 * np.pi * self.pace * at + self.phase)
        body = BODY + np.stack([SWINGING * swing, np.abs(SWINGING) * 0.1 * swing], axis=1)
        place = np.array(self.start) + np.array(self.speed) * at
        return place + self.height * body * [1, -1]


def film(
    walkers: list[Walker],
    *,
    fps: float = 25,
    seconds: float = 4,
    noise: float = 0.01,
    seed: int = 0,
    hidden: float = 0.0,
    missed: tuple[tuple[int, float, float], ...] = (),
) -> tuple[Poses, NDArray[np.int64]]:
    """Return the bodies that an estimator would detect, in an order that changes each frame, and the true walker of each body.

    `hidden`: a walker nearer than this (in heights) behind one who comes earlier in the list is not found.
    """
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * fps)) / fps
    joints = np.full((len(times), len(walkers), 17, 3), np.nan, np.float32)
    joints[..., 2] = 0
    truth = np.full((len(times), len(walkers)), -1)
    for moment, at in enumerate(times):
        order = rng.permutation(len(walkers))
        bodies = [walker.joints(at) for walker in walkers]
        present = [walker.from_second <= at < walker.until_second for walker in walkers]
        for slot, number in enumerate(order):
            walker = walkers[number]
            place = bodies[number]
            covered = any(present[k] and abs(bodies[k][11, 0] - place[11, 0]) < hidden * walker.height for k in range(number))
            away = any(who == number and since <= at < until for who, since, until in missed)
            if covered or away or not present[number]:
                continue
            joints[moment, slot, :, :2] = place + rng.normal(0, noise * walker.height, place.shape)
            joints[moment, slot, :, 2] = rng.uniform(0.6, 1, 17)
            truth[moment, slot] = number
    return Poses(joints, times, COCO, tuple(range(len(walkers))), (1280, 720)), truth


def who_is_who(detected: Poses, tracked: Poses, truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each moment and tracked person the true walker, -1 where unseen: by the very joints, which tracking does not touch."""
    owners = np.full(tracked.joints.shape[:2], -1)
    for moment in range(len(tracked)):
        for place in np.flatnonzero(tracked.seen[moment].any(axis=1)):
            same = (detected.joints[moment] == tracked.joints[moment, place][None]).all(axis=(1, 2))
            assert same.sum() == 1
            owners[moment, place] = truth[moment, np.flatnonzero(same)[0]]
    return owners


def switches(owners: NDArray[np.int64]) -> int:
    """How often a tracked person becomes another walker, and a walker another tracked person."""
    count = 0
    for column in owners.T:
        visible = column[column >= 0]
        count += int((np.diff(visible) != 0).sum())
    for walker in np.unique(owners[owners >= 0]):
        places = [int(np.flatnonzero(row == walker)[0]) for row in owners if (row == walker).any()]
        count += int((np.diff(places) != 0).sum())
    return count


def switches_of(detected: Poses, truth: NDArray[np.int64]) -> int:
    tracked = track(detected)
    return switches(who_is_who(detected, tracked, truth))


def test_a_single_person_gets_one_track() -> None:
    detected, truth = film([Walker((200, 500), (100, 0))])
    tracked = track(detected)
    assert tracked.people == (1,)
    np.testing.assert_array_equal(tracked.joints, detected.joints)
    assert switches(who_is_who(detected, tracked, truth)) == 0


@pytest.mark.parametrize("fps", [8, 12.5, 25, 60])
@pytest.mark.parametrize("speed", [60, 150, 300, 600])
def test_two_people_who_cross_keep_their_tracks(speed: float, fps: float) -> None:
    for seed in range(3):
        seconds = 800 / speed
        right = Walker((100, 500), (speed, 0), phase=seed)
        until_second = Walker((900, 510), (-speed, 0), height=190, phase=seed + 2.0)
        detected, truth = film([right, until_second], fps=fps, seconds=seconds, seed=seed)
        assert switches_of(detected, truth) == 0, (speed, fps, seed)


@pytest.mark.parametrize("fps", [12.5, 25, 60])
@pytest.mark.parametrize("speed", [60, 150, 300])
def test_a_person_who_passes_behind_another_keeps_the_track(speed: float, fps: float) -> None:
    for seed in range(3):
        seconds = 800 / speed
        front = Walker((520, 510), (0, 0), height=210, phase=seed, pace=0.7)
        behind = Walker((100, 490), (speed, 0), height=190)
        detected, truth = film([front, behind], fps=fps, seconds=seconds, hidden=0.2, seed=seed)
        assert switches_of(detected, truth) == 0, (speed, fps, seed)


@pytest.mark.parametrize("fps", [12.5, 25, 60])
def test_two_people_who_hide_each_other_for_half_a_second_keep_their_tracks(fps: float) -> None:
    for seed in range(5):
        right = Walker((100, 500), (160, 0), phase=seed)
        until_second = Walker((900, 505), (-160, 0), height=195, phase=seed + 1.0)
        detected, truth = film([right, until_second], fps=fps, seconds=5, hidden=0.4, seed=seed)
        assert (truth >= 0).sum(axis=1).min() == 1
        assert switches_of(detected, truth) == 0, (fps, seed)


def test_a_person_missed_for_half_a_second_keeps_the_track() -> None:
    walkers = [Walker((150, 500), (150, 0)), Walker((900, 500), (-60, 0)), Walker((500, 700), (0, -50))]
    missed = ((0, 1.0, 1.5), (1, 1.2, 1.7), (2, 2.0, 2.6), (0, 3.0, 3.4))
    detected, truth = film(walkers, missed=missed)
    tracked = track(detected)
    assert len(tracked.people) == 3
    assert switches(who_is_who(detected, tracked, truth)) == 0


def test_every_third_frame_is_enough_for_tracking() -> None:
    rng = np.random.default_rng(1)
    walkers = [Walker((150, 500), (120, 0)), Walker((800, 520), (-100, 0), height=180, phase=1)]
    detected, truth = film(walkers, fps=30)
    gone = rng.random(truth.shape) < 0.6
    joints = detected.joints.copy()
    joints[gone] = np.nan
    joints[gone, :, 2] = 0
    detected = Poses(joints, detected.times, detected.skeleton, detected.people, detected.size)
    truth = np.where(gone, -1, truth)
    tracked = track(detected)
    assert len(tracked.people) == 2
    assert switches(who_is_who(detected, tracked, truth)) == 0


def test_people_may_enter_and_leave() -> None:
    walkers = [
        Walker((300, 500)),
        Walker((600, 500), (30, 0), from_second=1.0, until_second=3.0),
        Walker((900, 500), until_second=2.0),
        Walker((900, 500), from_second=5.0),  # long after the one before left the same place
    ]
    detected, truth = film(walkers, seconds=8)
    tracked = track(detected)
    owners = who_is_who(detected, tracked, truth)
    assert len(tracked.people) == 4
    assert switches(owners) == 0


def test_duplicate_detections_are_one_person() -> None:
    detected, _ = film([Walker((300, 500), (60, 0))])
    rng = np.random.default_rng(2)
    again = detected.joints.copy()
    again[..., :2] += rng.normal(0, 3, again[..., :2].shape)
    again[:, :, 9:, 2] = 0  # and only half of them
    again[:, :, 9:, :2] = np.nan
    again[..., 2] *= 0.9
    doubled = Poses(np.concatenate([again, detected.joints], axis=1), detected.times, COCO, (0, 1), detected.size)
    tracked = track(doubled)
    assert tracked.people == (1,)
    np.testing.assert_array_equal(tracked.joints, detected.joints)


def test_a_single_false_detection_is_dropped() -> None:
    detected, _ = film([Walker((300, 500)), Walker((900, 400), from_second=1.0, until_second=1.1)])
    assert len(track(detected).people) == 1


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_person_in_a_few_frames_of_a_short_video_is_kept(frames: int) -> None:
    detected, _ = film([Walker((300, 500)), Walker((800, 500))], seconds=frames / 25)
    tracked = track(detected)
    assert len(tracked) == frames
    assert len(tracked.people) == 2


def test_poses_without_people_stay_empty() -> None:
    joints = np.zeros((10, 3, 17, 3), np.float32)
    tracked = track(Poses(joints, np.arange(10) / 25, COCO, (0, 1, 2)))
    assert tracked.people == ()
    assert tracked.joints.shape == (10, 0, 17, 3)
    nowhere = Poses(np.zeros((10, 0, 17, 3), np.float32), np.arange(10) / 25, COCO, ())
    assert track(nowhere).people == ()
    with pytest.raises(ValueError, match="person"):
        find_dancer(tracked)


def test_a_hundred_people_are_tracked_in_seconds() -> None:
    rng = np.random.default_rng(3)
    walkers = [
        Walker((100.0 * (k % 10) + 50, 100.0 * (k // 10) + 100), tuple(rng.normal(0, 8, 2)), height=60, phase=k, pace=rng.uniform(0.5, 2))
        for k in range(100)
    ]
    detected, truth = film(walkers, seconds=3)
    began = time.process_time()
    tracked = track(detected)
    assert time.process_time() - began < 10
    assert len(tracked.people) == 100
    assert switches(who_is_who(detected, tracked, truth)) == 0


def test_a_mixing_crowd_has_at_most_one_switch() -> None:
    rng = np.random.default_rng(4)
    walkers = [
        Walker((rng.uniform(0, 1280), rng.uniform(300, 700)), tuple(rng.normal(0, 90, 2)), height=rng.uniform(120, 260), phase=k)
        for k in range(8)
    ]
    detected, truth = film(walkers, seconds=6)
    assert switches_of(detected, truth) <= 1


def test_a_thousand_frames_are_tracked_in_a_second() -> None:
    walkers = [Walker((200.0 * k + 100, 500), (5.0 * k, 0), phase=k) for k in range(5)]
    detected, truth = film(walkers, seconds=40)
    assert len(detected) == 1000
    track(detected.span(0, 1))
    began = time.process_time()
    tracked = track(detected)
    assert time.process_time() - began < 2
    assert switches(who_is_who(detected, tracked, truth)) == 0


def test_tracking_does_not_depend_on_size_and_frame_rate() -> None:
    walkers = [Walker((100, 500), (200, 0)), Walker((900, 510), (-200, 0), height=190, phase=2)]
    detected, truth = film(walkers, fps=30)
    small = Poses(detected.joints * np.float32([0.1, 0.1, 1]), detected.times, COCO, detected.people)
    tracked = track(small)
    np.testing.assert_allclose(tracked.joints[..., :2] * 10, track(detected).joints[..., :2], rtol=1e-5)
    assert switches(who_is_who(small, tracked, truth)) == 0


def test_other_joints_of_the_same_bodies_get_the_same_tracks() -> None:
    detected, _ = film([Walker((100, 500), (200, 0)), Walker((900, 510), (-200, 0), phase=2)])
    joints = np.concatenate([detected.joints[..., :2] / 200, detected.joints[..., :1] * 0, detected.joints[..., 2:]], axis=-1)
    world = Poses(joints, detected.times, read_skeleton("coco-17-3d"), detected.people)
    flat, deep = track(detected), track(detected, of=world)
    assert deep.people == flat.people
    assert deep.skeleton.dimensions == 3
    np.testing.assert_array_equal(deep.joints[..., :2], flat.joints[..., :2] / 200)
    with pytest.raises(ValueError, match="bodies"):
        track(detected, of=world.person(0))


def test_the_order_of_detections_does_not_matter() -> None:
    walkers = [Walker((300, 500), (50, 0)), Walker((600, 500), (-50, 0), height=230, phase=1), Walker((900, 300), (0, 20), height=150)]
    detected, _ = film(walkers)
    turned = Poses(detected.joints[:, ::-1], detected.times, COCO, detected.people, detected.size)
    np.testing.assert_array_equal(track(detected).joints, track(turned).joints)


def test_the_dancer_is_large_visible_for_long_and_moving() -> None:
    dancer = Walker((600, 650), (10, 0), height=400, pace=2)
    statue = Walker((200, 650), height=420, pace=0)
    passer = Walker((0, 650), (400, 0), height=380, from_second=1, until_second=3)
    child = Walker((1000, 650), height=150, pace=2)
    detected, truth = film([statue, passer, dancer, child], seconds=8, noise=0.003)
    tracked = track(detected)
    assert find_dancer(tracked) == 1
    assert set(who_is_who(detected, tracked, truth)[:, 0]) == {2}
    assert find_dancer(Poses(tracked.joints[:, ::-1], tracked.times, COCO, tracked.people[::-1])) == 1


def test_a_person_who_sits_and_lies_down_keeps_the_track() -> None:
    detected, _ = film([Walker((300, 500)), Walker((800, 500))])
    joints = detected.joints.copy()
    angle = np.clip((detected.times - 1) / 0.6, 0, 1) * np.pi / 2  # somebody falls over in 0.6 s
    turned = track(detected)
    joints = turned.joints.copy()
    offset = joints[:, 0, :, :2] - [[300, 500]]
    turn = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], axis=1)
    joints[:, 0, :, :2] = np.einsum("tij,tkj->tki", turn, offset) + np.array([300, 500])
    tracked = track(Poses(joints.astype(np.float32), detected.times, COCO, (0, 1)))
    assert len(tracked.people) == 2
    assert tracked.seen.any(axis=2).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 6), st.integers(1, 30))
def test_tracking_never_changes_a_joint(seed: int, people: int, frames: int) -> None:
    rng = np.random.default_rng(seed)
    joints = rng.normal(300, 200, (frames, people, 17, 3)).astype(np.float32)
    joints[..., 2] = rng.uniform(-0.5, 1, joints.shape[:3])
    detected = Poses(joints, np.cumsum(rng.uniform(0.01, 0.5, frames)), COCO, tuple(range(people)))
    tracked = track(detected)
    assert tracked.people == tuple(range(1, len(tracked.people) + 1))
    np.testing.assert_array_equal(tracked.times, detected.times)
    bodies = {body.tobytes() for frame in detected.joints for body in frame}
    for frame in tracked.joints:
        for body in frame:
            assert not (body[:, 2] > 0).any() or body.tobytes() in bodies
