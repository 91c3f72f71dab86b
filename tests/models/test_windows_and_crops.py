"""Windows and crops: the squares are compared with pixels drawn in known places, and the view is saved with the model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from places import HELPERS, ROOT
from toys import Colours, draw_colours
from videos import write_tagged

from quickstep.backbones import Capabilities, check_view, view_for
from quickstep.evaluation import evaluate
from quickstep.heads import Examples, FitConfig, open_head
from quickstep.models.feature_extraction import extract
from quickstep.models.model import Model
from quickstep.signals.video import read_windows, write_video
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, train
from quickstep.types.errors import ConfigError
from quickstep.types.segment import Segment
from quickstep.types.signals import Features, Frames
from quickstep.types.view import View

SIZE = 32
NEAR = 26  # of 255: what encoding may change


class Corners(Colours):
    """The mean colour of each frame, of a view that crops."""

    name = "corners"
    view = View(frames=2, size=16, edge=20)


def ramp(width: int, height: int) -> NDArray[np.uint8]:
    """Draw a frame in which a pixel's red is its column and its green is its row."""
    across = np.linspace(0, 250, width)[None, :].repeat(height, 0)
    down = np.linspace(0, 250, height)[:, None].repeat(width, 1)
    return np.stack([across, down, np.full((height, width), 120.0)], axis=2).astype(np.uint8)


def drawn(path: Path, width: int, height: int, *, frames: int = 6) -> Path:
    write_video(path, [ramp(width, height)] * frames, fps=6)
    return path


def windows_of(path: Path, crops: int, *, windows: int = 1) -> list[Frames]:
    return list(read_windows(Segment(path), View(frames=2, size=SIZE, windows=windows, crops=crops)))


def expected_window(width: int, height: int, left: int, top: int, *, mirrored: bool = False) -> NDArray[np.uint8]:
    square = ramp(width, height)[top : top + SIZE, left : left + SIZE]
    return square[:, ::-1] if mirrored else square


def alike(actual: NDArray[np.uint8], truth: NDArray[np.uint8]) -> bool:
    inner = slice(4, -4)  # edges ring where they are encoded
    return int(np.abs(actual[inner, inner].astype(int) - truth[inner, inner].astype(int)).max()) <= NEAR


WIDE = {1: [(16, 0)], 3: [(0, 0), (16, 0), (32, 0)], 5: [(0, 0), (32, 0), (16, 0), (0, 0), (32, 0)]}
TALL = {1: [(0, 16)], 3: [(0, 0), (0, 16), (0, 32)], 5: [(0, 0), (0, 0), (0, 16), (0, 32), (0, 32)]}


@pytest.mark.parametrize("crops", [1, 3, 5])
@pytest.mark.parametrize(("shape", "corners"), [((64, 32), WIDE), ((32, 64), TALL)])
def test_each_crop_is_cut_at_its_place(
    tmp_path: Path, crops: int, shape: tuple[int, int], corners: dict[int, list[tuple[int, int]]]
) -> None:
    cut = windows_of(drawn(tmp_path / "ramp.mp4", *shape), crops)
    assert len(cut) == crops
    for frames, (left, top) in zip(cut, corners[crops], strict=True):
        assert frames.pixels.shape == (2, SIZE, SIZE, 3)
        assert all(alike(picture, expected_window(*shape, left, top)) for picture in frames.pixels)


def test_ten_crops_are_five_and_their_mirror_images(tmp_path: Path) -> None:
    crops = windows_of(drawn(tmp_path / "ramp.mp4", 64, 32), 10)
    assert len(crops) == 10
    for frames, (left, top) in zip(crops[5:], WIDE[5], strict=True):
        assert alike(frames.pixels[0], expected_window(64, 32, left, top, mirrored=True))
    for plain, mirrored in zip(crops[:5], crops[5:], strict=True):
        assert np.array_equal(plain.pixels[:, :, ::-1], mirrored.pixels)


