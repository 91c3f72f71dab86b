"""Drawn poses: where they belong, as thick as they are sure, as long and fast as their video; stick figures without a pixel of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quickstep.signals.poses.concurrent_drawing import ConcurrentDrawing
from quickstep.signals.poses.drawing import COLOURS, Caption, Look, draw_bodies, draw_poses
from quickstep.signals.poses.tracking import track
from quickstep.signals.video import probe, read_frames, write_video
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.signals import Poses
from quickstep.types.skeleton import Skeleton, read_skeleton

BONE = Skeleton("bone", ("one", "other"), ((0, 1),))


def bones(times: np.ndarray, *, people: tuple[int, ...] = (1,), score: float = 1.0, size: tuple[int, int] | None = (200, 120)) -> Poses:
    """Upright bones, one a person, that walk to the right at 40 pixels a second."""
    joints = np.zeros((len(times), len(people), 2, 3), np.float32)
    for place in range(len(people)):
        joints[:, place, :, 0] = (20 + 60 * place + 40 * times)[:, None]
        joints[:, place, :, 1] = [50, 100]
        joints[:, place, :, 2] = score
    return Poses(joints, times, BONE, people, size)


def moving(folder: Path, *, fps: float = 30.0, seconds: float = 1.0, size: tuple[int, int] = (120, 200)) -> Path:
    """Write a video of even, bright grey."""
    file = folder / "video.mp4"
    write_video(file, (np.full((*size, 3), 230, np.uint8) for _ in range(round(fps * seconds))), fps=fps)
    return file


def where_drawn(picture: np.ndarray, background: int) -> tuple[float, float]:
    """Return the centre of the foreground in the lower half of a frame, below any name."""
    rows, columns = np.nonzero(np.abs(picture[70:].astype(int) - background).max(axis=2) > 60)
    return float(columns.mean()), float(rows.mean()) + 70


@pytest.mark.parametrize("fps", [10.0, 24.0, 29.97, 50.0])
def test_a_drawn_video_has_the_length_and_rate_of_the_original(tmp_path: Path, fps: float) -> None:
    video = moving(tmp_path, fps=fps)
    draw_poses(bones(np.arange(25) / 25), tmp_path / "out.mp4", video=video)
    before, after = probe(video), probe(tmp_path / "out.mp4")
    assert after.fps == pytest.approx(before.fps, rel=1e-3)
    assert after.frames == before.frames
    assert after.duration == pytest.approx(before.duration, abs=0.02)
    assert (after.width, after.height) == (before.width, before.height)


def test_bones_are_drawn_at_their_position_at_each_time(tmp_path: Path) -> None:
    video = moving(tmp_path, fps=50)
    draw_poses(bones(np.arange(10) / 10), tmp_path / "out.mp4", video=video)  # found five times as seldom
    at = np.array([0.0, 0.22, 0.5, 0.86])
    for picture, seconds in zip(read_frames(tmp_path / "out.mp4", at + 0.005).pixels, at, strict=True):
        assert where_drawn(picture, 230)[0] == pytest.approx(20 + 40 * seconds, abs=1.5)


def test_poses_of_another_size_are_drawn_at_the_same_place(tmp_path: Path) -> None:
    poses = bones(np.arange(25) / 25)
    large = Poses(poses.joints * np.float32([10, 10, 1]), poses.times, BONE, (1,), (2000, 1200))
    draw_poses(large, tmp_path / "out.mp4", video=moving(tmp_path))
    assert where_drawn(read_frames(tmp_path / "out.mp4", [0.5]).pixels[0], 230)[0] == pytest.approx(40, abs=1.5)


def test_an_invisible_person_is_not_drawn(tmp_path: Path) -> None:
    poses = bones(np.arange(25) / 25)
    joints = poses.joints.copy()
    joints[10:20] = 0
    draw_poses(replace(poses, joints=joints), tmp_path / "out.mp4", video=moving(tmp_path))
    pictures = read_frames(tmp_path / "out.mp4", [0.1, 0.6, 0.95]).pixels
    drawn = [(np.abs(picture.astype(int) - 230).max(axis=2) > 60).sum() for picture in pictures]
    assert drawn[0] > 50
    assert drawn[1] == 0
    assert drawn[2] > 50


def test_stick_figures_contain_no_pixel_of_the_video(tmp_path: Path) -> None:
    times = np.arange(25) / 25
    rng = np.random.default_rng(0)
    files = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write_video(tmp_path / name / "video.mp4", iter(rng.integers(0, 255, (30, 120, 200, 3)).astype(np.uint8)), fps=30)
        files.append(tmp_path / name / "out.mp4")
        draw_poses(bones(times), files[-1], video=tmp_path / name / "video.mp4", look=Look(stick_figures=True))
    assert probe(files[0]).frames == 30
    np.testing.assert_array_equal(*(read_frames(file, times).pixels for file in files))
    assert where_drawn(read_frames(files[0], [0.5]).pixels[0], 20)[0] == pytest.approx(40, abs=1.5)


@pytest.mark.parametrize("size", [(200, 120), None])
def test_stick_figures_need_no_video(tmp_path: Path, size: tuple[int, int] | None) -> None:
    poses = bones(3.0 + np.arange(50) / 25, size=size)
    draw_poses(poses, tmp_path / "out.mp4", look=Look(stick_figures=True))
    info = probe(tmp_path / "out.mp4")
    assert info.frames == 50
    assert info.fps == pytest.approx(25)
    assert (read_frames(tmp_path / "out.mp4", [1.0]).pixels[0].max(axis=2) > 120).sum() > 20


def test_bones_with_a_low_score_are_thin_and_pale() -> None:
    def ink(score: float) -> tuple[int, int]:
        picture = np.zeros((600, 600, 3), np.uint8)
        joints = np.array([[[300, 200, score], [300, 500, score]]], np.float32)
        draw_bodies(picture, joints, (1,), BONE)
        across = picture[350].max(axis=1)
        return int((across > 40).sum()), int(across.max())

    widths, lights = zip(*(ink(score) for score in (0.1, 0.4, 0.7, 1.0)), strict=True)
    assert sorted(widths) == list(widths)
    assert sorted(lights) == list(lights)
    assert widths[0] < widths[-1]
    assert lights[0] < lights[-1]


def test_each_person_has_a_colour_and_a_name() -> None:
    poses = bones(np.zeros(1), people=(1, 2))
    plain, named = np.zeros((120, 200, 3), np.uint8), np.zeros((120, 200, 3), np.uint8)
    draw_bodies(plain, poses.joints[0], poses.people, BONE)
    for place, colour in zip((20, 80), COLOURS, strict=False):
        assert np.abs(plain[80, place].astype(int) - colour).max() < 30
    draw_bodies(named, poses.joints[0], poses.people, BONE, look=Look(names={1: "Anaïs"}))
    assert (plain[:45] != named[:45]).any()
    np.testing.assert_array_equal(plain[52:], named[52:])


def test_captions_are_shown_during_their_span() -> None:
    poses = bones(np.zeros(1))
    look = Look(captions=(Caption(1, 2, "salsa 0.93"), Caption(1, 2, "turns", person=1), Caption(0, 9, "nobody's", person=5)))

    def drawn(at: float) -> np.ndarray:
        picture = np.zeros((120, 200, 3), np.uint8)
        draw_bodies(picture, poses.joints[0], poses.people, BONE, look=look, at=at)
        return picture

    np.testing.assert_array_equal(drawn(0.5), drawn(2.0))
    before, during = drawn(0.5), drawn(1.0)
    assert (before[:20, :100] != during[:20, :100]).any()  # above all
    assert (before[20:50] != during[20:50]).any()  # beside the person


@pytest.mark.parametrize("place", [(-500, -500), (1e9, -1e9), (199, 119), (0, 0)])
def test_bones_outside_the_frame_are_clipped(place: tuple[float, float]) -> None:
    picture = np.zeros((120, 200, 3), np.uint8)
    joints = np.array([[[*place, 1], [100, 60, 1]]], np.float32)
    draw_bodies(picture, joints, (1,), BONE, look=Look(names={1: "x" * 300}))
    tiny = np.zeros((2, 2, 3), np.uint8)
    draw_bodies(tiny, joints, (1,), BONE)


def test_odd_and_large_frames_are_resized_for_the_encoder(tmp_path: Path) -> None:
    from videos import number_picture

    file = tmp_path / "large.mp4"
    write_video(file, (number_picture(number, 2560, 1440) for number in range(3)), fps=25)
    draw_poses(bones(np.arange(3) / 25, size=(2560, 1440)), tmp_path / "out.mp4", video=file)
    assert (probe(tmp_path / "out.mp4").width, probe(tmp_path / "out.mp4").height) == (1280, 720)
    nobody = Poses(np.zeros((3, 0, 2, 3), np.float32), np.arange(3) / 25, BONE, (), (2560, 1440))
    draw_poses(nobody, tmp_path / "empty.mp4", video=file)
    assert probe(tmp_path / "empty.mp4").frames == 3


def test_invalid_drawings_are_refused(tmp_path: Path) -> None:
    video = moving(tmp_path, seconds=0.2)
    poses = bones(np.arange(5) / 25)
    deep = Poses(np.zeros((5, 1, 17, 4), np.float32), poses.times, read_skeleton("coco-17-3d"), (1,))
    with pytest.raises(ConfigError, match="three dimensions"):
        draw_poses(deep, tmp_path / "out.mp4", video=video)
    with pytest.raises(ConfigError, match="stick"):
        draw_poses(poses, tmp_path / "out.mp4")
    with pytest.raises(ConfigError, match=r"ends in \.mp4"):
        draw_poses(poses, tmp_path / "out.gif", video=video)
    with pytest.raises(ConfigError, match="the video itself"):
        draw_poses(poses, video, video=video)
    with pytest.raises(MediaError):
        draw_poses(poses, video / "out.mp4", video=video)  # the video is not a folder
    (tmp_path / "broken.mp4").write_text("no video")
    with pytest.raises(MediaError):
        draw_poses(poses, tmp_path / "out.mp4", video=tmp_path / "broken.mp4")
    with pytest.raises(MediaError, match="no poses"):
        draw_poses(poses.span(9, 10), tmp_path / "out.mp4", look=Look(stick_figures=True))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["broken.mp4", "video.mp4"]


# -- while the bodies are still being found -----------------------------------------------------------------------------------


def live(video: Path, out: Path, poses_found: Poses, *, at_once: int = 4) -> bool:
    """Feed what an estimator would find, some frames at a time; whether the drawing could be kept."""
    drawing = ConcurrentDrawing(video, out, Look())
    for first in range(0, len(poses_found), at_once):
        drawing.feed(poses_found.span(poses_found.times[first], poses_found.times[min(first + at_once, len(poses_found)) - 1] + 1e-6))
    return drawing.finish(track(poses_found))


@pytest.mark.parametrize("people", [(0,), (0, 1)])
def test_a_concurrent_drawing_equals_the_final_one(tmp_path: Path, people: tuple[int, ...]) -> None:
    video, poses_found = moving(tmp_path, seconds=2), bones(np.arange(50) / 25, people=people)
    poses_found.joints[:, 1:, :, 2] = 0.8  # so that it is clear who counts more
    assert live(video, tmp_path / "drawn.mp4", poses_found)
    draw_poses(track(poses_found), tmp_path / "after.mp4", video=video)
    moments = np.arange(60) / 30
    np.testing.assert_array_equal(read_frames(tmp_path / "drawn.mp4", moments).pixels, read_frames(tmp_path / "after.mp4", moments).pixels)


@pytest.mark.parametrize("what", ["order", "brief", "late"])
def test_a_concurrent_drawing_with_wrong_people_is_discarded(tmp_path: Path, what: str) -> None:
    video, poses_found = moving(tmp_path, seconds=4), bones(np.arange(100) / 25, people=(0, 1))
    joints = poses_found.joints.copy()
    if what == "order":
        joints[:, 0, :, 2] *= 0.3  # the first turns out to count less
        joints[:, 0, :, 0] = 20
    elif what == "brief":
        joints[:, 1] = 0
        joints[10:13, 1] = poses_found.joints[10:13, 1]
        joints[60:62, 1] = poses_found.joints[60:62, 1]  # somebody in the end, though at first nobody
    else:
        joints[:, 1] = 0
        joints[::12, 1] = poses_found.joints[::12, 1]
    assert not live(video, tmp_path / "drawn.mp4", replace(poses_found, joints=joints))
    assert [file.name for file in tmp_path.iterdir()] == ["video.mp4"]


def test_a_stopped_drawing_leaves_no_file(tmp_path: Path) -> None:
    drawing = ConcurrentDrawing(moving(tmp_path, seconds=2), tmp_path / "drawn.mp4", Look())
    drawing.stop()
    drawing = ConcurrentDrawing(tmp_path / "video.mp4", tmp_path / "drawn.mp4", Look())
    drawing.feed(bones(np.arange(10) / 25))
    drawing.stop()
    nowhere = ConcurrentDrawing(tmp_path / "video.mp4", tmp_path / "none" / "drawn.mp4", Look())
    nowhere.feed(bones(np.arange(10) / 25))
    assert not nowhere.finish(track(bones(np.arange(10) / 25)))
    (tmp_path / "broken.mp4").write_text("no video")
    assert not live(tmp_path / "broken.mp4", tmp_path / "drawn.mp4", bones(np.arange(10) / 25))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["broken.mp4", "video.mp4"]
