"""Stepper: ascending time stamps in, the picture shown at each out, decoding as little as possible; knows no seconds, no pixels.

It reads packets ahead without decoding them, until it knows which picture a moment shows and which keyframe that stands
on; it decodes from there and leaves out pictures that no other leans on. What cannot be had that way is left to `Walker`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence

from av.packet import Packet
from av.video.stream import VideoStream

from quickstep.signals.video.decoder import Decoder, Shown
from quickstep.signals.video.sequential_sampler import LATEST, WIDE, Step, Walker
from quickstep.signals.video.source import Source
from quickstep.types.errors import MediaError

# Codecs whose pictures that no other leans on are marked reliably, so that leaving them out changes nothing else.
SKIPPABLE = frozenset({"h264", "hevc", "mpeg4", "mpeg1video", "mpeg2video", "vp8", "vp9", "vc1", "wmv3", "msmpeg4v3"})
# Codecs that paint each picture over the one before, whatever their keyframe marks say.
PAINTED_OVER = frozenset({"gif", "apng", "webp"})
MOST_HELD = 32 * 2**20  # bytes of packets read ahead
MOST_REORDERED = 34  # packets after which one that is shown earlier cannot come any more
FAR = 10.0  # seconds: a gap worth a seek where the container has no index
BACK = (0.0, 1.0, 5.0, 20.0)  # seconds to seek further back where no keyframe turned up


class Stepper:
    """Walks forward through one source, from moment to moment."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.decoder = Decoder(source.codec)
        self._planned = source.codec.name not in PAINTED_OVER
        self._skips = source.codec.name in SKIPPABLE
        self._held: deque[Packet[VideoStream]] = deque()  # read, not yet decoded
        self._known: list[int] = []  # time stamps fed since the last restart, from the last moment's picture on
        self._recent: list[Shown] = []  # pictures that are out and may still be asked for
        self._wanted: dict[int, list[int]] = {}  # time stamp -> places
        self._limits: Sequence[int] = ()
        self._walker: Walker | None = None
        self._cold = False  # the decoder has to start at a keyframe
        self._ended = False  # no more packets
        self._read_to = -LATEST  # the latest time stamp read, of either kind
        self._dts = -LATEST
        self._early = 0  # how far decoding times run ahead of presentation, where a file has them wrong
        self.zero = 0
        self.origin: int | None = None  # where the length counts from: of a file with decoding times only, the first of those
        self.first = self._find_first()

    def close(self) -> None:
        """Close what was opened for damaged places; the source is the caller's."""
        if self._walker is not None:
            self._walker.source.close()

    def steps(self, limits: Sequence[int]) -> Iterator[Step]:
        """What is shown at each of the ascending time stamps; each comes as soon as it is known, not always in order."""
        self._limits = limits
        if limits and self._known and limits[0] < self._known[0]:
            self._cold = True
        for place, limit in enumerate(limits):
            if self._planned:
                yield from self._advance(place, limit)
            else:
                yield from self._walk([place])
        yield from self._finish()

    def _find_first(self) -> Shown:
        """Decode up to the first picture; what was fed stays in the decoder for what follows."""
        lowest = LATEST
        while True:
            packet = self._read()
            if packet is None:
                shown = self.decoder.drain()
                self._cold = True
            else:
                if self.origin is None:
                    self.origin = packet.dts if self.source.format == "avi" else 0
                if packet.pts is None and self._planned:
                    self._planned = False
                    self.source.untimed = True
                    self.decoder.untimed_gap = self.source.usual_gap
                elif packet.pts is not None and not packet.is_discard:
                    lowest = min(lowest, packet.pts)
                    self._known.append(packet.pts)
                shown = self.decoder.feed(packet, skip=False)
            self._recent += [one for one in shown if one.whole]
            if self._recent:
                first = self._recent[0]
                # Where the beginning is damaged time still counts from it.
                self.zero = lowest if self.decoder.damaged and lowest < first.pts else first.pts
                if self.origin is None or not self.source.untimed:
                    self.origin = self.zero
                return first
            if packet is None:
                raise MediaError(self.source.path, "not one picture in it can be decoded")

    # -- from moment to moment

    def _advance(self, place: int, limit: int) -> Iterator[Step]:
        if self._cold or self._worth_a_seek(limit):
            yield from self._finish()
            if not self._seek(limit):
                yield from self._walk([place])
                return
        cut = yield from self._read_past(limit)
        if cut:
            yield from self._finish()
            self._cold = False
        target = max((pts for pts in self._shown_times() if pts <= limit), default=None)
        if target is None or self._doubtful(target, limit):
            yield from self._walk([place])
            return
        self._known = [pts for pts in self._known if pts >= target]
        self._recent = [one for one in self._recent if one.pts >= target]
        self._wanted.setdefault(target, []).append(place)
        yield from self._emit(())
        if target not in self._wanted or all(packet.pts != target for packet in self._held):
            return  # it is out already, or inside the decoder
        fed: int | None = None
        while self._held and fed != target:
            packet = self._held.popleft()
            fed = packet.pts
            yield from self._feed(packet, target)

    def _doubtful(self, target: int, limit: int) -> bool:
        """Whether a picture shown after `target` and by `limit` seems to be lost: a gap beside damage, or a file cut short."""
        following = min((pts for pts in self._shown_times() if pts > limit), default=None)
        if following is None:
            return self.source.promises(target, limit)
        hurt = self.decoder.damaged or self.source.read_errors > 0 or any(packet.is_corrupt for packet in self._held)
        return hurt and following - target > WIDE * self.source.usual_gap

    def _shown_times(self) -> Iterator[int]:
        yield from self._known
        for packet in self._held:
            if packet.pts is not None and not packet.is_discard:
                yield packet.pts

    def _feed(self, packet: Packet[VideoStream], target: int) -> Iterator[Step]:
        pts = packet.pts
        assert pts is not None
        if not packet.is_discard and pts >= target:
            self._known.append(pts)
        shown = self.decoder.feed(packet, skip=self._skips and pts < target and pts not in self._wanted)
        if shown:
            yield from self._emit(shown, target)

    def _emit(self, shown: Iterable[Shown], target: int = LATEST) -> Iterator[Step]:
        """Hand out the pictures that somebody waits for."""
        for one in shown:
            if one.whole and (one.pts >= target or one.pts in self._wanted or target == LATEST):
                self._recent.append(one)
        for one in self._recent:
            for place in self._wanted.pop(one.pts, ()):
                yield Step(place, one.pts, one.frame, True)
        if target != LATEST:
            self._recent = [one for one in self._recent if one.pts >= target]

    def _finish(self) -> Iterator[Step]:
        """Empty the decoder; what did not come out whole is looked for by walking."""
        if not self._cold:
            yield from self._emit(self.decoder.drain())
        self.decoder.restart()
        self._cold = True
        missing = sorted(place for places in self._wanted.values() for place in places)
        self._wanted.clear()
        self._recent.clear()
        self._known.clear()
        if missing:
            yield from self._walk(missing)

    def _walk(self, places: list[int]) -> Iterator[Step]:
        if self._walker is None:
            self._walker = Walker(self.source.again(), zero=self.zero, seeks=self._planned)
        yield from self._walker.steps([(place, self._limits[place]) for place in places])

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

    def _read_past(self, limit: int) -> Generator[Step, None, bool]:
        """Read until nothing shown at or before `limit` can follow; True where the decoder has to restart at the first held."""
        cut = self._cold
        later = 0
        held = sum(packet.size for packet in self._held)
        cut |= self._drop_before_keyframe(limit)
        while self._dts + self._early <= limit and later < MOST_REORDERED:
            packet = self._read()
            if packet is None:
                break
            if packet.pts is None:
                continue  # cannot be placed; its picture, if there is one, is not asked for
            later = later + 1 if packet.pts > limit else 0
            self._held.append(packet)
            held += packet.size
            if packet.is_keyframe and packet.pts <= limit and len(self._held) > 1:
                cut |= self._drop_before_keyframe(limit)
                held = packet.size
            if held > MOST_HELD and not cut:
                oldest = self._held.popleft()
                held -= oldest.size
                yield from self._feed(oldest, LATEST)
        return cut

    def _drop_before_keyframe(self, limit: int) -> bool:
        """Forget held packets that a later keyframe makes needless."""
        place = 0
        for at, packet in enumerate(self._held):
            if packet.is_keyframe and packet.pts is not None and packet.pts <= limit:
                place = at
        for _ in range(place):
            self._held.popleft()
        return place > 0

    # -- seeking

    def _worth_a_seek(self, limit: int) -> bool:
        key = self.source.keyframe_before(limit)
        if key is not None:
            return key > self._read_to
        return (limit - self._read_to) * self.source.tick > FAR

    def _seek(self, limit: int) -> bool:
        """Stand before a keyframe shown at or before `limit`, the packets held starting with it."""
        for back in BACK:
            goal = max(self.zero, limit - round(back / self.source.tick))
            if self.source.seek(goal) and self._stand_on_keyframe(limit):
                return True
            if goal == self.zero:
                break
        self.source.reopen()
        self.decoder = Decoder(self.source.codec)
        return self._stand_on_keyframe(limit)

    def _stand_on_keyframe(self, limit: int) -> bool:
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
