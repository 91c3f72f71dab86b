"""Damaged files and what is no video: the right pictures, or counted losses, or one clear line; never a crash, a hang or noise."""

from __future__ import annotations

import time
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from videos import RECIPES, Recipe, Truth, decode_everything, number_picture, read_number, write_numbered

from quickstep.signals.video import probe, read_frames, read_windows
from quickstep.types.errors import MediaError
from quickstep.types.segment import Segment
from quickstep.types.view import View

COUNT = 50
BY_NAME = {recipe.name: recipe for recipe in RECIPES}
Whole = dict[str, tuple[bytes, Truth, str]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Undamaged bytes, truth and file ending of some kinds of video."""
    folder = tmp_path_factory.mktemp("whole")
    result: Whole = {}
    for name in ("mp4-h264", "mkv-h264", "ts-h264", "avi-mpeg4", "webm-vp9", "mp4-h264-fragmented", "gif", "mp4-hevc"):
        path = write_numbered(folder / f"{name}{BY_NAME[name].suffix}", BY_NAME[name], count=COUNT)
        result[name] = path.read_bytes(), decode_everything(path), BY_NAME[name].suffix
    # Larger pictures, so that most bytes are pictures and not headers.
    recipe = Recipe("big", ".mp4", "libx264", options={"g": "10", "bf": "2", "crf": "20"}, size=(144, 96))
    path = write_numbered(folder / "big.mp4", recipe, count=COUNT, noise=30)
    result["big"] = path.read_bytes(), decode_everything(path), ".mp4"
    return result


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("text.mp4", b"this is only text\n" * 50, "not a video"),
        ("text.txt", b"this is only text\n" * 50, "not a video"),
        ("empty.mp4", b"", "empty"),
        ("noise.mkv", np.random.default_rng(0).bytes(5000), "not a video"),
        ("list.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n", "not a video"),
        ("list.ffconcat", b"ffconcat version 1.0\nfile 'other.mp4'\n", "not a video"),
    ],
)
def test_files_that_are_not_videos_are_refused_in_one_line(tmp_path: Path, name: str, content: bytes, line: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for read in (probe, lambda path: read_frames(path, [0.0])):
        with pytest.raises(MediaError, match=line) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


def test_folders_devices_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(MediaError, match="folder"):
        probe(tmp_path / "folder.mp4")
    with pytest.raises(MediaError, match="no such file"):
        probe(tmp_path / "missing.mp4")
    with pytest.raises(MediaError, match="device or a pipe"):
        probe("/dev/zero")


def test_a_file_with_only_sound_is_refused(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16_000))
    with pytest.raises(MediaError, match="only sound"):
        probe(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["a:b.mp4", "http:x.mp4", "%03d.mp4", "ü ö 日本.mp4", "-i.mp4", "a\nb.mp4", "pipe:.mp4"])
def test_odd_file_names_are_opened(tmp_path: Path, whole: Whole, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(whole["mp4-h264"][0])
    assert read_number(read_frames(path, [1.0]).pixels[0]) == 25


def test_a_truncated_video_gives_its_start_and_counts_lost_frames(tmp_path: Path, whole: Whole) -> None:
    data, truth, _ = whole["big"]
    front = _index_in_front(tmp_path, data)
    path = tmp_path / "cut.mp4"
    path.write_bytes(front[: len(front) * 6 // 10])
    moments = (np.arange(COUNT) + 0.5) / 25
    frames = read_frames(path, moments)
    numbers = [read_number(picture) for picture in frames.pixels]
    wrong = [place for place in range(COUNT) if numbers[place] != truth.at(moments[place])]
    assert probe(path).duration == pytest.approx(2.0, abs=0.01)
    assert 0.3 * COUNT < wrong[0] < 0.7 * COUNT
    assert frames.lost == len(wrong)
    assert {numbers[place] for place in wrong} <= set(range(wrong[0] - 1, wrong[0] + 3))  # the nearest that there are


def _index_in_front(folder: Path, data: bytes) -> bytes:
    """Return the same mp4 with its index before its frames."""
    (folder / "in.mp4").write_bytes(data)
    with av.open(str(folder / "in.mp4")) as source, av.open(str(folder / "out.mp4"), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    return (folder / "out.mp4").read_bytes()


@pytest.mark.parametrize("name", ["mkv-h264", "webm-vp9"])
def test_a_truncated_matroska_counts_lost_frames(tmp_path: Path, whole: Whole, name: str) -> None:
    data, truth, suffix = whole[name]
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: len(data) * 7 // 10])
    moments = (np.arange(COUNT) + 0.5) / 25
    frames = read_frames(path, moments)
    right = sum(read_number(picture) == truth.at(moment) for picture, moment in zip(frames.pixels, moments, strict=True))
    assert 0 < right < COUNT
    assert COUNT - right - 1 <= frames.lost <= COUNT - right + 1


def test_damaged_frames_are_replaced_by_the_nearest_and_counted(tmp_path: Path, whole: Whole) -> None:
    data, truth, _ = whole["big"]
    path = tmp_path / "hole.mp4"
    (tmp_path / "in.mp4").write_bytes(data)
    with av.open(str(tmp_path / "in.mp4")) as container:
        packets = [
            (packet.pos, packet.size, round(packet.pts * packet.time_base * 25))
            for packet in container.demux(video=0)
            if packet.pts is not None
        ]
    start, size, _ = next(packet for packet in packets if packet[2] in (23, 24, 22) and packet[1] > 200)
    broken = bytearray(data)
    broken[start + 6 : start + size] = np.random.default_rng(1).bytes(size - 6)
    path.write_bytes(broken)
    moments = (np.arange(COUNT) + 0.5) / 25
    frames = read_frames(path, moments)
    numbers = [read_number(picture) for picture in frames.pixels]
    wrong = [place for place in range(COUNT) if numbers[place] != truth.at(moments[place])]
    assert wrong
    assert all(20 <= place < 30 for place in wrong)  # only between two keyframes
    assert len(wrong) <= frames.lost <= 10
    assert all(number is not None for number in numbers)


def damaged(data: bytes, cuts: list[tuple[str, float, int]]) -> bytes:
    """Bits flipped, bytes dropped or zeroed, ends cut off, at fractions of the length."""
    out = bytearray(data)
    for kind, where, amount in cuts:
        at = min(int(where * len(out)), len(out) - 1)
        if kind == "flip":
            out[at] ^= 1 << (amount % 8)
        elif kind == "zero":
            out[at : at + amount] = bytes(len(out[at : at + amount]))
        elif kind == "drop" and len(out) > amount + 1:
            del out[at : at + amount]
        elif kind == "cut":
            del out[max(at, 1) :]
    return bytes(out)


DAMAGE = st.lists(
    st.tuples(st.sampled_from(["flip", "flip", "zero", "drop", "cut"]), st.floats(0, 1), st.integers(1, 3000)), min_size=1, max_size=12
)


@pytest.mark.parametrize(
    "name", ["mp4-h264", "mkv-h264", "ts-h264", "avi-mpeg4", "webm-vp9", "mp4-h264-fragmented", "gif", "mp4-hevc", "big"]
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=DAMAGE)
def test_no_damage_crashes_or_hangs(tmp_path: Path, whole: Whole, name: str, cuts: list[tuple[str, float, int]]) -> None:
    data, _, suffix = whole[name]
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(damaged(data, cuts))
    _survive(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    ["kinetics_smoke/clean_and_jerk.mp4", "kinetics_smoke/ta_chi.mp4", "kinetics_smoke/ntu_sample.avi", "decode_originals/Kickflip3.mov"],
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=DAMAGE)
def test_no_damage_to_a_real_video_crashes_or_hangs(
    tmp_path: Path, shared_data: Path, file: str, cuts: list[tuple[str, float, int]]
) -> None:
    path = tmp_path / Path(file).name
    path.write_bytes(damaged((shared_data / file).read_bytes(), cuts))
    _survive(path)


def _survive(path: Path) -> None:
    began = time.process_time()
    try:
        info = probe(path)
        moments = np.linspace(0, min(info.duration, 1e6), 9)
        frames = read_frames(path, moments, view=View(size=64))
        list(read_windows(Segment(path), View(frames=3, windows=3, size=32)))
    except MediaError:
        pass
    else:
        assert frames.pixels.shape == (9, 64, 64, 3)
        assert 0 <= frames.lost <= 9
        assert np.isfinite(info.duration)
    assert time.process_time() - began < 20


def test_flipped_bits_are_counted_or_harmless(tmp_path: Path, whole: Whole) -> None:
    data, truth, _ = whole["big"]
    rng = np.random.default_rng(3)
    moments = (np.arange(COUNT) + 0.5) / 25
    silent = counted = 0
    for _ in range(12):
        broken = bytearray(data)
        for at in rng.integers(2000, data.rindex(b"moov") - 8, 6):
            broken[at] ^= 1 << int(rng.integers(8))
        path = tmp_path / "flipped.mp4"
        path.write_bytes(broken)
        frames = read_frames(path, moments)
        wrong = sum(read_number(picture) != truth.at(moment) for picture, moment in zip(frames.pixels, moments, strict=True))
        silent += max(0, wrong - frames.lost)
        counted += frames.lost
    assert counted > 50
    assert silent < 12 * COUNT / 25  # some flipped bits make another valid picture; no reader could know


def test_nothing_is_written_to_stderr(tmp_path: Path, whole: Whole, capfd: pytest.CaptureFixture[str]) -> None:
    for name, (data, _, suffix) in whole.items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(damaged(data, [("zero", 0.5, 400), ("flip", 0.7, 3), ("cut", 0.95, 1)]))
        _survive(path)
    spoken = capfd.readouterr()
    assert spoken.err == ""
    assert spoken.out == ""


@pytest.mark.parametrize(
    ("size", "codec", "pixel_format"),
    [
        ((3840, 2160), "mjpeg", "yuvj420p"),
        ((1, 1), "png", "rgb24"),
        pytest.param((7680, 4320), "mjpeg", "yuvj420p", marks=pytest.mark.slow),
    ],
)
def test_large_and_tiny_frames_are_read(tmp_path: Path, size: tuple[int, int], codec: str, pixel_format: str) -> None:
    path = write_numbered(tmp_path / "video.mov", Recipe("x", ".mov", codec, pixel_format, size=size), count=1)
    assert read_frames(path, [0.0], view=View(size=64)).pixels.shape == (1, 64, 64, 3)
    assert (probe(path).width, probe(path).height) == size


def test_a_header_that_claims_a_huge_frame_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    picture = bytearray(_png(number_picture(3)))
    picture[16:24] = (60_000).to_bytes(4, "big") * 2
    path.write_bytes(picture)
    with pytest.raises(MediaError):
        read_frames(path, [0.0])


def _png(picture: np.ndarray) -> bytes:
    from io import BytesIO

    from PIL import Image

    out = BytesIO()
    Image.fromarray(picture).save(out, "png")
    return out.getvalue()
