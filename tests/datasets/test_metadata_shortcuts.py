"""Shortcuts: metadata that predicts the label is shortcut, and what chance explains is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quickstep.datasets.audit.metadata_shortcuts import MetadataClassifier, Shortcut, cached_video_info, find_shortcut, metadata_features
from quickstep.signals.video import VideoInfo
from quickstep.storage.cache import Cache
from quickstep.types.segment import Segment

FeatureList = list[dict[str, float | str]]


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit few trees: enough to find a shortcut, and quick."""
    monkeypatch.setattr("quickstep.datasets.audit.metadata_shortcuts.TREES", 15)


def info(rng: np.random.Generator, **values: object) -> VideoInfo:
    """Return a header with random values, except the given ones."""
    seconds = float(rng.uniform(2, 5))
    header: dict[str, object] = {
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
    return VideoInfo(**(header | values))  # type: ignore[arg-type]


def shortcut_of(
    values: Callable[[int, int], dict[str, object]], *, count: int = 60, groups: int = 20, classes: int = 2, seed: int = 0
) -> Shortcut:
    """Return the shortcut of segments with `values(label, group)` in their headers, and random values otherwise."""
    rng = np.random.default_rng(seed)
    labels = [index % classes for index in range(count)]
    groups_of = [(index // classes) % groups for index in range(count)]
    features = [metadata_features(Segment(Path("a.mp4")), info(rng, **values(label, group))) for label, group in zip(labels, groups_of)]
    shortcut = find_shortcut(features, [f"c{label}" for label in labels], groups_of)
    assert shortcut is not None
    return shortcut


@pytest.mark.parametrize(
    ("values", "family"),
    [
        (lambda label, _: {"fps": [24.0, 30.0][label]}, "frame rate"),
        (lambda label, _: {"codec": ["h264", "vp9"][label]}, "codec"),
        (lambda label, _: {"width": [320, 322][label]}, "frame size"),
        (lambda label, _: {"duration": [3.0, 3.5][label]}, "length"),
        (lambda label, _: {"bytes": [10_000, 11_000][label]}, "file size"),
    ],
)
def test_metadata_that_predicts_the_label_is_found_and_named(values: Callable[[int, int], dict[str, object]], family: str) -> None:
    shortcut = shortcut_of(values)
    assert shortcut.suspicious
    assert shortcut.accuracy > 0.95
    assert shortcut.majority == 0.5
    assert family in [name for name, accuracy in shortcut.by if accuracy == max(value for _, value in shortcut.by)]
    assert family in shortcut.sentence
    assert "\n" not in shortcut.sentence


@pytest.mark.parametrize("classes", [2, 6])
@pytest.mark.parametrize("count", [12, 60])
def test_random_metadata_is_not_a_shortcut(count: int, classes: int) -> None:
    shortcuts = [shortcut_of(lambda *_: {}, count=count, groups=count, classes=min(classes, count // 4), seed=seed) for seed in range(4)]
    assert sum(one.suspicious for one in shortcuts) == 0


def test_metadata_that_depends_on_the_group_is_not_a_shortcut() -> None:
    shortcut = shortcut_of(lambda _, group: {"fps": 20.0 + group, "width": 300 + 2 * group})
    assert not shortcut.suspicious
    assert shortcut.low < 0 < shortcut.high


def test_too_few_groups_or_classes_give_no_shortcut() -> None:
    rng = np.random.default_rng(0)
    features = [metadata_features(Segment(Path("a.mp4")), info(rng)) for _ in range(20)]
    assert find_shortcut(features[:4], ["a", "b"] * 2, list(range(4))) is None
    assert find_shortcut(features, ["a"] * 20, list(range(20))) is None
    assert find_shortcut(features, ["a", "b"] * 10, ["one"] * 20) is None
    assert find_shortcut([], [], []) is None


def test_the_classifier_predicts_labels_it_was_fitted_on() -> None:
    rng = np.random.default_rng(1)
    labels = ["slow", "fast", "faster"] * 12
    rates = {"slow": 15.0, "fast": 30.0, "faster": 60.0}
    features: FeatureList = [metadata_features(Segment(Path("a.mp4")), info(rng, fps=rates[label])) for label in labels]
    classifier = MetadataClassifier(seed=3).fit(features, labels)
    others: FeatureList = [metadata_features(Segment(Path("a.mp4")), info(rng, fps=rates[label], codec="unheard of")) for label in labels]
    assert classifier.labels == ("fast", "faster", "slow")
    assert classifier.predict(others) == labels
    assert np.allclose(classifier.scores(others).sum(1), 1)
    assert np.array_equal(classifier.scores(others), MetadataClassifier(seed=3).fit(features, labels).scores(others))


def test_the_length_is_that_of_the_span() -> None:
    video = info(np.random.default_rng(0), duration=4.0)
    assert metadata_features(Segment(Path("a.mp4"), start=1.0, end=3.0), video)["seconds"] == 2.0
    assert metadata_features(Segment(Path("a.mp4"), start=1.0, end=30.0), video)["seconds"] == 3.0
    assert metadata_features(Segment(Path("a.mp4"), start=9.0), video)["seconds"] == 0.0


def test_headers_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(b"bytes")
    (tmp_path / "same.mp4").write_bytes(b"bytes")
    video, probed = info(np.random.default_rng(0), coded_size=(320, 240)), []
    monkeypatch.setattr("quickstep.datasets.audit.metadata_shortcuts.probe", lambda path: probed.append(path) or video)
    cache = Cache(tmp_path / "cache")
    assert cached_video_info(tmp_path / "a.mp4", cache) is video
    again = cached_video_info(tmp_path / "same.mp4", cache)
    assert (again.path, again.fps, again.coded_size) == (tmp_path / "same.mp4", video.fps, (320, 240))
    assert probed == [tmp_path / "a.mp4"]
