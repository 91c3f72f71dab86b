"""Measure whether file metadata alone predicts the label: then a model may learn the recording instead of the movement.

Only headers are read, and the cache keeps them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.formats import is_pose_file, read_file, split_sequence
from quickstep.signals.video import DECODING_VERSION, VideoInfo, probe
from quickstep.storage.cache import Cache
from quickstep.types.confidence_intervals import difference
from quickstep.types.segment import Segment

# name in messages -> the metadata features that belong to it
FAMILIES: dict[str, tuple[str, ...]] = {
    "frame size": ("width", "height", "shape"),
    "length": ("seconds", "frames"),
    "frame rate": ("fps", "variable_rate"),
    "file size": ("bytes", "bit_rate", "bytes_a_second"),
    "codec": ("codec", "pixel_format", "container", "has_audio", "rotation"),
}
TREES = 60
MIN_GAIN = 0.08  # accuracy above the majority class from which on metadata is a shortcut


Features = dict[str, float | str]


@dataclass(frozen=True)
class Shortcut:
    """The accuracy of metadata alone compared with the majority class, both cross-validated by group."""

    accuracy: float
    majority: float
    low: float  # 95 % interval of the gain over the majority
    high: float
    p: float  # p-value of the gain
    by: tuple[tuple[str, float], ...]  # accuracy of each family alone, the best first; empty if not suspicious
    segments: int
    groups: int

    @property
    def suspicious(self) -> bool:
        """Whether metadata is better than the majority class by more than chance explains."""
        return self.accuracy - self.majority >= MIN_GAIN and self.low > 0 and self.p < 0.05

    @property
    def sentence(self) -> str:
        """The shortcut in one sentence, with advice."""
        strong = [name for name, accuracy in self.by if accuracy - self.majority >= MIN_GAIN]
        figures = f"in {self.accuracy:.0%} of the segments (majority class: {self.majority:.0%})"
        problem = f"file metadata alone predicts the label {figures}, mostly by {' and '.join(strong[:2]) or 'its combination'}"
        if strong == ["file size"]:
            return f"{problem}: more movement makes a larger file, so this may be the movement itself, or differently encoded classes"
        advice = "convert all videos to one size, frame rate, length and codec, or record all classes alike, before you trust a score"
        return f"{problem}: the classes were recorded or prepared differently; {advice}"


def metadata_features(segment: Segment, info: VideoInfo) -> Features:
    """Return the metadata of a segment, the same names in the same order for every video."""
    end = info.duration if segment.end is None else min(segment.end, info.duration)
    return {
        "width": float(info.width),
        "height": float(info.height),
        "shape": info.width / max(1, info.height),
        "seconds": max(0.0, end - segment.start),
        "frames": float(info.frames or -1),
        "fps": float(info.fps or -1),
        "variable_rate": str(info.variable_rate),
        "bytes": float(info.bytes),
        "bit_rate": float(info.bit_rate or -1),
        "bytes_a_second": info.bytes / max(info.duration, 1e-3),
        "codec": info.codec,
        "pixel_format": info.pixel_format,
        "container": f"{info.container} {info.path.suffix.lower()}",
        "has_audio": str(info.has_audio),
        "rotation": f"{info.rotation} {info.mirrored}",
    }


def cached_video_info(path: Path, cache: Cache) -> VideoInfo:
    """Return the header of a video from the cache or the file; for a pose file, the same facts about its poses."""
    if is_pose_file(path):
        return _pose_file_info(path)
    key = {"sha256": cache.digest(path), "decoding": DECODING_VERSION, "version": 2}
    cached = cache.recall("video", key)
    if cached is None:
        info = probe(path)
        cache.remember("video", key, {name: value for name, value in asdict(info).items() if name != "path"})
        return info
    return VideoInfo(path=path, **(cached | {"coded_size": tuple(cached["coded_size"])}))


def _pose_file_info(path: Path) -> VideoInfo:
    poses = read_file(path).poses
    file = split_sequence(path)[0]
    step = float(np.median(np.diff(poses.times))) if len(poses) > 1 else 0.0
    width, height = poses.size or (0, 0)
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        duration=(float(poses.times[-1]) if len(poses) else 0.0) + step,
        fps=1 / step if step else None,
        frames=len(poses),
        codec=f"poses of {poses.skeleton.name}",
        pixel_format="",
        rotation=0,
        mirrored=False,
        aspect=1.0,
        container="poses",
        bytes=file.stat().st_size if file.is_file() else 0,
        bit_rate=None,
        has_audio=False,
        variable_rate=None,
    )


class MetadataClassifier:
    """Extremely randomized trees over metadata features; the same seed gives the same predictions."""

    def __init__(self, *, seed: int = 0) -> None:
        self.labels: tuple[str, ...] = ()
        self._seed = seed
        self._words: dict[str, list[str]] = {}
        self._trees: Any = None

    def fit(self, features: Sequence[Features], labels: Sequence[str]) -> MetadataClassifier:
        """Fit the trees on features and labels."""
        from sklearn.ensemble import ExtraTreesClassifier

        self.labels = tuple(sorted(set(labels)))
        words = {name: {row[name] for row in features} for name in features[0] if isinstance(features[0][name], str)}
        self._words = {name: sorted(map(str, values)) for name, values in words.items()}
        self._trees = ExtraTreesClassifier(TREES, min_samples_leaf=2, max_features=0.5, random_state=self._seed, n_jobs=1)
        numbers = {label: number for number, label in enumerate(self.labels)}
        self._trees.fit(self._table(features), [numbers[label] for label in labels])
        return self

    def scores(self, features: Sequence[Features]) -> NDArray[np.float64]:
        """Return the probability of each label (N, C), in the order of `labels`."""
        return np.asarray(self._trees.predict_proba(self._table(features)), dtype=np.float64)

    def predict(self, features: Sequence[Features]) -> list[str]:
        """Return the most likely label of each segment."""
        return [self.labels[index] for index in self.scores(features).argmax(axis=1)]

    def _table(self, features: Sequence[Features]) -> NDArray[np.float32]:
        """Return numbers as they are and one column for each word; a word that was not fitted is in none of them."""
        rows = []
        for row in features:
            numbers = [float(value) for value in row.values() if not isinstance(value, str)]
            words = [float(row[name] == word) for name, values in self._words.items() for word in values]
            rows.append(numbers + words)
        table = np.array(rows, dtype=np.float64).reshape(len(rows), -1)
        return np.clip(np.nan_to_num(table), -1e30, 1e30).astype(np.float32)


def find_shortcut(features: Sequence[Features], labels: Sequence[str], groups: Sequence[object], *, seed: int = 0) -> Shortcut | None:
    """Measure the accuracy of metadata alone on groups it was not fitted on; None if there is too little data."""
    folds = _folds(labels, groups, seed=seed)
    if folds is None:
        return None
    right = _correct(features, labels, folds, seed=seed)
    majority_right = np.zeros(len(labels), dtype=bool)
    for fold in np.unique(folds):
        first = Counter(sorted(label for label, at in zip(labels, folds, strict=True) if at != fold)).most_common(1)[0][0]
        majority_right |= (folds == fold) & (np.array(labels, dtype=object) == first)
    share = max(Counter(labels).values()) / len(labels)
    gain = difference(right, majority_right, [str(group) for group in groups], seed=seed)
    shortcut = Shortcut(
        accuracy=float(right.mean()),
        majority=share,
        low=gain.interval.low,
        high=gain.interval.high,
        p=gain.p,
        by=(),
        segments=len(labels),
        groups=len(set(groups)),
    )
    if not shortcut.suspicious:
        return shortcut
    alone = {
        family: float(_correct([{name: row[name] for name in names} for row in features], labels, folds, seed=seed).mean())
        for family, names in FAMILIES.items()
    }
    by = tuple(sorted(alone.items(), key=lambda item: (-item[1], item[0])))
    return Shortcut(**(asdict(shortcut) | {"by": by}))


def _correct(features: Sequence[Features], labels: Sequence[str], folds: NDArray[np.int64], *, seed: int) -> NDArray[np.bool_]:
    """Return whether each segment is predicted correctly by a classifier that was fitted on the other folds."""
    right = np.zeros(len(labels), dtype=bool)
    for fold in np.unique(folds):
        train, test = np.flatnonzero(folds != fold).tolist(), np.flatnonzero(folds == fold).tolist()
        classifier = MetadataClassifier(seed=seed).fit([features[i] for i in train], [labels[i] for i in train])
        predicted = classifier.predict([features[i] for i in test])
        right[test] = [label == labels[i] for label, i in zip(predicted, test, strict=True)]
    return right


def _folds(labels: Sequence[str], groups: Sequence[object], *, seed: int) -> NDArray[np.int64] | None:
    """Return up to five folds that divide no group and have every class in similar shares; None if there is too little data."""
    from quickstep.datasets.stratification import Unit, assign_parts

    names = {label: number for number, label in enumerate(sorted(set(labels)))}
    spread = [len({group for group, label in zip(groups, labels, strict=True) if label == name}) for name in names]
    count = min([5, *spread])
    if len(names) < 2 or count < 2 or len(labels) < 10:
        return None
    units: dict[object, list[int]] = {}
    for group, label in zip(groups, labels, strict=True):
        units.setdefault(group, [0] * len(names))[names[label]] += 1
    numbers = {group: number for number, group in enumerate(units)}
    listed = [Unit(numbers[group], tuple(counts), tuple(range(count))) for group, counts in units.items()]
    chosen = assign_parts(listed, (1 / count,) * count, np.random.default_rng(seed))
    return np.array([chosen[numbers[group]] for group in groups], dtype=np.int64)
