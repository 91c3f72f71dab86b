"""read_flow: the optical flow of a segment through a view, window by window, through the cache.

A window of N fields needs N + 1 frames, so that the last field is as real as the others. The flow is computed on the scaled frame before
anything is cropped, and cached so: all crops are cut from the same flow. One window is in memory at a time.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.flow import FLOW_VERSION
from quickstep.signals.flow.config import FlowConfig
from quickstep.signals.flow.estimator import FlowEstimator
from quickstep.signals.flow.methods import revision_of
from quickstep.signals.video import DECODING_VERSION, apply_view, read_windows
from quickstep.storage.cache import Arrays, Cache, Json
from quickstep.types.errors import ConfigError
from quickstep.types.segment import Segment
from quickstep.types.signals import Flow, Frames
from quickstep.types.view import Cut, View

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
