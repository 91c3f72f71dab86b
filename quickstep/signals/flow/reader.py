"""Reading: a segment through a view -> Flow, window by window; what was found once is kept and not found again.

A window of N fields looks at N + 1 pictures, so that the last field is as real as the others. The motion is found on the scaled picture
before anything is cut off it, and kept so: every crop, and every view that differs in its crops only, is cut out of the same flow. One
window is in memory at a time. Knows no backbone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

import numpy as np

from quickstep.signals.flow import FLOW_VERSION
from quickstep.signals.flow.compression import pack, unpack
from quickstep.signals.flow.config import FlowConfig
from quickstep.signals.flow.flow_fields import Fields
from quickstep.signals.flow.methods import revision_of
from quickstep.signals.video import DECODING_VERSION, apply_view, read_windows
from quickstep.storage.cache import Arrays, Cache, Json
from quickstep.types.errors import ConfigError
from quickstep.types.segment import Segment
from quickstep.types.signals import Flow, Frames
from quickstep.types.view import Cut, View

MOST = 4095  # fields a window: a view has 4096 pictures at most


def read_flow(
    segment: Segment,
    view: View,
    config: FlowConfig | None = None,
    cache: Cache | None = None,
    *,
    threads: int = 1,
    watch: Callable[[Frames], None] | None = None,
) -> Iterator[Flow]:
    """One Flow for each window that the view lays over a segment, and for each of its crops; through the cache where one is given.

    `watch` is shown the pictures of each window, uncut; then the flow is found anew, because what is kept has no pictures.
    """
    config = config or FlowConfig()
    windows = _found(segment, view, config, threads, watch=watch) if cache is None else _kept(segment, view, config, cache, threads, watch)
    for flow in windows:
        yield from _cuts(flow, view)


def flow_in_frames(frames: Frames, view: View, config: FlowConfig) -> Iterator[Flow]:
    """Yield the flow of each window, and of each crop, of pictures in memory; nothing is cached."""
    with Fields(config) as fields:
        for window in apply_view(frames, _looked(view)):
            yield from _cuts(fields.between(window), view)


def flow_windows(segment: Segment, view: View, config: FlowConfig | None, cache: Cache) -> Iterator[Flow]:
    """`read_flow` through the cache: what was kept is read, what was not is found and kept."""
    return read_flow(segment, view, config, cache)


def identity_of(config: FlowConfig) -> dict[str, Json]:
    """Everything beside the pictures that decides a flow's values."""
    return asdict(config) | {"version": FLOW_VERSION, "by": revision_of(config)}


def mirrored(flow: Flow) -> Flow:
    """As the mirrored video would flow: left and right change places, and what went to the right goes to the left."""
    levels = flow.levels[:, :, ::-1].copy()
    levels[..., 0] = -levels[..., 0]  # of 8 bits: 255 becomes 1 and 128 stays
    return replace(flow, levels=levels)


def cut_out(flow: Flow, cut: Cut) -> Flow:
    """A square of a flow, mirrored where the cut says so."""
    piece = replace(flow, levels=replace(cut, mirrored=False).out_of(flow.levels))
    return mirrored(piece) if cut.mirrored else piece


def _cuts(flow: Flow, view: View) -> Iterator[Flow]:
    if view.fit != "crop":
        yield flow
        return
    height, width = flow.levels.shape[1:3]
    yield from (cut_out(flow, cut) for cut in view.cuts(width, height))


def _kept(
    segment: Segment, view: View, config: FlowConfig, cache: Cache, threads: int, watch: Callable[[Frames], None] | None
) -> Iterator[Flow]:
    """The uncut windows that are kept, then those that have to be found."""
    key = _key(segment, view, config, cache)
    count = cache.recall("flow windows", key)
    shown = 0
    while watch is None and shown != count and (arrays := cache.get(key | {"window": shown})) is not None:
        yield _from_arrays(arrays)
        shown += 1
    if shown == count:
        return
    for flow in _found(segment, view, config, threads, first=shown, watch=watch):
        cache.put(key | {"window": shown}, _to_arrays(flow))
        yield flow
        shown += 1
    cache.remember("flow windows", key, shown)


def _to_arrays(flow: Flow) -> Arrays:
    packed, shape = pack(flow.levels), np.array(flow.levels.shape[:3])
    return {"packed": packed, "shape": shape, "times": flow.times, "bound": np.array(flow.bound), "lost": np.array(flow.lost)}


def _from_arrays(arrays: Arrays) -> Flow:
    count, height, width = arrays["shape"].tolist()
    return Flow(unpack(arrays["packed"], (count, height, width)), arrays["times"], arrays["bound"].item(), arrays["lost"].item())


def _key(segment: Segment, view: View, config: FlowConfig, cache: Cache) -> dict[str, Json]:
    """Everything that decides the flow before it is cut."""
    looked = _looked(view)
    short = looked.size if looked.fit in ("stretch", "whole") else looked.edge or looked.size
    return {
        "kind": "flow",
        "video": cache.digest(segment.path),
        "span": [segment.start, segment.end],
        "view": {name: value for name, value in asdict(looked).items() if name not in ("size", "edge", "crops")} | {"short": short},
        "decoding": DECODING_VERSION,
        "flow": identity_of(config),
    }


def _found(
    segment: Segment,
    view: View,
    config: FlowConfig,
    threads: int,
    *,
    first: int = 0,
    watch: Callable[[Frames], None] | None = None,
) -> Iterator[Flow]:
    """The uncut windows from number `first` on, found one at a time."""
    with Fields(config, threads=threads) as fields:
        for number, frames in enumerate(read_windows(segment, _looked(view))):
            if watch is not None:
                watch(frames)
            if number >= first:
                yield fields.between(frames)


def _looked(view: View) -> View:
    """What is looked at for a view's flow: its uncut pictures, and one more a window.

    Windows that cover a segment then share a picture, the last of one being the first of the next: no motion falls between two.
    """
    if view.frames > MOST:
        raise ConfigError("frames", f"a window has at most {MOST} fields of flow, not {view.frames}")
    covering = view.fps is not None and view.windows is None and view.stride is None
    hop = view.frames / view.fps if covering and view.fps else view.stride
    return replace(view.uncut(), frames=view.frames + 1, stride=hop)
