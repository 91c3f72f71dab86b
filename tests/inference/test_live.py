"""The live watcher: the newest seconds count, late pictures are dropped, and nothing is written to the disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from toys import COLOURS, Colours, draw_colours

from quickstep.inference.live import Watcher
from quickstep.models.model import Model
from quickstep.signals.poses import EstimatorCapabilities
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, train
from quickstep.types.signals import Features, Frames, Poses
from quickstep.types.skeleton import Skeleton, read_skeleton


class Slow(Colours):
    """Takes a quarter of a second for each call."""

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        time.sleep(0.25)
        return super().embed(batch)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("live")
    return train(draw_colours(folder / "videos"), TrainConfig(epochs=40), backbone=Slow(), cache=Cache(folder / "cache")).model


def picture(colour: str) -> np.ndarray:
    return np.full((60, 80, 3), COLOURS[colour], np.uint8)


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> float:
    """Wait for a condition and return how long that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds
        time.sleep(0.01)
    return time.monotonic() - started


def label_of(watcher: Watcher) -> str | None:
    prediction = watcher.state.prediction
    return None if prediction is None else prediction.label


def test_a_slow_model_predicts_the_newest_seconds(model: Model) -> None:
    watcher = Watcher(model, window=1.0)
    try:
        assert watcher.state.prediction is None
        for colour in ("red", "green", "blue"):
            for _ in range(40):
                started = time.perf_counter()
                watcher.add(picture(colour))
                assert time.perf_counter() - started < 0.2  # however long a prediction takes
                time.sleep(0.03)
        assert wait_until(lambda: label_of(watcher) == "blue") < 3
        state = watcher.state
        assert state.pictures == 120
        assert 0 < state.predictions < 30  # not one for each picture
        assert state.latency < 2
        assert state.problem == ""
    finally:
        watcher.close()


def test_another_camera_or_a_pause_starts_a_new_window(model: Model) -> None:
    watcher = Watcher(model, window=1.0)
    try:
        for moment in np.arange(0, 1, 0.1):
            watcher.add(picture("red"), float(moment))
        assert watcher.state.filled > 0.8
        watcher.add(picture("red"), 5.0)
        assert watcher.state.filled == 0
        watcher.add(picture("red").transpose(1, 0, 2), 5.1)
        assert watcher.state.filled == 0
    finally:
        watcher.close()


def test_a_slow_camera_is_scored_too(model: Model) -> None:
    watcher = Watcher(model, window=0.5)
    try:
        for moment in np.arange(0, 6, 0.9):  # a busy machine: a picture takes longer than a window
            watcher.add(picture("green"), float(moment))
        wait_until(lambda: label_of(watcher) == "green")
    finally:
        watcher.close()


def test_a_browser_may_send_smaller_pictures_at_any_time(model: Model) -> None:
    watcher = Watcher(model, window=1.0)
    try:
        for number, moment in enumerate(np.arange(0, 1.2, 0.1)):
            watcher.add(picture("blue")[:: 1 + number % 2, :: 1 + number % 2], float(moment))
        assert watcher.state.filled > 0.8
        wait_until(lambda: label_of(watcher) == "blue")
    finally:
        watcher.close()


def test_an_error_of_the_model_is_reported_as_a_problem(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from quickstep.types.errors import WeightsError

    def fail(self: Colours, batch: Sequence[Frames]) -> list[Features]:
        raise WeightsError("the weights are broken")

    monkeypatch.setattr(Slow, "embed", fail)
    watcher = Watcher(model, window=0.2)
    try:
        for moment in np.arange(0, 1, 0.05):
            watcher.add(picture("red"), float(moment))
        wait_until(lambda: watcher.state.problem != "")
        assert watcher.state.problem == "the weights are broken"
        assert watcher.state.prediction is None
    finally:
        watcher.close()


class OneBody:
    """Estimates one pose in the middle of every picture."""

    name, batch = "one-body", 1
    identity = {"name": "one-body"}  # noqa: RUF012
    capabilities = EstimatorCapabilities()

    def __init__(self) -> None:
        self.closed = False

    @property
    def skeleton(self) -> Skeleton:
        return read_skeleton("coco-17")

    def start(self) -> None:
        """Remember nothing."""

    def estimate(self, frames: Frames) -> Poses:
        joints = np.ones((len(frames), 1, 17, 3), np.float32)
        joints[..., 0], joints[..., 1] = np.linspace(20, 60, 17), np.linspace(10, 50, 17)
        return Poses(joints, frames.times, self.skeleton, (0,), (80, 60))

    def close(self) -> None:
        self.closed = True


def test_a_pose_is_drawn_over_the_newest_picture(model: Model) -> None:
    estimator = OneBody()
    watcher = Watcher(model, estimator=estimator, window=1.0)
    try:
        plain = picture("blue")
        watcher.add(plain)
        drawn = plain.copy()

        def is_drawn() -> bool:
            watcher.draw(drawn)
            return bool((drawn != plain).any())

        wait_until(is_drawn, seconds=10)
        assert watcher.state.pose_seconds > 0
    finally:
        watcher.close()
    assert estimator.closed


class Stalling(OneBody):
    """Estimates a pose only while it is free to."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()

    def estimate(self, frames: Frames) -> Poses:
        self.free.wait(timeout=20)
        return super().estimate(frames)


def test_a_pose_of_long_ago_is_not_drawn(model: Model) -> None:
    estimator = Stalling()
    watcher = Watcher(model, estimator=estimator, window=1.0)

    def is_drawn() -> bool:
        plain = picture("blue")
        drawn = plain.copy()
        watcher.draw(drawn)
        return bool((drawn != plain).any())

    try:
        estimator.free.set()
        watcher.add(picture("blue"), 0.0)
        wait_until(is_drawn, seconds=10)
        estimator.free.clear()  # from here on the estimator lags behind
        watcher.add(picture("blue"), 1.0)
        assert is_drawn()
        watcher.add(picture("blue"), 3.0)
        assert not is_drawn()
    finally:
        estimator.free.set()
        watcher.close()


def test_nothing_is_written_to_the_disk(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("QUICKSTEP_CACHE", str(tmp_path / "cache"))
    watcher = Watcher(model, window=0.2)
    try:
        for moment in np.arange(0, 1, 0.05):
            watcher.add(picture("red"), float(moment))
        wait_until(lambda: watcher.state.prediction is not None)
    finally:
        watcher.close()
    assert list(tmp_path.iterdir()) == []
