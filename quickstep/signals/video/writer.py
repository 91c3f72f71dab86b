"""write_video: encode frames as an h264 mp4, atomically."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from quickstep.signals.video.source import translated
from quickstep.storage.files import replacing
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
    """Encode RGB frames (H, W, 3), all of one even size, as a video that plays everywhere (yuv420p, index first).

    With one thread the same frames give the same bytes. `preset` is the codec's own trade of speed against file size.
    """
    path = Path(path)
    images = iter(frames)
    first = next(images, None)
    if first is None:
        raise MediaError(path, "a video needs at least one frame")
    height, width = _check_frame(path, first, None)
    options: dict[str, Any] = {"crf": str(crf)}
    if keyframe_every:
        options["g"] = str(keyframe_every)
    if preset is not None:
        options["preset"] = preset
    if codec == "libx264":  # its macroblock tree reads uninitialized memory with AVX-512: other bytes each time
        options["mbtree"] = "0"
    try:
        with replacing(path, sync=False) as temporary, translated(path), _create(temporary) as container:
            stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(60_000))
            assert isinstance(stream, VideoStream)
            stream.width, stream.height, stream.pix_fmt, stream.options = width, height, "yuv420p", options
            stream.codec_context.thread_count = threads
            stream.codec_context.flags |= av.codec.context.Flags.bitexact
            for image in chain([first], images):
                _check_frame(path, image, (height, width))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
            container.mux(stream.encode(None))
    except MediaError:
        raise
    except OSError as error:
        raise MediaError(path, f"cannot be written: {error.strerror or error}") from error


def _create(path: Path) -> OutputContainer:
    return av.open(str(path), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"})


def _check_frame(path: Path, image: NDArray[np.uint8], size: tuple[int, int] | None) -> tuple[int, int]:
    """Return the height and width of a frame that can be encoded."""
    height, width = image.shape[:2]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise MediaError(path, f"frames are uint8 (H, W, 3), not {image.dtype} {image.shape}")
    if height % 2 or width % 2:
        raise MediaError(path, f"h264 needs an even width and height, not {width}x{height}")
    if size is not None and size != (height, width):
        raise MediaError(path, f"all frames need one size: {width}x{height} came after {size[1]}x{size[0]}")
    return height, width
