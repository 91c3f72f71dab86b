"""FlowHistograms, held against drawn movements whose truth is known."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import cv2
import numpy as np
import pytest

from quickstep.backbones.flow_histograms.backbone import COURSE, LAYOUT, FlowHistograms
from quickstep.backbones.flow_histograms.grid_histograms import dense_flow, find_motion
from quickstep.signals.flow.methods import affine_camera_flow
from quickstep.types.signals import Features, Frames

PACE = 15.0
RIGHT, DOWN, LEFT, UP = 0, 2, 4, 6  # the four straight ones of the eight directions


def blobs(height: int, width: int, seed: int) -> np.ndarray:
    """Draw a soft random texture, 40 to 215."""
    noise = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return cv2.normalize(soft, None, 40, 215, cv2.NORM_MINMAX)


def window(pictures: list[np.ndarray], *, pace: float = PACE) -> Frames:
    pixels = np.stack([np.repeat(picture.round().astype(np.uint8)[..., None], 3, axis=2) for picture in pictures])
    return Frames(pixels, (np.arange(len(pixels)) + 0.5) / pace)


def thing(move: np.ndarray, *, behind: np.ndarray | None = None, ground: np.ndarray | None = None) -> np.ndarray:
    """Draw a textured square of 40 pixels in the middle of 160 x 120, moved by a 2 x 3 matrix about its centre, over a background."""
    ground = blobs(120, 160, 1) if ground is None else ground
    if behind is not None:
        ground = cv2.warpAffine(blobs(200, 240, 1), behind, (160, 120))
    centred = np.float32(move).copy()
    centred[:, 2] += np.float32([80, 60]) - centred[:, :2] @ np.float32([20, 20])
    square = cv2.warpAffine(255 - blobs(40, 40, 2), centred, (160, 120))
    mask = cv2.warpAffine(np.ones((40, 40), np.float32), centred, (160, 120))
    return ground * (1 - mask) + square * mask


def moved(x: float, y: float) -> np.ndarray:
    return np.float32([[1, 0, x], [0, 1, y]])


def turned(degrees: float, scale: float = 1.0) -> np.ndarray:
    return np.float32(cv2.getRotationMatrix2D((0, 0), -degrees, scale))  # clockwise as the picture is seen


def block(features: Features, name: str) -> np.ndarray:
    """Return the mean over time of one block of a vector."""
    start = 0
    for key, size in LAYOUT.items():
        if key == name:
            return features.values[:, start : start + size].mean(axis=0)
        start += size
    raise KeyError(name)


def describe(frames: Frames) -> Features:
    return FlowHistograms().embed([frames])[0]


def course(features: Features, name: str) -> float:
    return float(block(features, "mean")[COURSE.index(name)])


STEPS = np.arange(16) - 7.5


@pytest.mark.parametrize(("x", "y", "direction"), [(2, 0, RIGHT), (-2, 0, LEFT), (0, 2, DOWN), (0, -2, UP), (2, 2, 1), (-2, -2, 5)])
def test_direction_of_a_moving_thing(x: int, y: int, direction: int) -> None:
    features = describe(window([thing(moved(x * step, y * step)) for step in STEPS]))
    even = np.square(block(features, "body flow even")).reshape(-1, 8).sum(axis=0)
    mirrored = (4 - direction) % 8
    assert even[[direction, mirrored]].sum() > 0.7 * even.sum() * (1 if direction != mirrored else 0.9)
    sides = block(features, "body flow odd").reshape(-1, 8).sum(axis=0)
    if direction != mirrored:
        assert sides[direction] > 0.1
        assert sides[mirrored] < -0.1
    else:
        assert np.abs(sides).max() < 0.2
    assert np.sign(course(features, "right")) == np.sign(x) or abs(course(features, "right")) < 0.3 * abs(course(features, "down"))
    assert np.sign(course(features, "down")) == np.sign(y) or abs(course(features, "down")) < 0.3 * abs(course(features, "right"))


def test_turning_and_growing() -> None:
    clockwise = describe(window([thing(turned(6 * step)) for step in STEPS]))
    against = describe(window([thing(turned(-6 * step)) for step in STEPS]))
    assert course(clockwise, "down by across") > 0.3  # the right side goes down
    assert course(clockwise, "right by down") < -0.3  # the lower side goes left
    assert course(against, "down by across") < -0.3
    assert course(against, "right by down") > 0.3
    larger = describe(window([thing(turned(0, 1.06**step)) for step in STEPS]))
    shrinking = describe(window([thing(turned(0, 1.06**-step)) for step in STEPS]))
    for name in ("widening", "lengthening"):
        assert course(larger, name) > 0.3
        assert course(shrinking, name) < -0.3


def test_speed_is_in_short_edges_a_second_whatever_the_pace() -> None:
    slow = find_motion(window([thing(moved(2 * step, 0)) for step in STEPS], pace=15))
    fast = find_motion(window([thing(moved(4 * step, 0)) for step in STEPS[4:-4]], pace=7.5))
    for moving in (slow, fast):
        assert np.percentile(moving.flow[..., 0], 98) == pytest.approx(2 * 15 / 120, rel=0.15)


def camera(step: float) -> np.ndarray:
    """Compute how a camera that drifts, tilts and comes nearer moves the background."""
    matrix = np.float32(cv2.getRotationMatrix2D((120, 100), -0.2 * step, 1.003**step))
    matrix[:, 2] += np.float32([2.5 * step - 40, -1.5 * step - 40])
    return matrix


def test_camera_is_taken_away() -> None:
    still = find_motion(window([thing(moved(0, -1.5 * step)) for step in STEPS]))
    panned = find_motion(window([thing(moved(2.5 * step, -3 * step), behind=camera(step)) for step in STEPS]))
    far = np.ones(panned.speed.shape[1:], bool)
    far[5:-5, 10:-10] = False  # the picture's rim, where only the ground is
    assert (panned.speed[:, far] == 0).mean() > 0.9
    middle = slice(5, -5), slice(26, 34), slice(36, 44)
    assert np.median(panned.flow[(*middle, 1)]) == pytest.approx(np.median(still.flow[(*middle, 1)]), abs=0.04)
    assert np.median(panned.flow[(*middle, 0)]) == pytest.approx(0, abs=0.04)


def test_camera_motion_is_the_field_of_the_many() -> None:
    y, x = (np.mgrid[:60, :80].astype(np.float32) + 0.5 - np.array([30, 40], np.float32).reshape(2, 1, 1)) / 60
    field = np.stack([1.5 + 0.8 * x - 0.5 * y, -0.7 + 0.5 * x + 0.8 * y], axis=-1)
    measured = field + np.random.default_rng(0).normal(0, 0.05, field.shape).astype(np.float32)
    measured[15:45, 20:60] += np.float32([3, -2])  # a quarter of the picture goes its own way
    assert np.abs(affine_camera_flow(measured) - field).max() < 0.1
    assert not affine_camera_flow(np.zeros((60, 80, 2), np.float32)).any()


def test_dense_flow_is_in_pixels_of_the_picture() -> None:
    ground = blobs(120, 160, 5).astype(np.uint8)
    flow = dense_flow([ground, np.roll(ground, (1, 3), axis=(0, 1))])
    assert flow.shape == (1, 120, 160, 2)
    assert np.median(flow[0, 20:-20, 20:-20], axis=(0, 1)) == pytest.approx([3, 1], abs=0.1)


def test_still_pictures_have_no_motion() -> None:
    features = describe(window([thing(moved(0, 0))] * 20))
    for name in LAYOUT:
        values = block(features, name)
        if name.startswith("picture edges"):
            assert values.any()
        else:
            assert not values.any(), name


@pytest.mark.parametrize("move", [lambda t: moved(2 * t, t), lambda t: turned(5 * t), lambda t: moved(8 * np.sin(t), 0)])
def test_a_mirror_keeps_the_even_and_turns_the_odd(move: object) -> None:
    pictures = [thing(move(step)) for step in STEPS]  # type: ignore[operator]
    original, mirrored = describe(window(pictures)), describe(window([picture[:, ::-1] for picture in pictures]))
    for name in LAYOUT:
        a, b = block(original, name), block(mirrored, name)
        if name.endswith("even") or name in ("tempo", "travel edges"):
            assert np.linalg.norm(a - b) < 0.3 * np.linalg.norm(a) + 0.05, name
        if name.endswith("odd"):
            assert np.linalg.norm(a + b) < 0.4 * np.linalg.norm(a) + 0.1, name


def test_order_in_time_is_told() -> None:
    path = np.concatenate([np.zeros(8), np.arange(14), np.full(8, 13)])  # first still or left, then right
    first_up = [thing(moved(0, -2 * a) + moved(2 * b, 0) * [[0, 0, 1], [0, 0, 0]]) for a, b in zip(path[8:], path[:-8])]
    up, reverse = describe(window(first_up)), describe(window(first_up[::-1]))
    change = block(up, "late picture flow even").reshape(-1, 8).sum(axis=0)
    assert change[UP] < -0.1  # the early half has it
    assert change[RIGHT] > 0.1 or change[LEFT] > 0.1  # even: either side
    assert block(reverse, "late picture flow even").reshape(-1, 8).sum(axis=0)[DOWN] > 0.1


def test_tempo_is_told() -> None:
    def shaken(hertz: float) -> np.ndarray:
        at = np.arange(60) / PACE
        features = describe(window([thing(moved(0, 6 * np.sin(2 * np.pi * hertz * t))) for t in at]))
        return block(features, "tempo").reshape(len(COURSE), -1)[COURSE.index("down")]

    assert [int(shaken(hertz).argmax()) for hertz in (0.4, 0.85, 1.45, 2.3)] == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 3), (33, 35), (160, 90), (8, 700), (1000, 9), (121, 161)])
@pytest.mark.parametrize("count", [1, 2, 6])
def test_any_picture_and_any_number_of_frames(size: tuple[int, int], count: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)
    features = describe(Frames(pixels, np.arange(count) / PACE))
    assert features.values.shape[1] == FlowHistograms.width
    assert 1 <= len(features) <= 4
    assert np.isfinite(features.values).all()
    assert np.abs(features.values).max() < 20
    assert all(a < b for a, b in pairwise(features.times))


@pytest.mark.parametrize("shade", [0, 255])
def test_flat_pictures(shade: int) -> None:
    features = describe(Frames(np.full((5, 48, 64, 3), shade, np.uint8), np.arange(5) / PACE))
    assert not features.values.any()


def test_repeated_frames_change_nothing() -> None:
    pictures = [thing(moved(2 * step, 0)) for step in STEPS]
    once = window(pictures)
    places = np.minimum(np.arange(40), len(pictures) - 1)  # a short video: its last frame is shown again, at its own time
    padded = Frames(once.pixels[places], once.times[places])
    assert np.array_equal(describe(once).values, describe(padded).values)


def test_windows_do_not_influence_each_other_nor_do_threads() -> None:
    windows = [window([thing(move(step)) for step in STEPS]) for move in (lambda t: moved(2 * t, 0), lambda t: turned(5 * t))] * 3
    motion, threads = FlowHistograms(), cv2.getNumThreads()
    alone = [describe(features).values for features in windows]
    together = [features.values for features in motion.embed(windows)]
    with ThreadPoolExecutor(3) as pool:
        parallel = [features.values for features in pool.map(describe, windows)]
    for a, b, c in zip(alone, together, parallel):
        assert np.array_equal(a, b)
        assert np.array_equal(a, c)
    assert cv2.getNumThreads() == threads


def test_values_do_not_depend_on_opencvs_threads() -> None:
    frames = window([thing(moved(2 * step, step)) for step in STEPS])
    before = cv2.getNumThreads()
    try:
        values = []
        for threads in (1, 2, 4):
            cv2.setNumThreads(threads)
            values.append(describe(frames).values)
    finally:
        cv2.setNumThreads(before)
    assert np.array_equal(values[0], values[1])
    assert np.array_equal(values[0], values[2])


def test_what_it_says_of_itself() -> None:
    motion = FlowHistograms()
    assert motion.width == sum(LAYOUT.values())
    assert motion.identity["name"] == "motion"
    assert {"revision", "flow"} <= motion.identity.keys()
    assert motion.view.windows is None
    assert motion.view.fit == "whole"
    assert motion.view.fps == PACE
