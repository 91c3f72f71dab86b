"""Feed: segments -> batches of changed windows, decoded in threads ahead of the network, in an order that depends on the seed alone.

What is shown of a segment depends on the seed, the epoch and the segment, never on how many threads there are. A segment that cannot be
read is a Failure in its batch, and is left out from then on. Knows no torch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.models.feature_extraction import MAX_LOST
from quickstep.signals.poses.formats import is_pose_name
from quickstep.signals.video import read_windows
from quickstep.signals.video.prefetch import map_ahead
from quickstep.storage.cache import Cache
from quickstep.training.augmentation.augment import Augment, Draw
from quickstep.training.augmentation.mirrored_labels import Mirror
from quickstep.types.errors import MediaError, QuickstepError
from quickstep.types.segment import Failure, Segment
from quickstep.types.signals import Flow, Frames
from quickstep.types.view import View

Shown = Frames | Flow
_Look = tuple[NDArray[np.uint8], int]  # a window and the number of its label
AHEAD = 2  # batches that are decoded ahead


@dataclass(frozen=True)
class Sample:
    """One look at one segment: what is drawn for it follows from its three numbers."""

    number: int  # of the segment
    epoch: int
    time: int = 0  # how often it came before in this epoch

    def rng(self, seed: int) -> np.random.Generator:
        return np.random.default_rng([seed, self.epoch, self.number, self.time])


@dataclass(frozen=True, eq=False)
class Batch:
    """What one process is shown in one step."""

    windows: NDArray[np.uint8]  # (B, F, H, W, 3 or 2)
    labels: NDArray[np.int64]  # (B,)
    numbers: tuple[int, ...]  # of the segments
    failures: tuple[tuple[int, QuickstepError], ...] = ()
    waited: float = 0.0  # seconds

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(eq=False)
class Feed:
    """Looks at segments as training does."""

    segments: Sequence[Segment]
    labels: tuple[str, ...]
    view: View
    augment: Augment
    mirror: Mirror
    seed: int
    workers: int
    memory: float = 2e9  # bytes of uncut pictures that are kept
    flow: Any = None  # a FlowConfig, for networks that see flow
    cache: Cache | None = None
    _kept: dict[int, Shown] = field(default_factory=dict)
    _bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._number = {label: index for index, label in enumerate(self.labels)}
        self._repeats = self.augment.still and self.view.windows == 1
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="feed")

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def batches(self, steps: Sequence[Sequence[Sample]]) -> Iterator[Batch]:
        """Return one batch a step; the pool starts on the first ones at once, before they are asked for."""
        samples = [sample for step in steps for sample in step]
        size = AHEAD * max((len(step) for step in steps), default=0)
        return self._batches(steps, map_ahead(self._look_or_fail, samples, pool=self._pool, size=size))

    def _batches(self, steps: Sequence[Sequence[Sample]], looks: Generator[_Look | QuickstepError]) -> Iterator[Batch]:
        with closing(looks):
            for step in steps:
                yield _batch(step, looks)

    def _look_or_fail(self, sample: Sample) -> _Look | QuickstepError:
        try:
            return self.look(sample)
        except QuickstepError as error:
            return error

    def look(self, sample: Sample) -> _Look:
        """What the network is shown of a segment, and the number of the label it has as shown."""
        segment = self.segments[sample.number]
        label = str(segment.label)
        draw = self.augment.draw(sample.rng(self.seed), mirrors=self.mirror.allows(label))
        shown = self._uncut(sample.number, segment, draw)
        pixels = draw.flow(shown, self.view).levels if isinstance(shown, Flow) else draw.frames(shown, self.view).pixels
        return pixels, self._number[self.mirror.name(label, draw)]

    def _uncut(self, number: int, segment: Segment, draw: Draw) -> Shown:
        """The pictures (or the flow) of the moments drawn, of which nothing is cut off; kept where they are always the same."""
        if self._repeats and number in self._kept:
            return self._kept[number]
        shown = read_drawn(segment, draw.view(self.view), flow=self.flow, cache=self.cache if self._repeats else None)
        if self._repeats:
            size = (shown.levels if isinstance(shown, Flow) else shown.pixels).nbytes
            with self._lock:
                if number not in self._kept and self._bytes + size <= self.memory:
                    self._kept[number] = shown
                    self._bytes += size
        return shown


def _batch(step: Sequence[Sample], looks: Iterator[_Look | QuickstepError]) -> Batch:
    """Wait for the samples of one step and stack those that could be read."""
    began = time.perf_counter()
    windows, labels, numbers, failures = [], [], [], []
    for sample, look in zip(step, islice(looks, len(step)), strict=True):
        if isinstance(look, QuickstepError):
            failures.append((sample.number, look))
            continue
        window, label = look
        windows.append(window)
        labels.append(label)
        numbers.append(sample.number)
    waited = time.perf_counter() - began
    stacked = np.stack(windows) if windows else np.zeros((0, 1), np.uint8)
    return Batch(stacked, np.array(labels, np.int64), tuple(numbers), tuple(failures), waited)


def read_drawn(segment: Segment, view: View, *, flow: Any = None, cache: Cache | None = None) -> Shown:
    """The one window of a view drawn for training; a segment most of which cannot be read is refused, as it is in testing."""
    if is_pose_name(segment.path):
        raise MediaError(segment.path, "holds poses, and networks that can be tuned look at pictures")
    shown: Shown
    if flow is None:
        shown = next(read_windows(segment, view))
    else:
        from quickstep.signals.flow.reader import read_flow

        shown = next(iter(read_flow(segment, view, flow, cache)))
    if shown.lost > MAX_LOST * len(shown):
        raise MediaError(segment.path, f"{shown.lost} of the {len(shown)} moments to look at cannot be read")
    return shown


def steps_of(
    labels: Sequence[str | None], alive: Sequence[int], *, epoch: int, batch: int, seed: int, balanced: bool = False
) -> list[list[Sample]]:
    """An epoch's steps: every segment that can be read once, or every class as often as the others; about `batch` segments each."""
    rng = np.random.default_rng([seed, epoch])
    order = _balanced(labels, alive, rng) if balanced else [alive[place] for place in rng.permutation(len(alive))]
    seen: dict[int, int] = {}
    samples = []
    for number in order:
        samples.append(Sample(number, epoch, seen.get(number, 0)))
        seen[number] = seen.get(number, 0) + 1
    count = -(-len(samples) // batch)
    edges = [round(step * len(samples) / count) for step in range(count + 1)]
    return [samples[low:high] for low, high in pairwise(edges)]


def _balanced(labels: Sequence[str | None], alive: Sequence[int], rng: np.random.Generator) -> list[int]:
    """As many looks as there are segments, shared evenly by the classes; within a class each segment before one comes again."""
    by_class: dict[str, list[int]] = {}
    for number in alive:
        by_class.setdefault(str(labels[number]), []).append(number)
    each = -(-len(alive) // len(by_class))
    drawn = []
    for name in sorted(by_class):
        members = by_class[name]
        rounds = [members[place] for _ in range(-(-each // len(members))) for place in rng.permutation(len(members))]
        drawn += rounds[:each]
    return [drawn[place] for place in rng.permutation(len(drawn))]


def as_failures(segments: Sequence[Segment], failed: dict[int, QuickstepError]) -> tuple[Failure, ...]:
    """What could not be used, in the order of the segments."""
    return tuple(Failure(segments[number], failed[number]) for number in sorted(failed))
