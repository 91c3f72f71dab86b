"""VideoSource: an open video file: its packets, seeks and timestamps; and the translation of FFmpeg's errors."""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from quickstep.signals.video.limits import ProcessorBudget, current_limits
from quickstep.signals.video.sample_tables import check_sample_tables
from quickstep.types.errors import MediaError
from quickstep.types.progress import check_stop

# Demuxers of text, of lists of other files and of devices: a text file must not become a video of its letters, nor open other files.
NOT_VIDEO = frozenset({"tty", "hls", "dash", "webm_dash_manifest", "imf", "concat", "ffmetadata", "lavfi", "sdp", "rtsp", "rtp", "sap"})
NOT_VIDEO |= {"bin", "adf", "idf", "xbin", "vapoursynth", "avisynth", "image2", "data"}
# These open a second file beside the first, or a device.
NOT_VIDEO |= {"vobsub", "mlv", "dvdvideo", "segment", "tee", "alsa", "oss", "fbdev", "kmsgrab", "video4linux2", "v4l2", "x11grab", "xa"}
ALWAYS_ALLOWED = 2**23  # pixels of a frame, a little more than 4K: a stream may grow to it, and beyond only where its header says so
TRANSPARENT_PIXELS = 2**25  # of animated pictures, of which FFmpeg keeps several whole ones
ANIMATED_PICTURES = frozenset({"gif", "apng", "webp", "png"})
LEAST_BYTES = 100  # a second, of a real video; what claims to last longer is read through before that is believed
LONGEST_GAP = 60.0  # seconds between two frames that are believed in such a file
NOT_SEEKABLE = frozenset(
    {"mpeg", "mpegvideo", "h264", "hevc", "m4v", "obu", "gif", "apng"}
)  # timestamps after a seek are missing or guessed
GENERATE_TIMES = 1  # FFmpeg's flag that makes up presentation times
LAST_PACKETS = 34  # packets before the end that certainly include the last frame
MAX_ERRORS = 64  # consecutive failed reads after which the rest of the file is given up


@cache
def readable_formats() -> str:
    """Return the container formats that may be opened, as FFmpeg's format whitelist."""
    return ",".join(sorted(name for name in av.formats_available if not NOT_VIDEO & set(name.split(","))))


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn the errors of FFmpeg and the file system into one MediaError."""
    try:
        yield
    except MediaError:
        raise
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or str(error)
        if isinstance(error, av.InvalidDataError | av.EOFError | av.ArgumentError):
            reason = "not a video, or too damaged to be read"
        raise MediaError(path, reason[:1].lower() + reason[1:]) from error
    except MemoryError as error:
        raise MediaError(path, "reading it takes more memory than there is: it is damaged, or its frames are too large") from error


def check_file(path: Path) -> int:
    """Return the size of a file in bytes; refuse folders, devices and empty files."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise MediaError(path, "no such file" if isinstance(error, FileNotFoundError) else str(error)) from error
    if stat.S_ISDIR(status.st_mode):
        raise MediaError(path, "is a folder, not a video")
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(path, "is a device or a pipe, not a video file")
    if status.st_size == 0:
        raise MediaError(path, "is empty (0 bytes)")
    return status.st_size


class DescriptorFile(RawIOBase):
    """Reads a file that another process has opened; each instance has its own place in it."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor, self._place = descriptor, 0
        self.name = os.fspath(path)  # FFmpeg guesses the format of some files by it

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def seekable(self) -> bool:
        """Whether it has places."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the bytes that follow."""
        count = os.preadv(self._descriptor, [buffer], self._place)
        self._place += count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: os.fstat(self._descriptor).st_size}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place


