"""Flow held against motions that are known: drawn textures that are moved, turned, enlarged; and what is kept of it."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from toys import Drift

from quickstep.apps.cli import main
from quickstep.models.feature_extraction import extract
from quickstep.signals import flow as flow_package
from quickstep.signals.flow import METHODS, PRESETS, FlowConfig, FlowLook, methods, reader
from quickstep.signals.flow.drawing import draw_flow, to_colours
from quickstep.signals.flow.reader import FlowEstimator, compress, decompress, mirror, read_flow
from quickstep.signals.video import probe, read_frames, write_video
from quickstep.storage.cache import Cache
from quickstep.types.errors import CacheError, ConfigError, MediaError, QuickstepError, UnknownName
from quickstep.types.segment import Segment
from quickstep.types.signals import Flow, Frames
from quickstep.types.view import View

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]  # (..., 2)

SIZE = (120, 160)  # height, width
WAVES = np.random.default_rng(5)
NUMBERS = np.concatenate([WAVES.normal(0, 0.22, (30, 2)), WAVES.normal(0, 0.04, (12, 2))])  # fine detail and coarse
HEIGHTS = np.array([9.0] * 30 + [32.0] * 12)
PHASES = WAVES.uniform(0, 2 * np.pi, len(NUMBERS))


def texture(points: Points) -> NDArray[np.float64]:
    """Return a pattern that is defined between the pixels too, so that moving it needs no interpolation."""
    return 128 + 0.6 * np.sin(points @ NUMBERS.T + PHASES) @ HEIGHTS


def grid(size: tuple[int, int] = SIZE) -> Points:
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    return np.stack([x, y], axis=-1)


def picture(bring_back: Callable[[Points], Points], size: tuple[int, int] = SIZE) -> Pixels:
    """Sample the texture at the place from which each pixel has moved."""
    grey = np.clip(texture(bring_back(grid(size))), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def turning(degrees: float, zoom: float = 1.0, centre: tuple[float, float] = (80.0, 60.0)) -> NDArray[np.float64]:
    angle = np.radians(degrees)
    return zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


CENTRE = np.array([80.0, 60.0])
MOTIONS: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {  # p -> matrix (p - centre) + centre + shift
    "right": (np.eye(2), np.array([3.0, 0.0])),
    "left": (np.eye(2), np.array([-3.0, 0.0])),
    "down": (np.eye(2), np.array([0.0, 2.5])),
    "up and left": (np.eye(2), np.array([-1.5, -4.0])),
    "far": (np.eye(2), np.array([8.0, -5.0])),
    "clockwise": (turning(4), np.zeros(2)),
    "anticlockwise": (turning(-4), np.zeros(2)),
    "nearer": (turning(0, 1.06), np.zeros(2)),
}


def moved(motion: str) -> tuple[Frames, Points]:
    """Two pictures, and how each point of the first one moves."""
    matrix, shift = MOTIONS[motion]
    inverse = np.linalg.inv(matrix)
    pixels = np.stack([picture(lambda p: p), picture(lambda p: (p - CENTRE - shift) @ inverse.T + CENTRE)])
    return Frames(pixels, np.array([0.0, 0.04])), (grid() - CENTRE) @ matrix.T + CENTRE + shift - grid()


def inner(field: NDArray[np.floating], margin: int = 14) -> NDArray[np.floating]:
    return field[margin:-margin, margin:-margin]


# -- values ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("method", METHODS)
def test_a_known_motion_is_estimated(method: str, motion: str) -> None:
    frames, truth = moved(motion)
    flow = FlowEstimator(FlowConfig(method=method)).estimate(frames)
    assert flow.levels.shape == (1, *SIZE, 2)
    assert flow.times.tolist() == [0.0]
    error = np.linalg.norm(inner(flow.pixels[0] - truth), axis=-1)
    assert error.mean() < 0.3, f"{error.mean():.3f} pixels off"
    assert (np.sign(inner(flow.pixels[0]).mean(axis=(0, 1)).round()) == np.sign(inner(truth).mean(axis=(0, 1)).round())).all()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("method", METHODS)
def test_every_preset_estimates_motion(method: str, preset: str) -> None:
    frames, truth = moved("up and left")
    flow = FlowEstimator(FlowConfig(method=method, preset=preset)).estimate(frames)
    assert np.linalg.norm(inner(flow.pixels[0] - truth), axis=-1).mean() < 0.4


@pytest.mark.parametrize("camera", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_repeated_frame_has_no_motion(method: str, camera: bool) -> None:
    frames, _ = moved("right")
    first, second = frames.pixels
    held = Frames(np.stack([first, first, second, second, second]), np.array([0.0, 0.1, 0.2, 0.2, 0.3]))
    flow = FlowEstimator(FlowConfig(method=method, camera=camera)).estimate(held)
    assert (flow.levels[[0, 2, 3]] == 128).all()
    assert camera or (inner(flow.pixels[1])[..., 0] > 2).mean() > 0.9


@given(arrays(np.float32, (2, 3, 4, 2), elements=st.floats(-100, 100, width=32)), st.floats(0.5, 200))
def test_eight_bits_lose_at_most_half_a_level(pixels: NDArray[np.float32], bound: float) -> None:
    flow = Flow.of(pixels, np.arange(2.0), bound=bound)
    assert flow.levels.min() >= 1
    assert np.abs(flow.pixels - np.clip(pixels, -bound, bound)).max() <= bound / 254 + bound * 1e-6


def test_motion_is_clipped_to_the_bound() -> None:
    frames, _ = moved("far")
    flow = FlowEstimator(FlowConfig(bound=5)).estimate(frames)
    assert (np.median(inner(flow.levels[0]), axis=(0, 1)) == [255, 1]).all()
    assert flow.bound == 5


@pytest.mark.parametrize("method", METHODS)
def test_a_mirrored_video_has_mirrored_flow(method: str) -> None:
    frames, _ = moved("up and left")
    config = FlowConfig(method=method)
    there = FlowEstimator(config).estimate(frames)
    turned = FlowEstimator(config).estimate(replace(frames, pixels=frames.pixels[:, :, ::-1].copy()))
    assert np.abs(mirror(there).pixels - turned.pixels)[:, 14:-14, 14:-14].mean() < 0.12
    assert (mirror(mirror(there)).levels == there.levels).all()
    assert (mirror(there).levels[..., 0].astype(int) == 256 - there.levels[:, :, ::-1, 0].astype(int)).all()
    assert (mirror(there).levels[..., 1] == there.levels[:, :, ::-1, 1]).all()


@pytest.mark.parametrize("camera", [False, True])
@pytest.mark.parametrize("size", [(8, 8), (8, 40), (12, 12), (9, 300), (64, 10), (31, 33)])
@pytest.mark.parametrize("method", METHODS)
def test_tiny_frames_have_flow(method: str, size: tuple[int, int], camera: bool) -> None:
    frames = Frames(np.stack([picture(lambda p: p, size), picture(lambda p: p - [1, 0], size)]), np.array([0.0, 1.0]))
    flow = FlowEstimator(FlowConfig(method=method, camera=camera)).estimate(frames)
    assert flow.levels.shape == (1, *size, 2)
    if not camera and min(size) > 30:
        assert abs(np.median(flow.pixels[..., 0]) - 1) < 0.3


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([config for method in METHODS for config in (FlowConfig(method), FlowConfig(method, "quick", camera=True))]),
    st.tuples(st.integers(8, 70), st.integers(8, 70)),
    st.sampled_from(["noise", "plain", "halves", "blocks", "stripes"]),
    st.integers(0, 2**32 - 1),
)
def test_any_frames_have_flow_on_any_number_of_threads(config: FlowConfig, size: tuple[int, int], kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = np.repeat(rng.integers(0, 256, (3, *size, 1), dtype=np.uint8), 3, axis=3)
    if kind == "plain":
        pixels[:] = pixels[:, :1, :1]
    elif kind == "halves":
        pixels[:, : size[0] // 2] = 0
    elif kind == "blocks":
        pixels = np.where(pixels > 127, np.uint8(255), np.uint8(0))
    elif kind == "stripes":
        pixels[:] = pixels[:, :1]
    frames = Frames(pixels, np.array([0.0, 0.1, 0.2]))
    flow = FlowEstimator(config).estimate(frames)
    assert flow.levels.shape == (2, *size, 2)
    assert flow.levels.min() >= 1
    assert flow.levels.tobytes() == FlowEstimator(config, threads=2).estimate(frames).levels.tobytes()


# -- the camera --------------------------------------------------------------------------------------------------------------

CAMERAS = {
    "at rest": np.eye(3),
    "pan": np.array([[1, 0, 7.0], [0, 1, -2.0], [0, 0, 1]]),
    "fast pan": np.array([[1, 0, -17.0], [0, 1, 0.0], [0, 0, 1]]),
    "zoom": np.array([[1.05, 0, -4.0], [0, 1.05, -3.0], [0, 0, 1]]),
    "roll": np.array([[0.9994, -0.0349, 2.1], [0.0349, 0.9994, -2.8], [0, 0, 1]]),
    "turn": np.array([[1, 0, 3.0], [0, 1, 0.0], [2e-4, 1e-4, 1]]),
}


def through(plane: NDArray[np.float64], points: Points) -> Points:
    whole = points @ plane[:, :2].T + plane[:, 2]
    return whole[..., :2] / whole[..., 2:]


def filmed(camera: str) -> tuple[Frames, Points, NDArray[np.bool_]]:
    """Draw a moving disc before a scene with a moving camera: the frames, the disc's own motion, and its mask."""
    plane, step = CAMERAS[camera], np.array([4.0, -3.0])
    back = through(np.linalg.inv(plane), grid())  # where each point of the second picture was in the first
    disc = [np.linalg.norm(points - CENTRE, axis=-1) < 26 for points in (grid(), back - step)]
    first = np.where(disc[0], texture(grid() + 500), texture(grid()))
    second = np.where(disc[1], texture(back - step + 500), texture(back))
    pixels = np.repeat(np.clip([first, second], 0, 255).astype(np.uint8)[..., None], 3, axis=3)
    return Frames(pixels, np.array([0.0, 0.04])), np.where(disc[0][..., None], step, 0.0), disc[0]


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("method", METHODS)
def test_without_camera_motion_only_the_object_moves(method: str, camera: str) -> None:
    frames, truth, disc = filmed(camera)
    flow = FlowEstimator(FlowConfig(method=method, camera=True)).estimate(frames).pixels[0]
    error = np.linalg.norm(flow - truth, axis=-1)
    mover = cv2.erode(disc.astype(np.uint8), np.ones((13, 13))) > 0
    scene = cv2.dilate(disc.astype(np.uint8), np.ones((21, 21))) == 0
    assert error[mover].mean() < 0.6
    assert inner(np.where(scene, error, np.nan), 22)[inner(scene, 22)].mean() < 0.3
    if camera == "at rest":
        assert (flow == FlowEstimator(FlowConfig(method=method)).estimate(frames).pixels[0]).all(), "a camera at rest changes nothing"


