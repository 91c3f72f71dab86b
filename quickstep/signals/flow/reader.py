"""read_flow: the optical flow of a segment through a view, window by window, through the cache.

A window of N fields needs N + 1 frames, so that the last field is as real as the others. The flow is computed on the scaled frame before
anything is cropped, and cached so: all crops are cut from the same flow. One window is in memory at a time.
"""

from __future__ import annotations

import logging
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.flow import FLOW_VERSION
from quickstep.signals.flow.config import FlowConfig
from quickstep.signals.flow.methods import Grey, Method, one_thread, open_method, revision_of, stabilize
from quickstep.signals.opencv import cv2
from quickstep.signals.video import DECODING_VERSION, apply_view, read_windows
from quickstep.storage.cache import Arrays, Cache, Json
from quickstep.types.errors import ConfigError
from quickstep.types.registry import trust_typed
from quickstep.types.segment import Segment
from quickstep.types.signals import Flow, Frames
from quickstep.types.view import Cut, View

Levels = NDArray[np.uint8]  # (H, W, 2)

REST = 128  # the level of no motion
_SHORTEST = 32  # pixels of the short edge: smaller frames are enlarged, because OpenCV's DIS crashes on tiny ones


class FlowEstimator:
    """Estimates the flow of one window after the other; frames and fields that two windows share are computed once."""

    def __init__(self, config: FlowConfig, *, threads: int = 1) -> None:
        self._config = config
        self._local = _ThreadLocal()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="flow") if threads > 1 else None
        self._greys: dict[float, Grey] = {}
        self._fields: dict[tuple[float, float], Levels] = {}
        self._method()  # a missing library is reported before anything is decoded

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def estimate(self, frames: Frames) -> Flow:
        """Return the motion from each frame to the next: one field fewer than frames. A time identifies a frame."""
        times = frames.times.tolist()
        greys = {time: self._greys[time] if time in self._greys else to_grey(pixels) for time, pixels in zip(times, frames.pixels)}
        steps = list(pairwise(times))
        fields = {step: self._fields[step] for step in steps if step in self._fields}
        new = [step for step in dict.fromkeys(steps) if step not in fields]
        with one_thread():  # of OpenCV's own, which would change the values; ours compute one pair each
            pairs = [(greys[early], greys[late]) for early, late in new]
            fields |= zip(new, self._pool.map(self._levels, pairs) if self._pool else map(self._levels, pairs), strict=True)
        self._greys, self._fields = greys, fields
        height, width = frames.pixels.shape[1:3]
        levels = np.stack([fields[step] for step in steps]) if steps else np.zeros((0, height, width, 2), np.uint8)
        return Flow(levels, frames.times[:-1], self._config.bound, min(frames.lost, len(steps)))

    def _levels(self, pair: tuple[Grey, Grey]) -> Levels:
        before, after = pair
        if before is after or np.array_equal(before, after):
            return np.full((*before.shape, 2), REST, np.uint8)
        height, width = before.shape
        scale = max(1.0, _SHORTEST / min(height, width))
        size = max(_SHORTEST, round(width * scale)), max(_SHORTEST, round(height * scale))
        if scale > 1:
            before, after = (np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR), np.uint8) for grey in pair)
        field = self._method().between(before, stabilize(before, after) if self._config.camera else after)
        if scale > 1:
            shrunk = cv2.resize(field, (width, height), interpolation=cv2.INTER_AREA)
            field = shrunk * np.array([width / size[0], height / size[1]], np.float32)
        levels: Levels = Flow.of(np.nan_to_num(field)[None], np.zeros(1), bound=self._config.bound).levels[0]
        return levels

    def _method(self) -> Method:
        """Return this thread's own method: a method is not thread-safe."""
        if self._local.method is None:
            self._local.method = open_method(self._config)
        return self._local.method


class _ThreadLocal(threading.local):
    """One method for each thread."""

    method: Method | None = None


def to_grey(pixels: NDArray[np.uint8]) -> Grey:
    """Convert a frame (H, W, 3) to grey."""
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


MAX_FIELDS = 4095  # of a window: a view has at most 4096 frames

Watch = Callable[[Frames], None]
_log = logging.getLogger(__name__)


def read_flow(
    segment: Segment,
    view: View,
    config: FlowConfig | None = None,
    cache: Cache | None = None,
    *,
    threads: int = 1,
    watch: Watch | None = None,
) -> Iterator[Flow]:
    """Yield one Flow for each window that the view lays over a segment, and for each of its crops; through the cache if one is given.

    `watch` receives the frames of each window, uncut; then the flow is computed again, because the cache has no frames.
    """
    config = config or FlowConfig()
    trust_typed(config.method)
    if cache is None:
        windows = _compute(segment, view, config, threads, watch=watch)
    else:
        windows = _through_cache(segment, view, config, cache, threads, watch)
    for flow in windows:
        yield from _crops(flow, view)


def flow_in_frames(frames: Frames, view: View, config: FlowConfig) -> Iterator[Flow]:
    """Yield the flow of each window, and of each crop, of frames in memory; nothing is cached."""
    with FlowEstimator(config) as estimator:
        for window in apply_view(frames, _frame_view(view)):
            yield from _crops(estimator.estimate(window), view)