def test_the_central_crop_is_the_single_crop(tmp_path: Path) -> None:
    path = drawn(tmp_path / "ramp.mp4", 96, 54)
    (alone,) = windows_of(path, 1)
    assert np.array_equal(windows_of(path, 3)[1].pixels, alone.pixels)
    assert np.array_equal(windows_of(path, 5)[2].pixels, alone.pixels)


def test_an_uncropped_view_is_the_whole_scaled_picture(tmp_path: Path) -> None:
    path = drawn(tmp_path / "ramp.mp4", 96, 54)
    view = View(frames=1, size=SIZE, edge=36, crops=5)
    (whole,) = read_windows(Segment(path), view.uncut())
    assert whole.pixels.shape == (1, 36, 64, 3)  # the short edge is `edge`, the long one in proportion
    cut = [one.pixels for one in read_windows(Segment(path), view)]
    assert np.array_equal(cut[0], whole.pixels[:, :SIZE, :SIZE])
    assert np.array_equal(cut[4], whole.pixels[:, -SIZE:, -SIZE:])


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_crops_are_cut_from_the_upright_picture(tmp_path: Path, turn: int) -> None:
    """A file that says "turn me" is cropped as it is shown: a lying 64 x 32 becomes a standing 32 x 64, cut along its height."""
    turned = write_tagged(tmp_path / "turned.mp4", ramp(64, 32), turn=turn)
    (whole,) = read_windows(Segment(turned), View(frames=1, size=SIZE, fit="uncut"))
    height, width = whole.pixels.shape[1:3]
    assert (width, height) == ((64, 32) if turn == 180 else (32, 64))
    first, _, last = (one.pixels[0] for one in read_windows(Segment(turned), View(frames=1, size=SIZE, crops=3)))
    upright = {90: np.rot90(ramp(64, 32), 1), 180: np.rot90(ramp(64, 32), 2), 270: np.rot90(ramp(64, 32), 3)}
    fits = [alike(first, side[:SIZE, :SIZE]) and alike(last, side[-SIZE:, -SIZE:]) for side in upright.values() if side.shape[0] == height]
    assert sum(fits) == 1


def test_the_order_is_window_by_window_then_crop_by_crop(tmp_path: Path) -> None:
    crops = windows_of(drawn(tmp_path / "ramp.mp4", 64, 32), 3, windows=4)
    starts = [frames.times[0] for frames in crops]
    assert len(crops) == 12
    assert starts == sorted(starts)
    assert len(set(starts)) == 4