@pytest.mark.parametrize("elsewhere", [300.0, 700.0, 1500.0])
def test_a_cut_to_another_scene_is_not_camera_motion(elsewhere: float) -> None:
    cut = Frames(np.stack([picture(lambda p: p), picture(lambda p: p + elsewhere)]), np.array([0.0, 0.04]))
    assert (FlowEstimator(FlowConfig(camera=True)).estimate(cut).levels == FlowEstimator(FlowConfig()).estimate(cut).levels).all()


# -- videos ------------------------------------------------------------------------------------------------------------------

PAN = 2.0  # pixels a picture, to the right


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds at 10 pictures a second, in which everything goes to the right."""
    path = tmp_path_factory.mktemp("flow") / "pan.mp4"
    write_video(path, [picture(lambda p, t=t: p - [PAN * t, 0.0]) for t in range(30)], fps=10, crf=4)
    return path


PACED = View(frames=5, fps=10, size=96, edge=120, windows=None)


def speeds(flow: Flow) -> NDArray[np.float64]:
    """Return the median speed to the right of each field."""
    middle: NDArray[np.float64] = np.median(flow.pixels[:, 10:-10, 10:-10, 0], axis=(1, 2))
    return middle


def test_windows_are_of_real_motion_to_the_last_field(video: Path) -> None:
    windows = list(read_flow(Segment(video), PACED))
    assert len(windows) == 6
    assert all(window.levels.shape == (5, 96, 96, 2) for window in windows)
    assert np.abs(np.concatenate([speeds(window) for window in windows]) - PAN).max() < 0.2
    assert np.allclose(windows[0].times, np.arange(5) / 10)
    assert {round(float(time), 3) for window in windows for time in window.times} == {at / 10 for at in range(29)}, "none falls between two"
    assert windows[-1].times[-1] < 2.9, "the last field starts at a picture that has one after it"


def test_a_segment_stays_within_its_span(video: Path) -> None:
    (window,) = read_flow(Segment(video, start=1.0, end=1.28), replace(PACED, windows=1))
    assert window.times.min() >= 1.0
    assert window.times.max() < 1.28
    assert np.abs(speeds(window)[:2] - PAN).max() < 0.2
    assert (window.levels[3:] == 128).all(), "a short segment shows its last picture again, and that rests"


def test_repeated_frames_of_a_slow_video_have_no_motion(video: Path) -> None:
    (window,) = read_flow(Segment(video, end=1.0), View(frames=19, fps=20, size=96, edge=120))
    moving = speeds(window) > 1
    assert 8 <= moving.sum() <= 10
    assert (window.levels[~moving] == 128).all()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.builds(
        dict,
        frames=st.integers(1, 7),
        pace=st.sampled_from([(None, 1, None), (None, 3, None), (8.0, 1, None), (8.0, 2, None), (5.0, None, None), (6.0, None, 0.5)]),
        size=st.integers(8, 100),
        fit=st.sampled_from(["crop", "stretch", "whole", "uncut"]),
        crops=st.sampled_from([1, 3, 5, 10]),
        more=st.integers(0, 30),
    ),
    st.tuples(st.floats(0, 2.8), st.none() | st.floats(0.05, 3)),
)
def test_every_view_gives_its_windows(video: Path, drawn: dict[str, object], span: tuple[float, float | None]) -> None:
    fps, windows, hop = drawn["pace"]
    fit, size = drawn["fit"], drawn["size"]
    crops, edge = (drawn["crops"], size + drawn["more"]) if fit == "crop" else (1, None)
    view = View(frames=drawn["frames"], fps=fps, windows=windows, stride=hop, size=size, fit=fit, crops=crops, edge=edge)
    start, length = span
    segment = Segment(video, start=start, end=None if length is None else min(3.0, start + length))
    flow = list(read_flow(segment, view))
    end = 3.0 if segment.end is None else segment.end
    assert len(flow) == crops * len(
        replace(view, frames=view.frames + 1, stride=hop or (windows is None and view.frames / fps) or None).timestamps(start, end)
    )
    _, crop = view.picture(SIZE[1], SIZE[0])
    for window in flow:
        assert window.levels.shape == (view.frames, crop[3], crop[2], 2)
        assert (np.diff(window.times) >= 0).all()
        assert window.levels.min() >= 1


def test_crops_are_cut_out_of_one_flow(video: Path) -> None:
    whole = list(read_flow(Segment(video), PACED.uncut()))
    ten = list(read_flow(Segment(video), replace(PACED, crops=10)))
    one = list(read_flow(Segment(video), PACED))
    assert len(ten) == 10 * len(whole)
    for number, uncut in enumerate(whole):
        crops = ten[10 * number : 10 * number + 10]
        assert (crops[0].levels == uncut.levels[:, :96, :96]).all()
        assert (crops[4].levels == uncut.levels[:, 24:, 64:]).all()
        assert (crops[2].levels == one[number].levels).all()
        for plain, turned in zip(crops[:5], crops[5:], strict=True):
            assert np.abs(speeds(turned) + PAN).max() < 0.25
            assert (turned.levels == mirror(plain).levels).all()


def test_overlapping_windows_compute_each_field_once(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grey, flow = [], []
    real_grey, real_between = reader.to_grey, methods.Dis.between
    monkeypatch.setattr(reader, "to_grey", lambda pixels: grey.append(1) or real_grey(pixels))
    monkeypatch.setattr(methods.Dis, "between", lambda self, a, b: flow.append(1) or real_between(self, a, b))
    overlapping = View(frames=10, fps=10, size=96, windows=None, stride=0.5)
    windows = list(read_flow(Segment(video), overlapping))
    assert sum(len(window) for window in windows) == 50
    assert (len(grey), len(flow)) == (30, 29)


def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    peaks, still = [], picture(lambda p: p)
    for seconds in (2, 16):
        path = tmp_path / f"{seconds}.mp4"
        write_video(path, (np.roll(still, t, axis=1) for t in range(10 * seconds)), fps=10)
        cache = Cache(tmp_path / "store")
        for _ in ("found", "read"):
            tracemalloc.start()
            count = sum(len(window) for window in read_flow(Segment(path), PACED, None, cache))
            peaks.append((count, tracemalloc.get_traced_memory()[1]))
            tracemalloc.stop()
    (few, found_short), (_, read_short), (many, found_long), (_, read_long) = peaks
    assert many > 7 * few
    assert found_long < 1.25 * found_short
    assert read_long < 1.25 * read_short


def test_threads_change_no_bit(video: Path) -> None:
    def all_of(threads: int) -> bytes:
        config = FlowConfig(camera=True)
        return b"".join(window.levels.tobytes() for window in read_flow(Segment(video), PACED, config, threads=threads))

    alone = all_of(1)
    before = cv2.getNumThreads()
    try:
        for count in (1, 2, 5):
            cv2.setNumThreads(count)
            with ThreadPoolExecutor(3) as pool:
                assert set(pool.map(all_of, [2, 2, 1])) == {alone}
            assert cv2.getNumThreads() == count
    finally:
        cv2.setNumThreads(before)


# -- what is kept ------------------------------------------------------------------------------------------------------------


@given(arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9).map(lambda s: (*s, 2))))
def test_compression_is_lossless(levels: Pixels) -> None:
    assert (decompress(compress(levels), levels.shape[:3]) == levels).all()


def never(*_: object, **__: object) -> Iterator[Frames]:
    raise AssertionError("decoded again")


def test_the_cache_is_small_and_read_instead_of_decoding(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path)
    first = list(read_flow(Segment(video), PACED, FlowConfig(), cache))
    assert sum(entry.size for entry in cache.entries()) < 0.3 * sum(window.levels.nbytes for window in first)
    monkeypatch.setattr(reader, "read_windows", never)
    again = list(read_flow(Segment(video), PACED, None, Cache(tmp_path)))
    assert len(again) == len(first)
    for one, other in zip(first, again):
        assert one.levels.tobytes() == other.levels.tobytes()
        assert one.times.tobytes() == other.times.tobytes()
        assert (one.bound, one.lost) == (other.bound, other.lost)
    for view in (replace(PACED, crops=10), PACED.uncut(), replace(PACED, size=64, edge=120)):
        assert list(read_flow(Segment(video), view, FlowConfig(), cache)), "other cuts need no other flow"


@pytest.mark.parametrize(
    "other",
    [
        {"config": FlowConfig(camera=True)},
        {"config": FlowConfig(bound=10)},
        {"config": FlowConfig(method="farneback")},
        {"config": FlowConfig(preset="quick")},
        {"view": replace(PACED, edge=110)},
        {"view": replace(PACED, frames=6)},
        {"view": replace(PACED, fps=9)},
        {"segment": {"start": 0.1}},
    ],
)
def test_the_cache_key_contains_everything_that_decides_the_flow(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, object]
) -> None:
    cache = Cache(tmp_path)
    list(read_flow(Segment(video), PACED, FlowConfig(), cache))
    monkeypatch.setattr(reader, "read_windows", never)
    segment = Segment(video, **other.get("segment", {}))
    with pytest.raises(AssertionError, match="decoded again"):
        list(read_flow(segment, other.get("view", PACED), other.get("config", FlowConfig()), cache))


def test_another_version_has_another_key(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    list(read_flow(Segment(video), PACED, None, Cache(tmp_path)))
    monkeypatch.setattr(reader, "read_windows", never)
    for module, name, value in ((cv2, "__version__", "99"), (reader, "FLOW_VERSION", flow_package.FLOW_VERSION + 1)):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            with pytest.raises(AssertionError, match="decoded again"):
                list(read_flow(Segment(video), PACED, None, Cache(tmp_path)))


@pytest.mark.parametrize("gone", [0, 2, 5])
def test_a_window_missing_in_the_cache_is_computed_again(video: Path, tmp_path: Path, gone: int) -> None:
    cache = Cache(tmp_path)
    whole = [window.levels.tobytes() for window in read_flow(Segment(video), PACED, None, cache)]
    next(entry.file for entry in cache.entries() if entry.key["window"] == gone).unlink()
    assert [window.levels.tobytes() for window in read_flow(Segment(video), PACED, None, cache)] == whole
    assert len(list(cache.entries())) == len(whole)


def test_a_reader_that_stops_early_leaves_its_windows_in_the_cache(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path)
    windows = read_flow(Segment(video), PACED, None, cache)
    first = next(windows)
    windows.close()
    monkeypatch.setattr(reader, "read_windows", never)
    assert next(read_flow(Segment(video), PACED, None, cache)).levels.tobytes() == first.levels.tobytes()


# -- backbones that read flow ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [False, True])
def test_a_backbone_that_reads_flow_receives_flow(video: Path, tmp_path: Path, parallel: bool) -> None:
    extraction = extract([Segment(video), Segment(video, start=1.0)], Drift(parallel=parallel))
    assert not extraction.failures
    for features in extraction.features.values():
        assert np.allclose(features.values[:, 0], PAN, atol=0.25)
        assert np.allclose(features.values[:, 1], 0, atol=0.1)


def test_another_backbone_reads_the_cached_flow(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extract([Segment(video)], Drift("a"))
    monkeypatch.setattr(reader, "read_windows", never)
    assert extract([Segment(video)], Drift("a")).computed == 0
    assert extract([Segment(video)], Drift("b")).computed == 1


def test_the_settings_of_its_flow_are_in_a_backbones_key(video: Path) -> None:
    extract([Segment(video)], Drift())
    assert extract([Segment(video)], Drift(FlowConfig(camera=True))).computed == 1
    flow = extract([Segment(video)], Drift(FlowConfig(camera=True)))
    assert flow.computed == 0
    assert np.allclose(next(iter(flow.features.values())).values, 0, atol=0.3), "all that moves here is the camera"


def test_workers_and_batches_change_no_bit_of_flow_features(video: Path, tmp_path: Path) -> None:
    spans = [Segment(video, start=at, end=at + 1.2) for at in np.arange(6) * 0.3]
    results = [
        extract(spans, Drift(batch=batch), workers=workers, cache=Cache(tmp_path / f"{workers}")).features
        for batch, workers in ((1, 1), (50, 4))
    ]
    for segment in spans:
        assert results[0][segment].values.tobytes() == results[1][segment].values.tobytes()


def test_watch_receives_the_frames_even_if_the_flow_is_cached(video: Path) -> None:
    extract([Segment(video)], Drift("a"))
    received: list[Frames] = []
    extract([Segment(video)], Drift("b"), on_window=lambda _, frames: received.append(frames))
    assert len(received) == 6
    assert received[0].pixels.shape == (6, 120, 160, 3)


def test_broken_videos_are_failures_and_the_others_are_computed(video: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("this is no video")
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:900])
    bad = [Segment(tmp_path / "text.mp4"), Segment(tmp_path / "cut.mp4"), Segment(tmp_path / "none.mp4"), Segment(video, start=50)]
    extraction = extract([*bad, Segment(video)], Drift())
    assert [failure.segment for failure in extraction.failures] == bad
    assert all(isinstance(failure.error, MediaError) and "\n" not in str(failure) for failure in extraction.failures)
    assert list(extraction.features) == [Segment(video)]


def test_a_full_disk_is_an_error_not_a_failed_video(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise CacheError("/cache", "No space left on device")

    monkeypatch.setattr(Cache, "put", full)
    with pytest.raises(CacheError, match="No space left"):
        extract([Segment(video)], Drift())


# -- settings ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"method": "lucas"}, "dis, farneback, tvl1"),
        ({"preset": "slow"}, "preset: must be one of fine, quick, usual"),
        ({"bound": 0.0}, "bound"),
        ({"bound": float("nan")}, "bound"),
        ({"bound": float("inf")}, "bound"),
    ],
)
def test_a_wrong_setting_is_one_line(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(QuickstepError) as caught:
        FlowConfig(**wrong)
    assert says in str(caught.value)


def test_a_misspelled_method_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'farneback'"):
        FlowConfig(method="farnebeck")


def test_an_opencv_without_tvl1_is_reported_with_the_remedy(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "optflow")
    with pytest.raises(ConfigError, match=r"pip install opencv-contrib-python; .*method dis") as caught:
        next(read_flow(Segment(video), PACED, FlowConfig(method="tvl1")))
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ConfigError, match="pip install opencv-contrib-python;"):
        extract([Segment(video)], Drift(FlowConfig(method="tvl1")))


def test_a_method_from_elsewhere_is_used(video: Path) -> None:
    (window, *_) = read_flow(Segment(video), PACED, FlowConfig(method="toys:AllRight"))
    assert (window.levels[..., 0] == 128 + round(127 / 20)).all()
    with pytest.raises(ConfigError, match="cannot import"):
        next(read_flow(Segment(video), PACED, FlowConfig(method="no.such:Thing")))


def test_a_window_of_the_maximum_length_is_refused(video: Path) -> None:
    with pytest.raises(ConfigError, match="4095"):
        next(read_flow(Segment(video), View(frames=4096, fps=10)))


# -- drawing -----------------------------------------------------------------------------------------------------------------


def hue(colours: Pixels) -> float:
    """Degrees of the mean colour of some pixels."""
    mean = colours.reshape(-1, 3).mean(axis=0).astype(np.float32)
    return float(cv2.cvtColor((mean / 255)[None, None], cv2.COLOR_RGB2HSV)[0, 0, 0])


def test_colour_is_direction_and_brightness_speed() -> None:
    def colour(right: float, down: float) -> Pixels:
        return to_colours(Flow.of(np.full((1, 4, 4, 2), (right, down), np.float32), np.zeros(1)).levels[0])

    for degrees in range(0, 360, 30):
        visible_frames = hue(colour(10 * np.cos(np.radians(degrees)), 10 * np.sin(np.radians(degrees))))
        assert abs((visible_frames - degrees + 180) % 360 - 180) < 4
    brightness = [colour(speed, 0).max() for speed in (0, 1, 5, 10, 20, 40)]
    assert brightness[0] == 0
    assert brightness == sorted(brightness)
    assert brightness[-1] == brightness[-2] == 255


@pytest.mark.parametrize("beside", [False, True])
def test_a_video_of_the_flow(video: Path, tmp_path: Path, beside: bool) -> None:
    out = tmp_path / "out.mp4"
    received: list[tuple[str, int, int]] = []
    drawn = draw_flow(video, out, look=FlowLook(beside=beside, size=120), progress=lambda *step: received.append(step))
    info = probe(out)
    assert (info.width, info.height, info.frames, round(info.fps or 0)) == (320 if beside else 160, 120, 30, 10)
    assert received[-1] == ("drawing", 30, 30)
    assert (drawn.fields, drawn.lost) == (30, 0)
    assert abs(drawn.speed - PAN * 29 / 30) < 0.2
    assert abs(drawn.still - 1 / 30) < 0.01, "only the last picture rests"
    assert drawn.over < 0.01
    (frames,) = [read_frames(out, [1.55])]
    flow_side = frames.pixels[0][10:80, -150:-50]
    assert min(hue(flow_side), 360 - hue(flow_side)) < 12, "to the right is red"
    if beside:
        visible_frames = frames.pixels[0][:, :160].astype(int)
        assert np.abs(visible_frames - picture(lambda p: p - [PAN * 15, 0.0])).mean() < 8


def test_a_sheet_of_moments(video: Path, tmp_path: Path) -> None:
    drawn = draw_flow(video, tmp_path / "sheet.png", look=FlowLook(size=60))
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape == (3 * 64 - 4, 4 * 84 - 4, 3)
    assert drawn.fields == 12
    assert abs(drawn.speed - PAN / 2) < 0.2


def test_the_summary_has_the_share_at_the_bound_and_without_the_camera(video: Path, tmp_path: Path) -> None:
    beyond = draw_flow(video, tmp_path / "a.mp4", config=FlowConfig(bound=1), look=FlowLook(size=120))
    assert beyond.over > 0.9
    still = draw_flow(video, tmp_path / "b.mp4", config=FlowConfig(camera=True), look=FlowLook(size=120))
    assert still.speed < 0.15


def test_drawing_streams(tmp_path: Path) -> None:
    peaks, still = [], picture(lambda p: p)
    for seconds in (3, 24):
        path = tmp_path / f"{seconds}.mp4"
        write_video(path, (np.roll(still, t, axis=1) for t in range(10 * seconds)), fps=10)
        tracemalloc.start()
        draw_flow(path, tmp_path / "out.mp4", look=FlowLook(size=120), threads=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


@pytest.mark.parametrize("size", [(2, 2), (17, 31), (480, 20)])
@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("name", ["out.mp4", "out.png"])
def test_odd_and_tiny_and_short_videos_are_drawn(tmp_path: Path, size: tuple[int, int], count: int, name: str) -> None:
    height, width = (-(-edge // 2) * 2 for edge in size)
    write_video(tmp_path / "in.mp4", [picture(lambda p, t=t: p - [t, 0], (height, width)) for t in range(count)], fps=5)
    drawn = draw_flow(tmp_path / "in.mp4", tmp_path / name, look=FlowLook(beside=True, size=33))
    assert (tmp_path / name).stat().st_size > 0
    assert drawn.fields == count or name == "out.png"


@pytest.mark.parametrize(
    ("out", "look", "says"),
    [
        ("out.gif", {}, "out.gif"),
        ("no/folder/out.mp4", {}, "does not exist"),
        ("pan.mp4", {}, "is the video itself"),
        ("out.mp4", {"start": 9.0}, "ends at 3.000 s, before the start"),
        ("out.mp4", {"end": 9.0}, "ends at 3.000 s, before the end"),
        ("out.mp4", {"start": 2.0, "end": 1.0}, "end: must be after the start"),
        ("out.mp4", {"size": 4}, "size"),
        ("out.mp4", {"fps": 0.0}, "fps"),
    ],
)
def test_invalid_flow_drawings_are_refused_in_one_line(video: Path, tmp_path: Path, out: str, look: dict[str, float], says: str) -> None:
    copy = tmp_path / "pan.mp4"
    copy.write_bytes(video.read_bytes())
    with pytest.raises(QuickstepError) as caught:
        draw_flow(copy, tmp_path / out, look=FlowLook(**look))
    assert says in str(caught.value)
    assert copy.read_bytes() == video.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pan.mp4"]


def test_a_broken_video_leaves_no_drawing(video: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(MediaError):
        draw_flow(tmp_path / "text.mp4", tmp_path / "out.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.mp4"]


def test_the_command_draws_and_prints_a_summary(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["flow", str(video), "-o", str(tmp_path / "out.mp4"), "--method", "farneback", "--size", "64", "--camera", "--json"])
    assert ended.value.code == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["fields"] == 30
    assert "the mean speed is" in output.err
    with pytest.raises(SystemExit) as ended:
        main(["flow", str(video), "-o", str(tmp_path / "out.mp4"), "--method", "tvl"])
    assert ended.value.code == 1
    output = capsys.readouterr()
    assert "dis, farneback, tvl1" in output.err
    assert "Traceback" not in output.err
