"""Walker: decodes every picture in turn and tells what is shown at given time stamps; the slow and patient way.

It serves files whose packets have no usable times, and places that are damaged: there it finds the nearest whole picture.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from av.video.frame import VideoFrame

from quickstep.signals.video.decoder import Decoder, Shown
from quickstep.signals.video.source import Source
from quickstep.types.errors import MediaError

LATEST = 2**62
LEAD = (2.0, 10.0, 60.0)  # seconds before a damaged moment at which walking starts, then from the beginning
WIDE = 1.9  # times the usual distance between pictures: beside damage, a gap in which some are missing
# Codecs with packets that show nothing of their own: a picture that never comes out was not lost.
HIDING = frozenset({"vp8", "vp9", "av1", "libdav1d", "libaom-av1", "mpeg4", "msmpeg4v2", "msmpeg4v3", "wmv2", "wmv3", "vc1"})
NEAR = 10.0  # seconds that are walked rather than jumped


@dataclass(frozen=True)
class Step:
    """What is shown at one of the moments asked for."""

    place: int  # which of them
    pts: int
    frame: VideoFrame
    whole: bool  # False: the moment's own picture was unreadable, this is the nearest readable one


class Walker:
    """Goes forward through a source of its own, picture by picture."""

    def __init__(self, source: Source, *, zero: int, seeks: bool) -> None:
        self.source = source
        self.zero = zero
        self._seeks = seeks
        self._start()

    def _start(self) -> None:
        self.decoder = Decoder(self.source.codec)
        self.decoder.untimed_gap = self.source.usual_gap if self.source.untimed else None
        self._before: Shown | None = None  # the last whole picture
        self._last: Shown | None = None  # the last picture, whole or not
        self._next: deque[Shown] = deque()
        self._known: list[int] = []  # time stamps fed and not yet passed
        self._ended = False

    def steps(self, wanted: Sequence[tuple[int, int]]) -> Iterator[Step]:
        """What is shown at each (place, time stamp), ascending."""
        for place, limit in wanted:
            self._approach(limit)
            yield self._find(place, limit)

    def _approach(self, limit: int) -> None:
        """Jump forward, or back to the start, where the next moment is not just ahead."""
        at = self._last.pts if self._last else -LATEST
        if self._before and self._before.pts <= limit and (limit - at) * self.source.tick < NEAR:
            return
        if not self._seeks:
            if at > limit:
                self._reopen()
            return
        for lead in LEAD:
            self._jump(limit - round(lead / self.source.tick))
            if self._peek_whole(limit):
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

    def _peek_whole(self, limit: int) -> bool:
        """Whether a whole picture comes up at or before `limit`."""
        seen: list[Shown] = []
        while (one := self._pull()) is not None:
            seen.append(one)
            if one.whole or one.pts > limit:
                break
        self._next.extendleft(reversed(seen))
        return bool(seen) and seen[-1].whole and seen[-1].pts <= limit

    def _find(self, place: int, limit: int) -> Step:
        """Walk until the picture after `limit`; where its own is not whole, until the next whole one."""
        after: Shown | None = None
        while (one := self._pull()) is not None:
            if one.pts > limit:
                after = one
                break
            self._last = one
            if one.whole:
                self._before = one
        own = self._last
        whole = own is not None and own.whole and not self._lost_between(own, limit, after)
        beyond: list[Shown] = [after] if after else []
        while not whole and beyond and not beyond[-1].whole and (one := self._pull()) is not None:
            beyond.append(one)
        self._next.extendleft(reversed(beyond))
        chosen = self._nearest(limit, beyond[-1] if beyond and beyond[-1].whole else None, whole)
        return Step(place, chosen.pts, chosen.frame, whole or (own is None and not self.decoder.damaged))

    def _nearest(self, limit: int, after: Shown | None, whole: bool) -> Shown:
        before = self._before
        if before is None and after is None:
            raise MediaError(self.source.path, "not one picture near a moment asked for can be decoded")
        if before is None or (after is not None and not whole and after.pts - limit < limit - before.pts):
            assert after is not None
            return after
        return before

    def _lost_between(self, own: Shown, limit: int, after: Shown | None) -> bool:
        """Whether the file has a picture shown after `own` and by `limit` that could not be read."""
        silent = self.source.codec.name in HIDING or own.frame.interlaced_frame
        if (self.decoder.damaged or not silent) and any(own.pts < pts <= limit for pts in self._known):
            return True
        if after is None:
            return self.source.promises(own.pts, limit)
        return not after.whole and after.pts - own.pts > WIDE * self.source.usual_gap

    def _pull(self) -> Shown | None:
        """The next picture, or None at the end."""
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
        one = self._next.popleft()
        if len(self._known) > 512:
            self._known = [pts for pts in self._known if pts > one.pts - 1 / self.source.tick]
        return one
