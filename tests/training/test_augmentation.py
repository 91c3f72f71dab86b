"""Augmentation, compared with frames that move by known amounts, with flow computed by OpenCV, and with the unchanged view."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from videos import RECIPES, write_numbered

from quickstep.signals.video.limits import DecodingLimits
from quickstep.training.augmentation.augment import NOTHING, Augment, Draw
from quickstep.training.augmentation.mirrored_labels import mirror_of
from quickstep.training.finetuning.batches import read_drawn
from quickstep.types.errors import ConfigError
from quickstep.types.segment import Segment
from quickstep.types.signals import Flow, Frames
from quickstep.types.view import View

VIEW = View(frames=4, size=64)
ALL_OFF = {"flip": 0.0, "crop": 0.0, "rotation": 0.0, "colour": 0.0, "noise": 0.0, "erase": 0.0, "time_jitter": 0.0, "speed": 0.0}


def texture(width: int, height: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3)).astype(np.uint8)
    return cv2.GaussianBlur(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), (0, 0), 1.5)


def moving(step: tuple[float, float], width: int = 96, height: int = 64, count: int = 4) -> Frames:
    """Return frames of a texture that moves by `step` pixels (right, down) from frame to frame."""
    big = texture(width + 80, height + 80)
    shift = [np.array([[1, 0, 40 - step[0] * k], [0, 1, 40 - step[1] * k]], float) for k in range(count)]
    frames = [cv2.warpAffine(big, m, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP) for m in shift]
    return Frames(np.stack(frames), np.arange(count) / 4)


def constant_flow(step: tuple[float, float], like: Frames, bound: float = 8.0) -> Flow:
    """Return the true flow of frames that move by `step`."""
    field = np.broadcast_to(np.array(step, np.float32), (*like.pixels.shape[:3], 2))
    return Flow.of(field, like.times, bound=bound)


def draw(seed: int = 0, **parts: float) -> Draw:
    return Augment(**{**ALL_OFF, **parts}).draw(np.random.default_rng(seed))  # type: ignore[arg-type]


def test_without_augmentation_a_window_equals_the_test_crop() -> None:
    frames = moving((2, 0))
    cut = VIEW.cuts(96, 64)[0]
    nothing = NOTHING.draw(np.random.default_rng(3))
    assert (nothing.frames(frames, VIEW).pixels == cut.out_of(frames.pixels)).all()
    flow = constant_flow((2, -1), frames)
    assert (nothing.flow(flow, VIEW).levels == cut.out_of(flow.levels)).all()


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), start=st.floats(0, 5), length=st.floats(0.3, 12), paced=st.booleans(), windows=st.integers(1, 3))
def test_without_augmentation_the_timestamps_are_those_of_a_window_of_the_view(
    seed: int, start: float, length: float, paced: bool, windows: int
) -> None:
    view = replace(VIEW, fps=4.0 if paced else None, windows=windows)
    times = NOTHING.draw(np.random.default_rng(seed)).view(view).timestamps(start, start + length)
    assert any(np.array_equal(times[0], row) for row in view.timestamps(start, start + length))


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), start=st.floats(0, 5), length=st.floats(0.05, 12), paced=st.booleans(), windows=st.integers(1, 3))
def test_moved_timestamps_ascend_inside_the_segment(seed: int, start: float, length: float, paced: bool, windows: int) -> None:
    view = replace(VIEW, fps=4.0 if paced else None, windows=windows)
    change = Augment(augment=1.0).draw(np.random.default_rng(seed))
    (times,) = change.view(view).timestamps(start, start + length)
    assert times.shape == (4,)
    assert (times >= start).all()
    assert (times < start + length).all()
    assert (np.diff(times) >= 0).all()
    if paced and length > 3 and not np.isclose(times[-1], start + length):  # evenly spaced, and at most a quarter faster or slower
        np.testing.assert_allclose(np.diff(times), np.diff(times)[0], rtol=1e-6)
        assert 1 / 1.25 - 1e-9 <= np.diff(times)[0] * 4 <= 1.25 + 1e-9


def test_windows_move_over_the_whole_segment() -> None:
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
    np.testing.assert_allclose(draw(flip=1.0).flow(constant_flow((3, 2), frames), VIEW).pixels[0, 5, 5], (-3, 2), atol=0.05)
    np.testing.assert_allclose(draw(vertical_flip=1.0).flow(constant_flow((3, 2), frames), VIEW).pixels[0, 5, 5], (3, -2), atol=0.05)


@pytest.mark.parametrize(
    "parts", [{"flip": 1.0}, {"vertical_flip": 1.0}, {"crop": 1.0}, {"rotation": 90.0}, {"flip": 1.0, "crop": 0.7, "rotation": 40.0}]
)
@pytest.mark.parametrize("seed", range(3))
def test_changed_flow_is_the_flow_of_the_changed_frames(parts: dict[str, float], seed: int) -> None:
    """The reference is DIS optical flow of OpenCV between the changed frames."""
    step = (2.5, -1.5)
    frames = moving(step)
    change = draw(seed, **parts)
    changed = change.frames(frames, VIEW).pixels
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in changed]
    measured = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(grey[0], grey[1], None)
    computed = change.flow(constant_flow(step, frames), VIEW).pixels[0]
    inside = (computed != 0).any(axis=-1)
    inside[:8] = inside[-8:] = inside[:, :8] = inside[:, -8:] = False
    assert np.median(np.linalg.norm(measured - computed, axis=-1)[inside]) < 0.25


def test_all_frames_of_a_window_are_changed_alike_but_have_different_noise() -> None:
    still = Frames(np.repeat(texture(96, 64)[None], 5, axis=0), np.arange(5) / 4)
    for seed in range(5):
        changed = Augment(augment=1.0, noise=0.0).draw(np.random.default_rng(seed)).frames(still, VIEW).pixels
        assert (changed == changed[:1]).all()
    noisy = draw(noise=0.1).frames(still, VIEW).pixels.astype(int)
    assert (noisy[0] != noisy[1]).mean() > 0.5
    assert 1 < (noisy - still.pixels[:, :, 16:80]).std() < 0.1 * 255 * 1.1


def test_hue_and_saturation_keep_grey_and_a_rectangle_covers_the_same_pixels_of_all_frames() -> None:
    grey = Frames(np.full((2, 64, 96, 3), 100, np.uint8), np.arange(2) / 2)
    turned = replace(draw(), colour=(0.0, 0.0, 0.5, 1.0)).frames(grey, VIEW).pixels
    assert (abs(turned.astype(int) - 100) <= 1).all()  # grey has no hue and no saturation
    brighter = replace(draw(), colour=(0.2, 0.0, 0.0, 0.0)).frames(grey, VIEW).pixels
    assert (abs(brighter.astype(int) - 120) <= 1).all()
    covered = draw(erase=1.0).frames(grey, VIEW).pixels != 100
    assert (covered[0] == covered[1]).all()
    assert 0.01 < covered.any(axis=-1)[0].mean() < 0.25
    flow = draw(erase=1.0).flow(constant_flow((3, 0), grey), VIEW).levels
    assert ((flow[..., 0] == 128).mean(axis=(1, 2)) > 0.01).all()


def test_augment_scales_all_parts_and_a_part_can_be_set_alone() -> None:
    assert not any(Augment(augment=0.0).strengths.values())
    weak, strong = Augment(augment=0.2).strengths, Augment(augment=0.9).strengths
    assert all(weak[name] < strong[name] for name in weak if name != "vertical_flip")
    alone = Augment(augment=0.0, rotation=10.0).strengths
    assert alone.pop("rotation") == 10.0
    assert not any(alone.values())
    assert Augment(augment=1.0, crop=0.0).strengths["crop"] == 0
    assert Augment(augment=1.0).strengths["vertical_flip"] == 0


def test_switching_one_part_off_does_not_change_the_others() -> None:
    both, one = (Augment(augment=1.0, **off).draw(np.random.default_rng(4)) for off in ({}, {"crop": 0.0}))  # type: ignore[arg-type]
    assert (both.rotation, both.colour, both.offset) == (one.rotation, one.colour, one.offset)


@pytest.mark.parametrize("view", [replace(VIEW, fit="stretch"), replace(VIEW, edge=80), VIEW])
def test_videos_of_any_size_get_the_size_of_the_view(view: View) -> None:
    for width, height in ((96, 64), (64, 96), (64, 64), (300, 64)):
        scaled = view.uncut().picture(width * 3, height * 3)[0]
        frames = Frames(np.repeat(texture(*scaled)[None], 2, axis=0), np.arange(2) / 2)
        for seed in range(4):
            assert Augment(augment=1.0).draw(np.random.default_rng(seed)).frames(frames, view).pixels.shape == (2, 64, 64, 3)


def test_mirrored_segments_swap_labels_that_name_a_side() -> None:
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


def test_configured_mirror_labels_replace_the_words_for_sides() -> None:
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


def test_windows_moved_in_time_are_read_in_a_decoder_of_its_own_too(tmp_path: Path) -> None:
    """The command line reads every training window so; an augmented view has fields that the decoder does not know."""
    path = write_numbered(tmp_path / "a.mp4", RECIPES[0])
    view = Augment(augment=1.0).draw(np.random.default_rng(1)).view(View(frames=4, size=32))
    segment = Segment(path, start=0.0, end=1.0)
    with DecodingLimits(isolate="never").active():
        here = read_drawn(segment, view)
    with DecodingLimits(isolate="always").active():
        there = read_drawn(segment, view)
    np.testing.assert_array_equal(there.times, here.times)
    assert isinstance(here, Frames)
    assert isinstance(there, Frames)
    np.testing.assert_array_equal(there.pixels, here.pixels)
