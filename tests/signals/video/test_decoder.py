"""Every container and codec that can be written here gives the right picture at the right moment, held against decoding everything."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from videos import RECIPES, Recipe, Truth, decode_everything, read_number, writable, write_numbered

from quickstep.signals.video import VideoReader, probe, read_frames, read_windows, write_video
from quickstep.signals.video.decoder import Decoder
from quickstep.types.errors import MediaError
from quickstep.types.segment import Segment
from quickstep.types.view import View

COUNT = 40
BY_NAME = {recipe.name: recipe for recipe in RECIPES}
Written = Callable[[str], tuple[Path, Truth]]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Write the video of a recipe once, and decode all of it once."""
    folder = tmp_path_factory.mktemp("numbered")
    videos: dict[str, tuple[Path, Truth]] = {}

    def get(name: str) -> tuple[Path, Truth]:
        if name not in videos:
            recipe = BY_NAME[name]
            if not writable(recipe):
                pytest.skip(f"this FFmpeg cannot write {recipe.codec}")
            path = write_numbered(folder / f"{name}{recipe.suffix}", recipe, count=COUNT)
            videos[name] = path, decode_everything(path)
        return videos[name]

    return get


@pytest.mark.parametrize("name", BY_NAME)
def test_each_time_gives_its_frame(name: str, written: Written) -> None:
    path, truth = written(name)
    assert len(truth.numbers) == COUNT
    assert sum(number is None for number in truth.numbers) <= 3  # a weak encoder may smear one, then both sides see the smear
    rng = np.random.default_rng(5)
    for size in (1, 2, 5, 30):
        times = np.sort(rng.uniform(-0.1, truth.times[-1] * 1.1, size))
        frames = read_frames(path, times)
        assert [read_number(picture) for picture in frames.pixels] == [truth.at(time) for time in times]
        assert frames.lost == 0
        assert (frames.times <= np.maximum(times, 0) + 1e-6).all()


@pytest.mark.parametrize("name", BY_NAME)
def test_the_duration_ends_with_the_last_frame(name: str, written: Written) -> None:
    path, truth = written(name)
    info = probe(path)
    gap = truth.times[-1] / (COUNT - 1)
    assert info.duration == pytest.approx(truth.times[-1] + gap, abs=0.6 * gap)
    assert info.coded_size == BY_NAME[name].size  # 3gp says that its pixels are not square
    assert info.frames in (None, COUNT)
    assert info.fps == pytest.approx(25, rel=0.03)


