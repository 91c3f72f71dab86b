"""Whether a file's metadata alone predicts its label: then a model may learn the recording instead of the move.

Reads headers (once, then the cache remembers), never pictures. `MetadataClassifier` is fitted on some segments and asked about others;
`find_shortcut` lets it try, cross-validated by group, and says whether it does better than always naming the commonest label.
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

# what is told apart in words, and what of the header it covers
FAMILIES: dict[str, tuple[str, ...]] = {
    "picture size": ("width", "height", "shape"),
    "length": ("seconds", "frames"),
    "frame rate": ("fps", "variable_rate"),
    "file size": ("bytes", "bit_rate", "bytes_a_second"),
    "codec": ("codec", "pixel_format", "container", "has_audio", "rotation"),
}
TREES = 60
WORTH_SAYING = 0.08  # how far above the commonest label before it is called a shortcut


@dataclass(frozen=True)
class Shortcut:
    """How well metadata alone names the label, beside always saying the commonest one; both cross-validated by group."""

    accuracy: float
    majority: float
    low: float  # 95 % interval of the gain over the majority
    high: float
    p: float  # how often luck does as well
    by: tuple[tuple[str, float], ...]  # accuracy of each family alone, the best first
    segments: int
    groups: int

    @property
    def suspicious(self) -> bool:
        """Whether it predicts better than chance by more than the size of the set explains."""
        return self.accuracy - self.majority >= WORTH_SAYING and self.low > 0 and self.p < 0.05


def describe(segment: Segment, info: VideoInfo) -> dict[str, float | str]:
    """What can be known of a segment without looking at it; the same names in the same order for every video."""
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
    """What a video is, from the cache or from its header; of a file of poses what can be said in the same words."""
    if is_pose_file(path):
        return _of_poses(path)
    key = {"sha256": cache.digest(path), "decoding": DECODING_VERSION, "version": 1}
    kept = cache.recall("video", key)
    if kept is None:
        info = probe(path)
        cache.remember("video", key, {name: value for name, value in asdict(info).items() if name != "path"})
        return info
    return VideoInfo(path=path, **(kept | {"coded_size": tuple(kept["coded_size"])}))


def _of_poses(path: Path) -> VideoInfo:
    """The length, the pace, the picture's size and the form of a file of poses."""
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
    """Extremely randomised trees over what `describe` gives; the same seed gives the same answers."""

    def __init__(self, *, seed: int = 0) -> None:
        self.labels: tuple[str, ...] = ()
        self._seed = seed
        self._words: dict[str, list[str]] = {}
        self._trees: Any = None

    def fit(self, traits: Sequence[dict[str, float | str]], labels: Sequence[str]) -> MetadataClassifier:
        """Learn the label of each description."""
        from sklearn.ensemble import ExtraTreesClassifier

        self.labels = tuple(sorted(set(labels)))
        words = {name: {row[name] for row in traits} for name in traits[0] if isinstance(traits[0][name], str)}
        self._words = {name: sorted(map(str, seen)) for name, seen in words.items()}
        self._trees = ExtraTreesClassifier(TREES, min_samples_leaf=2, max_features=0.5, random_state=self._seed, n_jobs=1)
        numbers = {label: number for number, label in enumerate(self.labels)}
        self._trees.fit(self._table(traits), [numbers[label] for label in labels])
        return self

    def scores(self, traits: Sequence[dict[str, float | str]]) -> NDArray[np.float64]:
        """The probability of each label (N, C), in the order of `labels`."""
        return np.asarray(self._trees.predict_proba(self._table(traits)), dtype=np.float64)

    def predict(self, traits: Sequence[dict[str, float | str]]) -> list[str]:
        """The likeliest label of each."""
        return [self.labels[index] for index in self.scores(traits).argmax(axis=1)]

    def _table(self, traits: Sequence[dict[str, float | str]]) -> NDArray[np.float32]:
        """Numbers as they are, words as one column each; a word never seen is none of them."""
        rows = []
        for row in traits:
            numbers = [float(value) for value in row.values() if not isinstance(value, str)]
            words = [float(row[name] == word) for name, known in self._words.items() for word in known]
            rows.append(numbers + words)
        table = np.array(rows, dtype=np.float64).reshape(len(rows), -1)
        return np.clip(np.nan_to_num(table), -1e30, 1e30).astype(np.float32)


def find_shortcut(
    traits: Sequence[dict[str, float | str]], labels: Sequence[str], groups: Sequence[object], *, seed: int = 0
) -> Shortcut | None:
    """How well metadata alone does, tested on groups it was not fitted on; None where there is too little to try."""
    folds = _folds(labels, groups, seed=seed)
    if folds is None:
        return None
    right = _right(traits, labels, folds, seed=seed)
    commonest = np.zeros(len(labels), dtype=bool)
    for fold in np.unique(folds):
        first = Counter(sorted(label for label, at in zip(labels, folds, strict=True) if at != fold)).most_common(1)[0][0]
        commonest |= (folds == fold) & (np.array(labels, dtype=object) == first)
    share = max(Counter(labels).values()) / len(labels)
    gain = difference(right, commonest, [str(group) for group in groups], seed=seed)
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
        family: float(_right([{name: row[name] for name in names} for row in traits], labels, folds, seed=seed).mean())
        for family, names in FAMILIES.items()
    }
    by = tuple(sorted(alone.items(), key=lambda item: (-item[1], item[0])))
    return Shortcut(**(asdict(shortcut) | {"by": by}))


def _right(traits: Sequence[dict[str, float | str]], labels: Sequence[str], folds: NDArray[np.int64], *, seed: int) -> NDArray[np.bool_]:
    """Whether each segment is named rightly by a classifier that has not seen its fold."""
    right = np.zeros(len(labels), dtype=bool)
    for fold in np.unique(folds):
        known, asked = np.flatnonzero(folds != fold).tolist(), np.flatnonzero(folds == fold).tolist()
        classifier = MetadataClassifier(seed=seed).fit([traits[at] for at in known], [labels[at] for at in known])
        said = classifier.predict([traits[at] for at in asked])
        right[asked] = [name == labels[at] for name, at in zip(said, asked, strict=True)]
    return right


def _folds(labels: Sequence[str], groups: Sequence[object], *, seed: int) -> NDArray[np.int64] | None:
    """Up to five folds that divide no group and share out the labels."""
    from quickstep.datasets.stratification import Unit, allot

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
    chosen = allot(listed, (1 / count,) * count, np.random.default_rng(seed))
    return np.array([chosen[numbers[group]] for group in groups], dtype=np.int64)


def say(shortcut: Shortcut) -> str:
    """The shortcut in one sentence."""
    strong = [name for name, accuracy in shortcut.by if accuracy - shortcut.majority >= WORTH_SAYING]
    figures = f"in {shortcut.accuracy:.0%} of the segments ({shortcut.majority:.0%} by always saying the commonest)"
    what = f"the files' metadata alone names the label {figures}, mostly by {' and '.join(strong[:2]) or 'all of it together'}"
    if strong == ["file size"]:
        return f"{what}: a busier picture makes a larger file, so this may be the movement itself, or classes that were encoded differently"
    do = "bring them to one size, frame rate, length and codec, or record them alike, and distrust scores until then"
    return f"{what}: the classes were recorded or prepared differently, so {do}"
