"""Show videos in the browser; those that browsers cannot play are converted to h264."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from quickstep.apps.web import page_elements, session
from quickstep.apps.web.video_addresses import address_of
from quickstep.signals.video import VideoInfo, VideoReader, probe, write_video
from quickstep.types.errors import MediaError
from quickstep.types.progress import Progress, silent
from quickstep.types.view import View

LARGEST = 540  # pixels of the shorter edge of a converted video
FASTEST = 30.0  # frames a second
_AT_ONCE = 8
_CODECS = {".mp4": {"h264", "av1", "vp9"}, ".m4v": {"h264"}, ".mov": {"h264"}, ".webm": {"vp8", "vp9", "av1"}}
_FORMATS = {"yuv420p", "yuvj420p"}


def plays(info: VideoInfo) -> bool:
    """Return whether common browsers play the video as it is."""
    return info.codec in _CODECS.get(info.path.suffix.lower(), set()) and info.pixel_format in _FORMATS


def playable(path: Path, folder: Path, *, progress: Progress = silent) -> Path:
    """Return the video if browsers play it, else a converted copy in `folder`."""
    info = probe(path)
    if plays(info):
        return path
    stat = path.stat()
    name = hashlib.sha256(f"{path}:{stat.st_size}:{stat.st_mtime_ns}".encode()).hexdigest()[:24]
    copy = folder / f"{name}.mp4"
    if not copy.exists():
        folder.mkdir(parents=True, exist_ok=True)
        convert(path, copy, progress=progress)
    return copy


def convert(path: Path, out: Path, *, progress: Progress = silent) -> None:
    """Write the same frames at the same times as h264, no larger than a page shows them."""
    with VideoReader(path, threads=2) as reader:
        info = reader.info
        fps = min(max(info.fps or 25.0, 1.0), FASTEST)
        times = np.arange(max(1, round(info.duration * fps))) / fps
        if min(info.width, info.height) < 8:
            raise MediaError(path, f"is too small to show ({info.width}x{info.height})")
        view = View(frames=1, size=min(LARGEST, info.width, info.height), fit="whole")

        def pictures() -> Iterator[NDArray[np.uint8]]:
            done = 0
            for frames in reader.windows([times[at : at + _AT_ONCE] for at in range(0, len(times), _AT_ONCE)], view=view):
                height, width = frames.pixels.shape[1:3]
                yield from frames.pixels[:, : height // 2 * 2, : width // 2 * 2]
                done += len(frames)
                progress("converting", done, len(times))

        write_video(out, pictures(), fps=fps, threads=2, preset="veryfast", crf=24, keyframe_every=max(1, round(fps)))


def show(path: Path, *, key: str, start: float = 0.0, end: float | None = None, autoplay: bool = False, loop: bool = False) -> None:
    """Show the player, in a container that the timeline finds by its key; an error is a sentence."""
    with st.container(key=key):
        try:
            with st.spinner("Preparing the video for the browser …", show_time=True):
                file = playable(path, session.folder() / "playable")
        except MediaError as error:
            st.info(f"The video cannot be shown: {page_elements.plain(error.why)}", icon=":material/videocam_off:")
            return
        info = probe(file)
        st.html(f"<style>.st-key-{key} video{{aspect-ratio:{info.width}/{info.height}}}</style>")
        stop = None if end is None else max(end, start + 0.1)
        st.video(
            address_of(file) or str(file), start_time=start, end_time=stop, loop=loop or stop is not None, autoplay=autoplay, muted=autoplay
        )