def test_thirty_views_are_never_in_memory_at_once(tmp_path: Path) -> None:
    path = drawn(tmp_path / "ramp.mp4", 160, 96, frames=30)
    view = View(frames=64, size=96, windows=10, crops=3)
    one = view.frames * view.size**2 * 3
    backbone = Corners()
    backbone.view, backbone.batch = view, 1
    tracemalloc.start()
    extract([Segment(path)], backbone, view=view, cache=Cache(tmp_path / "cache"), workers=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.6 * 30 * one


def test_few_large_windows_wait_for_the_network() -> None:
    from quickstep.models.feature_extraction import MAX_WAITING_BYTES, _buffer_size

    large, small = View(frames=64, size=224), View(frames=8, size=16)
    assert _buffer_size(large, 64) * 64 * 224 * 224 * 3 <= MAX_WAITING_BYTES
    assert _buffer_size(small, 4) == 16


def test_a_linear_head_averages_the_scores_of_all_windows_and_crops(tmp_path: Path) -> None:
    manifest = draw_colours(tmp_path / "set")
    model = train(manifest, TrainConfig(epochs=5, windows=3, crops=5), backbone=Corners(), cache=Cache(tmp_path / "c")).model
    extraction = extract([manifest.segments[0]], Corners(), view=model.view, cache=Cache(tmp_path / "c"))
    features = extraction.features[manifest.segments[0]]
    assert len(features) == 3 * 5 * 2  # windows x crops x frames
    scores = [model.head.scores([Features(features.values[i : i + 1], features.times[i : i + 1])])[0] for i in range(30)]
    assert np.allclose(np.mean(scores, axis=0), model.head.scores([features])[0])


def test_attention_uses_the_times_of_crops() -> None:
    """Attention places moments by their time: each moment three times over says what it says once."""
    rng = np.random.default_rng(0)
    shown_once = [Features(rng.normal(i % 2, 1, (6, 4)).astype(np.float32), np.arange(6.0)) for i in range(12)]
    head = open_head("attention")
    head.fit(Examples(shown_once, np.arange(12) % 2), classes=2, fitting=FitConfig(epochs=5))

    def cropped(one: Features) -> Features:  # two windows of three frames, three crops each
        places = np.concatenate([np.tile(np.arange(3) + 3 * window, 3) for window in range(2)])
        return Features(one.values[places], one.times[places])

    assert np.allclose(head.scores(shown_once), head.scores([cropped(one) for one in shown_once]))


def test_windows_and_crops_are_saved_with_the_model(tmp_path: Path) -> None:
    manifest = draw_colours(tmp_path / "set")
    cache = Cache(tmp_path / "c")
    model = train(manifest, TrainConfig(epochs=5, windows=2, crops=3), backbone=Corners(), cache=cache).model
    model = replace(model, spec=replace(model.spec, name="tests.models.test_windows_and_crops:Corners"))
    model.save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    assert (again.view.windows, again.view.crops, again.view.description) == (2, 3, "2 windows x 3 crops")
    report = evaluate(again, cache=cache)
    assert report.model.view["windows"] == 2
    assert not [verdict for verdict in report.verdicts if verdict.about == "view"]


def test_another_view_is_named_in_the_report(tmp_path: Path) -> None:
    manifest = draw_colours(tmp_path / "set")
    cache = Cache(tmp_path / "c")
    model = train(manifest, TrainConfig(epochs=5), backbone=Corners(), cache=cache).model
    trial = model.with_view(windows=3, crops=10)
    report = evaluate(trial, cache=cache)
    assert (report.model.view["windows"], report.model.view["crops"]) == (3, 10)
    (verdict_text,) = [verdict.text for verdict in report.verdicts if verdict.about == "view"]
    assert "3 windows x 10 crops" in verdict_text
    assert "1 window x 1 crop" in verdict_text
    assert model.with_view(windows=1) is model
    assert trial.with_view(windows=1, crops=1).original_view is None


def test_impossible_windows_and_crops_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"crops: .*whole frame"):
        view_for(Colours(), crops=3)
    with pytest.raises(ConfigError, match="crops: must be one of 1, 3, 5, 10"):
        TrainConfig(crops=4)
    with pytest.raises(ConfigError, match="windows: must be from 1 to"):
        TrainConfig(windows=0)

    class People(Corners):
        capabilities = Capabilities(reads="poses")

    with pytest.raises(ConfigError, match=r"crops: .*reads poses"):
        check_view(People(), View(crops=3))


@pytest.mark.slow
def test_the_command_line_names_the_view(tmp_path: Path) -> None:
    manifest = draw_colours(tmp_path / "set")
    model = train(manifest, TrainConfig(epochs=5), backbone=Corners(), cache=Cache(tmp_path / "c")).model
    replace(model, spec=replace(model.spec, name="tests.models.test_windows_and_crops:Corners")).save(tmp_path / "m")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "quickstep", *arguments, "--trust", "tests.models.test_windows_and_crops"]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HELPERS}"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=True)

    video = str(manifest.segments[0].path)
    plain = run("predict", str(tmp_path / "m"), video, "--json")
    process = run("predict", str(tmp_path / "m"), video, "--json", "--windows", "2", "--crops", "3")
    assert "view" not in json.loads(plain.stdout)
    view = json.loads(process.stdout)["view"]
    assert (view["frames"], view["size"], view["windows"], view["crops"]) == (model.view.frames, model.view.size, 2, 3)
    assert "2 windows x 3 crops" in process.stderr
    tested = run("evaluate", str(tmp_path / "m"), "--crops", "3")
    assert "1 window x 3 crops" in tested.stderr
    assert (tmp_path / "m" / "view-1x3" / "report.json").is_file()
    assert not (tmp_path / "m" / "report.json").exists()
