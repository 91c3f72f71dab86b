"""Watching a camera: the newest seconds count, what is late is dropped, and nothing is left behind."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from toys import COLOURS, Colours, draw_colours

from quickstep.inference.live import Watcher, _evenly
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, train
from quickstep.types.signals import Features, Frames, Poses
from quickstep.types.skeleton import Skeleton, read_skeleton


class Slow(Colours):
    """Takes a quarter of a second a look."""

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        time.sleep(0.25)
        return super().embed(batch)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("live")
    return train(draw_colours(folder / "videos"), TrainConfig(epochs=40), backbone=Slow(), cache=Cache(folder / "cache")).model


def picture(colour: str) -> np.ndarray:
    return np.full((60, 80, 3), COLOURS[colour], np.uint8)


def until(watcher: Watcher, label: str) -> float:
    """Show nothing more and wait for the label; how long that took."""
    began = time.monotonic()
    while (now := watcher.now).prediction is None or now.prediction.label != label:
        assert time.monotonic() - began < 20, now
        time.sleep(0.01)
    return time.monotonic() - began


def test_the_newest_seconds_count_however_slow_the_model_is(model: Model) -> None:
    watcher = Watcher(model, window=1.0)
    folder = watcher._folder
    try:
        assert watcher.now.prediction is None
        for colour in ("red", "green", "blue"):
            for _ in range(40):
                began = time.perf_counter()
                watcher.see(picture(colour))
                assert time.perf_counter() - began < 0.2  # however long a look takes
                time.sleep(0.03)
        assert until(watcher, "blue") < 3
        now = watcher.now
        assert now.shown == 120
        assert 0 < now.looks < 30  # and not one a picture
        assert now.behind < 2
        assert now.problem == ""
    finally:
        watcher.close()
    assert not folder.exists()


def test_a_new_camera_or_a_pause_begins_anew(model: Model) -> None:
    watcher = Watcher(model, window=1.0)
    try:
        for moment in np.arange(0, 1, 0.1):
            watcher.see(picture("red"), float(moment))
        assert watcher.now.filled > 0.8
        watcher.see(picture("red"), 5.0)
        assert watcher.now.filled == 0
        watcher.see(picture("red").transpose(1, 0, 2), 5.1)
        assert watcher.now.filled == 0
    finally:
        watcher.close()


def test_pictures_that_come_when_they_come_are_shown_at_even_steps() -> None:
    pictures = [np.full((2, 2, 3), value, np.uint8) for value in range(4)]
    shown = _evenly(pictures, [0.0, 0.1, 0.5, 1.0], 10)
    assert [int(each[0, 0, 0]) for each in shown] == [0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3]


class OneBody:
    """Finds one body in the middle of everything."""

    name, batch = "one-body", 1
    identity = {"name": "one-body"}  # noqa: RUF012

    def __init__(self) -> None:
        self.closed = False

    @property
    def skeleton(self) -> Skeleton:
        return read_skeleton("coco-17")

    def start(self) -> None:
        """Nothing is remembered."""

    def estimate(self, frames: Frames) -> Poses:
        joints = np.ones((len(frames), 1, 17, 3), np.float32)
        joints[..., 0], joints[..., 1] = np.linspace(20, 60, 17), np.linspace(10, 50, 17)
        return Poses(joints, frames.times, self.skeleton, (0,), (80, 60))

    def close(self) -> None:
        self.closed = True


def test_a_skeleton_is_drawn_over_the_newest_picture(model: Model) -> None:
    estimator = OneBody()
    watcher = Watcher(model, estimator=estimator, window=1.0)
    try:
        plain = picture("blue")
        watcher.see(plain)
        began = time.monotonic()
        drawn = plain.copy()
        while (drawn == plain).all():
            assert time.monotonic() - began < 10
            watcher.draw(drawn)
            time.sleep(0.02)
        assert watcher.now.bodies > 0
    finally:
        watcher.close()
    assert estimator.closed


def test_nothing_of_a_watcher_lies_about(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Watcher(model).close()
    assert list(tmp_path.iterdir()) == []
