"""Make batches of augmented windows, decoded in threads ahead of the network.

The window drawn for a segment depends on the seed, the epoch and the segment, never on the number of threads. A segment that cannot be
read is a failure in its batch.
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

Window = Frames | Flow
_Read = tuple[NDArray[np.uint8], int]  # a window and the number of its label
AHEAD = 2  # batches that are decoded ahead


@dataclass(frozen=True)
class Sample:
    """One use of a segment in training; its three numbers decide the augmentation."""

    number: int  # of the segment
    epoch: int
    repeat: int = 0  # how often it was used before in this epoch

    def rng(self, seed: int) -> np.random.Generator:
        """Return the generator for this use."""
        return np.random.default_rng([seed, self.epoch, self.number, self.repeat])


@dataclass(frozen=True, eq=False)
class Batch:
    """What one process is trained on in one step."""

    windows: NDArray[np.uint8]  # (B, F, H, W, 3 or 2)
    labels: NDArray[np.int64]  # (B,)
    numbers: tuple[int, ...]  # of the segments
    failures: tuple[tuple[int, QuickstepError], ...] = ()
    waited: float = 0.0  # seconds that the network waited for it

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(eq=False)
class BatchReader:
    """Reads training segments, augmented, in threads."""

    segments: Sequence[Segment]
    labels: tuple[str, ...]
    view: View
    augment: Augment
    mirror: Mirror
    seed: int
    workers: int
    memory: float = 2e9  # bytes of uncropped frames to keep
    flow: Any = None  # a FlowConfig, for networks that read flow
    cache: Cache | None = None
    _cached: dict[int, Window] = field(default_factory=dict)
    _bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._number = {label: index for index, label in enumerate(self.labels)}
        self._repeats = self.augment.keeps_timestamps and self.view.windows == 1
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="batches")

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def batches(self, steps: Sequence[Sequence[Sample]]) -> Iterator[Batch]:
        """Return one batch a step; the pool starts on the first ones at once, before they are asked for."""
        samples = [sample for step in steps for sample in step]
        size = AHEAD * max((len(step) for step in steps), default=0)
        return self._batches(steps, map_ahead(self._read_or_fail, samples, pool=self._pool, size=size))

    def _batches(self, steps: Sequence[Sequence[Sample]], results: Generator[_Read | QuickstepError]) -> Iterator[Batch]:
        with closing(results):
            for step in steps:
                yield _batch(step, results)

    def _read_or_fail(self, sample: Sample) -> _Read | QuickstepError:
        try:
            return self.read(sample)
        except QuickstepError as error:
            return error

    def read(self, sample: Sample) -> _Read:
        """Return the window for a sample and the number of its label, which may change in a mirror."""
        segment = self.segments[sample.number]
        label = str(segment.label)
        draw = self.augment.draw(sample.rng(self.seed), mirrors=self.mirror.allows(label))
        window = self._uncropped(sample.number, segment, draw)
        pixels = draw.flow(window, self.view).levels if isinstance(window, Flow) else draw.frames(window, self.view).pixels
        return pixels, self._number[self.mirror.name(label, draw)]

    def _uncropped(self, number: int, segment: Segment, draw: Draw) -> Window:
        """Return the uncropped frames (or flow) at the drawn timestamps; kept in memory where these never change."""
        if self._repeats and number in self._cached:
            return self._cached[number]
        window = read_drawn(segment, draw.view(self.view), flow=self.flow, cache=self.cache if self._repeats else None)
        if self._repeats:
            size = (window.levels if isinstance(window, Flow) else window.pixels).nbytes
            with self._lock:
                if number not in self._cached and self._bytes + size <= self.memory:
                    self._cached[number] = window
                    self._bytes += size
        return window


def _batch(step: Sequence[Sample], results: Iterator[_Read | QuickstepError]) -> Batch:
    """Wait for the samples of one step and stack those that could be read."""
    began = time.perf_counter()
    windows, labels, numbers, failures = [], [], [], []
    for sample, result in zip(step, islice(results, len(step)), strict=True):
        if isinstance(result, QuickstepError):
            failures.append((sample.number, result))
            continue
        window, label = result
        windows.append(window)
        labels.append(label)
        numbers.append(sample.number)
    waited = time.perf_counter() - began
    stacked = np.stack(windows) if windows else np.zeros((0, 1), np.uint8)
    return Batch(stacked, np.array(labels, np.int64), tuple(numbers), tuple(failures), waited)


def read_drawn(segment: Segment, view: View, *, flow: Any = None, cache: Cache | None = None) -> Window:
    """Read the one window of a drawn view; refuse a segment most of which cannot be read, as in testing."""
    if is_pose_name(segment.path):
        raise MediaError(segment.path, "contains poses; only networks that read frames or flow can be fine-tuned")
    window: Window
    if flow is None:
        window = next(read_windows(segment, view))
    else:
        from quickstep.signals.flow.reader import read_flow

        window = next(iter(read_flow(segment, view, flow, cache)))
    if window.lost > MAX_LOST * len(window):
        raise MediaError(segment.path, f"{window.lost} of {len(window)} frames cannot be read")
    return window


def steps_of(
    labels: Sequence[str | None], readable: Sequence[int], *, epoch: int, batch: int, seed: int, balanced: bool = False
) -> list[list[Sample]]:
    """Divide an epoch into steps of about `batch` segments: every readable segment once, or with `balanced` every class equally often."""
    rng = np.random.default_rng([seed, epoch])
    order = _balanced(labels, readable, rng) if balanced else [readable[place] for place in rng.permutation(len(readable))]
    used: dict[int, int] = {}
    samples = []
    for number in order:
        samples.append(Sample(number, epoch, used.get(number, 0)))
        used[number] = used.get(number, 0) + 1
    count = -(-len(samples) // batch)
    edges = [round(step * len(samples) / count) for step in range(count + 1)]
    return [samples[low:high] for low, high in pairwise(edges)]


def _balanced(labels: Sequence[str | None], readable: Sequence[int], rng: np.random.Generator) -> list[int]:
    """Draw as many segments as there are, equally many of each class; within a class every segment before one is repeated."""
    by_class: dict[str, list[int]] = {}
    for number in readable:
        by_class.setdefault(str(labels[number]), []).append(number)
    per_class = -(-len(readable) // len(by_class))
    drawn = []
    for name in sorted(by_class):
        members = by_class[name]
        rounds = [members[place] for _ in range(-(-per_class // len(members))) for place in rng.permutation(len(members))]
        drawn += rounds[:per_class]
    return [drawn[place] for place in rng.permutation(len(drawn))]


def as_failures(segments: Sequence[Segment], failed: dict[int, QuickstepError]) -> tuple[Failure, ...]:
    """Return the failures in the order of the segments."""
    return tuple(Failure(segments[number], failed[number]) for number in sorted(failed))
