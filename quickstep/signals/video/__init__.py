"""Video files: their properties, their frames at given times, and writing them. Only this package imports PyAV.

reader               VideoReader, probe, read_frames, read_windows
file_reader          VideoInfo, and a video that is decoded in this process
remote_reader        a video that is decoded in a restricted process of its own
decoder_pool         such processes, seen from here: limits, failures, and those that wait for a video
decoder_process      such a process itself
decoder_messages     what the two say to each other
source               an open file: packets, seeks, timestamps, errors
limits               what reading one video may cost
sample_tables        a check of an mp4's tables before FFmpeg builds its index from them
decoder              packets -> frames, intact or damaged
seek_sampler         the frames at given timestamps, decoding as little as possible
sequential_sampler   the same frame by frame, where a file is damaged or has no timestamps
scaling              orientation, square pixels, colours, the size of a view
frame_arrays         a view of frames that are in memory
writer               write_video
prefetch             items produced in threads, for every package
"""

import av

from quickstep.signals.video.file_reader import VideoInfo
from quickstep.signals.video.frame_arrays import apply_view
from quickstep.signals.video.reader import OVERHANG, VideoReader, probe, read_frames, read_windows
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

# A part of every cache key: raise it whenever the same times of the same file give other pixels than before.
DECODING_VERSION = 2


def ffmpeg_version() -> str:
    """Return the version of the FFmpeg that PyAV brings."""
    return str(av.ffmpeg_version_info)
