"""Draw videos for tests: each frame shows its number in large black and white blocks, which survive any codec.

Also reads the number back, lists what this build of FFmpeg can write, and decodes a file the plain way, as the truth to hold against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
BITS = 12
COLUMNS, ROWS = 6, 4  # twelve bits and their opposites, so that a blurred frame is not read as a number


def number_picture(number: int, width: int = 96, height: int = 64) -> Pixels:
    """Draw a frame that shows a number from 0 to 4095."""
    bits = [(number >> place) & 1 for place in range(BITS)]
    blocks = np.array(bits + [1 - bit for bit in bits], dtype=np.uint8).reshape(ROWS, COLUMNS)
    rows = np.minimum(np.arange(height) * ROWS // height, ROWS - 1)
    columns = np.minimum(np.arange(width) * COLUMNS // width, COLUMNS - 1)
    grey = 40 + 175 * blocks[rows][:, columns]
    return np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)


def read_number(pixels: Pixels) -> int | None:
    """Read the number of a frame; None if its blocks contradict each other."""
    height, width = pixels.shape[:2]
    grey = pixels.astype(np.float64).mean(axis=2)
    blocks = np.array(
        [
            grey[
                int((row + 0.3) * height / ROWS) : max(int((row + 0.7) * height / ROWS), int((row + 0.3) * height / ROWS) + 1),
                int((column + 0.3) * width / COLUMNS) : max(
                    int((column + 0.7) * width / COLUMNS), int((column + 0.3) * width / COLUMNS) + 1
                ),
            ].mean()
            for row in range(ROWS)
            for column in range(COLUMNS)
        ]
    )
    bits = blocks > 127
    if (np.abs(blocks - 127) < 35).any() or (bits[:BITS] == bits[BITS:]).any():
        return None
    return int(sum(1 << place for place in range(BITS) if bits[place]))


@dataclass(frozen=True)
class Recipe:
    """How to write a test video: suffix, codec and options."""

    name: str
    suffix: str
    codec: str
    pixel_format: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    container: dict[str, str] = field(default_factory=dict)
    format: str | None = None
    size: tuple[int, int] = (96, 64)

    def __str__(self) -> str:
        return self.name


X264 = {"g": "12", "bf": "3", "crf": "23", "x264-params": "log-level=none:scenecut=0"}
RECIPES = [
    Recipe("mp4-h264", ".mp4", "libx264", options=X264),
    Recipe("mp4-h264-open-gop", ".mp4", "libx264", options={**X264, "x264-params": "open-gop=1:scenecut=0:b-pyramid=normal"}),
    Recipe("mp4-h264-no-b", ".mp4", "libx264", options={"g": "30", "bf": "0"}),
    Recipe("mp4-h264-one-gop", ".mp4", "libx264", options={"g": "10000", "bf": "2", "x264-params": "scenecut=0"}),
    Recipe("mp4-h264-intra-refresh", ".mp4", "libx264", options={"g": "20", "x264-params": "intra-refresh=1:scenecut=0:bframes=0"}),
    Recipe("mp4-h264-10bit", ".mp4", "libx264", "yuv420p10le", options=X264),
    Recipe("mp4-h264-444", ".mp4", "libx264", "yuv444p", options=X264),
    Recipe("mp4-h264-fragmented", ".mp4", "libx264", options=X264, container={"movflags": "frag_keyframe+empty_moov"}),
    Recipe(
        "mp4-h264-fragmented-moof", ".mp4", "libx264", options=X264, container={"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    ),
    Recipe("mp4-h264-no-edit-list", ".mp4", "libx264", options=X264, container={"use_editlist": "0"}),
    Recipe("mov-h264", ".mov", "libx264", options=X264),
    Recipe("mkv-h264", ".mkv", "libx264", options=X264),
    Recipe("avi-h264", ".avi", "libx264", options={"g": "12", "bf": "0"}),
    Recipe("avi-h264-b", ".avi", "libx264", options=X264),
    Recipe("ts-h264", ".ts", "libx264", options=X264),
    Recipe("flv-h264", ".flv", "libx264", options=X264),
    Recipe("nut-h264", ".nut", "libx264", options=X264),
    Recipe("raw-h264", ".h264", "libx264", options=X264),
    Recipe("mp4-hevc", ".mp4", "libx265", options={"g": "12", "x265-params": "log-level=none:scenecut=0"}),
    Recipe("mp4-hevc-open-gop", ".mp4", "libx265", options={"g": "12", "x265-params": "log-level=none:open-gop=1:keyint=12:scenecut=0"}),
    Recipe(
        "mp4-hevc-layers", ".mp4", "libx265", options={"g": "24", "x265-params": "log-level=none:temporal-layers=3:b-adapt=0:bframes=3"}
    ),
    Recipe("mkv-hevc-10bit", ".mkv", "libx265", "yuv420p10le", options={"g": "12", "x265-params": "log-level=none"}),
    Recipe("ts-hevc", ".ts", "libx265", options={"g": "12", "x265-params": "log-level=none"}),
    Recipe("webm-vp8", ".webm", "libvpx", options={"g": "12", "deadline": "realtime", "cpu-used": "8"}),
    Recipe("webm-vp8-alt-ref", ".webm", "libvpx", options={"g": "40", "auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"}),
    Recipe("webm-vp9", ".webm", "libvpx-vp9", options={"g": "12", "deadline": "realtime", "cpu-used": "8"}),
    Recipe("webm-vp9-alt-ref", ".webm", "libvpx-vp9", options={"g": "40", "lag-in-frames": "16", "cpu-used": "8"}),
    Recipe("mp4-vp9", ".mp4", "libvpx-vp9", options={"g": "12", "deadline": "realtime", "cpu-used": "8"}),
    Recipe("webm-av1", ".webm", "libsvtav1", options={"g": "12", "preset": "10", "crf": "15", "svtav1-params": "lp=1"}, size=(192, 128)),
    Recipe("mp4-av1", ".mp4", "libsvtav1", options={"g": "24", "preset": "10", "crf": "15", "svtav1-params": "lp=1"}, size=(192, 128)),
    Recipe("mp4-mpeg4", ".mp4", "mpeg4", options={"g": "12", "bf": "2", "q": "4"}),
    Recipe("avi-mpeg4", ".avi", "mpeg4", options={"g": "12", "bf": "0"}),
    Recipe("avi-mpeg4-b", ".avi", "mpeg4", options={"g": "12", "bf": "2"}),
    Recipe("mkv-mpeg4", ".mkv", "mpeg4", options={"g": "12", "bf": "2"}),
    Recipe("mpg-mpeg1", ".mpg", "mpeg1video", options={"g": "12", "bf": "2"}),
    Recipe("mpg-mpeg2", ".mpg", "mpeg2video", options={"g": "12", "bf": "2"}),
    Recipe("ts-mpeg2", ".ts", "mpeg2video", options={"g": "12", "bf": "2"}),
    Recipe("mxf-mpeg2", ".mxf", "mpeg2video", options={"g": "12", "bf": "2"}),
    Recipe("vob-mpeg2", ".vob", "mpeg2video", options={"g": "12", "bf": "2"}),
    Recipe("avi-mjpeg", ".avi", "mjpeg", "yuvj420p"),
    Recipe("mov-mjpeg", ".mov", "mjpeg", "yuvj420p"),
    Recipe("mkv-mjpeg", ".mkv", "mjpeg", "yuvj422p"),
    Recipe("avi-raw", ".avi", "rawvideo", "bgr24"),
    Recipe("nut-raw", ".nut", "rawvideo", "rgb24"),
    Recipe("mkv-ffv1", ".mkv", "ffv1", "yuv422p10le"),
    Recipe("avi-huffyuv", ".avi", "huffyuv", "yuv422p"),
    Recipe("mov-prores", ".mov", "prores_ks", "yuv422p10le"),
    Recipe("mov-png", ".mov", "png", "rgba"),
    Recipe("mov-qtrle", ".mov", "qtrle", "argb"),
    Recipe("gif", ".gif", "gif", "rgb8"),
    Recipe("apng", ".apng", "apng", "rgb24", format="apng"),
    Recipe("flv-flv1", ".flv", "flv", options={"g": "12"}),
    Recipe("wmv-wmv2", ".wmv", "wmv2", options={"g": "12"}),
    Recipe("asf-msmpeg4", ".asf", "msmpeg4v3", options={"g": "12"}),
    Recipe("ogv-theora", ".ogv", "libtheora", options={"g": "12"}),
    Recipe("3gp-h263", ".3gp", "h263", options={"g": "12"}, size=(176, 144)),
    Recipe("mjpeg-stream", ".mjpeg", "mjpeg", "yuvj420p"),
    Recipe("ivf-vp9", ".ivf", "libvpx-vp9", options={"g": "12", "deadline": "realtime", "cpu-used": "8"}),
]


def writable(recipe: Recipe) -> bool:
    """Whether this build of FFmpeg has the encoder."""
    try:
        av.Codec(recipe.codec, "w")
    except (av.FFmpegError, ValueError):
        return False
    return True


def write_numbered(
    path: Path, recipe: Recipe, *, count: int = 40, rate: float = 25, times: Sequence[Fraction] | None = None, noise: int = 0
) -> Path:
    """Write `count` numbered frames, `rate` a second or at the given times; noise makes the file larger."""
    rng = np.random.default_rng(0)
    width, height = recipe.size
    with av.open(str(path), "w", format=recipe.format, options=dict(recipe.container)) as container:
        stream = container.add_stream(recipe.codec, rate=Fraction(rate).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, recipe.pixel_format
        stream.options = dict(recipe.options)
        stream.codec_context.thread_count = 1
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(count):
            picture = number_picture(number, width, height) + rng.integers(-noise, noise + 1, (height, width, 1))
            frame = av.VideoFrame.from_ndarray(np.clip(picture, 0, 255).astype(np.uint8), format="rgb24")
            if times is not None:
                frame.time_base = Fraction(1, 1000)
                frame.pts = round(times[number] * 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@dataclass(frozen=True)
class Truth:
    """The time and the number of each frame, from a complete decode."""

    times: NDArray[np.float64]
    numbers: list[int | None]

    def at(self, seconds: float) -> int | None:
        """Return the number of the frame at a time."""
        place = int(np.searchsorted(self.times, seconds + 1e-9, side="right")) - 1
        return self.numbers[max(place, 0)]


def decode_everything(path: Path) -> Truth:
    """Decode every frame of a file with its time, without seeking."""
    times, numbers = [], []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        for frame in container.decode(stream):
            stamp = frame.dts if container.format.name == "avi" and stream.codec_context.has_b_frames else frame.pts
            times.append(None if stamp is None else float(stamp * stream.time_base))
            numbers.append(read_number(frame.to_ndarray(format="rgb24")))
        rate = float(stream.average_rate or stream.guessed_rate or 25)
    if any(time is None for time in times):  # decoding times or none: frames follow each other at the file's rate
        times = [place / rate for place in range(len(times))]
    timestamps = np.array(times) - times[0]
    return Truth(timestamps, numbers)


def write_tagged(
    path: Path, picture: Pixels, *, turn: float = 0, mirrored: bool = False, flipped: bool = False, aspect: Fraction | None = None
) -> Path:
    """Write a short video whose header has a rotation, a mirroring or pixels that are not square."""
    height, width = picture.shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if turn or mirrored or flipped:
            stream.set_display_rotation(turn, hflip=mirrored, vflip=flipped)
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path