class VideoSource:
    """An open container with its video stream: packets in decoding order, from the start or from a keyframe."""

    def __init__(self, path: str | Path, *, threads: int = 1, descriptor: int | None = None) -> None:
        """Open a video; with a descriptor, the path is only its name."""
        self.path = Path(path)
        self.threads = threads
        self._descriptor = descriptor
        self.bytes = check_file(self.path) if descriptor is None else os.fstat(descriptor).st_size
        with translated(self.path), self._file() as file:
            check_sample_tables(self.path, self.bytes, file)
        self.untimed = False  # packets have no presentation times: frames are counted
        self.disbelieved: float | None = None  # seconds that the file claims to last, where its frames end long before
        self._limits = current_limits()
        self.budget = ProcessorBudget(self.path, self._limits.cpu_seconds, threads=threads)
        self._open()
        self.budget = ProcessorBudget(self.path, self._limits.cpu_seconds * (1 + self._most_seconds()), threads=threads)
        self.tick = float(self.stream.time_base or 0) or 1 / 90_000  # seconds

    def _open(self) -> None:
        most = str(self._limits.max_pixels)
        options = {"format_whitelist": readable_formats(), "protocol_whitelist": "file", "max_pixels": most}
        place = f"file:{os.fspath(self.path)}" if self._descriptor is None else self._file()
        with translated(self.path), self.budget:
            self.container: InputContainer = av.open(place, "r", options=options, metadata_errors="replace")
        try:
            self.stream = self._video_stream()
            self.codec: VideoCodecContext = self.stream.codec_context
            self.codec.thread_count = self.threads
            self.codec.thread_type = "SLICE" if self.threads == 1 else "AUTO"
            self.codec.options = {"max_pixels": str(self._most_pixels())}
        except BaseException:
            self.container.close()
            raise
        self.format = self.container.format.name
        if self.format == "avi":  # has decoding times only; presentation times made up from them are wrong if frames are reordered
            self.container.flags &= ~GENERATE_TIMES
        self.in_order = self.format == "avi" and not self.codec.has_b_frames  # the order of decoding is that of presentation
        self.seekable = self.format not in NOT_SEEKABLE
        self.read_errors = 0
        self._packets: Iterator[Packet[VideoStream]] | None = None

    def _file(self) -> BinaryIO:
        """Open the file, or read the descriptor from its start, at places of its own."""
        return self.path.open("rb") if self._descriptor is None else BufferedReader(DescriptorFile(self._descriptor, self.path), 2**16)

    def _most_pixels(self) -> int:
        """Return how large a frame may be: a stream that grows must not take memory that its header did not announce."""
        announced = self.codec.width * self.codec.height
        most = self._limits.max_pixels
        if self.codec.name in ANIMATED_PICTURES:
            most = min(most, TRANSPARENT_PIXELS)
        if announced > most:
            raise MediaError(self.path, f"its frames claim {self.codec.width}x{self.codec.height} pixels, and the most is {most}")
        return min(most, max(announced, ALWAYS_ALLOWED))

    def _most_seconds(self) -> float:
        """Return how long the video can last at most, by its header and by its bytes."""
        claimed = (self.container.duration or 0) / 1e6
        held = LONGEST_GAP + self.bytes / LEAST_BYTES
        return min(claimed, held) if claimed > 0 else held

    def reopen(self) -> None:
        """Open the file again, at its start."""
        self.container.close()
        self._open()

    @property
    def average_gap(self) -> int:
        """Ticks between frames at the average rate."""
        rate = self.stream.average_rate or self.stream.guessed_rate or 25
        return max(1, round(1 / float(rate) / self.tick))

    def duplicate(self) -> VideoSource:
        """Open the same file a second time."""
        source = VideoSource(self.path, threads=self.threads, descriptor=self._descriptor)
        source.untimed, source.tick, source.budget = self.untimed, self.tick, self.budget
        return source

    def _video_stream(self) -> VideoStream:
        streams = self.container.streams
        moving = [stream for stream in streams.video if not stream.disposition & stream.disposition.attached_pic]
        if not moving:
            raise MediaError(self.path, "has only sound, no video" if streams.audio else "has no video stream")
        best = streams.best("video")
        stream = best if isinstance(best, VideoStream) and any(best.index == stream.index for stream in moving) else moving[0]
        if stream.codec_context is None:
            raise MediaError(self.path, "this build of FFmpeg does not know its codec")
        for other in streams:
            if other.index != stream.index:
                other.discard = av.stream.Discard.all
        return stream

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def next_packet(self) -> Packet[VideoStream] | None:
        """Return the next packet in decoding order, or None at the end; count and skip what cannot be read."""
        failed = 0
        while failed < MAX_ERRORS:
            check_stop()
            if self._packets is None:
                self._packets = self.container.demux(self.stream)
            try:
                with self.budget:
                    packet = next(self._packets)
            except StopIteration:
                return None
            except (av.FFmpegError, OSError):
                self.read_errors += 1
                failed += 1
                self._packets = None
                continue
            if packet.size == 0 and packet.pts is None and packet.dts is None:
                return None  # an empty packet marks the end
            if packet.pts is None and self.in_order:
                packet.pts = packet.dts
            return packet
        return None

    def seek(self, pts: int) -> bool:
        """Go to the keyframe at or before a timestamp; return False if the container cannot."""
        if not self.seekable:
            return False
        self._packets = None
        try:
            self.container.seek(pts, stream=self.stream)
        except (av.FFmpegError, OSError):
            return False
        return True

    def keyframe_before(self, pts: int) -> int | None:
        """Return the timestamp of the last keyframe at or before `pts`, from the container's index; None without an index."""
        index = self.stream.index_entries
        place = index.search_timestamp(pts)
        return index[place].timestamp if place >= 0 else None

    def announces_frame(self, last: int, limit: int) -> bool:
        """Whether, by the header, more frames follow the last one that could be read, before `limit`."""
        end = self.announced_end
        return end is not None and end - last > 2 * self.average_gap and last + self.average_gap < limit < end

    @property
    def announced_end(self) -> int | None:
        """The timestamp of the end by the header; None if it states none, or one that the file cannot hold."""
        end = self._stated_end()
        return None if end is None or self._is_too_long(end * self.tick) else end

    def _is_too_long(self, seconds: float) -> bool:
        """Whether a video of this length would have fewer bytes a second than real ones have."""
        return seconds > LONGEST_GAP and seconds * LEAST_BYTES > self.bytes

    def _stated_end(self) -> int | None:
        stream = self.stream
        start = stream.start_time or 0
        if self.format.startswith(("mov", "avi")):
            return start + stream.duration if stream.duration and len(stream.index_entries) else None
        if not self.format.startswith("matroska"):
            return None
        if (stated := _parse_clock(stream.metadata.get("DURATION", ""))) is not None:
            return round(stated / self.tick)
        if self.container.duration and not self.container.streams.audio:
            return round(((self.container.start_time or 0) + self.container.duration) / 1e6 / self.tick)
        return None

    def end_time(self) -> float:
        """Return when the last frame ends, in seconds on the container's clock: from the header, or by reading to the end.

        An end that is later than the file's bytes can hold is believed only as far as its frames follow each other.
        """
        end = self._claimed_end()
        start = (self.stream.start_time or 0) * self.tick
        claimed = max(end, (self._stated_end() or 0) * self.tick)
        if self._is_too_long(end - start):
            with closing(self.duplicate()) as other:
                end = min(end, other._end_without_gaps())
        if claimed - end > LONGEST_GAP:
            self.disbelieved = claimed - start
        return end

    def check_duration(self, seconds: float) -> None:
        """Refuse a video that lasts longer than the limit, before anything is planned for each second of it."""
        if seconds > self._limits.max_hours * 3600:
            why = f"lasts {seconds / 3600:.1f} hours, and the most is {self._limits.max_hours:g}; a higher `max_hours` allows more"
            raise MediaError(self.path, why)

    def _claimed_end(self) -> float:
        stream = self.stream
        if self.format.startswith("mov") and stream.duration and len(stream.index_entries):
            return (stream.duration + (stream.start_time or 0)) * self.tick
        with closing(self.duplicate()) as other:
            end = other._last_end()
        announced = (self.announced_end or 0) * self.tick
        return announced if announced - end > 2 * self.average_gap * self.tick else end

    def _end_without_gaps(self) -> float:
        """Return the end of the last frame that comes before a long gap, reading all packets."""
        stamps, durations = array("d"), array("d")  # seconds; a list would take ten times the memory
        while (packet := self.next_packet()) is not None:
            stamp = packet.dts if self.untimed or packet.pts is None else packet.pts
            if not packet.is_discard and stamp is not None:
                stamps.append(stamp * self.tick)
                durations.append(min((packet.duration or self.average_gap) * self.tick, LONGEST_GAP))
        if not stamps:
            return 0.0
        order = np.argsort(stamps, kind="stable")
        ascending = np.asarray(stamps)[order]
        gaps = np.flatnonzero(np.diff(ascending) > LONGEST_GAP)
        last = int(gaps[0]) if len(gaps) else len(ascending) - 1
        return float(ascending[last] + durations[int(order[last])])

    def _last_end(self) -> float:
        """Return the end of the last frame, from the packets near the end of the file."""
        far = ((self.container.start_time or 0) + (self.container.duration or 0)) / 1e6 / self.tick
        for back in (2.0, 20.0):
            if far <= 0 or self.untimed or not self.seek(round(far - back / self.tick)):
                break
            end, count = self._read_to_end()
            if count > LAST_PACKETS:
                return end
        self.reopen()
        return self._read_to_end()[0]

    def _read_to_end(self) -> tuple[float, int]:
        """Return when the last frame ends, and how many packets were read."""
        last, length, count = -1, 0, 0
        while (packet := self.next_packet()) is not None:
            stamp = packet.dts if self.untimed or packet.pts is None else packet.pts
            count += 1
            if not packet.is_discard and stamp is not None and stamp >= last:
                last, length = stamp, packet.duration or self.average_gap
        count_frames = last < 0 or (self.untimed and self.format != "avi")
        return (count * self.average_gap if count_frames else last + length) * self.tick, count


def _parse_clock(text: str) -> float | None:
    """Parse a tag such as 00:01:02.500000000 as seconds; None if it has another form."""
    parts = text.strip().split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    total = 3600 * hours + 60 * minutes + seconds
    return total if 0 <= total < 1e7 else None
