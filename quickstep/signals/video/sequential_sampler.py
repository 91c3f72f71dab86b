"""SequentialSampler: the frame at each of ascending timestamps, decoding every frame in turn.

It is for files whose packets have no usable timestamps, and for damaged places, where it finds the nearest intact frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from av.video.frame import VideoFrame

from quickstep.signals.video.decoder import DecodedFrame, Decoder
from quickstep.signals.video.source import VideoSource
from quickstep.types.errors import MediaError

LATEST = 2**62
LEAD = (2.0, 10.0, 60.0)  # seconds before a damaged timestamp at which decoding starts; then at the start of the file
WIDE_GAP = 1.9  # times the average gap between frames: near damage, frames are missing in a wider one
# Codecs whose packets may give no frame: a frame that never comes out was not lost.
HIDDEN_FRAMES = frozenset({"vp8", "vp9", "av1", "libdav1d", "libaom-av1", "mpeg4", "msmpeg4v2", "msmpeg4v3", "wmv2", "wmv3", "vc1"})
NEAR = 10.0  # seconds that are decoded rather than skipped with a seek


@dataclass(frozen=True)
class SampledFrame:
    """The frame at one of the timestamps."""

    place: int  # the index of the timestamp
    pts: int
    frame: VideoFrame
    intact: bool  # False: the frame at the timestamp is damaged, this is the nearest intact one


class SequentialSampler:
    """Decodes a source of its own forwards, frame by frame."""

    def __init__(self, source: VideoSource, *, zero: int, seeks: bool) -> None:
        self.source = source
        self.zero = zero
        self._seeks = seeks
        self._start()

    def _start(self) -> None:
        self.decoder = Decoder(self.source.codec, self.source.budget)
        self.decoder.untimed_gap = self.source.average_gap if self.source.untimed else None
        self._before: DecodedFrame | None = None  # the last intact frame
        self._last: DecodedFrame | None = None  # the last frame, intact or not
        self._next: deque[DecodedFrame] = deque()
        self._known: list[int] = []  # timestamps fed and not yet passed
        self._ended = False

    def sample(self, wanted: Sequence[tuple[int, int]]) -> Iterator[SampledFrame]:
        """Yield the frame at each (index, timestamp), ascending."""
        for place, limit in wanted:
            self._approach(limit)
            yield self._find(place, limit)

    def _approach(self, limit: int) -> None:
        """Seek forwards, or back to the start, unless the timestamp comes soon."""
        at = self._last.pts if self._last else -LATEST
        if self._ended and not self._next and at <= limit:
            return  # nothing follows
        if self._before and self._before.pts <= limit and (limit - at) * self.source.tick < NEAR:
            return
        if not self._seeks:
            if at > limit:
                self._reopen()
            return
        for lead in LEAD:
            self._jump(limit - round(lead / self.source.tick))
            if self._has_intact_frame(limit):
                return
        self._reopen()

    def _jump(self, goal: int) -> None:
        if goal <= self.zero or not self.source.seek(goal):
            self._reopen()
        else:
            self._start()
            self.decoder.restart()

    def _reopen(self) -> None:
        self.source.reopen()
        self._start()

    def _has_intact_frame(self, limit: int) -> bool:
        """Whether an intact frame follows at or before `limit`."""
        frames: list[DecodedFrame] = []
        while (frame := self._pull()) is not None:
            frames.append(frame)
            if frame.intact or frame.pts > limit:
                break
        self._next.extendleft(reversed(frames))
        return bool(frames) and frames[-1].intact and frames[-1].pts <= limit

    def _find(self, place: int, limit: int) -> SampledFrame:
        """Decode until the frame after `limit`; if the one at `limit` is damaged, until the next intact one."""
        after: DecodedFrame | None = None
        while (frame := self._pull()) is not None:
            if frame.pts > limit:
                after = frame
                break
            self._last = frame
            if frame.intact:
                self._before = frame
        own = self._last
        intact = own is not None and own.intact and not self._is_frame_lost(own, limit, after)
        beyond: list[DecodedFrame] = [after] if after else []
        while not intact and beyond and not beyond[-1].intact and (frame := self._pull()) is not None:
            beyond.append(frame)
        self._next.extendleft(reversed(beyond))
        chosen = self._nearest(limit, beyond[-1] if beyond and beyond[-1].intact else None, intact)
        return SampledFrame(place, chosen.pts, chosen.frame, intact or (own is None and not self.decoder.damaged))

    def _nearest(self, limit: int, after: DecodedFrame | None, intact: bool) -> DecodedFrame:
        before = self._before
        if before is None and after is None:
            raise MediaError(self.source.path, "no frame near one of the timestamps can be decoded")
        if before is None or (after is not None and not intact and after.pts - limit < limit - before.pts):
            assert after is not None
            return after
        return before

    def _is_frame_lost(self, own: DecodedFrame, limit: int, after: DecodedFrame | None) -> bool:
        """Whether the file has a frame after `own` and before `limit` that could not be read."""
        may_hide = self.source.codec.name in HIDDEN_FRAMES or own.frame.interlaced_frame
        if (self.decoder.damaged or not may_hide) and any(own.pts < pts <= limit for pts in self._known):
            return True
        if after is None:
            return self.source.announces_frame(own.pts, limit)
        return not after.intact and after.pts - own.pts > WIDE_GAP * self.source.average_gap

    def _pull(self) -> DecodedFrame | None:
        """Return the next frame, or None at the end."""
        while not self._next:
            if self._ended:
                return None
            packet = self.source.next_packet()
            if packet is None:
                self._ended = True
                self._next.extend(self.decoder.drain())
                continue
            if packet.pts is not None and not packet.is_discard and not self.source.untimed:
                self._known.append(packet.pts)
            self._next.extend(self.decoder.feed(packet, skip=False))
        frame = self._next.popleft()
        if len(self._known) > 512:
            self._known = [pts for pts in self._known if pts > frame.pts - 1 / self.source.tick]
        return frame
