"""Augment: what is shown in training. The truth: pictures moved by known amounts, flow measured anew, and the view itself."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickstep.training.augmentation.augment import NOTHING, Augment, Draw
from quickstep.training.augmentation.mirrored_labels import mirror_of
from quickstep.types.errors import ConfigError
from quickstep.types.signals import Flow, Frames
from quickstep.types.view import View

VIEW = View(frames=4, size=64)
ALL_OFF = {"flip": 0.0, "crop": 0.0, "rotation": 0.0, "colour": 0.0, "noise": 0.0, "erase": 0.0, "time_jitter": 0.0, "speed": 0.0}


def texture(width: int, height: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3)).astype(np.uint8)
    return cv2.GaussianBlur(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), (0, 0), 1.5)


def moving(step: tuple[float, float], width: int = 96, height: int = 64, count: int = 4) -> Frames:
    """Draw a texture that moves by `step` pixels (right, down) a frame."""
    big = texture(width + 80, height + 80)
    shift = [np.array([[1, 0, 40 - step[0] * k], [0, 1, 40 - step[1] * k]], float) for k in range(count)]
    pictures = [cv2.warpAffine(big, m, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP) for m in shift]
    return Frames(np.stack(pictures), np.arange(count) / 4)


def steady(step: tuple[float, float], like: Frames, bound: float = 8.0) -> Flow:
    """Return the true flow of that motion."""
    field = np.broadcast_to(np.array(step, np.float32), (*like.pixels.shape[:3], 2))
    return Flow.of(field, like.times, bound=bound)


def draw(seed: int = 0, **parts: float) -> Draw:
    return Augment(**{**ALL_OFF, **parts}).draw(np.random.default_rng(seed))  # type: ignore[arg-type]


def test_nothing_shows_what_is_tested() -> None:
    frames = moving((2, 0))
    cut = VIEW.cuts(96, 64)[0]
    drawn = NOTHING.draw(np.random.default_rng(3))
    assert (drawn.frames(frames, VIEW).pixels == cut.out_of(frames.pixels)).all()
    flow = steady((2, -1), frames)
    assert (drawn.flow(flow, VIEW).levels == cut.out_of(flow.levels)).all()


@given(seed=st.integers(0, 10_000), start=st.floats(0, 5), length=st.floats(0.3, 12), paced=st.booleans(), windows=st.integers(1, 3))
def test_without_time_the_moments_are_those_of_a_window_of_the_view(
    seed: int, start: float, length: float, paced: bool, windows: int
) -> None:
    view = replace(VIEW, fps=4.0 if paced else None, windows=windows)
    timestamps = NOTHING.draw(np.random.default_rng(seed)).view(view).timestamps(start, start + length)
    assert any(np.array_equal(timestamps[0], row) for row in view.timestamps(start, start + length))


@given(seed=st.integers(0, 10_000), start=st.floats(0, 5), length=st.floats(0.05, 12), paced=st.booleans(), windows=st.integers(1, 3))
def test_moved_moments_stay_inside_the_segment_and_ascend(seed: int, start: float, length: float, paced: bool, windows: int) -> None:
    view = replace(VIEW, fps=4.0 if paced else None, windows=windows)
    drawn = Augment(augment=1.0).draw(np.random.default_rng(seed))
    (times,) = drawn.view(view).timestamps(start, start + length)
    assert times.shape == (4,)
    assert (times >= start).all()
    assert (times < start + length).all()
    assert (np.diff(times) >= 0).all()
    if paced and length > 3 and not np.isclose(times[-1], start + length):  # the pace is even, and changed by at most a quarter
        np.testing.assert_allclose(np.diff(times), np.diff(times)[0], rtol=1e-6)
        assert 1 / 1.25 - 1e-9 <= np.diff(times)[0] * 4 <= 1.25 + 1e-9


def test_moments_do_move_over_the_whole_segment() -> None:
    paced = replace(VIEW, fps=4.0)
    firsts = [draw(seed, time_jitter=1.0).view(paced).timestamps(0, 10)[0, 0] for seed in range(200)]
    assert min(firsts) < 0.5
    assert max(firsts) > 8.5
    assert len({round(first, 6) for first in firsts}) == 200


def test_a_mirrored_window_is_the_mirror_image() -> None:
    frames = moving((2, 0))
    cut = VIEW.cuts(96, 64)[0].out_of(frames.pixels)
    assert (draw(flip=1.0).frames(frames, VIEW).pixels == cut[:, :, ::-1]).all()
    assert (draw(vertical_flip=1.0).frames(frames, VIEW).pixels == cut[:, ::-1]).all()
    np.testing.assert_allclose(draw(flip=1.0).flow(steady((3, 2), frames), VIEW).pixels[0, 5, 5], (-3, 2), atol=0.05)
    np.testing.assert_allclose(draw(vertical_flip=1.0).flow(steady((3, 2), frames), VIEW).pixels[0, 5, 5], (3, -2), atol=0.05)


@pytest.mark.parametrize(
    "parts", [{"flip": 1.0}, {"vertical_flip": 1.0}, {"crop": 1.0}, {"rotation": 90.0}, {"flip": 1.0, "crop": 0.7, "rotation": 40.0}]
)
@pytest.mark.parametrize("seed", range(3))
def test_changed_flow_is_the_flow_of_the_changed_pictures(parts: dict[str, float], seed: int) -> None:
    """Measured by another's optical flow (DIS) between the pictures as they are shown."""
    step = (2.5, -1.5)
    frames = moving(step)
    change = draw(seed, **parts)
    changed = change.frames(frames, VIEW).pixels
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in changed]
    measured = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(grey[0], grey[1], None)
    expected = change.flow(steady(step, frames), VIEW).pixels[0]
    inside = (expected != 0).any(axis=-1)
    inside[:8] = inside[-8:] = inside[:, :8] = inside[:, -8:] = False
    assert np.median(np.linalg.norm(measured - expected, axis=-1)[inside]) < 0.25


