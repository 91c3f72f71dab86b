"""Shortcuts: metadata that gives the label away is found, what luck explains is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quickstep.datasets.audit.metadata_shortcuts import MetadataClassifier, Shortcut, cached_video_info, describe, find_shortcut, say
from quickstep.signals.video import VideoInfo
from quickstep.storage.cache import Cache
from quickstep.types.segment import Segment

Traits = list[dict[str, float | str]]


def info(rng: np.random.Generator, **known: object) -> VideoInfo:
    """A video whose every trait is drawn by lot, but for what is known."""
    seconds = float(rng.uniform(2, 5))
    drawn: dict[str, object] = {
        "path": Path("a.mp4"),
        "width": int(rng.choice([320, 640])),
        "height": int(rng.choice([240, 360])),
        "duration": seconds,
        "fps": float(rng.choice([25.0, 29.97])),
        "frames": int(seconds * 25),
        "codec": str(rng.choice(["h264", "hevc"])),
        "pixel_format": "yuv420p",
        "rotation": 0,
        "mirrored": False,
        "aspect": 1.0,
        "container": "mov,mp4",
        "bytes": int(rng.uniform(1e5, 5e5)),
        "bit_rate": None,
        "has_audio": bool(rng.integers(2)),
        "variable_rate": False,
    }
    return VideoInfo(**(drawn | known))  # type: ignore[arg-type]


def made(known: Callable[[int, int], dict[str, object]], *, count: int = 60, groups: int = 20, classes: int = 2, seed: int = 0) -> Shortcut:
    """What is found among segments whose `known(label, group)` is set and the rest drawn by lot."""
    rng = np.random.default_rng(seed)
    labels = [index % classes for index in range(count)]
    belongs = [(index // classes) % groups for index in range(count)]
    traits = [describe(Segment(Path("a.mp4")), info(rng, **known(label, group))) for label, group in zip(labels, belongs)]
    found = find_shortcut(traits, [f"c{label}" for label in labels], belongs)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("known", "family"),
    [
        (lambda label, _: {"fps": [24.0, 30.0][label]}, "frame rate"),
        (lambda label, _: {"codec": ["h264", "vp9"][label]}, "codec"),
        (lambda label, _: {"width": [320, 322][label]}, "picture size"),
        (lambda label, _: {"duration": [3.0, 3.5][label]}, "length"),
        (lambda label, _: {"bytes": [10_000, 11_000][label]}, "file size"),
    ],
)
def test_a_planted_shortcut_is_found_and_named(known: Callable[[int, int], dict[str, object]], family: str) -> None:
    found = made(known)
    assert found.suspicious
    assert found.accuracy > 0.95
    assert found.majority == 0.5
    assert family in [name for name, accuracy in found.by if accuracy == max(value for _, value in found.by)]
    assert family in say(found)
    assert "\n" not in say(found)


@pytest.mark.parametrize("classes", [2, 6])
@pytest.mark.parametrize("count", [12, 60])
def test_nothing_planted_nothing_found(count: int, classes: int) -> None:
    found = [made(lambda *_: {}, count=count, groups=count, classes=min(classes, count // 4), seed=seed) for seed in range(4)]
    assert sum(one.suspicious for one in found) == 0


def test_what_goes_with_the_group_and_not_the_label_is_no_shortcut() -> None:
    found = made(lambda _, group: {"fps": 20.0 + group, "width": 300 + 2 * group})
    assert not found.suspicious
    assert found.low < 0 < found.high


def test_too_little_to_try() -> None:
    rng = np.random.default_rng(0)
    traits = [describe(Segment(Path("a.mp4")), info(rng)) for _ in range(20)]
    assert find_shortcut(traits[:4], ["a", "b"] * 2, list(range(4))) is None
    assert find_shortcut(traits, ["a"] * 20, list(range(20))) is None
    assert find_shortcut(traits, ["a", "b"] * 10, ["one"] * 20) is None
    assert find_shortcut([], [], []) is None


def test_the_classifier_is_fitted_here_and_asked_there() -> None:
    rng = np.random.default_rng(1)
    labels = ["slow", "fast", "faster"] * 12
    rates = {"slow": 15.0, "fast": 30.0, "faster": 60.0}
    traits: Traits = [describe(Segment(Path("a.mp4")), info(rng, fps=rates[label])) for label in labels]
    classifier = MetadataClassifier(seed=3).fit(traits, labels)
    asked: Traits = [describe(Segment(Path("a.mp4")), info(rng, fps=rates[label], codec="unheard of")) for label in labels]
    assert classifier.labels == ("fast", "faster", "slow")
    assert classifier.predict(asked) == labels
    assert np.allclose(classifier.scores(asked).sum(1), 1)
    assert np.array_equal(classifier.scores(asked), MetadataClassifier(seed=3).fit(traits, labels).scores(asked))


def test_a_span_counts_with_its_own_length() -> None:
    video = info(np.random.default_rng(0), duration=4.0)
    assert describe(Segment(Path("a.mp4"), start=1.0, end=3.0), video)["seconds"] == 2.0
    assert describe(Segment(Path("a.mp4"), start=1.0, end=30.0), video)["seconds"] == 3.0
    assert describe(Segment(Path("a.mp4"), start=9.0), video)["seconds"] == 0.0


def test_headers_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(b"bytes")
    (tmp_path / "same.mp4").write_bytes(b"bytes")
    video, asked = info(np.random.default_rng(0), coded_size=(320, 240)), []
    monkeypatch.setattr("quickstep.datasets.audit.metadata_shortcuts.probe", lambda path: asked.append(path) or video)
    cache = Cache(tmp_path / "cache")
    assert cached_video_info(tmp_path / "a.mp4", cache) is video
    again = cached_video_info(tmp_path / "same.mp4", cache)
    assert (again.path, again.fps, again.coded_size) == (tmp_path / "same.mp4", video.fps, (320, 240))
    assert asked == [tmp_path / "a.mp4"]
