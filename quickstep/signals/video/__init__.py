"""Video files: what they are, their frames at given moments, and writing them. The only rooms that know PyAV.

    opening    one file, its packets, its seeks, its errors
    decoding   packets -> pictures, whole or damaged
    stepping   from moment to moment, decoding as little as possible
    walking    picture by picture, where a file is damaged or has no times
    scaling    upright, square pixels, right colours, a view's size
    reading    VideoInfo, VideoReader, probe, read_frames, read_windows
    writing    write_video

Reading sound has its place here too, beside `reading`; nothing needs it yet.
"""

import av

from quickstep.signals.video.frame_arrays import apply_view
from quickstep.signals.video.reader import OVERHANG, VideoInfo, VideoReader, probe, read_frames, read_windows
from quickstep.signals.video.writer import write_video

__all__ = [
    "DECODING_VERSION",
    "OVERHANG",
    "VideoInfo",
    "VideoReader",
    "apply_view",
    "ffmpeg_version",
    "probe",
    "read_frames",
    "read_windows",
    "write_video",
]

# A part of every cache key: raise it whenever the same moments of the same file give other pixels than before.
DECODING_VERSION = 2


def ffmpeg_version() -> str:
    """The version of the FFmpeg that PyAV brings."""
    return str(av.ffmpeg_version_info)