def test_all_pictures_of_a_window_are_changed_alike() -> None:
    still = Frames(np.repeat(texture(96, 64)[None], 5, axis=0), np.arange(5) / 4)
    for seed in range(5):
        pixels = Augment(augment=1.0, noise=0.0).draw(np.random.default_rng(seed)).frames(still, VIEW).pixels
        assert (pixels == pixels[:1]).all()
    grainy = draw(noise=0.1).frames(still, VIEW).pixels.astype(int)
    assert (grainy[0] != grainy[1]).mean() > 0.5  # grain is another in every picture
    assert 1 < (grainy - still.pixels[:, :, 16:80]).std() < 0.1 * 255 * 1.1


def test_colours_stay_where_they_are_and_rectangles_cover_one_place() -> None:
    grey = Frames(np.full((2, 64, 96, 3), 100, np.uint8), np.arange(2) / 2)
    turned = replace(draw(), colour=(0.0, 0.0, 0.5, 1.0)).frames(grey, VIEW).pixels
    assert (abs(turned.astype(int) - 100) <= 1).all()  # grey has no hue and no saturation
    brighter = replace(draw(), colour=(0.2, 0.0, 0.0, 0.0)).frames(grey, VIEW).pixels
    assert (abs(brighter.astype(int) - 120) <= 1).all()
    covered = draw(erase=1.0).frames(grey, VIEW).pixels != 100
    assert (covered[0] == covered[1]).all()
    assert 0.01 < covered.any(axis=-1)[0].mean() < 0.25
    flow = draw(erase=1.0).flow(steady((3, 0), grey), VIEW).levels
    assert ((flow[..., 0] == 128).mean(axis=(1, 2)) > 0.01).all()


def test_one_dial_scales_all_and_each_stands_by_itself() -> None:
    assert not any(Augment(augment=0.0).strengths.values())
    weak, strong = Augment(augment=0.2).strengths, Augment(augment=0.9).strengths
    assert all(weak[name] < strong[name] for name in weak if name != "vertical_flip")
    alone = Augment(augment=0.0, rotation=10.0).strengths
    assert alone.pop("rotation") == 10.0
    assert not any(alone.values())
    assert Augment(augment=1.0, crop=0.0).strengths["crop"] == 0
    assert Augment(augment=1.0).strengths["vertical_flip"] == 0


def test_turning_one_part_off_leaves_the_others_as_they_were() -> None:
    both, one = (Augment(augment=1.0, **off).draw(np.random.default_rng(4)) for off in ({}, {"crop": 0.0}))  # type: ignore[arg-type]
    assert (both.turn, both.colour, both.lead) == (one.turn, one.colour, one.lead)


@pytest.mark.parametrize("view", [replace(VIEW, fit="stretch"), replace(VIEW, edge=80), VIEW])
def test_any_size_of_video_is_brought_to_the_view(view: View) -> None:
    for width, height in ((96, 64), (64, 96), (64, 64), (300, 64)):
        scaled = view.uncut().picture(width * 3, height * 3)[0]
        frames = Frames(np.repeat(texture(*scaled)[None], 2, axis=0), np.arange(2) / 2)
        for seed in range(4):
            assert Augment(augment=1.0).draw(np.random.default_rng(seed)).frames(frames, view).pixels.shape == (2, 64, 64, 3)


def test_labels_that_name_sides_change_them_in_the_mirror() -> None:
    mirror = mirror_of(("halo", "spin-left", "spin-right", "turn_Clockwise", "turn_Anticlockwise", "kick left", "brightly"), Augment())
    assert mirror.swapped == {
        "spin-left": "spin-right",
        "spin-right": "spin-left",
        "turn_Clockwise": "turn_Anticlockwise",
        "turn_Anticlockwise": "turn_Clockwise",
    }
    assert mirror.never == {"kick left"}
    assert "spin-left" in mirror.notes[0]
    flipped = replace(draw(), flipped=True)
    assert mirror.name("spin-left", flipped) == "spin-right"
    assert mirror.name("spin-left", draw()) == "spin-left"
    assert mirror.name("halo", flipped) == "halo"
    assert not mirror.allows("kick left")
    assert not Augment(flip=1.0).draw(np.random.default_rng(0), mirrors=False).flipped


def test_what_was_said_of_labels_counts_alone() -> None:
    labels = ("a", "b", "c:d", "e", "left", "right")
    mirror = mirror_of(labels, Augment(mirror_labels=("a:b", "c:d:e", "left")))
    assert mirror.swapped == {"a": "b", "b": "a", "c:d": "e", "e": "c:d"}
    assert mirror.never == {"left"}
    assert mirror_of(labels, Augment(mirror_labels=("none",))).swapped == {}
    for wrong in ("a:x", "x", "a:b:"):
        with pytest.raises(ConfigError, match="mirror_labels"):
            mirror_of(labels, Augment(mirror_labels=(wrong,)))
    with pytest.raises(ConfigError, match="one mirror image"):
        mirror_of(labels, Augment(mirror_labels=("a:b", "a:e")))


@pytest.mark.parametrize("wrong", [{"augment": 1.5}, {"flip": -0.1}, {"rotation": 200.0}, {"speed": float("nan")}])
def test_strengths_out_of_range_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError) as refused:
        Augment(**wrong)  # type: ignore[arg-type]
    assert refused.value.field == next(iter(wrong))