@pytest.mark.parametrize("name", ["mp4-h264", "mkv-h264", "webm-vp9-alt-ref", "ts-mpeg2", "avi-mpeg4-b"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moments=st.lists(st.floats(-1, 3), min_size=1, max_size=12))
def test_times_may_come_in_any_order(name: str, written: Written, moments: list[float]) -> None:
    path, truth = written(name)
    with VideoReader(path) as video:
        for times in (moments, moments[::-1]):
            pictures = video.frames(times).pixels
            assert [read_number(picture) for picture in pictures] == [truth.at(time) for time in times]


@pytest.mark.parametrize("name", ["mp4-h264", "mkv-h264", "mp4-h264-one-gop", "webm-vp9", "avi-mjpeg", "ts-h264"])
def test_no_frame_is_decoded_twice(name: str, written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    path, truth = written(name)
    fed: list[int | None] = []
    feed = Decoder.feed
    monkeypatch.setattr(Decoder, "feed", lambda self, packet, *, skip: (fed.append(packet.pts), feed(self, packet, skip=skip))[1])
    view = View(frames=6, fps=10, size=48, windows=9)  # windows that overlap
    windows = list(read_windows(Segment(path), view))
    assert len(windows) == 9
    for window, moments in zip(windows, view.timestamps(0.0, probe(path).duration), strict=True):
        assert [truth.at(time) for time in moments] == [truth.at(time) for time in window.times]
    fed = fed[: fed.index(fed[0], 1)] if fed[0] in fed[1:] else fed  # what `probe` fed afterwards
    assert len(fed) == len(set(fed)) <= COUNT


def test_decoding_starts_at_the_nearest_keyframe(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    path, truth = written("mp4-h264")
    fed: list[int | None] = []
    feed = Decoder.feed
    monkeypatch.setattr(Decoder, "feed", lambda self, packet, *, skip: (fed.append(packet.pts), feed(self, packet, skip=skip))[1])
    picture = read_frames(path, [truth.times[26]]).pixels[0]
    assert read_number(picture) == 26
    assert len(fed) <= 2 + 3 + 5  # for the first picture; from the keyframe at 24 to 26 with what 26 leans on


def test_windows_follow_each_other_and_stay_in_the_segment(written: Written) -> None:
    path, truth = written("mp4-h264")
    view = View(frames=2, fps=10, windows=None, size=48)
    windows = list(read_windows(Segment(path, start=0.4, end=1.2), view))
    assert [len(window) for window in windows] == [2] * len(view.timestamps(0.4, 1.2))
    assert windows[0].times[0] >= 0.4 - 0.04
    assert windows[-1].times[-1] < 1.2
    past = next(read_windows(Segment(path, start=1.0, end=2.2), View(frames=3, size=48)))  # a label rounded up
    assert past.times[-1] <= truth.times[-1]
    with pytest.raises(MediaError, match=r"ends at 99 s, .*1\.6"):
        list(read_windows(Segment(path, start=1.0, end=99.0), view))
    with pytest.raises(MediaError, match=r"starts at 5 s, but the video ends at 1\.6"):
        list(read_windows(Segment(path, start=5.0), view))


def test_variable_rate(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    gaps = rng.integers(5, 200, 30)
    times = [Fraction(int(stamp), 1000) for stamp in np.concatenate([[0], np.cumsum(gaps)])]
    for name in ("mp4-h264", "mkv-h264", "webm-vp8", "mp4-h264-fragmented"):
        path = write_numbered(tmp_path / f"{name}{BY_NAME[name].suffix}", BY_NAME[name], count=31, times=times)
        requested = np.sort(rng.uniform(0, float(times[-1]), 25))
        expected = [int(np.searchsorted([float(t) for t in times], moment + 6e-4, side="right")) - 1 for moment in requested]
        near = [min(abs(float(t) - moment) for t in times) < 1e-3 for moment in requested]
        got = [read_number(picture) for picture in read_frames(path, requested).pixels]
        assert [g for g, skip in zip(got, near, strict=True) if not skip] == [w for w, skip in zip(expected, near, strict=True) if not skip]
        assert probe(path).variable_rate in (True, None)


def test_time_starts_at_the_first_frame(tmp_path: Path) -> None:
    times = [Fraction(2) + Fraction(number, 25) for number in range(20)]
    for name in ("mkv-h264", "mp4-h264", "mp4-h264-no-edit-list"):
        path = write_numbered(tmp_path / f"{name}{BY_NAME[name].suffix}", BY_NAME[name], count=20, times=times)
        assert read_number(read_frames(path, [0.0]).pixels[0]) == 0
        assert read_number(read_frames(path, [0.41]).pixels[0]) == 10
        assert probe(path).duration == pytest.approx(0.8, abs=0.05)


def test_times_equal_those_of_ffprobe(written: Written) -> None:
    if shutil.which("ffprobe") is None:
        pytest.skip("there is no ffprobe here to ask")
    for name in ("mp4-h264", "mkv-h264", "webm-vp9", "ts-h264", "mov-mjpeg"):
        path, _ = written(name)
        command = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "frame=pts_time", "-of", "csv=p=0", str(path)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        stamps = np.array([float(line.strip(",")) for line in lines])
        stamps -= stamps[0]
        assert read_frames(path, stamps + 1e-4).times == pytest.approx(stamps, abs=1e-4)


def test_real_videos_have_the_right_times_and_rotation(shared_data: Path) -> None:
    folder = shared_data / "decode_originals"
    for expected in json.loads((folder / "expected.json").read_text()):
        path = folder / expected["file"]
        info = probe(path)
        assert info.frames == expected["decoded_frames"]
        assert info.rotation == expected["rotation_ccw_deg_reported_by_pyav"] % 360
        turned = info.rotation in (90, 270)
        assert info.coded_size == (expected["coded_width"], expected["coded_height"])
        assert (info.height if turned else info.width) == pytest.approx(expected["coded_width"], abs=2)
        frames = read_frames(path, [0.0, 1e4], view=View(size=32))
        assert frames.times[0] == 0.0
        assert frames.times[1] == pytest.approx(expected["last_pts"] - expected["first_pts"], abs=1e-3)
        assert frames.lost == 0
        assert info.duration == pytest.approx(frames.times[1] + 1 / 30, abs=0.07)


def test_real_videos_give_the_frames_of_a_complete_decode(shared_data: Path) -> None:
    for name in ("Ollie85.mov", "Kickflip112.mov"):
        path = shared_data / "decode_originals" / name
        info = probe(path)
        moments = np.random.default_rng(0).uniform(0, info.duration, 5)
        together = read_frames(path, moments, view=View(size=64))
        for moment, picture in zip(moments, together.pixels, strict=True):
            every = read_frames(path, np.linspace(0, moment, 7), view=View(size=64))
            assert np.array_equal(every.pixels[-1], picture)


def test_threads_do_not_change_the_frames(written: Written) -> None:
    path, _ = written("mp4-h264")
    moments = np.linspace(0, 1.5, 9)
    assert np.array_equal(read_frames(path, moments).pixels, read_frames(path, moments, threads=3).pixels)


def test_no_times_give_no_frames(written: Written) -> None:
    path, _ = written("mp4-h264")
    assert read_frames(path, [], view=View(size=48)).pixels.shape == (0, 48, 48, 3)
    with VideoReader(path) as video:
        assert [len(frames) for frames in video.windows([[0.1], [], [0.0, 0.5]])] == [1, 0, 2]
    with pytest.raises(ValueError, match="finite"):
        read_frames(path, [float("nan")])


def test_written_videos_are_complete_and_reproducible(tmp_path: Path) -> None:
    from videos import number_picture

    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, (number_picture(number) for number in range(50)), fps=24)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    info = probe(tmp_path / "a.mp4")
    assert (info.codec, info.pixel_format, info.frames, info.width, info.height) == ("h264", "yuv420p", 50, 96, 64)
    assert info.duration == pytest.approx(50 / 24, abs=1e-3)
    assert [read_number(picture) for picture in read_frames(tmp_path / "a.mp4", (np.arange(50) + 0.5) / 24).pixels] == list(range(50))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_failed_writes_leave_no_file(tmp_path: Path) -> None:
    def broken() -> object:
        yield np.zeros((64, 96, 3), np.uint8)
        yield np.zeros((32, 96, 3), np.uint8)

    with pytest.raises(MediaError, match="one size"):
        write_video(tmp_path / "a.mp4", broken(), fps=25)  # type: ignore[arg-type]
    with pytest.raises(MediaError, match="even"):
        write_video(tmp_path / "a.mp4", [np.zeros((63, 96, 3), np.uint8)], fps=25)
    with pytest.raises(MediaError, match="at least one"):
        write_video(tmp_path / "a.mp4", [], fps=25)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(MediaError, match="cannot be written"):
        write_video(tmp_path / "file" / "a.mp4", [np.zeros((64, 96, 3), np.uint8)], fps=25)


@pytest.mark.slow
def test_a_four_hour_video_is_sampled_quickly(tmp_path: Path) -> None:
    import time
    import tracemalloc

    path = tmp_path / "long.mp4"
    recipe = Recipe("long", ".mp4", "mpeg4", options={"g": "250"}, size=(48, 32))
    write_numbered(path, recipe, count=14_400, rate=1)
    assert probe(path).duration == pytest.approx(4 * 3600, abs=2)
    tracemalloc.start()
    began = time.process_time()
    frames = read_frames(path, View().timestamps(0, 14_400)[0], view=View(size=32))
    assert time.process_time() - began < 2
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()
    assert [int(t) for t in frames.times] == [int(t) for t in View().timestamps(0, 14_400)[0]]


def test_a_segment_excludes_the_frame_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "ten.mp4"
    write_numbered(path, BY_NAME["mp4-h264"], count=20, rate=10)
    too_long = View(frames=6, fps=10, size=48, fit="whole")  # 0.6 s of moments for 0.3 s of segment: the last is shown again
    (frames,) = read_windows(Segment(path, start=1.0, end=1.3), too_long)
    assert frames.times.max() < 1.3 - 1e-6
    assert [read_number(picture) for picture in frames.pixels] == [10, 11, 12, 12, 12, 12]
