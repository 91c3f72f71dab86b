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

from quickstep.types.errors import MediaError

# Readers of text, of lists of other files and of devices: a text file must not become a video of its letters, nor open its neighbours.
NOT_VIDEO = frozenset({"tty", "hls", "dash", "webm_dash_manifest", "imf", "concat", "ffmetadata", "lavfi", "sdp", "rtsp", "rtp", "sap"})
NOT_VIDEO |= {"bin", "adf", "idf", "xbin", "vapoursynth", "avisynth", "image2", "data"}
MOST_PIXELS = 2**27  # a picture of 16k x 8k; what claims to be larger is a damaged header
LINEAR = frozenset({"mpeg", "mpegvideo", "h264", "hevc", "m4v", "obu", "gif", "apng"})  # times after a seek are none, or guesses
GENERATE_TIMES = 1  # the flag by which FFmpeg makes up presentation times
ENOUGH = 34  # packets before the end, so that no later picture was passed over
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
        if isinstance(error, av.InvalidDataError | av.EOFError | av.ArgumentError):
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
        self.format = self.container.format.name
        if self.format == "avi":  # has decoding times only; what is made up from them is wrong where pictures are reordered
            self.container.flags &= ~GENERATE_TIMES
        self.in_order = self.format == "avi" and not self.codec.has_b_frames  # pictures are shown as they are decoded
        self.seekable = self.format not in LINEAR
        self.read_errors = 0
        self._packets: Iterator[Packet[VideoStream]] | None = None

    def reopen(self) -> None:
        """Start again from the beginning, where seeking does not lead there."""
        self.container.close()
        self._open()

    @property
    def usual_gap(self) -> int:
        """Ticks between pictures at the average rate."""
        rate = self.stream.average_rate or self.stream.guessed_rate or 25
        return max(1, round(1 / float(rate) / self.tick))

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
            if packet.pts is None and self.in_order:
                packet.pts = packet.dts
            return packet
        return None

    def seek(self, pts: int) -> bool:
        """Go to the keyframe at or before a time stamp; False where the container cannot."""
        if not self.seekable:
            return False
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
        """Whether the header says that pictures follow the last one that could be read, and are shown by `limit`."""
        end = self.promised_end
        return end is not None and end - shown > 2 * self.usual_gap and shown + self.usual_gap < limit < end

    @property
    def promised_end(self) -> int | None:
        """The time stamp at which the pictures end according to the header; None where it does not say."""
        stream = self.stream
        start = stream.start_time or 0
        if self.format.startswith(("mov", "avi")):
            return start + stream.duration if stream.duration and len(stream.index_entries) else None
        if not self.format.startswith("matroska"):
            return None
        if (stated := _clock(stream.metadata.get("DURATION", ""))) is not None:
            return round(stated / self.tick)
        if self.container.duration and not self.container.streams.audio:
            return round(((self.container.start_time or 0) + self.container.duration) / 1e6 / self.tick)
        return None

    def end_time(self) -> float:
        """Seconds, on the container's clock, at which the last picture ends: from the header, or by reading to the end."""
        stream = self.stream
        if self.format.startswith("mov") and stream.duration and len(stream.index_entries):
            return (stream.duration + (stream.start_time or 0)) * self.tick
        other = self.again()
        try:
            found = other._last_end()
        finally:
            other.close()
        promised = (self.promised_end or 0) * self.tick
        return promised if promised - found > 2 * self.usual_gap * self.tick else found

    def _last_end(self) -> float:
        """The end of the last picture, from the packets near the end of the file."""
        far = ((self.container.start_time or 0) + (self.container.duration or 0)) / 1e6 / self.tick
        for back in (2.0, 20.0):
            if far <= 0 or self.untimed or not self.seek(round(far - back / self.tick)):
                break
            end, count = self._read_to_end()
            if count > ENOUGH:
                return end
        self.reopen()
        return self._read_to_end()[0]

    def _read_to_end(self) -> tuple[float, int]:
        """When the last picture ends, and how many packets were read to know it."""
        last, length, count = -1, 0, 0
        while (packet := self.next_packet()) is not None:
            stamp = packet.dts if self.untimed or packet.pts is None else packet.pts
            count += 1
            if not packet.is_discard and stamp is not None and stamp >= last:
                last, length = stamp, packet.duration or self.usual_gap
        counted = last < 0 or (self.untimed and self.format != "avi")
        return (count * self.usual_gap if counted else last + length) * self.tick, count


def _clock(text: str) -> float | None:
    """Seconds of a tag such as 00:01:02.500000000; None where it is none."""
    parts = text.strip().split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    total = 3600 * hours + 60 * minutes + seconds
    return total if 0 <= total < 1e7 else None
