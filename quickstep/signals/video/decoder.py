"""Decoder: packets in, pictures with their time stamps out, each known to be whole or damaged; knows no moments and no pixels.

A picture is damaged where its own data, or data it is predicted from, could not be decoded. That shows late: the picture
that carries the damage may come out after others that lean on it. So pictures wait until everything that was fed
before them and is shown later has come out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass

import av
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from quickstep.signals.video.frame_dependencies import leans_nothing

# Codecs in which each packet that is decoded gives one picture.
SHOWING = frozenset({"h264", "hevc", "mjpeg", "prores", "ffv1", "huffyuv", "png", "dnxhd"})


@dataclass(frozen=True)
class Shown:
    """One picture that came out of the decoder."""

    pts: int
    frame: VideoFrame
    whole: bool


@dataclass
class _Waiting:
    pts: int
    frame: VideoFrame
    order: int  # of its packet
    barrier: int  # the latest time stamp fed before it: once that has come out, nothing it leans on is still inside


class Decoder:
    """A codec, the order in which it was fed, and where that went wrong."""

    def __init__(self, codec: VideoCodecContext) -> None:
        self._codec = codec
        self._skipping = False
        self._order = 0
        self._top = -(2**62)  # the latest time stamp fed
        self._fed: dict[int, tuple[int, int]] = {}  # time stamp -> order, barrier
        self._keys: deque[tuple[int, int]] = deque(maxlen=64)  # order, time stamp
        self._damage: list[int] = []  # orders of packets that failed, ascending
        self._waiting: list[_Waiting] = []
        self._due: dict[int, int] = {}  # time stamp -> order of packets whose picture has to come out
        self._base: int | None = None  # time stamp of the keyframe started at: what is shown before it may stay inside
        self._out = -1
        self.ended = False
        self.untimed_gap: int | None = None  # ticks between pictures that have decoding times only, or none

    @property
    def damaged(self) -> bool:
        """Whether anything failed so far."""
        return bool(self._damage)

    def feed(self, packet: Packet[VideoStream], *, skip: bool) -> list[Shown]:
        """Decode a packet; with `skip` its picture is left out if no other leans on it."""
        pts = packet.pts if packet.pts is not None else packet.dts
        self._order += 1
        if pts is not None:
            self._fed[pts] = (self._order, self._top)
            self._top = max(self._top, pts)
            if packet.is_keyframe:
                self._keys.append((self._order, pts))
                self._base = pts if self._base is None else self._base
            if self._must_show(packet, skip):
                self._due[pts] = self._order
        if packet.is_corrupt:
            self._hurt(self._order)
        if skip != self._skipping:
            self._codec.skip_frame = "NONREF" if skip else "DEFAULT"
            self._skipping = skip
        return self._decode(packet)

    def drain(self) -> list[Shown]:
        """What is still inside; the decoder must then be restarted at a keyframe."""
        if self.ended:
            return []
        self.ended = True
        shown = self._decode(None)
        self._miss(2**62)
        rest = [self._judge(one) for one in self._waiting]
        self._waiting.clear()
        return shown + rest

    def restart(self) -> None:
        """Forget everything, to go on at a keyframe that does not follow what was fed."""
        self._codec.flush_buffers()
        self._fed.clear()
        self._keys.clear()
        self._damage.clear()
        self._waiting.clear()
        self._due.clear()
        self._base = None
        self._top = -(2**62)
        self._out = -1
        self.ended = False

    def _must_show(self, packet: Packet[VideoStream], skip: bool) -> bool:
        """Whether a packet that gives no picture is damaged for certain."""
        if packet.is_discard or packet.pts is None or self._base is None or packet.pts < self._base or self._codec.name not in SHOWING:
            return False
        return not skip or leans_nothing(self._codec.name, memoryview(packet), self._codec.extradata) is False

    def _miss(self, pts: int) -> None:
        """Note what should have come out before the picture of this time stamp."""
        for due in [due for due in self._due if due < pts]:
            self._hurt(self._due.pop(due))

    def _decode(self, packet: Packet[VideoStream] | None) -> list[Shown]:
        try:
            frames = self._codec.decode(packet)
        except (av.FFmpegError, ValueError, MemoryError):
            self._hurt(self._order)
            return []
        shown = []
        for frame in frames:
            shown += self._take(frame)
        return shown

    def _take(self, frame: VideoFrame) -> list[Shown]:
        pts = frame.pts
        if pts is None or self.untimed_gap is not None:  # pictures come out in the order in which they are shown
            pts = max(frame.dts if frame.dts is not None else 0, self._out + (self.untimed_gap or 1))
        self._out = max(self._out, pts)
        order, barrier = (self._order, pts) if self.untimed_gap else self._fed.pop(pts, (self._order, pts))
        if frame.is_corrupt:
            self._hurt(order)
        self._due.pop(pts, None)
        if frame.interlaced_frame:
            self._due.clear()  # two packets may share one picture
        self._miss(pts)
        self._waiting.append(_Waiting(pts, frame, order, barrier))
        free = [one for one in self._waiting if one.barrier <= pts]
        if free:
            self._waiting = [one for one in self._waiting if one.barrier > pts]
        if len(self._fed) > 256:  # what never came out
            self._fed = {known: place for known, place in self._fed.items() if place[0] > self._order - 128}
        return [self._judge(one) for one in free]

    def _hurt(self, order: int) -> None:
        place = bisect_left(self._damage, order)
        if self._damage[place : place + 1] != [order]:
            self._damage.insert(place, order)

    def _judge(self, one: _Waiting) -> Shown:
        """Damaged if anything failed between the keyframe it stands on and its own packet."""
        since = max((order for order, pts in self._keys if order <= one.order and pts <= one.pts), default=0)
        place = bisect_left(self._damage, since)
        hurt = place < len(self._damage) and self._damage[place] <= one.order
        return Shown(one.pts, one.frame, not hurt)
