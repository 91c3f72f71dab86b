"""Pictures come upright, with square pixels, in the right colours, and scaled as an antialiased bicubic resize would."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from videos import write_tagged

from quickstep.signals.video import probe, read_frames, write_video
from quickstep.signals.video.scaling import read_matrix
from quickstep.types.view import View

Pixels = NDArray[np.uint8]
RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 30), (30, 30, 220), (235, 235, 235)
LIMITED, FULL = 1, 2


def corners(width: int = 96, height: int = 64) -> Pixels:
    """Red, green / blue, white: no two of its turns and mirrorings are alike."""
    picture = np.zeros((height, width, 3), np.uint8)
    half, middle = height // 2, width // 2
    picture[:half, :middle], picture[:half, middle:] = RED, GREEN
    picture[half:, :middle], picture[half:, middle:] = BLUE, WHITE
    return picture


def assert_alike(actual: Pixels, expected: Pixels, tolerance: float = 12) -> None:
    """Check for the same size, and the same colour in the middle of each quarter."""
    assert actual.shape == expected.shape
    height, width = expected.shape[:2]
    for row in (height // 4, 3 * height // 4):
        for column in (width // 4, 3 * width // 4):
            assert np.abs(actual[row, column].astype(int) - expected[row, column]).max() <= tolerance, (row, column)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_rotated_and_mirrored_videos_are_upright(tmp_path: Path, turn: int, mirrored: bool, suffix: str) -> None:
    path = write_tagged(tmp_path / f"a{suffix}", corners(), turn=turn, mirrored=mirrored)
    matrix = _matrix_of(path)
    frame = _as_the_matrix_says(corners(), matrix) if matrix else corners()
    assert bool(matrix) == bool(turn or mirrored)
    assert_alike(read_frames(path, [0.1]).pixels[0], frame)
    info = probe(path)
    assert (info.width, info.height) == (frame.shape[1], frame.shape[0])
    assert info.mirrored == mirrored
    assert info.rotation in ((turn, -turn % 360) if mirrored else (turn,))
    small = read_frames(path, [0.1], view=View(size=32, fit="stretch")).pixels[0]
    assert_alike(small, np.asarray(Image.fromarray(frame).resize((32, 32))))


def _matrix_of(path: Path) -> tuple[int, ...] | None:
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        for data in frame.side_data:
            if data.type.name == "DISPLAYMATRIX":
                return tuple(np.frombuffer(bytes(data), np.int32).tolist())
    return None


def _as_the_matrix_says(picture: Pixels, matrix: tuple[int, ...]) -> Pixels:
    """Move every pixel to where the matrix sends it, slowly and plainly."""
    height, width = picture.shape[:2]
    a, b, c, d = (matrix[place] / 65536 for place in (0, 1, 3, 4))
    ys, xs = np.mgrid[0:height, 0:width]
    across, down = np.rint(a * xs + c * ys).astype(int), np.rint(b * xs + d * ys).astype(int)
    across, down = across - across.min(), down - down.min()
    out = np.zeros((down.max() + 1, across.max() + 1, 3), np.uint8)
    out[down, across] = picture
    return out


def test_every_display_matrix_of_quarter_turns_is_read() -> None:
    one = 65536
    for a, b, c, d in [
        (1, 0, 0, 1),
        (0, 1, -1, 0),
        (-1, 0, 0, -1),
        (0, -1, 1, 0),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (0, 1, 1, 0),
        (0, -1, -1, 0),
    ]:
        matrix = (a * one, b * one, 0, c * one, d * one, 0, 0, 0, 2**30)
        turn, mirrored = read_matrix(matrix)
        turned = np.rot90(corners(), turn // 90)
        assert np.array_equal(turned[:, ::-1] if mirrored else turned, _as_the_matrix_says(corners(), matrix))


@pytest.mark.parametrize(("aspect", "width"), [(Fraction(4, 3), 128), (Fraction(8, 9), 85), (Fraction(1, 1), 96), (Fraction(1, 500), 96)])
def test_pixels_become_square(tmp_path: Path, aspect: Fraction, width: int) -> None:
    for turn in (0, 90):
        path = write_tagged(tmp_path / f"{turn}.mp4", corners(), aspect=aspect, turn=turn)
        info = probe(path)
        assert (info.width, info.height) == ((width, 64) if not turn else (64, width))
        expected = np.asarray(Image.fromarray(corners()).resize((width, 64)))
        assert_alike(read_frames(path, [0]).pixels[0], np.rot90(expected, turn // 90))


def matrix_rgb_to_yuv(name: str) -> NDArray[np.float64]:
    """Y, Cb, Cr of full range from the red and blue weights of the standard."""
    red, blue = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}[name]
    luma = np.array([red, 1 - red - blue, blue])
    return np.stack([luma, (np.array([0, 0, 1]) - luma) / (2 - 2 * blue), (np.array([1, 0, 0]) - luma) / (2 - 2 * red)])


TAGS = {"bt601": 6, "bt709": 1, "bt2020": 9}


@pytest.mark.parametrize("name", ["bt601", "bt709", "bt2020", "untagged"])
@pytest.mark.parametrize("span", [LIMITED, FULL])
@pytest.mark.parametrize(("bits", "sampling"), [(8, "420"), (8, "444"), (10, "420")])
def test_colours_are_converted_by_their_tags(tmp_path: Path, name: str, span: int, bits: int, sampling: str) -> None:
    patches = [RED, GREEN, BLUE, WHITE, (20, 20, 20), (128, 128, 128), (250, 200, 20), (90, 160, 240)]
    for place, colour in enumerate(patches[:: 2 if bits == 10 else 1]):
        path = tmp_path / f"{place}.mkv"
        _write_patch(path, colour, "bt601" if name == "untagged" else name, span, bits, sampling, tagged=name != "untagged")
        for view in (None, View(size=16, fit="stretch")):
            actual = read_frames(path, [0], view=view).pixels[0].reshape(-1, 3).mean(axis=0)
            assert np.abs(actual - colour).max() <= 2.5, (colour, actual, view)


def _write_patch(path: Path, colour: tuple[int, int, int], name: str, span: int, bits: int, sampling: str, *, tagged: bool) -> None:
    """One flat colour, its YUV numbers worked out here."""
    luma, blue, red = matrix_rgb_to_yuv(name) @ (np.array(colour) / 255)
    top = 2 ** (bits - 8)
    if span == LIMITED:
        values = np.array([16 + 219 * luma, 128 + 224 * blue, 128 + 224 * red]) * top
    else:
        peak = 2**bits - 1
        values = np.array([peak * luma, 2 ** (bits - 1) + peak * blue, 2 ** (bits - 1) + peak * red])
    form = f"yuv{sampling}p{'10le' if bits == 10 else ''}"
    frame = av.VideoFrame(32, 32, form)
    for plane, value in zip(frame.planes, values, strict=True):
        numbers = np.full(plane.buffer_size // (bits // 8 if bits == 8 else 2), round(float(value)), np.uint8 if bits == 8 else np.uint16)
        plane.update(numbers.tobytes())
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, form
        stream.codec_context.color_range = span
        frame.color_range = span
        if tagged:
            stream.codec_context.colorspace = frame.colorspace = TAGS[name]
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_grey_and_palette_and_rgb_keep_their_values(tmp_path: Path) -> None:
    picture = corners()
    for codec, form, suffix in [("png", "rgb24", ".mov"), ("ffv1", "gray", ".mkv"), ("ffv1", "bgr0", ".mkv"), ("png", "gray", ".mov")]:
        path = tmp_path / f"{codec}{form}{suffix}"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 96, 64, form
            source = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=form)
            container.mux(stream.encode(source))
            container.mux(stream.encode(None))
        expected = np.repeat(source.to_ndarray(format="gray")[:, :, None], 3, axis=2) if form == "gray" else picture
        assert_alike(read_frames(path, [0]).pixels[0], expected, tolerance=2)


def test_transparent_pixels_are_shown_over_black(tmp_path: Path) -> None:
    picture = np.dstack([corners(), np.full((64, 96), 255, np.uint8)])
    picture[:32, :48, 3] = 0
    picture[32:, 48:, 3] = 128
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "rgba"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgba")))
        container.mux(stream.encode(None))
    expected = corners()
    expected[:32, :48] = 0
    expected[32:, 48:] = 118
    assert_alike(read_frames(path, [0]).pixels[0], expected, tolerance=2)


def scene(width: int, height: int) -> Pixels:
    """Draw a frame with smooth and with sharp places."""
    ys, xs = np.mgrid[0:height, 0:width] / max(width, height)
    waves = np.stack([np.sin(40 * xs * (1 + ys)), np.cos(31 * ys + 9 * xs), np.sin(23 * (xs + ys))], axis=2)
    picture = (128 + 100 * waves).astype(np.uint8)
    picture[(xs * 8 % 1 < 0.08) | (ys * 6 % 1 < 0.08)] = (240, 240, 20)
    return picture


@pytest.mark.parametrize("size", [(640, 360), (360, 640), (1280, 720), (322, 242), (150, 100)])
@pytest.mark.parametrize("view", [View(size=64), View(size=112, edge=128), View(size=96, fit="stretch"), View(size=64, fit="whole")])
def test_scaling_equals_an_antialiased_bicubic_resize(tmp_path: Path, size: tuple[int, int], view: View) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, [scene(*size)] * 2, fps=25)
    full = read_frames(path, [0]).pixels[0]
    scaled, (left, top, width, height) = view.picture(*size)
    expected = np.asarray(Image.fromarray(full).resize(scaled, Image.Resampling.BICUBIC))[top : top + height, left : left + width]
    actual = read_frames(path, [0], view=view).pixels[0]
    assert actual.shape == expected.shape
    difference = np.abs(actual.astype(int) - expected)
    assert difference.mean() < (1.2 if max(size) > 500 else 2.0)  # at hard edges half the colour samples leave their mark
    assert np.corrcoef(actual.ravel(), expected.ravel())[0, 1] > (0.9993 if max(size) > 200 else 0.998)


@pytest.mark.parametrize("size", [(2000, 16), (16, 2000), (1202, 34)])
@pytest.mark.parametrize("turn", [0, 90])
def test_very_long_frames_are_cropped_before_scaling(tmp_path: Path, size: tuple[int, int], turn: int) -> None:
    path = write_tagged(tmp_path / "a.mp4", scene(*size), turn=turn)
    view = View(size=64)
    full = read_frames(path, [0]).pixels[0]
    height, width = full.shape[:2]
    scaled, (left, top, _, _) = view.picture(width, height)
    expected = np.asarray(Image.fromarray(full).resize(scaled, Image.Resampling.BICUBIC))[top : top + 64, left : left + 64]
    actual = read_frames(path, [0], view=view).pixels[0]
    assert np.abs(actual.astype(int) - expected).mean() < 12  # of a picture sixteen pixels high, moved by less than one


def test_odd_sizes_are_read(tmp_path: Path) -> None:
    for width, height in ((97, 61), (1, 1), (3, 200)):
        path = tmp_path / f"{width}.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p" if width == 97 else "yuv444p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((height, width, 3), 128, np.uint8), format="rgb24")))
            container.mux(stream.encode(None))
        assert read_frames(path, [0]).pixels.shape == (1, height, width, 3)
        small = read_frames(path, [0], view=View(size=32)).pixels
        assert small.shape == (1, 32, 32, 3)
        assert np.abs(small.astype(int) - 128).max() <= 2
