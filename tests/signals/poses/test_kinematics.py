"""Motion in numbers, held against figures that are moved by formulas, and against the demo's dancers."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from stick_figures import BODY, GRAVITY, PLACE, at_rest, filmed, in_space, jumping, moments, smoothly, turned

from quickstep.backbones import open_backbone, view_for
from quickstep.datasets.manifest import read_manifest
from quickstep.datasets.synthetic import DemoConfig, draw_dancers
from quickstep.evaluation import Report, evaluate
from quickstep.evaluation.rendering import markdown, model_card, page
from quickstep.heads import Examples, FitConfig, open_head
from quickstep.models.model import Model
from quickstep.signals.poses.config import PoseConfig
from quickstep.signals.poses.formats import write_poses
from quickstep.signals.poses.kinematics import NAMES, QUANTITIES, KinematicsConfig, PersonKinematics, kinematics, measure
from quickstep.signals.poses.kinematics.description import HEADINGS, describe, table
from quickstep.training.train import TrainConfig, train
from quickstep.types.errors import ConfigError, MediaError, QuickstepError
from quickstep.types.signals import Features, Poses
from quickstep.types.skeleton import SKELETONS, Skeleton, convert, unnamed_skeleton

TAU = 2 * np.pi
ANY_FPS = st.sampled_from((25.0, 30.0, 50.0, 60.0))


def circling(times: np.ndarray, radius: float, hertz: float, hand: str = "left_wrist") -> np.ndarray:
    figure = at_rest(len(times))
    figure[:, PLACE[hand], 0] = 0.5 + radius * np.cos(TAU * hertz * times)
    figure[:, PLACE[hand], 1] = 1.2 + radius * np.sin(TAU * hertz * times)
    return figure


def dancing(times: np.ndarray) -> np.ndarray:
    """Something of everything: both hands, a sway, a bounce and a half turn."""
    figure = at_rest(len(times))
    figure[:, PLACE["left_wrist"], :2] += 0.2 * np.stack([np.cos(TAU * 1.2 * times), np.sin(TAU * 1.2 * times)], axis=1)
    figure[:, PLACE["right_wrist"], 1] += 0.3 * np.sin(TAU * 0.6 * times)
    figure += 0.1 * np.stack([np.sin(TAU * 0.6 * times), 0 * times, 0 * times], axis=1)[:, None]
    return turned(figure, "y", np.pi * smoothly(times / times[-1]))


# -- speed, acceleration, reach ----------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(radius=st.floats(0.1, 0.5), hertz=st.floats(0.5, 1.5), fps=ANY_FPS)
def test_a_body_on_a_circle_has_the_speed_the_acceleration_and_the_tempo_of_the_formula(radius: float, hertz: float, fps: float) -> None:
    times = moments(6, fps)
    way = radius * np.stack([np.cos(TAU * hertz * times), np.sin(TAU * hertz * times), 0 * times], axis=1)
    whole = measure(filmed(at_rest(len(times)) + way[:, None], times)).whole
    speed = TAU * hertz * radius / BODY
    for name in ("speed", "hands speed", "feet speed", "head speed", "centre speed", "speed peak", "centre speed peak"):
        assert whole[name] == pytest.approx(speed, rel=0.02), name
    assert whole["acceleration"] == pytest.approx(TAU * hertz * speed, rel=0.03)
    assert whole["travel"] == pytest.approx(2 * 2**0.5 * radius / BODY, rel=0.02)
    assert whole["tempo"] == pytest.approx(60 * hertz, rel=0.01)
    assert whole["regularity"] > 0.98


def test_one_hand_on_a_circle_moves_alone() -> None:
    times = moments(6, 25)
    whole = measure(filmed(circling(times, 0.2, 1.0), times)).whole
    assert whole["hands speed"] == pytest.approx(TAU * 0.2 / BODY / 2, rel=0.01)
    assert whole["hands speed peak"] == pytest.approx(TAU * 0.2 / BODY, rel=0.02)
    assert whole["hands range"] == pytest.approx(2**0.5 * 0.4 / BODY / 2, rel=0.02)
    assert [whole[f"{part} speed"] for part in ("feet", "head", "centre")] == pytest.approx([0, 0, 0], abs=1e-6)
    assert whole["feet range"] == pytest.approx(0, abs=1e-4)
    assert whole["evenness"] == pytest.approx(0, abs=0.01)


def test_reach_is_the_distance_of_hands_and_feet_from_the_hips() -> None:
    times = moments(3, 25)
    figure = at_rest(len(times))
    figure[:, [PLACE["left_wrist"], PLACE["right_wrist"]]] = [[0.8, 0.92, 0.0], [-0.8, 0.92, 0.0]]
    whole = measure(in_space(figure, times)).whole
    leg = math.hypot(0.12, 0.84)
    assert whole["reach"] == pytest.approx((0.8 + leg) / 2 / BODY, rel=1e-3)
    assert whole["reach peak"] == pytest.approx(leg / BODY, rel=1e-3)


# -- fluidity ----------------------------------------------------------------------------------------------------------------

LEAST_JERK = -math.log(720 / 1.875**2)  # of the way of least jerk: the integral is 720 D² / T⁵, the highest speed 1.875 D / T


@pytest.mark.parametrize("fps", [25, 50, 60])
@pytest.mark.parametrize("seconds", [0.8, 1.0, 2.0])
@pytest.mark.parametrize("whole_body", [False, True])
def test_a_minimum_jerk_movement_has_the_fluidity_of_the_formula(fps: float, seconds: float, whole_body: bool) -> None:
    times = moments(seconds, fps)
    figure = at_rest(len(times))
    figure[:, slice(None) if whole_body else [PLACE["left_wrist"]], 0] += 0.5 * smoothly(times / seconds)[:, None]
    whole = measure(filmed(figure, times)).whole
    assert whole["fluidity"] == pytest.approx(LEAST_JERK, abs=0.2)
    assert whole["hands fluidity"] == pytest.approx(LEAST_JERK, abs=0.2)


def test_jitter_does_not_count_as_jerk() -> None:
    times = moments(1, 25)
    figure = at_rest(len(times))
    figure[:, PLACE["left_wrist"], 0] += 0.5 * smoothly(times)
    assert measure(filmed(figure, times, shake=0.001)).whole["hands fluidity"] == pytest.approx(LEAST_JERK, abs=0.5)
    slowly = at_rest(51)
    slowly[:, PLACE["left_wrist"], 0] += 0.1 * smoothly(moments(2, 25) / 2)
    hidden = measure(filmed(slowly, moments(2, 25), shake=0.02)).whole
    assert math.isnan(hidden["hands fluidity"])
    assert hidden.unknown["hands fluidity"]


def test_a_jerky_movement_is_less_fluid() -> None:
    times = moments(2, 50)
    smooth, jerky = at_rest(len(times)), at_rest(len(times))
    smooth[:, PLACE["left_wrist"], 0] += 0.6 * smoothly(times / 2)
    jerky[:, PLACE["left_wrist"], 0] += 0.2 * sum(smoothly((times - start) / 0.4) for start in (0.1, 0.8, 1.5))
    fluid, other = (measure(filmed(figure, times)).whole["fluidity"] for figure in (smooth, jerky))
    assert fluid > other + 2


# -- symmetry ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seen", ["from the front", "in space, askew"])
def test_mirrored_movement_is_symmetric_and_even(seen: str) -> None:
    times = moments(4, 25)
    figure = at_rest(len(times))
    for side, sign in (("left", 1), ("right", -1)):
        figure[:, PLACE[f"{side}_wrist"], 0] += sign * (0.3 + 0.3 * np.sin(TAU * times))
        figure[:, PLACE[f"{side}_wrist"], 1] += 0.3 * np.cos(TAU * times)
    poses = filmed(figure, times) if "front" in seen else in_space(turned(figure, "y", 0.8 + 0 * times), times)
    whole = measure(poses).whole
    assert whole["symmetry"] == pytest.approx(1, abs=1e-3)
    assert whole["evenness"] == pytest.approx(1, abs=1e-3)


def test_alternating_sides_are_even_but_not_symmetric() -> None:
    times = moments(4, 25)
    figure = at_rest(len(times))
    figure[:, PLACE["left_wrist"], 1] += 0.4 * np.sin(TAU * times)
    figure[:, PLACE["right_wrist"], 1] -= 0.4 * np.sin(TAU * times)
    whole = measure(filmed(figure, times)).whole
    assert whole["evenness"] == pytest.approx(1, abs=0.01)
    assert whole["symmetry"] < 0.9


# -- tempo -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beats", [40, 60, 96, 120, 150])
@pytest.mark.parametrize("shake", [0.0, 0.004])
def test_a_bounce_has_the_tempo_of_its_beat(beats: float, shake: float) -> None:
    times = moments(8, 25)
    figure = at_rest(len(times))
    figure[..., 1] += 0.1 * np.sin(TAU * beats / 60 * times)[:, None] * (figure[..., 1] > 0.3)
    measured = measure(filmed(figure, times, shake=shake))
    assert measured.whole["tempo"] == pytest.approx(beats, rel=0.02)
    assert measured.whole["regularity"] > (0.7 if shake else 0.98)
    for window in measured.windows:
        assert window["tempo"] == pytest.approx(beats, rel=0.04)


def test_a_single_movement_has_no_tempo_and_rest_no_regularity() -> None:
    times = moments(4, 25)
    figure = at_rest(len(times))
    figure[:, PLACE["left_wrist"], 0] += 0.5 * smoothly(times / 4)
    once = measure(filmed(figure, times)).whole
    assert math.isnan(once["tempo"])
    assert once["regularity"] == 0
    rest = measure(filmed(at_rest(len(times)), times, shake=0.003)).whole
    assert math.isnan(rest["tempo"])
    assert math.isnan(rest["regularity"])
    assert "hardly anything moves" in rest.unknown["tempo"]


# -- turns and spins ---------------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(turns=st.sampled_from((-3.0, -1.5, -1.0, 1.0, 2.0, 2.5)), fps=ANY_FPS, space=st.booleans())
def test_turns_about_the_vertical_are_counted_with_their_side(turns: float, fps: float, space: bool) -> None:
    times = moments(4, fps)
    figure = turned(at_rest(len(times)), "y", TAU * turns * times / times[-1])
    whole = measure((in_space if space else filmed)(figure, times)).whole
    assert whole["turns net"] == pytest.approx(turns, abs=0.05)
    assert whole["turns"] == pytest.approx(abs(turns), abs=0.05)
    assert whole["spins"] == pytest.approx(0, abs=0.05)


@settings(max_examples=8, deadline=None)
@given(turns=st.sampled_from((-2.0, -1.0, 0.5, 1.5)), fps=ANY_FPS)
def test_spins_in_the_image_are_counted_with_their_side(turns: float, fps: float) -> None:
    times = moments(4, fps)
    whole = measure(filmed(turned(at_rest(len(times)), "z", TAU * turns * times / times[-1], (0, 0.92, 0)), times)).whole
    assert whole["spins net"] == pytest.approx(turns, abs=0.03)
    assert whole["spins"] == pytest.approx(abs(turns), abs=0.03)
    assert whole["turns"] == pytest.approx(0, abs=0.05)


def test_turning_to_and_fro_has_a_net_turn_of_zero() -> None:
    times = moments(6, 25)
    figure = turned(at_rest(len(times)), "y", TAU * np.sin(TAU * times / 6) ** 2)
    for poses in (filmed(figure, times), in_space(figure, times)):
        whole = measure(poses).whole
        assert whole["turns"] == pytest.approx(4, abs=0.15)
        assert whole["turns net"] == pytest.approx(0, abs=0.1)


def test_the_nose_gives_the_side_of_a_turn_in_left_handed_axes() -> None:
    times = moments(4, 25)
    figure = turned(at_rest(len(times)), "y", TAU * times / 2)
    assert measure(in_space(figure * [1, 1, -1], times)).whole["turns net"] == pytest.approx(2, abs=0.05)


def test_swaying_is_not_a_turn() -> None:
    times = moments(6, 25)
    whole = measure(filmed(turned(at_rest(len(times)), "y", 0.4 * np.sin(TAU * times)), times, shake=0.003)).whole
    assert whole["turns"] == whole["spins"] == 0


# -- above the floor ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [25, 60])
@pytest.mark.parametrize("shake", [0.0, 0.003])
@pytest.mark.parametrize("height", [0.15, 0.3, 0.5])
def test_the_airtime_of_a_jump_follows_from_its_height(height: float, shake: float, fps: float) -> None:
    times = moments(4, fps)
    figure = at_rest(len(times))
    figure[..., 1] += jumping(times, height, (1.0, 2.6))[:, None]
    air = 2 * math.sqrt(2 * height / GRAVITY)
    whole = measure(filmed(figure, times, shake=shake)).whole
    assert whole["longest air"] == pytest.approx(air, abs=0.05)
    assert whole["airtime"] == pytest.approx(2 * air / 4, abs=0.025)
    assert whole["standing"] == 1


def test_lifting_one_foot_is_not_a_jump() -> None:
    times = moments(4, 25)
    figure = at_rest(len(times))
    feet = [PLACE["left_ankle"], PLACE["right_ankle"], PLACE["left_knee"], PLACE["right_knee"]]
    figure[:, feet, 1] += 0.4 * np.sin(np.pi * times / 0.8)[:, None].clip(0)  # somebody who hangs and draws up the legs
    assert measure(filmed(figure, times)).whole["airtime"] == 0


def test_walking_towards_the_camera_is_neither_crouching_nor_jumping() -> None:
    times = moments(8, 25)
    poses = filmed(at_rest(len(times)), times)
    joints = poses.joints.copy()
    joints[..., 1] += 6 * times.astype(np.float32)[:, None, None]
    whole = measure(Poses(joints, times, poses.skeleton, (1,), poses.size)).whole
    assert whole["standing"] == 1
    assert whole["airtime"] == 0


def test_the_level_is_standing_crouched_or_floor() -> None:
    times = moments(3, 25)
    crouched = at_rest(len(times))
    legs = [PLACE[f"{side}_{joint}"] for side in ("left", "right") for joint in ("knee", "ankle")]
    others = [place for place in PLACE.values() if place not in legs]
    crouched[:, others, 1] -= 0.42
    lying = turned(at_rest(len(times)), "z", np.full(len(times), np.pi / 2))
    headstand = turned(at_rest(len(times)), "z", np.full(len(times), np.pi))
    figures = {"standing": [at_rest(len(times))], "crouched": [crouched], "floor": [lying, headstand]}
    for level, some in figures.items():
        for figure in some:
            whole = measure(filmed(figure, times)).whole
            assert whole[level] == 1
            assert whole.level == level
            assert sum(whole[name] for name in figures) == pytest.approx(1)
    assert measure(filmed(at_rest(len(times)), times)).whole["height"] == pytest.approx(0.84 / BODY, abs=0.01)


# -- what must not matter ----------------------------------------------------------------------------------------------------

INVARIANT = [name for name in NAMES if name not in ("turns net", "spins net")]


def alike(one: PersonKinematics, other: PersonKinematics, *, rel: float, absolute: float) -> None:
    for name in INVARIANT:
        a, b = one.whole[name], other.whole[name]
        assert math.isnan(a) == math.isnan(b), name
        assert math.isnan(a) or a == pytest.approx(b, rel=rel, abs=absolute), name


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(20, 2000), x=st.floats(-3000, 3000), y=st.floats(-3000, 3000))
def test_size_and_position_in_the_frame_do_not_matter(scale: float, x: float, y: float) -> None:
    times = moments(5, 25)
    figure = dancing(times)
    alike(measure(filmed(figure, times)), measure(filmed(figure, times, scale=scale, place=(x, y))), rel=0.01, absolute=0.01)


@settings(max_examples=8, deadline=None)
@given(fps=st.sampled_from((30.0, 50.0, 60.0, 120.0)), start=st.floats(0, 1000))
def test_frame_rate_and_start_time_do_not_matter(fps: float, start: float) -> None:
    few, many = moments(5, 25), moments(5, fps)
    one, other = filmed(dancing(few), few), filmed(dancing(many), many + start)
    alike(measure(one), measure(other), rel=0.03, absolute=0.02)


def test_an_uneven_frame_rate_does_not_matter() -> None:
    even = moments(5, 30)
    uneven = np.sort(even + np.random.default_rng(0).uniform(-0.008, 0.008, len(even)))
    alike(measure(filmed(dancing(even), even)), measure(filmed(dancing(uneven), uneven)), rel=0.04, absolute=0.03)


def test_jitter_hardly_changes_the_measurements() -> None:
    times = moments(5, 30)
    still, shaken = measure(filmed(dancing(times), times)), measure(filmed(dancing(times), times, shake=0.003))
    for name in ("speed", "hands speed", "reach", "hands range", "travel", "evenness", "regularity"):
        assert shaken.whole[name] == pytest.approx(still.whole[name], rel=0.15), name
    assert shaken.whole["tempo"] == pytest.approx(still.whole["tempo"], rel=0.03)
    assert shaken.whole["turns"] == pytest.approx(still.whole["turns"], abs=0.1)


def test_all_skeletons_of_one_body_give_the_same_measurements() -> None:
    times = moments(5, 25)
    poses = filmed(dancing(times), times)
    coco = measure(poses)
    for name in ("openpose-25", "openpose-18", "halpe-26"):
        target = SKELETONS[name]
        joints = convert(poses.joints, poses.skeleton, target)
        there = joints[..., -1].reshape(-1, len(target)).any(axis=0)
        sliced = Skeleton(name, tuple(np.array(target.joints)[there].tolist()), (), (), 2)
        mirrored = tuple(
            (sliced.joints.index(joint), sliced.joints.index(joint.replace("left", "right"))) for joint in sliced.joints if "left" in joint
        )
        other = measure(Poses(joints[:, :, there], times, Skeleton(name, sliced.joints, (), mirrored, 2), (1,)))
        for number in ("speed", "hands speed", "reach", "tempo", "turns net", "standing", "airtime", "evenness"):
            assert other.whole[number] == pytest.approx(coco.whole[number], rel=0.02, abs=0.02), (name, number)


def test_a_single_wrong_joint_is_dropped() -> None:
    times = moments(5, 25)
    poses = filmed(dancing(times), times)
    joints = poses.joints.copy()
    joints[40, 0, PLACE["left_wrist"], :2] = 5.0
    wrong = measure(Poses(joints, times, poses.skeleton, (1,), poses.size))
    assert wrong.whole["hands speed peak"] == pytest.approx(measure(poses).whole["hands speed peak"], rel=0.05)


# -- what is not seen --------------------------------------------------------------------------------------------------------


def test_values_of_missing_joints_are_unknown_with_a_reason() -> None:
    times = moments(4, 25)
    poses = filmed(dancing(times), times)
    arms = [PLACE[f"{side}_{joint}"] for side in ("left", "right") for joint in ("shoulder", "elbow", "wrist")]
    names = tuple(poses.skeleton.joints[place] for place in arms)
    upper = Skeleton("arms", names, (), ((0, 3), (1, 4), (2, 5)), 2)
    whole = measure(Poses(poses.joints[:, :, arms], times, upper, (1,))).whole
    assert whole["hands speed"] > 0
    assert whole["turns"] >= 0
    for name in ("feet speed", "airtime", "height", "standing", "spins", "feet fluidity", "head speed"):
        assert math.isnan(whole[name]), name
        assert "'arms'" in whole.unknown[name], name
    points = measure(Poses(poses.joints, times, unnamed_skeleton(17, 2), (1,))).whole
    assert points["speed"] > 0
    assert math.isnan(points["symmetry"])
    assert math.isnan(points["hands speed"])


def test_a_window_with_fewer_than_half_of_the_joints_is_unknown() -> None:
    times = moments(8, 25)
    poses = filmed(dancing(times), times)
    joints = poses.joints.copy()
    joints[(times > 3.9), :, :9] = np.nan
    windows = measure(Poses(joints, times, poses.skeleton, (1,), poses.size)).windows
    early = [window for window in windows if window.end <= 3.9]
    late = [window for window in windows if window.start >= 4]
    assert early
    assert late
    assert all(window["speed"] > 0 for window in early)
    for window in late:
        assert np.isnan(window.values).all()
        assert "% of the joints are visible" in window.unknown["speed"]


def test_gaps_do_not_hide_the_visible_part() -> None:
    times = moments(8, 25)
    way = 0.3 * np.stack([np.cos(TAU * times), np.sin(TAU * times), 0 * times], axis=1)
    poses = filmed(at_rest(len(times)) + way[:, None], times)
    joints = poses.joints.copy()
    joints[(times > 3) & (times < 4.5)] = np.nan
    joints[::7, :, PLACE["left_wrist"]] = np.nan
    whole = measure(Poses(joints, times, poses.skeleton, (1,), poses.size)).whole
    assert whole["speed"] == pytest.approx(TAU * 0.3 / BODY, rel=0.03)
    assert whole["hands speed"] == pytest.approx(TAU * 0.3 / BODY, rel=0.03)
    assert whole["tempo"] == pytest.approx(60, rel=0.02)


def test_centred_poses_have_no_travel() -> None:
    times = moments(4, 25)
    figure = dancing(times)
    hips = figure[:, [PLACE["left_hip"], PLACE["right_hip"]]].mean(axis=1, keepdims=True)
    whole = measure(in_space(figure - hips, times)).whole
    for name in ("centre speed", "travel", "airtime"):
        assert math.isnan(whole[name])
        assert "centred on the body" in whole.unknown[name]
    assert whole["standing"] == 1
    assert whole["hands speed"] > 0


def test_the_upward_axis_in_3d_is_inferred_or_given() -> None:
    times = moments(4, 25)
    figure = turned(at_rest(len(times)), "y", TAU * times / 4)
    figure[..., 1] += jumping(times, 0.3, (1.5,))[:, None]
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):  # right-handed ways to name the axes
        for flip in (np.array([1, 1, 1]), np.array([-1, -1, 1])):
            poses = in_space((figure * flip)[..., order], times)
            measured = measure(poses).whole
            assert measured["standing"] == 1
            assert measured["turns net"] == pytest.approx(1, abs=0.03)
            assert measured["longest air"] == pytest.approx(0.49, abs=0.05)
    upside_down = in_space(turned(at_rest(len(times)), "z", np.full(len(times), np.pi)), times)
    assert measure(upside_down, KinematicsConfig(up="y")).whole["floor"] == 1
    with pytest.raises(ConfigError, match="no z"):
        measure(filmed(figure, times), KinematicsConfig(up="z"))


@pytest.mark.parametrize("frames", [0, 1, 3])
def test_too_few_frames_are_refused(frames: int) -> None:
    times = moments(1, 25)[:frames]
    with pytest.raises(QuickstepError, match="too few"):
        measure(filmed(at_rest(frames), times))


def test_too_short_poses_are_refused() -> None:
    times = moments(1, 240)[:9]
    with pytest.raises(QuickstepError, match=r"0\.033 seconds are too few"):
        measure(filmed(at_rest(9), times))


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(SKELETONS)),
    frames=st.integers(4, 80),
    fps=st.sampled_from((5.0, 25.0, 60.0)),
    seen=st.sampled_from((0.2, 0.6, 0.9, 1.0)),
    seed=st.integers(0, 99),
)
def test_any_poses_give_values_or_reasons(name: str, frames: int, fps: float, seen: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    skeleton = SKELETONS[name]
    joints = rng.normal(0, 10, (frames, 1, len(skeleton), skeleton.dimensions + 1)).cumsum(axis=0)
    joints[..., -1] = rng.random(joints.shape[:-1]) < seen
    try:
        measured = measure(Poses(joints.astype(np.float32), np.arange(frames) / fps, skeleton, (1,)))
    except QuickstepError:  # one line, as all of them are: too short, or nobody
        return
    for numbers in (measured.whole, *measured.windows):
        assert all(math.isfinite(numbers[key]) or numbers.unknown[key] for key in NAMES)
        assert all(
            -1e-9 <= numbers[key] <= 1 + 1e-9 for key in ("evenness", "regularity", "airtime", "floor") if key not in numbers.unknown
        )
    assert describe(measured).startswith("Person 1")


def test_invisible_and_collapsed_bodies_are_refused() -> None:
    times = moments(1, 25)
    poses = filmed(at_rest(len(times)), times)
    unseen, spot = poses.joints.copy(), poses.joints.copy()
    unseen[..., -1] = 0
    spot[..., :2] = 7.0
    for joints in (unseen, spot):
        with pytest.raises(QuickstepError, match="one spot"):
            measure(Poses(joints, times, poses.skeleton, (1,)))


# -- windows, words, files ---------------------------------------------------------------------------------------------------


def test_windows_start_every_stride_and_the_last_ends_at_the_end() -> None:
    times = moments(7.3, 25)
    measured = measure(filmed(dancing(times), times), KinematicsConfig(window=2, stride=1))
    starts = [window.start for window in measured.windows]
    assert starts[:6] == pytest.approx([0, 1, 2, 3, 4, 5], abs=0.02)
    assert measured.windows[-1].end == pytest.approx(times[-1], abs=0.02)
    assert all(window.end - window.start == pytest.approx(2, abs=0.03) for window in measured.windows)
    short = measure(filmed(dancing(times), times), KinematicsConfig(window=60))
    assert [(window.start, window.end) for window in short.windows] == [(short.whole.start, short.whole.end)]
    assert not measure(filmed(dancing(times), times), KinematicsConfig(window=0)).windows


@pytest.mark.parametrize(("field", "value"), [("window", 0.1), ("window", math.nan), ("stride", 0.0), ("up", "north")])
def test_settings_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        KinematicsConfig(**{field: value})  # type: ignore[arg-type]


def test_files_are_measured_drawn_and_written(tmp_path: Path) -> None:
    from quickstep.evaluation.rendering.kinematics import draw_kinematics, write_kinematics_csv

    times = moments(5, 25)
    one, other = filmed(dancing(times), times), filmed(turned(at_rest(len(times)), "y", TAU * times / 2.5), times, place=(100, 440))
    both = Poses(np.concatenate([one.joints, other.joints], axis=1), times, one.skeleton, (3, 8), one.size)
    write_poses(both, tmp_path / "two.npz")
    (tmp_path / "broken.npz").write_bytes(b"nothing")
    result = kinematics([tmp_path / "two.npz", tmp_path / "broken.npz"], poses=PoseConfig(person="all"))
    assert [person.person for person in result.people] == [3, 8]
    assert len(result.failures) == 1
    assert "broken.npz" in str(result.failures[0])
    eighth = kinematics([tmp_path / "two.npz"], poses=PoseConfig(person="8")).people[0]
    np.testing.assert_array_equal(eighth.whole.values, result.people[1].whole.values)
    assert "Turns 2.0 times about the vertical, to the left" in describe(result.people[1])
    assert all(len(row) == len(HEADINGS) for row in table(result.people[0]))
    rows = list(csv.DictReader(write_kinematics_csv(result, tmp_path / "out" / "numbers.csv").read_text().splitlines()))
    assert len(rows) == sum(1 + len(person.windows) for person in result.people)
    assert float(rows[0]["hands speed (body lengths/s)"]) == pytest.approx(result.people[0].whole["hands speed"], rel=1e-5)
    plain = json.loads(json.dumps([person.to_json() for person in result.people], allow_nan=False))
    assert plain[1]["whole"]["numbers"]["turns net"] == pytest.approx(2, abs=0.05)
    assert set(plain[0]["whole"]["unknown"]) == {name for name, value in plain[0]["whole"]["numbers"].items() if value is None}
    (picture,) = draw_kinematics(result, tmp_path / "picture.png")
    assert picture == tmp_path / "picture.png"
    assert np.asarray(Image.open(picture).convert("L")).std() > 10
    with pytest.raises(MediaError, match="docx"):
        draw_kinematics(result, tmp_path / "picture.docx")
    with pytest.raises(ConfigError, match="no z"):
        kinematics([tmp_path / "two.npz"], KinematicsConfig(up="z"))
    with pytest.raises(MediaError, match="has no person 5"):
        kinematics([tmp_path / "two.npz"], poses=PoseConfig(person="5"), strict=True)


def test_a_rarely_visible_person_is_a_failure_and_the_others_are_measured(tmp_path: Path) -> None:
    times = moments(5, 25)
    poses = filmed(dancing(times), times)
    brief = poses.joints.copy()
    brief[2:] = np.nan
    write_poses(Poses(np.concatenate([poses.joints, brief], axis=1), times, poses.skeleton, (1, 2), poses.size), tmp_path / "two.npz")
    result = kinematics([tmp_path / "two.npz"], poses=PoseConfig(person="all"))
    assert [person.person for person in result.people] == [1]
    assert "person 2" in str(result.failures[0])


def test_the_command_prints_a_table_a_paragraph_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from quickstep.apps.commands.options import Run
    from quickstep.apps.commands.signals import kinematics_command

    times = moments(5, 25)
    write_poses(filmed(dancing(times), times), tmp_path / "a.npz")
    name = str(tmp_path / "a.npz")
    assert kinematics_command((name,), draw=tmp_path / "a.png", out=tmp_path / "a.csv") == 0
    printed = capsys.readouterr().out
    assert "speed (bl/s)" in printed
    assert "Person 1, 0.0 to 5.0 s: moves at" in printed
    assert (tmp_path / "a.png").is_file()
    assert (tmp_path / "a.csv").is_file()
    assert kinematics_command((name,), run=Run(json=True)) == 0
    (output,) = json.loads(capsys.readouterr().out)
    assert output["whole"]["numbers"]["hands speed"] == pytest.approx(kinematics([name]).people[0].whole["hands speed"], rel=1e-5)
    assert kinematics_command((str(tmp_path / "absent.npz"),)) == 1
    assert "absent.npz" in capsys.readouterr().err


# -- the demo's dancers ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dancers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dancers")
    moves = ("spin-left", "spin-right", "groove-fast", "groove-slow", "headspin", "toprock", "drop-then-reach")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("quickstep.datasets.synthetic.write_video", lambda *_, **__: None)  # only the joints are needed
        draw_dancers(folder, DemoConfig(moves=moves, videos=2, dancers=2, seconds=4, width=160, height=120, clutter=0))
    return folder


def test_synthetic_dancers_move_as_their_labels_say(dancers: Path) -> None:
    def of(move: str) -> list[PersonKinematics]:
        return list(kinematics(sorted((dancers / move).glob("*.npz")), strict=True).people)

    def true_turns(person: PersonKinematics) -> float:
        with np.load(person.path) as file:
            line = file["joints_3d"][:, 5] - file["joints_3d"][:, 6]
        angle = np.unwrap(np.arctan2(-line[:, 2], line[:, 0])) / TAU
        return float(angle[-1] - angle[0])

    for move, sign in (("spin-left", 1), ("spin-right", -1)):
        for person in of(move):
            assert person.whole["turns net"] * sign > 2
            assert person.whole["turns net"] == pytest.approx(true_turns(person), rel=0.1)
            assert person.whole["standing"] == 1
    for fast, slow in zip(of("groove-fast"), of("groove-slow"), strict=True):
        assert fast.whole["tempo"] > 1.5 * slow.whole["tempo"]
        assert fast.whole["speed"] > 1.5 * slow.whole["speed"]
    assert all(person.whole["floor"] > 0.9 for person in of("headspin"))
    assert all(person.whole["crouched"] > 0.05 for person in of("drop-then-reach"))
    assert all(person.whole["airtime"] == 0 and person.whole["turns"] < 0.5 for person in of("toprock"))


# -- as a backbone -----------------------------------------------------------------------------------------------------------


def test_the_backbone_gives_values_and_flags() -> None:
    times = moments(5, 25)
    poses = filmed(dancing(times), times)
    backbone = open_backbone("kinematics", poses={"skeleton": "coco-17"})
    features = backbone.embed([poses])[0]  # type: ignore[list-item]
    windows = measure(poses, KinematicsConfig(window=2, stride=1)).windows
    count = len(QUANTITIES)
    assert features.values.shape == (len(windows), 2 * count) == (len(windows), backbone.width)
    assert len(backbone.names) == 2 * count  # type: ignore[attr-defined]
    assert np.isfinite(features.values).all()
    for row, window in zip(features.values, windows, strict=True):
        measured = np.isfinite(window.values)
        np.testing.assert_array_equal(row[count:], measured)
        np.testing.assert_allclose(row[:count][measured], window.values[measured], rtol=1e-6)
    absent = poses.joints.copy()
    absent[:, :, [PLACE["left_ankle"], PLACE["right_ankle"]]] = np.nan
    without = backbone.embed([Poses(absent, times, poses.skeleton, (1,), poses.size)])[0]  # type: ignore[list-item]
    feet = NAMES.index("feet speed")
    assert (without.values[:, feet] == np.float32(QUANTITIES[feet].default)).all()
    assert (without.values[:, count + feet] == 0).all()


def test_extra_trees_separate_fast_from_slow_and_can_be_saved() -> None:
    rng = np.random.default_rng(0)
    rows: list[Features] = []
    labels = np.arange(24) % 3
    for label in labels:
        count = int(rng.integers(1, 6))
        rows.append(Features(rng.normal(2 * label, 0.5, (count, 6)).astype(np.float32), np.arange(count, dtype=np.float64)))
    head = open_head("extra-trees", {"trees": 30})
    head.fit(Examples(rows, labels), classes=3, fitting=FitConfig())
    logits = head.scores(rows)
    assert (logits.argmax(axis=1) == labels).all()
    again = open_head("extra-trees", {"trees": 30})
    again.load(head.weights())
    np.testing.assert_array_equal(again.scores(rows), logits)
    np.testing.assert_array_equal(head.scores(rows[:1])[0], logits[0])
    broken = head.weights() | {"sizes": np.array([3, 1], dtype=np.int32)}
    with pytest.raises(ValueError, match="trees"):
        again.load(broken)
    with pytest.raises(ConfigError, match="vectors of"):
        head.scores([Features(np.zeros((2, 5), dtype=np.float32), np.arange(2.0))])


def test_a_report_shows_which_quantities_made_the_difference(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    times = moments(3, 25)
    rows = ["path,label,group,split"]
    for number in range(48):
        label = ("slow", "quick")[number % 2]
        figure = circling(times, rng.uniform(0.15, 0.3), (0.5, 1.4)[number % 2] * rng.uniform(0.9, 1.1))
        figure[:, PLACE["right_wrist"], 1] += rng.uniform(0, 0.6)  # of no meaning
        write_poses(filmed(figure, times), tmp_path / f"{number}.npz")
        rows.append(f"{number}.npz,{label},dancer {number // 4},{'train' if number < 20 else 'val' if number < 28 else 'test'}")
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    config = TrainConfig(backbone="kinematics", head="extra-trees")
    trained = train(read_manifest(tmp_path / "list.csv"), config)
    trained.model.save(tmp_path / "model")
    report = evaluate(Model.load(tmp_path / "model"), baselines=False)
    assert report.figures.accuracy.value == 1
    families = {importance.name: importance for importance in report.importances if importance.members}
    assert max(families.values(), key=lambda importance: importance.loss.value).name == "how fast"
    assert families["how fast"].loss.low > 0
    for idle in ("how high", "how it turns"):
        assert families[idle].loss.value == 0
    single = {importance.name: importance for importance in report.importances if not importance.members}
    assert set(single) == set(NAMES)
    assert single["height"].loss.value == 0
    assert Report.from_json(report.to_json()) == report
    for text in (markdown(report), page(report), model_card(report)):
        assert "how fast" in text


def test_the_backbone_refuses_other_windows() -> None:
    with pytest.raises(ConfigError, match="windows of 2 seconds"):
        view_for(open_backbone("kinematics"), frames=8)