def identity_of(config: FlowConfig) -> dict[str, Json]:
    """Return everything besides the frames that decides the values of a flow."""
    return asdict(config) | {"version": FLOW_VERSION, "by": revision_of(config)}


def mirror(flow: Flow) -> Flow:
    """Return the flow of the mirrored video: left and right are swapped, also in the direction of the motion."""
    levels = flow.levels[:, :, ::-1].copy()
    levels[..., 0] = -levels[..., 0]  # of 8 bits: 255 becomes 1 and 128 stays
    return replace(flow, levels=levels)


def cut_out(flow: Flow, cut: Cut) -> Flow:
    """Cut a square out of a flow, and mirror it if the cut is mirrored."""
    piece = replace(flow, levels=replace(cut, mirrored=False).out_of(flow.levels))
    return mirror(piece) if cut.mirrored else piece


def _crops(flow: Flow, view: View) -> Iterator[Flow]:
    if view.fit != "crop":
        yield flow
        return
    height, width = flow.levels.shape[1:3]
    yield from (cut_out(flow, cut) for cut in view.cuts(width, height))


def _compute(
    segment: Segment, view: View, config: FlowConfig, threads: int, *, first: int = 0, watch: Watch | None = None
) -> Iterator[Flow]:
    """Compute the uncut windows from number `first` on, one at a time."""
    with FlowEstimator(config, threads=threads) as estimator:
        for number, frames in enumerate(read_windows(segment, _frame_view(view))):
            if watch is not None:
                watch(frames)
            if number >= first:
                yield estimator.estimate(frames)


def _frame_view(view: View) -> View:
    """Return the view of the frames for a view's flow: uncut, and with one more frame a window.

    Windows that cover a segment then share a frame, so that no motion is lost between two of them.
    """
    if view.frames > MAX_FIELDS:
        raise ConfigError("frames", f"a window has at most {MAX_FIELDS} fields of flow, not {view.frames}")
    covering = view.fps is not None and view.windows is None and view.stride is None
    stride = view.frames / view.fps if covering and view.fps else view.stride
    return replace(view.uncut(), frames=view.frames + 1, stride=stride)


# -- the cache ---------------------------------------------------------------------------------------------------------------


def _through_cache(segment: Segment, view: View, config: FlowConfig, cache: Cache, threads: int, watch: Watch | None) -> Iterator[Flow]:
    """Yield the uncut windows that are cached, then compute and cache the others."""
    key = _key(segment, view, config, cache)
    count = cache.recall("flow windows", key)
    done = 0
    while watch is None and done != count and (arrays := cache.get(key | {"window": done})) is not None:
        yield _from_arrays(arrays)
        done += 1
    if done == count:
        return
    _log.info("the flow of %s is not in the cache from window %d on: computing it", segment.path, done)
    for flow in _compute(segment, view, config, threads, first=done, watch=watch):
        cache.put(key | {"window": done}, _to_arrays(flow))
        yield flow
        done += 1
    cache.remember("flow windows", key, done)


def _key(segment: Segment, view: View, config: FlowConfig, cache: Cache) -> dict[str, Json]:
    """Return everything that decides the uncut flow."""
    frame_view = _frame_view(view)
    short = frame_view.size if frame_view.fit in ("stretch", "whole") else frame_view.edge or frame_view.size
    return {
        "kind": "flow",
        "video": cache.digest(segment.path),
        "span": [segment.start, segment.end],
        "view": {name: value for name, value in asdict(frame_view).items() if name not in ("size", "edge", "crops")} | {"short": short},
        "decoding": DECODING_VERSION,
        "flow": identity_of(config),
    }


def _to_arrays(flow: Flow) -> Arrays:
    packed, shape = compress(flow.levels), np.array(flow.levels.shape[:3])
    return {"packed": packed, "shape": shape, "times": flow.times, "bound": np.array(flow.bound), "lost": np.array(flow.lost)}


def _from_arrays(arrays: Arrays) -> Flow:
    count, height, width = arrays["shape"].tolist()
    return Flow(decompress(arrays["packed"], (count, height, width)), arrays["times"], arrays["bound"].item(), arrays["lost"].item())


def compress(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Compress levels (T, H, W, 2) without loss, to 2-16 % of their size: predict each from its neighbours, encode the differences.

    One core compresses some 150-400 MB/s and decompresses 160-280 MB/s, while computing flow with DIS gives about 25. PNG is larger and no
    faster.
    """
    planes = levels.transpose(0, 3, 1, 2)  # (T, 2, H, W)
    slopes = np.diff(np.diff(planes, axis=2, prepend=np.uint8(0)), axis=3, prepend=np.uint8(0))  # left + above - above left
    encoder = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    return np.frombuffer(encoder.compress(slopes.tobytes()) + encoder.flush(), np.uint8)


def decompress(packed: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return the levels (T, H, W, 2) that were compressed; `shape` is (T, H, W)."""
    count, height, width = shape
    slopes = np.frombuffer(zlib.decompress(packed.tobytes()), np.uint8).reshape(count, 2, height, width)
    planes = np.cumsum(np.cumsum(slopes, axis=3, dtype=np.uint8), axis=2, dtype=np.uint8)  # wraps round, as the differences did
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
