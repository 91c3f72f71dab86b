"""Decoder: packets in, frames with their timestamps out, each known to be intact or damaged.

A frame is damaged if its own data, or data that it is predicted from, could not be decoded. The decoder may report that late: a damaged
frame may come out after frames that reference it. So each frame waits until everything that was fed before it, and is presented later, is
out.
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

from quickstep.signals.video.limits import ProcessorBudget

# Codecs in which each decoded packet gives one frame.
ONE_FRAME_A_PACKET = frozenset({"h264", "hevc", "mjpeg", "prores", "ffv1", "huffyuv", "png", "dnxhd"})


@dataclass(frozen=True)
class DecodedFrame:
    """One frame from the decoder, with its timestamp."""

    pts: int
    frame: VideoFrame
    intact: bool


@dataclass
class _Waiting:
    pts: int
    frame: VideoFrame
    order: int  # of its packet
    barrier: int  # the latest timestamp fed before it: once that is out, nothing that it references is still in the decoder


class Decoder:
    """A codec, the order of the packets fed to it, and which of them failed."""

    def __init__(self, codec: VideoCodecContext, budget: ProcessorBudget) -> None:
        self._codec, self._budget = codec, budget
        self._skipping = False
        self._order = 0
        self._latest = -(2**62)  # timestamp fed
        self._fed: dict[int, tuple[int, int]] = {}  # timestamp -> order, barrier
        self._keys: deque[tuple[int, int]] = deque(maxlen=64)  # order, timestamp
        self._failed: list[int] = []  # orders of failed packets, ascending
        self._waiting: list[_Waiting] = []
        self._due: dict[int, int] = {}  # timestamp -> order of the packets that must give a frame
        self._base: int | None = None  # timestamp of the first keyframe: earlier frames may not come out
        self._out = -1
        self.ended = False
        self.untimed_gap: int | None = None  # ticks between frames that have decoding times only, or none

    @property
    def damaged(self) -> bool:
        """Whether anything has failed so far."""
        return bool(self._failed)

    def feed(self, packet: Packet[VideoStream], *, skip: bool) -> list[DecodedFrame]:
        """Decode a packet; `skip` drops its frame if no other frame references it."""
        pts = packet.pts if packet.pts is not None else packet.dts
        self._order += 1
        if pts is not None:
            self._fed[pts] = (self._order, self._latest)
            self._latest = max(self._latest, pts)
            if packet.is_keyframe:
                self._keys.append((self._order, pts))
                self._base = pts if self._base is None else self._base
            if self._must_give_frame(packet, skip):
                self._due[pts] = self._order
        if packet.is_corrupt:
            self._fail(self._order)
        if skip != self._skipping:
            self._codec.skip_frame = "NONREF" if skip else "DEFAULT"
            self._skipping = skip
        return self._decode(packet)

    def drain(self) -> list[DecodedFrame]:
        """Return the frames that are still in the decoder; it must be restarted at a keyframe afterwards."""
        if self.ended:
            return []
        self.ended = True
        frames = self._decode(None)
        self._check_due(2**62)
        rest = [self._judge(waiting) for waiting in self._waiting]
        self._waiting.clear()
        return frames + rest

    def restart(self) -> None:
        """Reset, to continue at a keyframe elsewhere in the file."""
        self._codec.flush_buffers()
        self._fed.clear()
        self._keys.clear()
        self._failed.clear()
        self._waiting.clear()
        self._due.clear()
        self._base = None
        self._latest = -(2**62)
        self._out = -1
        self.ended = False

    def _must_give_frame(self, packet: Packet[VideoStream], skip: bool) -> bool:
        """Whether a packet is certainly damaged if it gives no frame."""
        if (
            packet.is_discard
            or packet.pts is None
            or self._base is None
            or packet.pts < self._base
            or self._codec.name not in ONE_FRAME_A_PACKET
        ):
            return False
        return not skip or is_unreferenced(self._codec.name, memoryview(packet), self._codec.extradata) is False

    def _check_due(self, pts: int) -> None:
        """Mark the packets as failed whose frames should have come out before this timestamp."""
        for due in [due for due in self._due if due < pts]:
            self._fail(self._due.pop(due))

    def _decode(self, packet: Packet[VideoStream] | None) -> list[DecodedFrame]:
        try:
            with self._budget:
                frames = self._codec.decode(packet)
        except (av.FFmpegError, ValueError, MemoryError):
            self._fail(self._order)
            return []
        decoded = []
        for frame in frames:
            decoded += self._accept(frame)
        return decoded

    def _accept(self, frame: VideoFrame) -> list[DecodedFrame]:
        """Take a frame from the codec; return the frames that need not wait any more."""
        pts = frame.pts
        if pts is None or self.untimed_gap is not None:  # frames come out in the order of presentation
            pts = max(frame.dts if frame.dts is not None else 0, self._out + (self.untimed_gap or 1))
        self._out = max(self._out, pts)
        order, barrier = (self._order, pts) if self.untimed_gap else self._fed.pop(pts, (self._order, pts))
        if frame.is_corrupt:
            self._fail(order)
        self._due.pop(pts, None)
        if frame.interlaced_frame:
            self._due.clear()  # two packets may share one frame
        self._check_due(pts)
        self._waiting.append(_Waiting(pts, frame, order, barrier))
        ready = [waiting for waiting in self._waiting if waiting.barrier <= pts]
        if ready:
            self._waiting = [waiting for waiting in self._waiting if waiting.barrier > pts]
        if len(self._fed) > 256:  # packets that never gave a frame
            self._fed = {stamp: entry for stamp, entry in self._fed.items() if entry[0] > self._order - 128}
        return [self._judge(waiting) for waiting in ready]

    def _fail(self, order: int) -> None:
        place = bisect_left(self._failed, order)
        if self._failed[place : place + 1] != [order]:
            self._failed.insert(place, order)

    def _judge(self, waiting: _Waiting) -> DecodedFrame:
        """Return the frame, damaged if anything failed between its keyframe and its own packet."""
        since = max((order for order, pts in self._keys if order <= waiting.order and pts <= waiting.pts), default=0)
        place = bisect_left(self._failed, since)
        damaged = place < len(self._failed) and self._failed[place] <= waiting.order
        return DecodedFrame(waiting.pts, waiting.frame, not damaged)


# -- references between frames -----------------------------------------------------------------------------------------------

START_CODE = b"\x00\x00\x01"
SLICE_WITHIN = 65_536  # bytes in which the first slice of a frame starts, after its metadata


def is_unreferenced(codec: str, packet: bytes | memoryview, header: bytes | None) -> bool | None:
    """Whether no other frame references the frame of an H.264 or HEVC packet; None if that is unknown.

    A packet that others reference must give a frame. If it gives none, it was damaged, even if the codec reports no error.
    """
    if codec not in ("h264", "hevc"):
        return None
    view = memoryview(packet)
    framed = bool(header) and header is not None and header[0] == 1  # each unit has a length instead of a start code
    place = 0 if framed else _after_start(view, 0)
    prefix = (((header[4] if codec == "h264" else header[21]) & 3) + 1) if framed and header is not None and len(header) > 21 else 4
    while 0 <= place < len(view) - prefix - 1:
        unit = place + prefix if framed else place
        unreferenced = _is_unreferenced_slice(codec, view[unit])
        if unreferenced is not None:
            return unreferenced
        place = unit + int.from_bytes(view[place : place + prefix], "big") if framed else _after_start(view, unit)
    return None


def _after_start(view: memoryview, place: int) -> int:
    offset = bytes(view[place : place + SLICE_WITHIN]).find(START_CODE)
    return place + offset + 3 if offset >= 0 else -1


def _is_unreferenced_slice(codec: str, first: int) -> bool | None:
    """Read the first byte of a unit; None if it is not a slice of a frame."""
    if codec == "h264":
        return (first >> 5) & 3 == 0 if first & 31 in (1, 2, 5) else None
    kind = (first >> 1) & 63
    return kind < 16 and kind % 2 == 0 if kind < 32 else None
