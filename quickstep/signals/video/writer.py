"""write_video: pictures in, an h264 mp4 out, whole or not at all; knows nothing of reading."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from quickstep.signals.video.source import translated
from quickstep.types.errors import MediaError


def write_video(
    path: str | Path,
    frames: Iterable[NDArray[np.uint8]],
    *,
    fps: float,
    codec: str = "libx264",
    crf: int = 20,
    keyframe_every: int | None = None,
    threads: int = 1,
    preset: str | None = None,
) -> None:
    """Encode RGB pictures (H, W, 3), all of one even size, into a video that plays everywhere (yuv420p, index in front).

    With one thread the same pictures give the same bytes. The file is written aside and renamed when whole. `preset` is the
    codec's own word for how long it may think: a quick one makes larger files.
    """
    path = Path(path)
    rate = Fraction(fps).limit_denominator(60_000)
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise MediaError(path, "a video needs at least one picture")
    height, width = _checked(path, first, None)
    handle, aside = _aside(path)
    os.close(handle)
    try:
        with (
            translated(path),
            av.open(str(aside), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as container,
        ):
            stream = container.add_stream(codec, rate=rate)
            assert isinstance(stream, VideoStream)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.thread_count = threads
            stream.codec_context.flags |= av.codec.context.Flags.bitexact
            stream.options = {"crf": str(crf), **({"g": str(keyframe_every)} if keyframe_every else {})}
            if preset is not None:
                stream.options |= {"preset": preset}
            if codec == "libx264":  # its macroblock tree reads stray memory with AVX-512: other bytes each time
                stream.options["mbtree"] = "0"
            picture: NDArray[np.uint8] | None = first
            while picture is not None:
                _checked(path, picture, (height, width))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
                picture = next(pictures, None)
            container.mux(stream.encode(None))
        Path(aside).chmod(0o644)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def _aside(path: Path) -> tuple[int, str]:
    try:
        return tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise MediaError(path, f"cannot be written: {error.strerror or error}") from error


def _checked(path: Path, picture: NDArray[np.uint8], size: tuple[int, int] | None) -> tuple[int, int]:
    height, width = picture.shape[:2]
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise MediaError(path, f"pictures are uint8 (H, W, 3), not {picture.dtype} {picture.shape}")
    if height % 2 or width % 2:
        raise MediaError(path, f"h264 needs an even width and height, not {width}x{height}")
    if size is not None and size != (height, width):
        raise MediaError(path, f"all pictures have one size: {width}x{height} came after {size[1]}x{size[0]}")
    return height, width
