"""SeekSampler: the frame at each of ascending timestamps, decoding as little as possible.

It reads packets ahead without decoding them, until it knows which frame is presented at a timestamp and which keyframe comes before it.
It decodes from that keyframe, and drops frames that no other references. Where that fails, `SequentialSampler` takes over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence

from av.packet import Packet
from av.video.stream import VideoStream

from quickstep.signals.video.decoder import DecodedFrame, Decoder
from quickstep.signals.video.sequential_sampler import LATEST, WIDE_GAP, SampledFrame, SequentialSampler
from quickstep.signals.video.source import VideoSource
from quickstep.types.errors import MediaError

# Codecs that mark unreferenced frames reliably, so that dropping one changes no other.
SKIPPABLE = frozenset({"h264", "hevc", "mpeg4", "mpeg1video", "mpeg2video", "vp8", "vp9", "vc1", "wmv3", "msmpeg4v3"})
# Codecs that draw each frame over the one before, although they mark keyframes.
CUMULATIVE = frozenset({"gif", "apng", "webp"})
MAX_HELD = 32 * 2**20  # bytes of packets read ahead
MAX_REORDERED = 34  # packets after which none with an earlier timestamp can come
SEEK_GAP = 10.0  # seconds: a larger gap is worth a seek if the container has no index
SEEK_BACK = (0.0, 1.0, 5.0, 20.0)  # seconds: how far before the timestamp to seek, until a keyframe comes


class SeekSampler:
    """Samples one source forwards, from timestamp to timestamp."""

    def __init__(self, source: VideoSource) -> None:
        self.source = source
        self.decoder = Decoder(source.codec, source.budget)
        self._planned = source.codec.name not in CUMULATIVE
        self._skips = source.codec.name in SKIPPABLE
        self._held: deque[Packet[VideoStream]] = deque()  # read, not yet decoded
        self._known: list[int] = []  # timestamps fed since the last restart, from the last sampled frame on
        self._recent: list[DecodedFrame] = []  # frames that are out and may still be sampled
        self._wanted: dict[int, list[int]] = {}  # timestamp -> indices of the limits
        self._limits: Sequence[int] = ()
        self._fallback: SequentialSampler | None = None
        self._must_restart = False  # the decoder has to start at a keyframe
        self._ended = False  # no more packets
        self._read_to = -LATEST  # the latest timestamp read, of presentation or decoding
        self._dts = -LATEST
        self._early = 0  # how far decoding times are after presentation times, in a file that has them wrong
        self.zero = 0
        self.origin: int | None = None  # the duration counts from here: in a file with decoding times only, the first of those
        self.first = self._find_first()

    def close(self) -> None:
        """Close the fallback; the source belongs to the caller."""
        if self._fallback is not None:
            self._fallback.source.close()

    def sample(self, limits: Sequence[int]) -> Iterator[SampledFrame]:
        """Yield the frame at each of ascending timestamps, as soon as it is decoded: not always in order."""
        self._limits = limits
        if self._wanted or (limits and self._known and limits[0] < self._known[0]):  # the last sampling was not read to its end
            self._must_restart = True
            self._wanted.clear()
        for place, limit in enumerate(limits):
            if self._planned:
                yield from self._advance(place, limit)
            else:
                yield from self._fall_back([place])
        yield from self._finish()

    def _find_first(self) -> DecodedFrame:
        """Decode up to the first frame; the decoder then continues from there."""
        lowest = LATEST
        while True:
            packet = self._read()
            if packet is None:
                frames = self.decoder.drain()
                self._must_restart = True
            else:
                if self.origin is None:
                    self.origin = packet.dts if self.source.format == "avi" else 0
                if packet.pts is None and self._planned:
                    self._planned = False
                    self.source.untimed = True
                    self.decoder.untimed_gap = self.source.average_gap
                elif packet.pts is not None and not packet.is_discard:
                    lowest = min(lowest, packet.pts)
                    self._known.append(packet.pts)
                frames = self.decoder.feed(packet, skip=False)
            self._recent += [frame for frame in frames if frame.intact]
            if self._recent:
                first = self._recent[0]
                # Time counts from the start of the file even if that is damaged.
                self.zero = lowest if self.decoder.damaged and lowest < first.pts else first.pts
                if self.origin is None or not self.source.untimed:
                    self.origin = self.zero
                return first
            if packet is None:
                raise MediaError(self.source.path, "no frame of it can be decoded")

    # -- from timestamp to timestamp

    def _advance(self, place: int, limit: int) -> Iterator[SampledFrame]:
        """Go to one timestamp: seek if that saves decoding, then decode up to its frame."""
        if self._must_restart or self._worth_a_seek(limit):
            yield from self._finish()
            if not self._seek(limit):
                yield from self._fall_back([place])
                return
        cut = yield from self._read_past(limit)
        if cut:
            yield from self._finish()
            self._must_restart = False
        target = max((pts for pts in self._timestamps() if pts <= limit), default=None)
        if target is None or self._may_miss_frame(target, limit):
            yield from self._fall_back([place])
            return
        self._known = [pts for pts in self._known if pts >= target]
        self._recent = [frame for frame in self._recent if frame.pts >= target]
        self._wanted.setdefault(target, []).append(place)
        yield from self._emit(())
        if target not in self._wanted or all(packet.pts != target for packet in self._held):
            return  # it is out already, or in the decoder
        fed: int | None = None
        while self._held and fed != target:
            packet = self._held.popleft()
            fed = packet.pts
            yield from self._feed(packet, target)

    def _may_miss_frame(self, target: int, limit: int) -> bool:
        """Whether a frame after `target` and before `limit` seems to be lost: a gap near damage, or a file that is cut short."""
        following = min((pts for pts in self._timestamps() if pts > limit), default=None)
        if following is None:
            return self.source.announces_frame(target, limit)
        damaged = self.decoder.damaged or self.source.read_errors > 0 or any(packet.is_corrupt for packet in self._held)
        return damaged and following - target > WIDE_GAP * self.source.average_gap

    def _timestamps(self) -> Iterator[int]:
        """Yield the timestamps of the frames that are fed or held."""
        yield from self._known
        for packet in self._held:
            if packet.pts is not None and not packet.is_discard:
                yield packet.pts

    def _feed(self, packet: Packet[VideoStream], target: int) -> Iterator[SampledFrame]:
        pts = packet.pts
        assert pts is not None
        if not packet.is_discard and pts >= target:
            self._known.append(pts)
        frames = self.decoder.feed(packet, skip=self._skips and pts < target and pts not in self._wanted)
        if frames:
            yield from self._emit(frames, target)

    def _emit(self, frames: Iterable[DecodedFrame], target: int = LATEST) -> Iterator[SampledFrame]:
        """Yield the frames that are wanted; keep those that may be wanted later."""
        for frame in frames:
            if frame.intact and (frame.pts >= target or frame.pts in self._wanted or target == LATEST):
                self._recent.append(frame)
        for frame in self._recent:
            for place in self._wanted.pop(frame.pts, ()):
                yield SampledFrame(place, frame.pts, frame.frame, True)
        if target != LATEST:
            self._recent = [frame for frame in self._recent if frame.pts >= target]

    def _finish(self) -> Iterator[SampledFrame]:
        """Empty the decoder; sample what did not come out intact sequentially."""
        if not self._must_restart:
            yield from self._emit(self.decoder.drain())
        self.decoder.restart()
        self._must_restart = True
        missing = sorted(place for places in self._wanted.values() for place in places)
        self._wanted.clear()
        self._recent.clear()
        self._known.clear()
        if missing:
            yield from self._fall_back(missing)

    def _fall_back(self, places: list[int]) -> Iterator[SampledFrame]:
        """Sample some of the limits sequentially."""
        if self._fallback is None:
            self._fallback = SequentialSampler(self.source.duplicate(), zero=self.zero, seeks=self._planned)
        yield from self._fallback.sample([(place, self._limits[place]) for place in places])

    # -- reading ahead

    def _read(self) -> Packet[VideoStream] | None:
        packet = None if self._ended else self.source.next_packet()
        if packet is None:
            self._ended = True
            return None
        if packet.dts is not None:
            self._dts = max(self._dts, packet.dts)
            if packet.pts is not None:
                self._early = min(self._early, packet.pts - packet.dts)
        self._read_to = max(self._read_to, *(stamp for stamp in (packet.pts, packet.dts, -LATEST) if stamp is not None))
        return packet

    def _read_past(self, limit: int) -> Generator[SampledFrame, None, bool]:
        """Read until no frame at or before `limit` can follow; return whether the decoder has to restart at the first held packet."""
        cut = self._must_restart
        later = 0
        held = sum(packet.size for packet in self._held)
        cut |= self._drop_before_keyframe(limit)
        while self._dts + self._early <= limit and later < MAX_REORDERED:
            packet = self._read()
            if packet is None:
                break
            if packet.pts is None:
                continue  # without a timestamp, its frame cannot be sampled
            later = later + 1 if packet.pts > limit else 0
            self._held.append(packet)
            held += packet.size
            if packet.is_keyframe and packet.pts <= limit and len(self._held) > 1:
                cut |= self._drop_before_keyframe(limit)
                held = packet.size
            if held > MAX_HELD and not cut:
                oldest = self._held.popleft()
                held -= oldest.size
                yield from self._feed(oldest, LATEST)
        return cut

    def _drop_before_keyframe(self, limit: int) -> bool:
        """Drop the held packets before a later keyframe at or before `limit`; return whether there were any."""
        place = 0
        for at, packet in enumerate(self._held):
            if packet.is_keyframe and packet.pts is not None and packet.pts <= limit:
                place = at
        for _ in range(place):
            self._held.popleft()
        return place > 0

    # -- seeking

    def _worth_a_seek(self, limit: int) -> bool:
        if self._ended and limit >= self._read_to:
            return False  # nothing follows
        key = self.source.keyframe_before(limit)
        if key is not None:
            return key > self._read_to
        return (limit - self._read_to) * self.source.tick > SEEK_GAP

    def _seek(self, limit: int) -> bool:
        """Seek so that the first held packet is a keyframe at or before `limit`; return False if there is none."""
        for back in SEEK_BACK:
            goal = max(self.zero, limit - round(back / self.source.tick))
            if self.source.seek(goal) and self._read_keyframe(limit):
                return True
            if goal == self.zero:
                break
        self.source.reopen()
        self.decoder = Decoder(self.source.codec, self.source.budget)
        return self._read_keyframe(limit)

    def _read_keyframe(self, limit: int) -> bool:
        """Read up to the next keyframe and hold it; return whether it is at or before `limit`."""
        self._held.clear()
        self._ended = False
        self._dts = self._read_to = -LATEST
        while (packet := self._read()) is not None:
            if packet.pts is None:
                continue
            if packet.is_keyframe:
                self._held.append(packet)
                return packet.pts <= limit
            if packet.dts is not None and packet.dts + self._early > limit:
                return False
        return False
