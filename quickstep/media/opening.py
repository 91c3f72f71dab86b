"""Source: one video file opened for reading, its packets and its seeks; knows no pictures. Translates the container's errors."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from quickstep.errors import MediaError

# Readers of text, of lists of other files and of devices: a text file must not become a video of its letters, nor open its neighbours.
NOT_VIDEO = frozenset({"tty", "hls", "dash", "webm_dash_manifest", "imf", "concat", "ffmetadata", "lavfi", "sdp", "rtsp", "rtp", "sap"})
NOT_VIDEO |= {"bin", "adf", "idf", "xbin", "vapoursynth", "avisynth", "image2", "data"}
MOST_PIXELS = 2**27  # a picture of 16k x 8k; what claims to be larger is a damaged header
MOST_ERRORS = 64  # reads that fail one after another before the rest of the file is given up


@cache
def readable_formats() -> str:
    """The container formats that are let in, as FFmpeg's own whitelist wants them."""
    return ",".join(sorted(name for name in av.formats_available if not NOT_VIDEO & set(name.split(","))))


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what FFmpeg and the file system raise into one MediaError."""
    try:
        yield
    except MediaError:
        raise
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or str(error)
        if isinstance(error, av.InvalidDataError | av.EOFError):
            reason = "not a video, or damaged beyond reading"
        raise MediaError(path, reason[:1].lower() + reason[1:]) from error


def check_file(path: Path) -> int:
    """The size in bytes of something that may be a video; folders, devices and empty files are refused."""
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise MediaError(path, "there is no such file" if isinstance(error, FileNotFoundError) else str(error)) from error
    if stat.S_ISDIR(found.st_mode):
        raise MediaError(path, "this is a folder, not a video")
    if not stat.S_ISREG(found.st_mode):
        raise MediaError(path, "this is a device or a pipe, not a video file")
    if found.st_size == 0:
        raise MediaError(path, "the file is empty (0 bytes)")
    return found.st_size


class Source:
    """An open container with its video stream: packets in decoding order, from the beginning or from a keyframe."""

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        self.path = Path(path)
        self.threads = threads
        self.bytes = check_file(self.path)
        self.untimed = False  # packets have no presentation times: pictures are counted
        self._open()
        self.format = self.container.format.name
        self.tick = float(self.stream.time_base or 0) or 1 / 90_000  # seconds

    def _open(self) -> None:
        options = {"format_whitelist": readable_formats(), "protocol_whitelist": "file", "max_pixels": str(MOST_PIXELS)}
        with translated(self.path):
            self.container: InputContainer = av.open(f"file:{os.fspath(self.path)}", "r", options=options, metadata_errors="replace")
        try:
            self.stream = self._video_stream()
            self.codec: VideoCodecContext = self.stream.codec_context
            self.codec.thread_count = self.threads
            self.codec.thread_type = "SLICE" if self.threads == 1 else "AUTO"
            self.codec.options = {"max_pixels": str(MOST_PIXELS)}
        except BaseException:
            self.container.close()
            raise
        self.read_errors = 0
        self._packets: Iterator[Packet[VideoStream]] | None = None

    def reopen(self) -> None:
        """Start again from the beginning, where seeking does not lead there."""
        self.container.close()
        self._open()

    def count_pictures(self) -> None:
        """Without times in the file, a picture's number over the frame rate is its time."""
        rate = self.stream.average_rate or self.stream.guessed_rate or 25
        self.untimed, self.tick = True, float(1 / rate)

    def again(self) -> Source:
        """The same file, opened a second time."""
        source = Source(self.path, threads=self.threads)
        source.untimed, source.tick = self.untimed, self.tick
        return source

    def _video_stream(self) -> VideoStream:
        streams = self.container.streams
        moving = [stream for stream in streams.video if not stream.disposition & stream.disposition.attached_pic]
        if not moving:
            raise MediaError(self.path, "there is only sound in it, no video" if streams.audio else "there is no video in it")
        best = streams.best("video")
        stream = best if isinstance(best, VideoStream) and any(best.index == one.index for one in moving) else moving[0]
        if stream.codec_context is None:
            raise MediaError(self.path, "its codec is not known to this build of FFmpeg")
        for other in streams:
            if other.index != stream.index:
                other.discard = av.stream.Discard.all
        return stream

    def close(self) -> None:
        self.container.close()

    def next_packet(self) -> Packet[VideoStream] | None:
        """The next packet, in decoding order, or None at the end; a spot that cannot be read is counted and passed over."""
        failed = 0
        while failed < MOST_ERRORS:
            if self._packets is None:
                self._packets = self.container.demux(self.stream)
            try:
                packet = next(self._packets)
            except StopIteration:
                return None
            except (av.FFmpegError, OSError):
                self.read_errors += 1
                failed += 1
                self._packets = None
                continue
            if packet.size == 0 and packet.pts is None and packet.dts is None:
                return None  # the empty packet that stands for the end
            return packet
        return None

    def seek(self, pts: int) -> bool:
        """Go to the keyframe at or before a time stamp; False where the container cannot."""
        self._packets = None
        try:
            self.container.seek(pts, stream=self.stream)
        except (av.FFmpegError, OSError):
            return False
        return True

    def keyframe_before(self, pts: int) -> int | None:
        """The time stamp that the container's index gives the last keyframe at or before `pts`; None where it has no index."""
        index = self.stream.index_entries
        place = index.search_timestamp(pts)
        return index[place].timestamp if place >= 0 else None

    def promises(self, shown: int, limit: int) -> bool:
        """Whether the container's own index lists pictures after the last one that could be read, shown by `limit`."""
        index = self.stream.index_entries
        if self.stream.duration is None or not len(index) or self.stream.start_time is None:
            return False
        cut_off = self.read_errors > 0 or index[len(index) - 1].pos >= self.bytes
        return cut_off and shown < limit < self.stream.start_time + self.stream.duration

    def end_time(self) -> float:
        """Seconds, on the container's clock, at which the last picture ends: from the header, or by reading to the end."""
        stream = self.stream
        if self.untimed:
            return self._count_packets() * self.tick
        if self.format.startswith("mov") and stream.duration and len(stream.index_entries):
            return (stream.duration + (stream.start_time or 0)) * self.tick
        other = Source(self.path)
        try:
            return other._last_end()
        finally:
            other.close()

    def _last_end(self) -> float:
        """The end of the last picture, from the packets after the last keyframe."""
        far = self.container.duration
        start = self.container.start_time or 0
        if far and self.seek(round((start + far) / 1e6 / self.tick)):
            end = self._read_to_end()
            if end is not None:
                return end
        self.reopen()
        return self._read_to_end() or 0.0

    def _read_to_end(self) -> float | None:
        last = previous = length = None
        while (packet := self.next_packet()) is not None:
            pts = packet.pts if packet.pts is not None else packet.dts
            if pts is None or packet.is_discard:
                continue
            if last is None or pts > last:
                last, previous, length = pts, last, packet.duration
            elif previous is None or pts > previous:
                previous = pts
        if last is None:
            return None
        if not length:
            rate = self.stream.average_rate
            length = last - previous if previous is not None else round(1 / float(rate) / self.tick) if rate else 0
        return (last + length) * self.tick

    def _count_packets(self) -> int:
        other = Source(self.path)
        try:
            count = 0
            while other.next_packet() is not None:
                count += 1
            return count
        finally:
            other.close()
